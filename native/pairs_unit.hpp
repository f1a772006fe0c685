// Which instructions multiply pairs, and how weights become pairs for them.
using half = uint16_t;
using pair = uint32_t;

// One factor of a product: its pairs, so many halves from one row to the next and from one pair of a row to the next.
struct Pairs {
    const half* at;
    int64_t row, step;
};

#ifdef __AMX_BF16__
#include "amx.hpp"
#else
#include "dot_pairs.hpp"
#endif

// exp2_each for weights that are rounded to bfloat16: to 2.9e-6, on [0, 1).
template <int COUNT>
REGARD_INLINE void short_exp2_each(vf (&x)[COUNT]) {
    constexpr float minimax[] = {1.3426699676e-02f, 5.2242439240e-02f, 2.4128022790e-01f, 6.9304484129e-01f, 1};
    scaled_powers(minimax, x);
}

// Two vectors as bfloat16, one behind the other.
REGARD_INLINE __m512i rounded(vf first, vf second) {
    return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(second), reinterpret_cast<__m512>(first)));
}

// [first, second] of every lane in one word.
REGARD_INLINE void store_pairs(uint32_t* to, __m512i both) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5,
                                           20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(order, both));
}

// The same of powers, rounded by adding half of the last bit: of theirs no NaN has bits below it that this could carry away.
REGARD_INLINE void store_powers(uint32_t* to, vf first, vf second) {
    const vw low = (reinterpret_cast<const vw&>(first) + 0x8000u) >> 16;
    const vw high = (reinterpret_cast<const vw&>(second) + 0x8000u) & 0xFFFF0000u;
    *reinterpret_cast<vw*>(to) = low | high;
}

REGARD_INLINE void store_halves(uint16_t* first, uint16_t* second, __m512i both) {
    const auto low = __builtin_shufflevector(both, both, 0, 1, 2, 3), high = __builtin_shufflevector(both, both, 4, 5, 6, 7);
    memcpy(first, &low, 32);
    memcpy(second, &high, 32);
}
