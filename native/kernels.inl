// All kernels for one instruction set, in a namespace of its own: an inline function that two translation units compiled
// with different flags would be one function to the linker. Wants REGARD_ISA, REGARD_BYTES (of a vector), REGARD_ROWS,
// REGARD_VECTORS; REGARD_PAIRS where it multiplies pairs of bfloat16. Every header is read twice, once for each type that
// numbers are accumulated in.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>
#include <sched.h>
#ifdef REGARD_STD_THREADS
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#endif

#if REGARD_BYTES > 16
#include <immintrin.h>
#elif defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "isa.hpp"

#define REGARD_INLINE inline __attribute__((always_inline))
// A function that keeps its registers to itself: inlined into its caller, a product spilled its accumulators.
#define REGARD_APART static __attribute__((noinline))
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define REGARD_FUSES
#endif

namespace regard {
namespace REGARD_ISA {

constexpr int BLOCK = 64;    // queries (forward) or keys (backward) in the lanes
constexpr int KEYS = 64;     // keys of a forward tile
constexpr int QUERIES = 64;  // queries of a backward tile
constexpr int DEPTH = 64;    // components that are summed in one run
constexpr int MICRO_ROWS = REGARD_ROWS, MICRO_VECTORS = REGARD_VECTORS;

// Lists of this instruction set's own: what is compiled here of std::vector<float> could become that of the whole program.
template <class T>
struct Own {
    using value_type = T;
    Own() = default;
    template <class Other>
    Own(const Own<Other>&) {}
    T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T))); }
    void deallocate(T* given, size_t) { ::operator delete(given); }
    friend bool operator==(const Own&, const Own&) { return true; }
    friend bool operator!=(const Own&, const Own&) { return false; }
};
template <class T>
using List = std::vector<T, Own<T>>;

#include "parallel.hpp"

namespace f32 {
using real = float;
using word = int32_t;
#ifdef REGARD_PAIRS
#define REGARD_PAIRS_HERE
#endif
#include "one_type.inl"
#undef REGARD_PAIRS_HERE
}  // namespace f32

namespace f64 {
using real = double;
using word = int64_t;
#include "one_type.inl"
}  // namespace f64

}  // namespace REGARD_ISA
}  // namespace regard
