// The one product: acc[m][n] = Σ_k A(m, k) · B(k, n), A broadcast from its natural layout, B in vectors; and what is done
// with such a block of sums.

// each(m, n) for all vectors of a block.
template <int ROWS, int VECTORS, class Each>
REGARD_INLINE void each_of(const vf (&)[ROWS][VECTORS], const Each& each) {
#pragma GCC unroll 8
    for (int m = 0; m < ROWS; ++m)
#pragma GCC unroll 8
        for (int n = 0; n < VECTORS; ++n) each(m, n);
}

template <int ROWS, int VECTORS>
REGARD_INLINE void put_down(real* to, int64_t row, const vf (&x)[ROWS][VECTORS]) {
    each_of(x, [&](int m, int n) { store(to + m * row + n * LANES, x[m][n]); });
}

// The greatest number of every lane so far.
template <int ROWS, int VECTORS>
REGARD_INLINE void raise_top(const vf (&x)[ROWS][VECTORS], vf* top) {
#pragma GCC unroll 8
    for (int n = 0; n < VECTORS; ++n) {
        vf most = top[n];
#pragma GCC unroll 8
        for (int m = 0; m < ROWS; ++m) most = greater(x[m][n], most);
        top[n] = most;
    }
}

template <int ROWS, int VECTORS>
REGARD_INLINE void add_to(real* sum, int64_t row, const vf (&x)[ROWS][VECTORS]) {
    each_of(x, [&](int m, int n) {
        real* at = sum + m * row + n * LANES;
        store(at, load(at) + x[m][n]);
    });
}

template <int ROWS, int VECTORS, class Finish>
REGARD_INLINE void product(int64_t depth, const real* a, int64_t a_row, int64_t a_depth, const real* b, int64_t b_depth,
                           const Finish& finish) {
    alignas(REGARD_BYTES) vf acc[ROWS][VECTORS] = {};
    for (int64_t k = 0; k < depth; ++k) {
        vf right[VECTORS];
#pragma GCC unroll 8
        for (int n = 0; n < VECTORS; ++n) right[n] = load(b + k * b_depth + n * LANES);
#pragma GCC unroll 8
        for (int m = 0; m < ROWS; ++m) {
            const vf left = splat(a[m * a_row + k * a_depth]);
#pragma GCC unroll 8
            for (int n = 0; n < VECTORS; ++n) acc[m][n] += left * right[n];
        }
    }
    finish(acc);
}

// All rows against one strip of VECTORS vectors, ROWS at a time and what is left in halves; finish(first row, block).
// meanwhile(rows, columns) is called after each of these blocks.
template <int ROWS, int VECTORS, class Finish, class Meanwhile>
REGARD_INLINE void strip(int64_t row, int64_t rows, int64_t depth, const real* a, int64_t a_row, int64_t a_depth, const real* b,
                         int64_t b_depth, const Finish& finish, const Meanwhile& meanwhile) {
    for (; row + ROWS <= rows; row += ROWS) {
        product<ROWS, VECTORS>(depth, a + row * a_row, a_row, a_depth, b, b_depth,
                               [&](auto& x) { finish(row, x); });
        meanwhile(ROWS, VECTORS * LANES);
    }
    if constexpr (ROWS > 1) {
        constexpr int FEWER = ROWS > 4 ? 4 : ROWS / 2;
        if (row < rows) strip<FEWER, VECTORS>(row, rows, depth, a, a_row, a_depth, b, b_depth, finish, meanwhile);
    }
}

// finish(first row, first column, block of Σ_k A(row, k) · B(k, column)) for `columns`, a multiple of the lanes.
template <class Finish, class Meanwhile>
REGARD_INLINE void multiply(int64_t rows, int64_t columns, int64_t depth, const real* a, int64_t a_row, int64_t a_depth,
                            const real* b, int64_t b_depth, const Finish& finish, const Meanwhile& meanwhile) {
    constexpr int WIDE = MICRO_VECTORS * LANES;
    int64_t first = 0;
    for (; first + WIDE <= columns; first += WIDE)
        strip<MICRO_ROWS, MICRO_VECTORS>(0, rows, depth, a, a_row, a_depth, b + first, b_depth,
                             [&](int64_t row, auto& x) { finish(row, first, x); }, meanwhile);
    if constexpr (MICRO_VECTORS > 2)
        for (; first + 2 * LANES <= columns; first += 2 * LANES)
            strip<MICRO_ROWS, 2>(0, rows, depth, a, a_row, a_depth, b + first, b_depth,
                                 [&](int64_t row, auto& x) { finish(row, first, x); }, meanwhile);
    for (; first < columns; first += LANES)
        strip<MICRO_ROWS, 1>(0, rows, depth, a, a_row, a_depth, b + first, b_depth,
                 [&](int64_t row, auto& x) { finish(row, first, x); }, meanwhile);
}

// The same for a long sum: runs of DEPTH are summed each on its own, in `tile` (BLOCK numbers from row to row), so that errors don't pile up.
template <class Finish, class Meanwhile>
REGARD_INLINE void multiply_long(int64_t rows, int64_t columns, int64_t depth, const real* a, int64_t a_row, int64_t a_depth, const real* b,
                                 real* tile, const Finish& finish, const Meanwhile& meanwhile) {
    int64_t k = 0;
    for (; k + DEPTH < depth; k += DEPTH)
        multiply(rows, columns, DEPTH, a + k * a_depth, a_row, a_depth, b + k * BLOCK, BLOCK,
                 [&](int64_t row, int64_t column, const auto& x) {
                     real* at = tile + row * BLOCK + column;
                     k ? add_to(at, BLOCK, x) : put_down(at, BLOCK, x);
                 },
                 meanwhile);
    multiply(rows, columns, depth - k, a + k * a_depth, a_row, a_depth, b + k * BLOCK, BLOCK,
             [&](int64_t row, int64_t column, auto& x) {
                 const real* before = tile + row * BLOCK + column;
                 if (k) each_of(x, [&](int m, int n) { x[m][n] += load(before + m * BLOCK + n * LANES); });
                 finish(row, column, x);
             },
             meanwhile);
}
