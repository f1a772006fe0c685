// Vectors of LANES numbers by the compiler's own extension: one source for every instruction set, for float and double.

typedef real vf __attribute__((vector_size(REGARD_BYTES), aligned(sizeof(real)), may_alias));
typedef word vi __attribute__((vector_size(REGARD_BYTES), aligned(sizeof(real)), may_alias));
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
REGARD_INLINE vf greater(vf a, vf b) { return a > b ? a : b; }
REGARD_INLINE vf magnitude(vf x) { return x < 0 ? -x : x; }

constexpr bool SINGLE = sizeof(real) == 4;
constexpr real INFINITE = static_cast<real>(__builtin_inf());
constexpr real LOWEST = SINGLE ? static_cast<real>(-3.4028234663852886e38) : static_cast<real>(-1.7976931348623157e308);
constexpr real LEAST = SINGLE ? real(-127) : real(-1023);  // from here down, 2^x is exactly 0
constexpr real LOG2E = static_cast<real>(1.4426950408889634074);

// 2^x = 2^n · (1 + r · q(r)), |r| ≤ ½. float: a minimax polynomial; double: the series of 2^r, (ln 2)^k / k!.
struct Power {
    vf whole, small;  // 2^n and r · q(r)
};

REGARD_INLINE Power power_of_two(vf x) {
    constexpr real magic = SINGLE ? real(12582912) : real(6755399441055744);  // 1.5 · 2^23 or 2^52: adding it rounds
    constexpr double series[] = {1.36914888539041241e-12, 2.56784359934881958e-11, 4.44553827187081007e-10, 7.05491162080112088e-09,
                                 1.01780860092396960e-07, 1.32154867901443053e-06, 1.52527338040598377e-05, 1.54035303933816061e-04,
                                 1.33335581464284411e-03, 9.61812910762847688e-03, 5.55041086648215762e-02, 2.40226506959100694e-01,
                                 6.93147180559945286e-01};
    constexpr float minimax[] = {1.5353361960e-04f, 1.3398875017e-03f, 9.6184369177e-03f,
                                 5.5503323674e-02f, 2.4022647738e-01f, 6.9314718246e-01f};
    x = x < LEAST ? splat(LEAST) : x;
    const vf rounded = x + magic, rest = x - (rounded - magic);
    vf q = splat(SINGLE ? real(minimax[0]) : real(series[0]));
    if constexpr (SINGLE) {
#pragma GCC unroll 16
        for (int k = 1; k < 6; ++k) q = q * rest + real(minimax[k]);
    } else {
#pragma GCC unroll 16
        for (int k = 1; k < 13; ++k) q = q * rest + real(series[k]);
    }
    const vi bits = (reinterpret_cast<const vi&>(rounded) << (SINGLE ? 23 : 52)) +
                    (SINGLE ? word(0x3F800000) : static_cast<word>(0x3FF0000000000000));
    return {reinterpret_cast<const vf&>(bits), q * rest};
}

// 2^x for x ≤ 0, to 1.5 ulp: exactly 1 at 0; exactly 0 from −127 (double: −1023) down; NaN stays NaN.
REGARD_INLINE vf exp2_of(vf x) {
    const Power p = power_of_two(x);
    return (p.small + 1) * p.whole;
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
