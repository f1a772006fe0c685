// The backward pass in bfloat16: all five products by pairs, everything between them in float32 as in backward.hpp. Pairs
// are two components of a vector for q_i · k_j and do_i · v_j, two queries for Σ_i w_ij · do_i and Σ_i ds_ij · q_i, two keys
// for Σ_j ds_ij · k_j. Keys lie in the lanes; queries and upstream gradients as they are, and by pairs of queries.

constexpr int WIDE_STRIPS = BLOCK / WIDE;

struct PairKeys {
    KeyBlock block;
    pair *key_lanes, *value_lanes, *key_pairs;  // [depth / 2][BLOCK], [value_depth / 2][BLOCK], [BLOCK / 2][width]
    pair *weight, *slope;                       // by two queries: [QUERIES / 2][BLOCK], or of one strip [QUERIES / 2][WIDE]
    half* slope_rows;                           // [QUERIES][BLOCK]
    real* strips;                               // q_i · k_j and do_i · v_j of one strip: [2][QUERIES][WIDE]
    half *query_room, *grad_room;               // rows that don't lie as the instructions want them
    int64_t depth, value_depth, width;          // dim and value_dim in whole steps
};

static int64_t pair_width(const Problem& p) { return up(p.dim, WIDE); }

static void take_own(const Problem& p, PairKeys& b, Scratch& memory) {
    const auto pairs = [&](int64_t count) { return reinterpret_cast<pair*>(memory.take(count)); };
    b.block.key_sum = memory.take(up(p.dim, PAIR_ROWS) * BLOCK), b.block.value_sum = memory.take(up(p.value_dim, PAIR_ROWS) * BLOCK);
    b.key_lanes = pairs(b.depth / 2 * BLOCK), b.value_lanes = pairs(b.value_depth / 2 * BLOCK);
    b.key_pairs = pairs(BLOCK / 2 * b.width);
}

static PairKeys take_pair_keys(const Problem& p, Scratch& memory) {
    PairKeys b;
    b.depth = up(p.dim, PAIR_DEPTH), b.value_depth = up(p.value_dim, PAIR_DEPTH), b.width = pair_width(p);
    const auto pairs = [&](int64_t count) { return reinterpret_cast<pair*>(memory.take(count)); };
    const auto halves = [&](int64_t count) { return reinterpret_cast<half*>(memory.take(count / 2)); };
    const auto tile = [&](bool wanted) { return wanted ? memory.take(QUERIES * BLOCK) : nullptr; };
    take_own(p, b, memory);
    b.block.weight = tile(!plain(p)), b.block.slope = tile(!plain(p));
    b.block.bias = tile(bool(p.bias)), b.block.turned = tile(bool(p.bias)), b.block.bend = tile(p.cap != 0);
    b.weight = pairs(QUERIES / 2 * BLOCK), b.slope = pairs(QUERIES / 2 * BLOCK);
    b.slope_rows = halves(QUERIES * BLOCK);
    b.strips = memory.take(2 * QUERIES * WIDE);
    b.query_room = halves(QUERIES * b.depth), b.grad_room = halves(QUERIES * b.value_depth);
    return b;
}

// Of what a block of keys has of its own, beside others.
static int64_t own_pair_numbers(const Problem& p) {
    return (2 * up(p.dim, PAIR_DEPTH) + 2 * up(p.value_dim, PAIR_DEPTH) + pair_width(p)) * BLOCK;
}

static int64_t pair_keys_numbers(const Problem& p) {
    const int64_t tiles = 2 + (plain(p) ? 0 : 2) + (p.bias ? 2 : 0) + (p.cap ? 1 : 0);
    return own_pair_numbers(p) + tiles * QUERIES * BLOCK + 2 * QUERIES * WIDE + 16 * LANES;
}

// Whether all numbers are tame, as in tiles.hpp: their bits, without the sign, are in the order of their magnitudes.
REGARD_APART bool tame_halves(const Array& a, const half* from, int64_t rows, int64_t columns) {
    const half most = to_bfloat16(0x1p58f);
    half greatest = 0;
    for (int64_t r = 0; r < rows; ++r, from += a.row) {
        if (a.column == 1)
            for (int64_t c = 0; c < columns; ++c) greatest = std::max<half>(greatest, from[c] & 0x7FFF);
        else
            for (int64_t c = 0; c < columns; ++c) greatest = std::max<half>(greatest, from[c * a.column] & 0x7FFF);
    }
    return greatest <= most;
}

REGARD_APART bool begin_pair_keys(const Problem& p, PairKeys& b, const Spot& s) {
    const int64_t kv_head = s.head / p.group();
    const half* key = p.key.at<const half>(s.batch, kv_head, s.key);
    const half* value = p.value.at<const half>(s.batch, kv_head, s.key);
    pairs_to_lanes(p.key, key, s.keys, p.dim, b.depth, b.query_room, b.key_lanes);
    pairs_to_lanes(p.value, value, s.keys, p.value_dim, b.value_depth, b.grad_room, b.value_lanes);
    couple_rows(p.key, key, s.keys, p.dim, b.key_pairs, b.width);
    begin_gradients(p, b.block, s);
    return !hides(p) || (tame_halves(p.key, key, s.keys, p.dim) && tame_halves(p.value, value, s.keys, p.value_dim));
}

// Upstream gradients and queries, by pairs of queries.
struct PairedRows {
    AcrossAll query, grad;
    int64_t group;

    explicit PairedRows(const Problem& p)
        : query(p.query, p.batch, p.heads, p.queries, p.dim), grad(p.out_grad, p.batch, p.heads, p.queries, p.value_dim),
          group(p.group()) {}
    REGARD_INLINE void make(const Choice& choice, Team& team) const {
        Scratch words(std::max(query.room(), grad.room()));
        pair* room = reinterpret_cast<pair*>(words.take(0));
        for (const AcrossAll* each : {&query, &grad})
            team.even(each->blocks(), [&](int64_t n) {
                if (!choice.by_rows(each->head(n) / group)) each->make(n, room);
            });
    }
};

struct OwnRows {
    PairUnit unit;
    Across query, grad;

    OwnRows(const Problem&, const PairedRows& all) : query(all.query), grad(all.grad) {}
};

// A block of queries as `multiply_pairs` takes it.
struct PairedQueries {
    Pairs query, grad, query_across, grad_across;
    int64_t rows;

    PairedQueries(const Problem& p, const PairKeys& b, OwnRows& across, const Spot& s) {
        const int64_t head = s.batch * p.heads + s.head;
        rows = up(s.queries, PAIR_DEPTH);  // two of them are a pair, too
        query = paired_rows(p.query, p.query.at<const half>(s.batch, s.head, s.query), s.queries, p.dim, b.depth, PAIR_DEPTH,
                            b.query_room);
        grad = paired_rows(p.out_grad, p.out_grad.at<const half>(s.batch, s.head, s.query), s.queries, p.value_dim,
                           b.value_depth, PAIR_DEPTH, b.grad_room);
        query_across = across.query.at(head, s.query), grad_across = across.grad.at(head, s.query);
    }
    // q_i · k_j and do_i · v_j of a strip of keys.
    REGARD_INLINE void products(const PairKeys& b, int strip, real* to, int64_t to_row) const {
        multiply_wide<false>(rows, b.depth / 2, query, b.key_lanes + strip * WIDE, BLOCK, to, to_row, b.block.errands);
    }
    REGARD_INLINE void slopes(const PairKeys& b, int strip, real* to, int64_t to_row) const {
        multiply_wide<false>(rows, b.value_depth / 2, grad, b.value_lanes + strip * WIDE, BLOCK, to, to_row, b.block.errands);
    }
    // dv_j and dk_j of a strip of keys, from pairs of queries.
    REGARD_INLINE void add(const PairKeys& b, const OwnRows& across, int strip, const pair* weight, const pair* slope,
                           int64_t row) const {
        multiply_wide<true>(across.grad.lines(), rows / 2, grad_across, weight, row,
                             b.block.value_sum + strip * WIDE, BLOCK, b.block.errands);
        multiply_wide<true>(across.query.lines(), rows / 2, query_across, slope, row,
                             b.block.key_sum + strip * WIDE, BLOCK, b.block.errands);
    }
    // dq_i of all keys of the block.
    REGARD_INLINE void add_query(const PairKeys& b, real* sum) const {
        for (int64_t d = 0; d < b.width; d += WIDE)
            multiply_wide<true>(rows, BLOCK / 2, {b.slope_rows, BLOCK, 2}, b.key_pairs + d, b.width, sum + d, b.width,
                                b.block.errands);
    }
};

// log₂ w_ij = factor · (q_i · k_j) − level_i and ds_ij = w_ij · (scale · (do_i · v_j) − delta_i).
struct Straight {
    real factor, scale;
    real level[QUERIES], delta[QUERIES];
};

REGARD_APART void straighten(const Problem& p, const Spot& s, const real* delta, Straight& to) {
    to.factor = static_cast<real>(p.scale * 1.4426950408889634074), to.scale = static_cast<real>(p.scale);
    const real* lse = p.lse.at<const real>(s.batch, s.head, s.query);
    for (int64_t i = 0; i < s.queries; ++i) to.level[i] = lse[i * p.lse.row], to.delta[i] = delta[i];
    for (int64_t i = s.queries; i < QUERIES; ++i) to.level[i] = -INFINITE, to.delta[i] = 0;
    for (int64_t i = 0; i < QUERIES; i += LANES) {
        const vf level = load(to.level + i);  // what sees nothing, or isn't there, has no weights
        store(to.level + i, level == -INFINITE ? splat(INFINITE) : level * LOG2E);
        store(to.delta + i, load(to.delta + i) * to.scale);
    }
}

REGARD_INLINE vf shown_of(vf x, uint64_t word, int first) {
    return reinterpret_cast<vf>(_mm512_maskz_mov_ps(static_cast<__mmask16>(word >> first), reinterpret_cast<__m512>(x)));
}

// Two rows of weights, and two of slopes, in the forms of the products to come.
template <int COUNT>
REGARD_INLINE void put_weights(pair* to, const vf (&even)[COUNT], const vf (&odd)[COUNT]) {
#pragma GCC unroll 8
    for (int n = 0; n < COUNT; ++n) store_powers(to + n * LANES, even[n], odd[n]);
}

template <int COUNT>
REGARD_INLINE void put_slopes(pair* to, half* row, const vf (&even)[COUNT], const vf (&odd)[COUNT]) {
#pragma GCC unroll 8
    for (int n = 0; n < COUNT; ++n) {
        const __m512i slopes = rounded(even[n], odd[n]);
        store_pairs(to + n * LANES, slopes);
        store_halves(row + n * LANES, row + BLOCK + n * LANES, slopes);
    }
}

// Products of a row to weights; first: lane of the tile.
template <bool PARTLY, int COUNT>
REGARD_INLINE void weigh_row(const PairKeys& b, const Straight& line, int64_t i, int first, vf (&x)[COUNT]) {
    for (vf& each : x) each = each * line.factor - line.level[i];
    short_exp2_each(x);
    if (!PARTLY) return;
#pragma GCC unroll 8
    for (int n = 0; n < COUNT; ++n) x[n] = shown_of(x[n], b.block.words[i], first + n * LANES);
}
