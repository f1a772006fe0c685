// All kernels for one instruction set, in a namespace of its own: an inline function that two translation units compiled
// with different flags would be one function to the linker. Wants REGARD_ISA, REGARD_LANES, REGARD_ROWS, REGARD_VECTORS.
#include <cstdlib>
#include <vector>

#include "isa.hpp"

namespace regard {
namespace REGARD_ISA {

constexpr int BLOCK = 64;    // queries (forward) or keys (backward) in the lanes
constexpr int KEYS = 64;     // keys of a forward tile
constexpr int QUERIES = 64;  // queries of a backward tile
constexpr int DEPTH = 64;    // components that are summed in one run
constexpr int MICRO_ROWS = REGARD_ROWS, MICRO_VECTORS = REGARD_VECTORS;

#include "simd.hpp"
#include "micro.hpp"
#include "lanes.hpp"
#include "seen.hpp"
#include "forward.hpp"
#include "backward.hpp"

}  // namespace REGARD_ISA
}  // namespace regard
