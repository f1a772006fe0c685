#define REGARD_ISA neon
#define REGARD_BYTES 16
#define REGARD_ROWS 6
#define REGARD_VECTORS 4
#include "kernels.inl"
