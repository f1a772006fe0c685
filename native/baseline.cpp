#define REGARD_ISA baseline
#define REGARD_BYTES 16
#define REGARD_ROWS 4
#define REGARD_VECTORS 2
#include "kernels.inl"
