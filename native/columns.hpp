// Rows that lie in memory, read as columns: vectors with a row in every lane.

// What shuffles cheapest: the numbers of 128 bits.
constexpr int PIECE = 16 / sizeof(real);

template <int BYTES>
struct Some {
    typedef real type __attribute__((vector_size(BYTES), aligned(sizeof(real)), may_alias));
};

template <class Half, int... LANE>
REGARD_INLINE auto side_by_side(Half low, Half high, std::integer_sequence<int, LANE...>) {
    return __builtin_shufflevector(low, high, LANE...);
}

// Pieces that lie `step` numbers apart, one behind the other in one vector.
template <int BYTES>
REGARD_INLINE typename Some<BYTES>::type pieces(const real* from, int64_t step) {
    if constexpr (BYTES == 16)
        return *reinterpret_cast<const typename Some<16>::type*>(from);
    else
        return side_by_side(pieces<BYTES / 2>(from, step), pieces<BYTES / 2>(from + BYTES / 32 * step, step),
                      std::make_integer_sequence<int, BYTES / sizeof(real)>());
}

// In every piece, runs of STEP numbers of the one half of `a` and of `b` by turns: HALF is 0 or 1.
template <int STEP, int HALF, int... LANE>
REGARD_INLINE vf by_turns(vf a, vf b, std::integer_sequence<int, LANE...>) {
    return __builtin_shufflevector(
        a, b, (LANE / PIECE * PIECE + HALF * PIECE / 2 + LANE % PIECE / (2 * STEP) * STEP + LANE % STEP + LANE / STEP % 2 * LANES)...);
}

template <int STEP>
REGARD_INLINE void mix(vf a, vf b, vf& low, vf& high) {
    constexpr auto all = std::make_integer_sequence<int, LANES>();
    low = by_turns<STEP, 0>(a, b, all), high = by_turns<STEP, 1>(a, b, all);
}

// x[c], lane r: from[r · row + c].
REGARD_INLINE void columns_of(const real* from, int64_t row, vf (&x)[PIECE]) {
    vf y[PIECE];
#pragma GCC unroll 4
    for (int r = 0; r < PIECE; ++r) y[r] = pieces<REGARD_BYTES>(from + r * row, PIECE * row);
    if constexpr (PIECE == 2) {
        mix<1>(y[0], y[1], x[0], x[1]);
    } else {
        vf low[2], high[2];
        mix<1>(y[0], y[1], low[0], high[0]), mix<1>(y[2], y[3], low[1], high[1]);
        mix<2>(low[0], low[1], x[0], x[1]), mix<2>(high[0], high[1], x[2], x[3]);
    }
}

// to[c · to_row + r] = from[r · row + c · column] for all of `rows` × `columns`.
REGARD_APART void transpose(const real* from, int64_t row, int64_t column, int64_t rows, int64_t columns, real* to,
                            int64_t to_row) {
    const int64_t whole_rows = column == 1 ? rows / LANES * LANES : 0, whole_columns = columns / PIECE * PIECE;
    for (int64_t r = 0; r < whole_rows; r += LANES)
        for (int64_t c = 0; c < whole_columns; c += PIECE) {
            alignas(REGARD_BYTES) vf x[PIECE];
            columns_of(from + r * row + c, row, x);
#pragma GCC unroll 4
            for (int n = 0; n < PIECE; ++n) store(to + (c + n) * to_row + r, x[n]);
        }
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c) to[c * to_row + r] = from[r * row + c * column];
}
