#define REGARD_ISA amx
#define REGARD_BYTES 64
#define REGARD_ROWS 4
#define REGARD_VECTORS 4
#define REGARD_PAIRS
#include "kernels.inl"
