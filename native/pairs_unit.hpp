// Which instructions multiply pairs, and how weights become pairs for them.
#ifdef __AMX_BF16__
#include "amx.hpp"
#else
#include "dot_pairs.hpp"
#endif

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

REGARD_INLINE void store_halves(uint16_t* first, uint16_t* second, __m512i both) {
    const auto low = __builtin_shufflevector(both, both, 0, 1, 2, 3), high = __builtin_shufflevector(both, both, 4, 5, 6, 7);
    memcpy(first, &low, 32);
    memcpy(second, &high, 32);
}
