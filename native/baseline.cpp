#define REGARD_ISA baseline
#define REGARD_LANES 4
#define REGARD_ROWS 4
#define REGARD_VECTORS 2
#include "kernels.inl"
