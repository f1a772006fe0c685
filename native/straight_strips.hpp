// The backward pass of a plain tile by AMX, whose products go through memory.

// Two products of a strip to weights and slopes, in the forms of the products to come.
template <bool PARTLY>
REGARD_APART void slopes_of_strip(PairKeys& b, const Straight& line, int64_t rows, int strip, const real* product,
                                  const real* to_weight, pair* weight, pair* slope) {
    constexpr int COUNT = WIDE / LANES;
    for (int64_t i = 0; i < rows; i += 2) {
        alignas(REGARD_BYTES) vf w[2][COUNT], ds[2][COUNT];
#pragma GCC unroll 2
        for (int r = 0; r < 2; ++r) {
            load(product + (i + r) * WIDE, w[r]), load(to_weight + (i + r) * WIDE, ds[r]);
            weigh_row<PARTLY>(b, line, i + r, strip * WIDE, w[r]);
#pragma GCC unroll 8
            for (int n = 0; n < COUNT; ++n) ds[r][n] = w[r][n] * (ds[r][n] * line.scale - line.delta[i + r]);
        }
        put_weights(weight + i / 2 * WIDE, w[0], w[1]);
        put_slopes(slope + i / 2 * WIDE, b.slope_rows + i * BLOCK + strip * WIDE, ds[0], ds[1]);
    }
}

// A tile of which only the scale makes scores, strip by strip, so that what lies between the products stays close.
REGARD_APART void straight_tile(const Problem& p, PairKeys& b, const PairedQueries& at, const OwnRows& across, const Spot& s,
                                const real* delta) {
    Straight line;
    straighten(p, s, delta, line);
    real *product = b.strips, *to_weight = b.strips + QUERIES * WIDE;
    const auto slopes = b.block.partly ? slopes_of_strip<true> : slopes_of_strip<false>;
    for (int strip = 0; strip < WIDE_STRIPS; ++strip) {
        at.products(b, strip, product, WIDE);
        at.slopes(b, strip, to_weight, WIDE);
        slopes(b, line, at.rows, strip, product, to_weight, b.weight, b.slope);
        at.add(b, across, strip, b.weight, b.slope, WIDE);
    }
}
