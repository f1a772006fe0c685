// The kernels for one type of numbers, real; word is the integer of its size.
constexpr int LANES = REGARD_BYTES / sizeof(real);

#include "simd.hpp"
#include "powers.hpp"
#include "micro.hpp"
#include "columns.hpp"
#include "tiles.hpp"
#include "errands.hpp"
#include "words.hpp"
#include "quarters.hpp"
#include "seen.hpp"
#include "bias.hpp"
#include "scores.hpp"
#include "choose.hpp"
#include "query_block.hpp"
#include "results.hpp"
#include "forward.hpp"
#include "backward.hpp"
#include "claims.hpp"
#include "reaches.hpp"
#include "shares.hpp"
#include "runs.hpp"
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
#include "paired.hpp"
#ifdef __AMX_BF16__
#include "turned.hpp"
#else
#include "coupled.hpp"
#endif
#include "pairs_forward.hpp"
#include "pairs_backward.hpp"
#ifdef __AMX_BF16__
#include "straight_strips.hpp"
#else
#include "straight_blocks.hpp"
#endif
#include "pair_tiles.hpp"
#endif
#include "abreast.hpp"
#include "packed.hpp"
#include "engine.hpp"
#include "statistics.hpp"
