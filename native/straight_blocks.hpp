// The backward pass of a plain tile by AVX-512's own instruction: sums become weights and slopes where they are, in registers.

// w [QUERIES][BLOCK], and by pairs of queries.
template <bool PARTLY>
REGARD_APART void weigh_blocks(PairKeys& b, const PairedQueries& at, const Straight& line) {
    all_pair_rows(at.rows, b.depth / 2, at.query, b.key_lanes, BLOCK, b.block.errands, [&](int64_t i, auto& x) {
        constexpr int ROWS = sizeof x / sizeof x[0];
#pragma GCC unroll 4
        for (int m = 0; m < ROWS; ++m) weigh_row<PARTLY>(b, line, i + m, 0, x[m]);
        put_down(b.strips + i * BLOCK, BLOCK, x);
#pragma GCC unroll 2
        for (int m = 0; m + 1 < ROWS; m += 2) put_weights(b.weight + (i + m) / 2 * BLOCK, x[m], x[m + 1]);
    });
}

// ds by pairs of queries and in rows.
REGARD_APART void slope_blocks(PairKeys& b, const PairedQueries& at, const Straight& line) {
    all_pair_rows(at.rows, b.value_depth / 2, at.grad, b.value_lanes, BLOCK, b.block.errands, [&](int64_t i, auto& x) {
        constexpr int ROWS = sizeof x / sizeof x[0];
        each_of(x, [&](int m, int n) {
            x[m][n] = load(b.strips + (i + m) * BLOCK + n * LANES) * (x[m][n] * line.scale - line.delta[i + m]);
        });
#pragma GCC unroll 2
        for (int m = 0; m + 1 < ROWS; m += 2)
            put_slopes(b.slope + (i + m) / 2 * BLOCK, b.slope_rows + (i + m) * BLOCK, x[m], x[m + 1]);
    });
}

// A tile of which only the scale makes scores. Its rows are even in number, and so are those of every block.
REGARD_APART void straight_tile(const Problem& p, PairKeys& b, const PairedQueries& at, const OwnRows& across, const Spot& s,
                                const real* delta) {
    Straight line;
    straighten(p, s, delta, line);
    b.block.partly ? weigh_blocks<true>(b, at, line) : weigh_blocks<false>(b, at, line);
    slope_blocks(b, at, line);
    at.add(b, across, 0, b.weight, b.slope, BLOCK);
}
