// Vectors of REGARD_LANES floats by the compiler's own extension: one source for every instruction set.
// Included inside a namespace of the instruction set, so that no inline function is shared between translation units.

typedef float vf __attribute__((vector_size(REGARD_LANES * 4), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(REGARD_LANES * 4), aligned(4), may_alias));

#define REGARD_INLINE inline __attribute__((always_inline))
// A function that keeps its registers to itself: inlined into its caller, a product spilled its accumulators.
#define REGARD_APART static __attribute__((noinline))

REGARD_INLINE vf splat(float x) { return x - vf{}; }
REGARD_INLINE vi splat(int32_t x) { return x - vi{}; }
// a · b + c as the vectors compute it: with one rounding where the instruction set can.
REGARD_INLINE float fused(float a, float b, float c) {
#ifdef __FMA__
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}
REGARD_INLINE vf load(const float* p) { return *reinterpret_cast<const vf*>(p); }
REGARD_INLINE void store(float* p, vf x) { *reinterpret_cast<vf*>(p) = x; }

// NaN in `a` never wins, so that a NaN score is seen in the exponential and not here.
REGARD_INLINE vf greater(vf a, vf b) { return a > b ? a : b; }

// 2^x for x ≤ 0, to 1.5 ulp: a polynomial of degree 6 that is exactly 1 at 0; exactly 0 from −127 down; NaN stays NaN.
REGARD_INLINE vf exp2_of(vf x) {
    constexpr float magic = 12582912.0f;  // 1.5 · 2^23: adding it rounds to the nearest integer
    x = x < -127.0f ? splat(-127.0f) : x;
    const vf rounded = x + magic;
    const vf rest = x - (rounded - magic);
    vf p = splat(1.5353361960e-04f);
    p = p * rest + 1.3398875017e-03f;
    p = p * rest + 9.6184369177e-03f;
    p = p * rest + 5.5503323674e-02f;
    p = p * rest + 2.4022647738e-01f;
    p = p * rest + 6.9314718246e-01f;
    p = p * rest + 1.0f;
    const vi power = (reinterpret_cast<const vi&>(rounded) << 23) + 0x3F800000;
    return p * reinterpret_cast<const vf&>(power);
}
