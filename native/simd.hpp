// Vectors of LANES numbers by the compiler's own extension: one source for every instruction set, for float and double.

constexpr bool SINGLE = sizeof(real) == 4;

// Aligned as numbers are. Arrays of them that templates get a reference to say alignas(REGARD_BYTES): there they are taken to be.
typedef real vf __attribute__((vector_size(REGARD_BYTES), aligned(sizeof(real)), may_alias));
typedef word vi __attribute__((vector_size(REGARD_BYTES), aligned(sizeof(real)), may_alias));
typedef std::make_unsigned_t<word> vw __attribute__((vector_size(REGARD_BYTES), aligned(sizeof(real)), may_alias));
typedef uint32_t vu __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

REGARD_INLINE vf splat(real x) { return x - vf{}; }
REGARD_INLINE vi every(word x) { return x - vi{}; }
// a · b + c as the vectors compute it: with one rounding where the instruction set can.
REGARD_INLINE real fused(real a, real b, real c) {
#ifdef REGARD_FUSES
    return std::fma(a, b, c);
#else
    return a * b + c;
#endif
}
REGARD_INLINE vf load(const real* p) { return *reinterpret_cast<const vf*>(p); }
REGARD_INLINE void store(real* p, vf x) { *reinterpret_cast<vf*>(p) = x; }
// Vectors that lie one behind the other.
template <int COUNT>
REGARD_INLINE void load(const real* p, vf (&x)[COUNT]) {
#pragma GCC unroll 8
    for (int n = 0; n < COUNT; ++n) x[n] = load(p + n * LANES);
}
template <int COUNT>
REGARD_INLINE void store(real* p, const vf (&x)[COUNT]) {
#pragma GCC unroll 8
    for (int n = 0; n < COUNT; ++n) store(p + n * LANES, x[n]);
}

// NaN in `a` never wins, so that a NaN score is seen in the exponential and not here.
REGARD_INLINE vf greater(vf a, vf b) {
#ifdef __AVX512F__  // of the comparison with a constant the compiler makes two instructions
    if constexpr (SINGLE)
        return reinterpret_cast<vf>(_mm512_maskz_max_ps(0xFFFF, reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
    else
        return reinterpret_cast<vf>(_mm512_maskz_max_pd(0xFF, reinterpret_cast<__m512d>(a), reinterpret_cast<__m512d>(b)));
#else
    return a > b ? a : b;
#endif
}
// Whether two vectors hold the same numbers, none of them NaN.
REGARD_INLINE bool same(vf a, vf b) {
#ifdef __AVX512F__  // one instruction and not one a lane
    if constexpr (SINGLE)
        return !_mm512_cmp_ps_mask(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), _CMP_NEQ_UQ);
    else
        return !_mm512_cmp_pd_mask(reinterpret_cast<__m512d>(a), reinterpret_cast<__m512d>(b), _CMP_NEQ_UQ);
#else
    const vi differs = a != b;
    word any = 0;
    for (int n = 0; n < LANES; ++n) any |= differs[n];
    return !any;
#endif
}
REGARD_INLINE vf magnitude(vf x) { return x < 0 ? -x : x; }

constexpr real INFINITE = static_cast<real>(__builtin_inf());
constexpr real LOWEST = SINGLE ? static_cast<real>(-3.4028234663852886e38) : static_cast<real>(-1.7976931348623157e308);
constexpr real LEAST = SINGLE ? real(-127) : real(-1023);  // from here down, 2^x is exactly 0
constexpr real LOG2E = static_cast<real>(1.4426950408889634074);

// The first `count` numbers, 0 in the other lanes; nothing behind them is read.
REGARD_INLINE vf load_some(const real* p, int64_t count) {
#if REGARD_BYTES == 64
    if constexpr (SINGLE) {
        const __m512 x = _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p);
        return reinterpret_cast<const vf&>(x);
    } else {
        const __m512d x = _mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << count) - 1), p);
        return reinterpret_cast<const vf&>(x);
    }
#elif REGARD_BYTES == 32
    vi lane;
    for (int n = 0; n < LANES; ++n) lane[n] = n;
    const vi mask = lane < every(static_cast<word>(count));
    const __m256i kept = reinterpret_cast<const __m256i_u&>(mask);
    if constexpr (SINGLE) {
        const __m256 x = _mm256_maskload_ps(reinterpret_cast<const float*>(p), kept);
        return reinterpret_cast<const vf&>(x);
    } else {
        const __m256d x = _mm256_maskload_pd(reinterpret_cast<const double*>(p), kept);
        return reinterpret_cast<const vf&>(x);
    }
#else
    vf x{};
    memcpy(&x, p, count * sizeof(real));
    return x;
#endif
}
