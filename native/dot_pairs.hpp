// Products of pairs by AVX-512's own instruction: the loop of micro.hpp on 32-bit words.
constexpr int64_t PAIR_ROWS = 1, PAIR_DEPTH = 2;
constexpr int STRIP = BLOCK, WIDE = BLOCK;  // lanes of one product, forward and backward

struct PairUnit {};  // nothing to set up

template <int ROWS, bool ADD>
REGARD_INLINE void pair_rows(int64_t pairs, const uint16_t* a, int64_t a_row, const uint32_t* b, int64_t b_row, real* c, int64_t c_row) {
    __m512 acc[ROWS][STRIP / 16];
#pragma GCC unroll 8
    for (int m = 0; m < ROWS; ++m)
#pragma GCC unroll 8
        for (int n = 0; n < STRIP / 16; ++n) acc[m][n] = ADD ? _mm512_loadu_ps(c + m * c_row + n * 16) : _mm512_setzero_ps();
    for (int64_t k = 0; k < pairs; ++k) {
        __m512i right[STRIP / 16];
#pragma GCC unroll 8
        for (int n = 0; n < STRIP / 16; ++n) right[n] = _mm512_loadu_si512(b + k * b_row + n * 16);
#pragma GCC unroll 8
        for (int m = 0; m < ROWS; ++m) {
            int32_t word;
            memcpy(&word, a + m * a_row + 2 * k, 4);
            const __m512i left = _mm512_set1_epi32(word);
#pragma GCC unroll 8
            for (int n = 0; n < STRIP / 16; ++n)
                acc[m][n] = _mm512_dpbf16_ps(acc[m][n], reinterpret_cast<__m512bh>(left), reinterpret_cast<__m512bh>(right[n]));
        }
    }
#pragma GCC unroll 8
    for (int m = 0; m < ROWS; ++m)
#pragma GCC unroll 8
        for (int n = 0; n < STRIP / 16; ++n) _mm512_storeu_ps(c + m * c_row + n * 16, acc[m][n]);
}

// c [rows][STRIP] (+)= Σ_k A(row, pair k) · B(pair k, column); pairs side by side in a row of A.
template <bool ADD>
REGARD_APART void multiply_pairs(int64_t rows, int64_t pairs, const uint16_t* a, int64_t a_row, const uint32_t* b, int64_t b_row,
                                 real* c, int64_t c_row) {
    int64_t r = 0;
    for (; r + 6 <= rows; r += 6) pair_rows<6, ADD>(pairs, a + r * a_row, a_row, b, b_row, c + r * c_row, c_row);
    for (; r + 2 <= rows; r += 2) pair_rows<2, ADD>(pairs, a + r * a_row, a_row, b, b_row, c + r * c_row, c_row);
    for (; r < rows; ++r) pair_rows<1, ADD>(pairs, a + r * a_row, a_row, b, b_row, c + r * c_row, c_row);
}

template <bool ADD>
REGARD_INLINE void multiply_wide(int64_t rows, int64_t pairs, const uint16_t* a, int64_t a_row, const uint32_t* b, int64_t b_row,
                                 real* c, int64_t c_row) {
    multiply_pairs<ADD>(rows, pairs, a, a_row, b, b_row, c, c_row);
}
