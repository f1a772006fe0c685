// Vectors of LANES numbers by the compiler's own extension: one source for every instruction set, for float and double.

constexpr bool SINGLE = sizeof(real) == 4;

// Aligned as numbers are. Arrays of them that others get a pointer to say alignas(REGARD_BYTES): Clang takes them to be.
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
    const vi differs = a != b;
    word any = 0;
    for (int n = 0; n < LANES; ++n) any |= differs[n];
    return !any;
}
REGARD_INLINE vf magnitude(vf x) { return x < 0 ? -x : x; }

constexpr real INFINITE = static_cast<real>(__builtin_inf());
constexpr real LOWEST = SINGLE ? static_cast<real>(-3.4028234663852886e38) : static_cast<real>(-1.7976931348623157e308);
constexpr real LEAST = SINGLE ? real(-127) : real(-1023);  // from here down, 2^x is exactly 0
constexpr real LOG2E = static_cast<real>(1.4426950408889634074);

// 2^x = 2^n · (1 + r · q(r)), |r| ≤ ½. float: a minimax polynomial; double: the series of 2^r, (ln 2)^k / k!.
struct Power {
    vf whole, small;  // 2^n and r · q(r)
};

REGARD_INLINE vf clamped(vf x) { return greater(splat(LEAST), x); }

// Of a clamped x.
REGARD_INLINE Power power_within(vf x) {
    // 1.5 · 2^23 or 2^52 rounds what is added to it; the rest is the exponent of 1.
    constexpr real magic = SINGLE ? real(12582912 + 127) : real(6755399441055744 + 1023);
    constexpr double series[] = {1.36914888539041241e-12, 2.56784359934881958e-11, 4.44553827187081007e-10, 7.05491162080112088e-09,
                                 1.01780860092396960e-07, 1.32154867901443053e-06, 1.52527338040598377e-05, 1.54035303933816061e-04,
                                 1.33335581464284411e-03, 9.61812910762847688e-03, 5.55041086648215762e-02, 2.40226506959100694e-01,
                                 6.93147180559945286e-01};
    constexpr float minimax[] = {1.5353361960e-04f, 1.3398875017e-03f, 9.6184369177e-03f,
                                 5.5503323674e-02f, 2.4022647738e-01f, 6.9314718246e-01f};
    const vf rounded = x + magic, rest = x - (rounded - magic);
    vf q = splat(SINGLE ? real(minimax[0]) : real(series[0]));
    if constexpr (SINGLE) {
#pragma GCC unroll 16
        for (int k = 1; k < 6; ++k) q = q * rest + real(minimax[k]);
    } else {
#pragma GCC unroll 16
        for (int k = 1; k < 13; ++k) q = q * rest + real(series[k]);
    }
    const vw bits = reinterpret_cast<const vw&>(rounded) << (SINGLE ? 23 : 52);
    return {reinterpret_cast<const vf&>(bits), q * rest};
}

REGARD_INLINE Power power_of_two(vf x) { return power_within(clamped(x)); }

// 2^x for x ≤ 0, to 1.5 ulp: exactly 1 at 0; exactly 0 from −127 (double: −1023) down; NaN stays NaN.
REGARD_INLINE vf exp2_within(vf x) {
    const Power p = power_within(x);
    return (p.small + 1) * p.whole;
}
REGARD_INLINE vf exp2_of(vf x) { return exp2_within(clamped(x)); }

// The same for weights that are rounded to bfloat16: a polynomial of degree 5, to 2 ulp, x never NaN where that matters.
REGARD_INLINE vf short_exp2_of(vf x) {
    constexpr float minimax[] = {1.3264714350e-03f, 9.6715126384e-03f, 5.5507337738e-02f, 2.4022242086e-01f, 6.9314697759e-01f};
    constexpr real magic = real(12582912 + 127);
    x = greater(splat(real(-127)), x);
    const vf rounded = x + magic, rest = x - (rounded - magic);
    vf q = splat(real(minimax[0]));
#pragma GCC unroll 16
    for (int k = 1; k < 5; ++k) q = q * rest + real(minimax[k]);
    const vw bits = reinterpret_cast<const vw&>(rounded) << 23;
    return (q * rest + 1) * reinterpret_cast<const vf&>(bits);
}

// tanh x = −m / (2 + m) with m = e^(−2|x|) − 1, which keeps its bits where x is small.
REGARD_INLINE vf tanh_of(vf x) {
    const Power p = power_of_two(magnitude(x) * (-2 * LOG2E));
    const vf m = p.whole * p.small + (p.whole - 1);
    const vf t = -m / (m + 2);
    return x < 0 ? -t : t;
}

// 1 / (1 + e^−x), by e^−|x| ≤ 1.
REGARD_INLINE vf sigmoid_of(vf x) {
    const vf e = exp2_of(magnitude(x) * -LOG2E);
    return (x < 0 ? e : splat(real(1))) / (e + 1);
}

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
