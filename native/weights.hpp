// Tiles of weights, lse known: P_ij = 2^((x − lse_i) · log₂ e), or σ(s_ij); and on the way, where it is asked for, what
// every row says by itself.

struct RowLevels {
    Levels levels;
    bool careful;  // whether an lse is NaN or ∞, so that hidden pairs of its row might not come to 0
};

REGARD_APART void row_levels(const Problem& p, const Spot& s, RowLevels& l) {
    l = {};
    if (p.normalize != Normalize::softmax) return;
    levels_of(p, s, unit_of(p), l.levels);
    for (int64_t i = 0; i < s.queries; ++i) {
        if (l.levels.middle[i] == -INFINITE) l.levels.middle[i] = 0;  // a row that sees nothing
        l.careful = l.careful || l.levels.middle[i] - l.levels.middle[i] != 0;
    }
}

// A tile of scores; those of lanes without a row will be hidden.
template <class Scores>
REGARD_APART void score_lanes(const Problem& p, Scores& scores, const Spot& s) {
    QueryBlock& b = scores.block;
    if (!b.partly && s.queries < BLOCK) {
        std::fill_n(b.words, s.keys, low_bits(s.queries));
        b.partly = true;
    }
    scores.score(p, s);
}

REGARD_INLINE void blot(const QueryBlock& b, const Spot& s, const RowLevels& l) {
    if (l.careful && b.partly) hide(b.words, s.keys, 0, b.score);
}

// Scores to weights, those of hidden pairs exactly 0.
REGARD_APART void weigh_tile(const Problem& p, QueryBlock& b, const Spot& s, const RowLevels& l) {
    if (p.normalize == Normalize::sigmoid) return squash(s.keys, b.score);
    const real factor = factor_of(p);
    for (int first = 0; first < BLOCK; first += SIDE * LANES) {
        alignas(REGARD_BYTES) vf middle[SIDE], rest[SIDE], x[SIDE];
        load(l.levels.middle + first, middle), load(l.levels.rest + first, rest);
        for (int64_t j = 0; j < s.keys; ++j) {
            load(b.score + j * BLOCK + first, x);
#pragma GCC unroll 4
            for (int n = 0; n < SIDE; ++n) x[n] = (x[n] - middle[n]) * factor - rest[n];
            exp2_each(x);
            store(b.score + j * BLOCK + first, x);
        }
    }
    blot(b, s, l);
}

// The same, P = 2^u, and what their rows say by themselves: Σ P is 1, entropy = −ln 2 · Σ u P.
template <Distances HOW>
REGARD_APART void weigh_and_measure(const Problem& p, const Request& want, QueryBlock& b, RowSums& r, const Spot& s,
                                    const RowLevels& l) {
    const real factor = factor_of(p);
    for (int n = 0; n < VECTORS; ++n) {
        const vf middle = load(l.levels.middle + n * LANES), rest = load(l.levels.rest + n * LANES);
        real* score = b.score + n * LANES;
        const TileSums sums = sums_of<HOW>(p, want, s, n, [&](int64_t j, auto& u, auto& power) {
            real* at = score + j * BLOCK;
            for (vf& each : u) each = (load(at) - middle) * factor - rest, at += BLOCK;
            powers_below(u, power);
            for (const vf& each : power) store(score + j++ * BLOCK, each);
        });
        r.heat[n] += sums.heat, r.square[n] += sums.square, r.distance[n] += sums.distance, r.local[n] += sums.local;
    }
    blot(b, s, l);
}

REGARD_APART void write_measures(const Problem& p, const Request& want, const RowSums& r, const Spot& s, const Levels& l) {
    for (int64_t i = 0; i < s.queries; ++i) {
        const int64_t row = (s.batch * p.heads + s.head) * p.queries + s.query + i, n = i / LANES, lane = i % LANES;
        give(want.entropy, row, r.heat[n][lane] >= 0 ? 0 : r.heat[n][lane] * -LN2);
        give(want.square, row, r.square[n][lane]);
        give(want.distance, row, r.distance[n][lane]);
        give(want.local, row, r.local[n][lane]);
        if (want.top) write_best(want, r, row, i, l.middle[i], l.rest[i], factor_of(p), 1);
    }
}
