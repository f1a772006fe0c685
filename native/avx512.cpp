#define REGARD_ISA avx512
#define REGARD_BYTES 64
#define REGARD_ROWS 4
#define REGARD_VECTORS 4
#include "kernels.inl"
