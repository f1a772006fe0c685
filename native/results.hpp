// What a block of rows has come to: its lse, the sink joined, and its output.

// What a product of 1 adds to the score, where scores are left as products; and what that is in powers of two.
REGARD_INLINE double unit_of(const Problem& p) { return p.moved() ? 1 : std::fabs(p.scale); }
REGARD_INLINE real factor_of(const Problem& p) { return static_cast<real>(unit_of(p) * 1.4426950408889634074); }

// Writes lse and rest of a row, where they are asked for. Its total, the sink's share included; 0 where it sees nothing.
REGARD_INLINE double join_sink(const Problem& p, const Spot& s, int64_t i, double top, double total) {
    const bool empty = total == 0;
    const double sink = p.sink && !empty ? *p.sink.at<const real>(0, s.head, 0) : -INFINITE;
    if (p.sink) total += std::exp(sink - top);
    if (p.lse) {
        const double lse = empty ? -INFINITE : std::isinf(total) ? sink : top + std::log(total);
        *p.lse.at<real>(s.batch, s.head, s.query + i) = static_cast<real>(lse);
        if (p.rest)
            *p.rest.at<real>(s.batch, s.head, s.query + i) = empty ? 0 : static_cast<real>(lse - static_cast<real>(lse));
    }
    return total;
}

REGARD_INLINE double write_lse(const Problem& p, const QueryBlock& b, const Spot& s, int64_t i) {
    return join_sink(p, s, i, b.top[i / LANES][i % LANES] * unit_of(p), b.total[i / LANES][i % LANES]);
}

// What the outputs of a row are divided by: its total, and what dropout leaves.
REGARD_INLINE real close_row(const Problem& p, const Spot& s, int64_t i, double top, double total) {
    const double joined = join_sink(p, s, i, top, total);
    return joined == 0 ? 1 : static_cast<real>(joined) * static_cast<real>(1 - p.dropout);
}

// One row's result; sum: one number every `step`.
REGARD_APART void write_result(const Problem& p, int64_t batch, int64_t head, int64_t query, real top, real total, const real* sum,
                               int64_t step) {
    const double unit = unit_of(p);
    Divide divide;
    divide.set(0, close_row(p, {batch, head, query, 1, 0, 0}, 0, top * unit, total));
    write_row(p.out, batch, head, query, 0, p.value_dim, [&](int64_t c) { return divide(sum[c * step], 0); });
}

REGARD_APART void write_rows(const Problem& p, const QueryBlock& b, const Spot& s) {
    const double unit = unit_of(p);
    real top[BLOCK], total[BLOCK];
    Divide divide;
    for (int n = 0; n < VECTORS; ++n) store(top + n * LANES, b.top[n]), store(total + n * LANES, b.total[n]);
    for (int64_t i = 0; i < s.queries; ++i) divide.set(i, close_row(p, s, i, top[i] * unit, total[i]));
    write_lanes(p.out, s.batch, s.head, s.query, s.queries, p.value_dim, b.sum, divide);
}
