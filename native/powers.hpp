// Powers of two, tanh and the logistic function, of several vectors side by side: each is a chain of steps that wait for one
// another, and a processor looks only so far ahead for what doesn't wait. A vector alone gets the same bits.

constexpr int SIDE = 4;  // vectors side by side, where there are so many
static_assert(BLOCK / LANES % SIDE == 0, "a block is whole groups of vectors");
constexpr int WIDEST = 8;

// Σ c_k x^k, the greatest power first.
template <class Number, size_t TERMS, int COUNT>
REGARD_INLINE void polynomial(const Number (&c)[TERMS], const vf (&x)[COUNT], vf (&sum)[COUNT]) {
    for (vf& each : sum) each = splat(real(c[0]));
#pragma GCC unroll 16
    for (size_t k = 1; k < TERMS; ++k)
#pragma GCC unroll 8
        for (int n = 0; n < COUNT; ++n) sum[n] = sum[n] * x[n] + real(c[k]);
}

// The series of 2^r, (ln 2)^k / k!, without its 1.
constexpr double SERIES[] = {1.36914888539041241e-12, 2.56784359934881958e-11, 4.44553827187081007e-10, 7.05491162080112088e-09,
                             1.01780860092396960e-07, 1.32154867901443053e-06, 1.52527338040598377e-05, 1.54035303933816061e-04,
                             1.33335581464284411e-03, 9.61812910762847688e-03, 5.55041086648215762e-02, 2.40226506959100694e-01,
                             6.93147180559945286e-01};

template <int COUNT>
REGARD_INLINE void clamp(vf (&x)[COUNT]) {
    for (vf& each : x) each = greater(splat(LEAST), each);
}

// 2^x = 2^n · (1 + r · q(r)), |r| ≤ ½, of a clamped x. float: a minimax polynomial; double: the series.
template <int COUNT>
struct Powers {
    alignas(REGARD_BYTES) vf whole[COUNT], small[COUNT];  // 2^n and r · q(r)

    REGARD_INLINE explicit Powers(const vf (&x)[COUNT]) {
        // 1.5 · 2^23 or 2^52 rounds what is added to it; the rest is the exponent of 1.
        constexpr real magic = SINGLE ? real(12582912 + 127) : real(6755399441055744 + 1023);
        constexpr float minimax[] = {1.5353361960e-04f, 1.3398875017e-03f, 9.6184369177e-03f,
                                     5.5503323674e-02f, 2.4022647738e-01f, 6.9314718246e-01f};
        alignas(REGARD_BYTES) vf rest[COUNT];
#pragma GCC unroll 8
        for (int n = 0; n < COUNT; ++n) {
            const vf rounded = x[n] + magic;
            const vw bits = reinterpret_cast<const vw&>(rounded) << (SINGLE ? 23 : 52);
            whole[n] = reinterpret_cast<const vf&>(bits), rest[n] = x[n] - (rounded - magic);
        }
        if constexpr (SINGLE)
            polynomial(minimax, rest, small);
        else
            polynomial(SERIES, rest, small);
#pragma GCC unroll 8
        for (int n = 0; n < COUNT; ++n) small[n] *= rest[n];
    }
};

// x becomes 2^x for x ≤ 0, to 1.5 ulp: exactly 1 at 0; exactly 0 from −127 (double: −1023) down; NaN stays NaN.
#ifdef __AVX512F__
// 2^⌊x⌋ · p(x − ⌊x⌋), each power of two one instruction: denormals would take a hundred times as long and are 0.
template <size_t TERMS, int COUNT>
REGARD_INLINE void scaled_powers(const float (&p)[TERMS], vf (&x)[COUNT]) {
    alignas(REGARD_BYTES) vf rest[COUNT], power[COUNT];
    __mmask16 normal[COUNT];
#pragma GCC unroll 8
    for (int n = 0; n < COUNT; ++n) {
        const __m512 at = reinterpret_cast<__m512>(x[n]);
        rest[n] = reinterpret_cast<vf>(_mm512_reduce_ps(at, _MM_FROUND_TO_NEG_INF));
        normal[n] = _mm512_cmp_ps_mask(at, _mm512_set1_ps(-126), _CMP_NLT_UQ);
    }
    polynomial(p, rest, power);
#pragma GCC unroll 8
    for (int n = 0; n < COUNT; ++n)
        x[n] = reinterpret_cast<vf>(
            _mm512_maskz_scalef_ps(normal[n], reinterpret_cast<__m512>(power[n]), reinterpret_cast<__m512>(x[n])));
}
// The same by the nearest whole number, for the series, which wants a small rest.
template <int COUNT>
REGARD_INLINE void scaled_series(vf (&x)[COUNT]) {
    alignas(REGARD_BYTES) vf rest[COUNT], power[COUNT];
#pragma GCC unroll 8
    for (int n = 0; n < COUNT; ++n)
        rest[n] = reinterpret_cast<vf>(_mm512_reduce_pd(reinterpret_cast<__m512d>(x[n]), _MM_FROUND_TO_NEAREST_INT));
    polynomial(SERIES, rest, power);
#pragma GCC unroll 8
    for (int n = 0; n < COUNT; ++n) {
        const __m512d at = reinterpret_cast<__m512d>(x[n]);
        x[n] = reinterpret_cast<vf>(_mm512_maskz_scalef_pd(_mm512_cmp_pd_mask(at, _mm512_set1_pd(-1022), _CMP_NLT_UQ),
                                                           reinterpret_cast<__m512d>(power[n] * rest[n] + 1),
                                                           reinterpret_cast<__m512d>(x[n] - rest[n])));
    }
}
template <int COUNT>
REGARD_INLINE void exp2_each(vf (&x)[COUNT]) {
    static_assert(COUNT <= WIDEST, "loops of more are not unrolled: products and sums would not fuse as of one vector");
    constexpr float minimax[] = {2.1565631323e-04f, 1.2482341845e-03f, 9.6737733111e-03f, 5.5486183614e-02f,
                                 2.4022908509e-01f, 6.9314706326e-01f, 1};  // on [0, 1), to 2.1e-9
    if constexpr (SINGLE)
        scaled_powers(minimax, x);
    else
        scaled_series(x);
}
#else
template <int COUNT>
REGARD_INLINE void exp2_each(vf (&x)[COUNT]) {
    static_assert(COUNT <= WIDEST, "loops of more are not unrolled: products and sums would not fuse as of one vector");
    clamp(x);
    const Powers<COUNT> p(x);
#pragma GCC unroll 8
    for (int n = 0; n < COUNT; ++n) x[n] = (p.small[n] + 1) * p.whole[n];
}
#endif

REGARD_INLINE vf exp2_of(vf x) {
    alignas(REGARD_BYTES) vf alone[] = {x};
    exp2_each(alone);
    return alone[0];
}

// x becomes tanh x = −m / (2 + m) with m = e^(−2|x|) − 1, which keeps its bits where x is small; slope, where it is given,
// 1 − tanh² x = 4 e^(−2|x|) / (2 + m)², which keeps them where tanh x is close to 1.
template <int COUNT>
REGARD_INLINE void tanh_each(vf (&x)[COUNT], vf* slope) {
    alignas(REGARD_BYTES) vf power[COUNT];
#pragma GCC unroll 8
    for (int n = 0; n < COUNT; ++n) power[n] = magnitude(x[n]) * (-2 * LOG2E);
    clamp(power);
    const Powers<COUNT> p(power);
#pragma GCC unroll 8
    for (int n = 0; n < COUNT; ++n) {
        const vf m = p.whole[n] * p.small[n] + (p.whole[n] - 1), t = -m / (m + 2);
        x[n] = x[n] < 0 ? -t : t;
        if (slope) slope[n] = (p.whole[n] * p.small[n] + p.whole[n]) * 4 / ((m + 2) * (m + 2));
    }
}

// x becomes 1 / (1 + e^−x), by e^−|x| ≤ 1.
template <int COUNT>
REGARD_INLINE void sigmoid_each(vf (&x)[COUNT]) {
    alignas(REGARD_BYTES) vf power[COUNT];
#pragma GCC unroll 8
    for (int n = 0; n < COUNT; ++n) power[n] = magnitude(x[n]) * -LOG2E;
    exp2_each(power);
#pragma GCC unroll 8
    for (int n = 0; n < COUNT; ++n) x[n] = (x[n] < 0 ? power[n] : splat(real(1))) / (power[n] + 1);
}

REGARD_INLINE vf sigmoid_of(vf x) {
    alignas(REGARD_BYTES) vf alone[] = {x};
    sigmoid_each(alone);
    return alone[0];
}
