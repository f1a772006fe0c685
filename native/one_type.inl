// The kernels for one type of numbers, real; word is the integer of its size.
constexpr int LANES = REGARD_BYTES / sizeof(real);

#include "simd.hpp"
#include "micro.hpp"
#include "tiles.hpp"
#include "words.hpp"
#include "seen.hpp"
#include "bias.hpp"
#include "scores.hpp"
#include "choose.hpp"
#include "forward.hpp"
#include "backward.hpp"
#include "lines.hpp"
#include "listed.hpp"
#include "rows.hpp"
#include "decode.hpp"
#include "sparse.hpp"
#include "graph.hpp"
#include "sparse_backward.hpp"
#include "sparse_waves.hpp"
#ifdef REGARD_PAIRS_HERE
#include "pairs_unit.hpp"
#include "pairs.hpp"
#endif
#include "packed.hpp"
#include "engine.hpp"
#include "statistics.hpp"
