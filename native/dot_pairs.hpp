// Products of pairs by AVX-512's own instruction: the loop of micro.hpp on 32-bit words.
constexpr int64_t PAIR_ROWS = 1, PAIR_DEPTH = 2;
constexpr int STRIP = BLOCK, WIDE = BLOCK;  // lanes of one product, forward and backward

struct PairUnit {};  // nothing to set up

// finish(block of Σ_k A(row, pair k) · B(pair k, column)) for some rows.
template <int ROWS, class Finish>
REGARD_INLINE void pair_rows(int64_t pairs, const Pairs& a, const pair* b, int64_t b_row, const Finish& finish) {
    constexpr int VECTORS_HERE = STRIP / LANES;
    alignas(REGARD_BYTES) vf acc[ROWS][VECTORS_HERE] = {};
    for (int64_t k = 0; k < pairs; ++k) {
        __m512i right[VECTORS_HERE];
#pragma GCC unroll 8
        for (int n = 0; n < VECTORS_HERE; ++n) right[n] = _mm512_loadu_si512(b + k * b_row + n * LANES);
#pragma GCC unroll 8
        for (int m = 0; m < ROWS; ++m) {
            int32_t word;
            memcpy(&word, a.at + m * a.row + k * a.step, 4);
            const __m512i left = _mm512_set1_epi32(word);
#pragma GCC unroll 8
            for (int n = 0; n < VECTORS_HERE; ++n)
                acc[m][n] = reinterpret_cast<vf>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(acc[m][n]), reinterpret_cast<__m512bh>(left),
                                                                  reinterpret_cast<__m512bh>(right[n])));
        }
    }
    finish(acc);
}

// finish(first row, block) for all rows, four at a time, then two, then one.
template <class Finish>
REGARD_INLINE void all_pair_rows(int64_t rows, int64_t pairs, const Pairs& a, const pair* b, int64_t b_row, Errands* errands,
                                 const Finish& finish) {
    int64_t r = 0;
    const auto some = [&](auto count) {
        for (; r + count <= rows; r += count)
            pair_rows<count>(pairs, {a.at + r * a.row, a.row, a.step}, b, b_row, [&](auto& x) {
                finish(r, x);
                Meanwhile{errands}(count, STRIP);
            });
    };
    some(std::integral_constant<int, 4>{});
    some(std::integral_constant<int, 2>{});
    some(std::integral_constant<int, 1>{});
}

// c [rows][STRIP] (+)= Σ_k A(row, pair k) · B(pair k, column). What lies there is read at the end, so that no product waits for it.
template <bool ADD>
REGARD_APART void multiply_pairs(int64_t rows, int64_t pairs, const Pairs& a, const pair* b, int64_t b_row, real* c, int64_t c_row,
                                Errands* errands) {
    all_pair_rows(rows, pairs, a, b, b_row, errands, [&](int64_t r, const auto& x) {
        ADD ? add_to(c + r * c_row, c_row, x) : put_down(c + r * c_row, c_row, x);
    });
}

template <bool ADD>
REGARD_INLINE void multiply_wide(int64_t rows, int64_t pairs, const Pairs& a, const pair* b, int64_t b_row, real* c, int64_t c_row,
                                Errands* errands) {
    multiply_pairs<ADD>(rows, pairs, a, b, b_row, c, c_row, errands);
}

// c · shrink + the same sum; shrink: one vector for each of a row.
REGARD_APART void gather_pairs(int64_t rows, int64_t pairs, const Pairs& a, const pair* b, int64_t b_row, real* c, int64_t c_row,
                               const vf* shrink, Errands* errands) {
    bool shrinks = false;
    for (int n = 0; n < STRIP / LANES; ++n) shrinks |= !same(shrink[n], splat(1));
    if (!shrinks) return multiply_pairs<true>(rows, pairs, a, b, b_row, c, c_row, errands);
    all_pair_rows(rows, pairs, a, b, b_row, errands, [&](int64_t r, const auto& x) {
        each_of(x, [&](int m, int n) {
            real* at = c + (r + m) * c_row + n * LANES;
            store(at, load(at) * shrink[n] + x[m][n]);
        });
    });
}
