#define REGARD_ISA avx2
#define REGARD_LANES 8
#define REGARD_ROWS 6
#define REGARD_VECTORS 2
#include "kernels.inl"
