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

// Σ c_k x^k, the greatest power first.
template <class Number, size_t COUNT>
REGARD_INLINE vf polynomial(const Number (&c)[COUNT], vf x) {
    vf sum = splat(real(c[0]));
#pragma GCC unroll 16
    for (size_t k = 1; k < COUNT; ++k) sum = sum * x + real(c[k]);
    return sum;
}

// The series of 2^r, (ln 2)^k / k!, without its 1.
constexpr double SERIES[] = {1.36914888539041241e-12, 2.56784359934881958e-11, 4.44553827187081007e-10, 7.05491162080112088e-09,
                             1.01780860092396960e-07, 1.32154867901443053e-06, 1.52527338040598377e-05, 1.54035303933816061e-04,
                             1.33335581464284411e-03, 9.61812910762847688e-03, 5.55041086648215762e-02, 2.40226506959100694e-01,
                             6.93147180559945286e-01};

// 2^x = 2^n · (1 + r · q(r)), |r| ≤ ½. float: a minimax polynomial; double: the series.
struct Power {
    vf whole, small;  // 2^n and r · q(r)
};

REGARD_INLINE vf clamped(vf x) { return greater(splat(LEAST), x); }

// Of a clamped x.
REGARD_INLINE Power power_within(vf x) {
    // 1.5 · 2^23 or 2^52 rounds what is added to it; the rest is the exponent of 1.
    constexpr real magic = SINGLE ? real(12582912 + 127) : real(6755399441055744 + 1023);
    constexpr float minimax[] = {1.5353361960e-04f, 1.3398875017e-03f, 9.6184369177e-03f,
                                 5.5503323674e-02f, 2.4022647738e-01f, 6.9314718246e-01f};
    const vf rounded = x + magic, rest = x - (rounded - magic);
    const vf q = SINGLE ? polynomial(minimax, rest) : polynomial(SERIES, rest);
    const vw bits = reinterpret_cast<const vw&>(rounded) << (SINGLE ? 23 : 52);
    return {reinterpret_cast<const vf&>(bits), q * rest};
}

REGARD_INLINE Power power_of_two(vf x) { return power_within(clamped(x)); }

// 2^x for x ≤ 0, to 1.5 ulp: exactly 1 at 0; exactly 0 from −127 (double: −1023) down; NaN stays NaN.
#ifdef __AVX512F__
// 2^⌊x⌋ · p(x − ⌊x⌋), each power of two one instruction: denormals would take a hundred times as long and are 0.
template <size_t COUNT>
REGARD_INLINE vf scaled_power(const float (&p)[COUNT], vf x) {
    const __m512 at = reinterpret_cast<__m512>(x);
    const vf power = polynomial(p, reinterpret_cast<vf>(_mm512_reduce_ps(at, _MM_FROUND_TO_NEG_INF)));
    return reinterpret_cast<vf>(_mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(at, _mm512_set1_ps(-126), _CMP_NLT_UQ),
                                                       reinterpret_cast<__m512>(power), at));
}
// The same by the nearest whole number, for the series, which wants a small rest.
REGARD_INLINE vf scaled_series(vf x) {
    const __m512d at = reinterpret_cast<__m512d>(x), rest = _mm512_reduce_pd(at, _MM_FROUND_TO_NEAREST_INT);
    const vf power = polynomial(SERIES, reinterpret_cast<vf>(rest)) * reinterpret_cast<vf>(rest) + 1;
    return reinterpret_cast<vf>(_mm512_maskz_scalef_pd(_mm512_cmp_pd_mask(at, _mm512_set1_pd(-1022), _CMP_NLT_UQ),
                                                       reinterpret_cast<__m512d>(power), at - rest));
}
REGARD_INLINE vf exp2_of(vf x) {
    constexpr float minimax[] = {2.1565631323e-04f, 1.2482341845e-03f, 9.6737733111e-03f, 5.5486183614e-02f,
                                 2.4022908509e-01f, 6.9314706326e-01f, 1};  // on [0, 1), to 2.1e-9
    if constexpr (SINGLE)
        return scaled_power(minimax, x);
    else
        return scaled_series(x);
}
REGARD_INLINE vf exp2_within(vf x) { return exp2_of(x); }
#else
REGARD_INLINE vf exp2_within(vf x) {
    const Power p = power_within(x);
    return (p.small + 1) * p.whole;
}
REGARD_INLINE vf exp2_of(vf x) { return exp2_within(clamped(x)); }
#endif

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
