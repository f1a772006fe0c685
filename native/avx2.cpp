#define REGARD_ISA avx2
#define REGARD_BYTES 32
#define REGARD_ROWS 6
#define REGARD_VECTORS 2
#include "kernels.inl"
