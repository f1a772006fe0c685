// Products of pairs by AVX-512's own instruction: the loop of micro.hpp on 32-bit words.
constexpr int64_t PAIR_ROWS = 1, PAIR_DEPTH = 2;
constexpr int STRIP = BLOCK, WIDE = BLOCK;  // lanes of one product, forward and backward

struct PairUnit {};  // nothing to set up

// finish(place of a vector, its number in the row, sum): sums that lie there are read now and not before, so that no product
// waits for them.
template <int ROWS, class Finish>
REGARD_INLINE void pair_rows(int64_t pairs, const Pairs& a, const pair* b, int64_t b_row, real* c, int64_t c_row,
                             const Finish& finish) {
    __m512 acc[ROWS][STRIP / 16];
#pragma GCC unroll 8
    for (int m = 0; m < ROWS; ++m)
#pragma GCC unroll 8
        for (int n = 0; n < STRIP / 16; ++n) acc[m][n] = _mm512_setzero_ps();
    for (int64_t k = 0; k < pairs; ++k) {
        __m512i right[STRIP / 16];
#pragma GCC unroll 8
        for (int n = 0; n < STRIP / 16; ++n) right[n] = _mm512_loadu_si512(b + k * b_row + n * 16);
#pragma GCC unroll 8
        for (int m = 0; m < ROWS; ++m) {
            int32_t word;
            memcpy(&word, a.at + m * a.row + k * a.step, 4);
            const __m512i left = _mm512_set1_epi32(word);
#pragma GCC unroll 8
            for (int n = 0; n < STRIP / 16; ++n)
                acc[m][n] = _mm512_dpbf16_ps(acc[m][n], reinterpret_cast<__m512bh>(left), reinterpret_cast<__m512bh>(right[n]));
        }
    }
#pragma GCC unroll 8
    for (int m = 0; m < ROWS; ++m)
#pragma GCC unroll 8
        for (int n = 0; n < STRIP / 16; ++n) finish(c + m * c_row + n * 16, n, reinterpret_cast<vf>(acc[m][n]));
}

template <class Finish>
REGARD_INLINE void all_pair_rows(int64_t rows, int64_t pairs, const Pairs& a, const pair* b, int64_t b_row,
                                 real* c, int64_t c_row, const Finish& finish) {
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) pair_rows<4>(pairs, {a.at + r * a.row, a.row, a.step}, b, b_row, c + r * c_row, c_row, finish);
    for (; r < rows; ++r) pair_rows<1>(pairs, {a.at + r * a.row, a.row, a.step}, b, b_row, c + r * c_row, c_row, finish);
}

// c [rows][STRIP] (+)= Σ_k A(row, pair k) · B(pair k, column).
template <bool ADD>
REGARD_APART void multiply_pairs(int64_t rows, int64_t pairs, const Pairs& a, const pair* b, int64_t b_row,
                                 real* c, int64_t c_row) {
    all_pair_rows(rows, pairs, a, b, b_row, c, c_row,
                  [](real* at, int, vf sum) { store(at, ADD ? load(at) + sum : sum); });
}

template <bool ADD>
REGARD_INLINE void multiply_wide(int64_t rows, int64_t pairs, const Pairs& a, const pair* b, int64_t b_row,
                                 real* c, int64_t c_row) {
    multiply_pairs<ADD>(rows, pairs, a, b, b_row, c, c_row);
}

// c · shrink + the same sum; shrink: one vector for each of a row.
REGARD_APART void gather_pairs(int64_t rows, int64_t pairs, const Pairs& a, const pair* b, int64_t b_row,
                               real* c, int64_t c_row, const vf* shrink) {
    bool shrinks = false;
    for (int n = 0; n < STRIP / LANES; ++n) shrinks |= !same(shrink[n], splat(1));
    if (!shrinks) return multiply_pairs<true>(rows, pairs, a, b, b_row, c, c_row);
    all_pair_rows(rows, pairs, a, b, b_row, c, c_row,
                  [&](real* at, int n, vf sum) { store(at, load(at) * shrink[n] + sum); });
}
