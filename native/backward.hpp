// w_ij = exp(s_ij − lse_i) or σ(s_ij), dw_ij = do_i · v_j, both as dropout leaves them;
// ds_ij = w_ij · (dw_ij − delta_i) or w_ij · (1 − w_ij) · dw_ij, delta_i = do_i · out_i − dlse_i, summed in the order of
// dw, so that a row with one key has a slope of exactly 0:
//   dv_j = Σ_i w_ij · do_i     dbias_ij = ds_ij     dk_j = scale · Σ_i ds_ij · q_i     dq_i = scale · Σ_j ds_ij · k_j
// Keys in the vector lanes.

struct KeyBlock {
    real *key_lanes, *value_lanes, *key_rows;      // [dim][BLOCK], [value_dim][BLOCK], [BLOCK][width]
    real *key_sum, *value_sum;                     // gradients, [dim][BLOCK], [value_dim][BLOCK]
    real *weight, *slope, *bias, *turned, *bend;   // tiles [QUERIES][BLOCK]
    real *key_room, *query_room, *grad_room;       // of other kinds, widened
    int64_t width;
    uint64_t words[QUERIES];
    Quarters quarters;
    Errands* errands = nullptr;
    uint32_t key_words[BLOCK];
    bool partly;
};

// What all tiles of a head share.
struct Sums {
    const real* delta;    // [queries]
    real *query, *table;  // of this run: [whole blocks of queries][width], [table_size + 2 · BLOCK] or null
};

// Keys and values take turns in it; one of them may be widened and the other not.
static int64_t key_room(const Problem& p) {
    return std::max(room_for(p.key, BLOCK, p.dim), room_for(p.value, BLOCK, p.value_dim));
}

// Of what a block of keys has of its own, beside others.
static int64_t own_key_numbers(const Problem& p) { return (2 * p.dim + 2 * p.value_dim + lanes_up(p.dim)) * BLOCK; }

static int64_t key_block_numbers(const Problem& p) {
    const int64_t tiles = 2 + (p.bias ? 2 : 0) + (p.cap ? 1 : 0);
    return own_key_numbers(p) + tiles * QUERIES * BLOCK +
           key_room(p) + room_for(p.query, QUERIES, p.dim) + room_for(p.out_grad, QUERIES, p.value_dim) +
           16 * LANES;
}

static void take_own(const Problem& p, KeyBlock& b, Scratch& memory) {
    b.key_lanes = memory.take(p.dim * BLOCK), b.value_lanes = memory.take(p.value_dim * BLOCK);
    b.key_rows = memory.take(b.width * BLOCK);
    b.key_sum = memory.take(p.dim * BLOCK), b.value_sum = memory.take(p.value_dim * BLOCK);
}

static KeyBlock take_key_block(const Problem& p, Scratch& memory) {
    KeyBlock b;
    b.width = lanes_up(p.dim);
    take_own(p, b, memory);
    b.weight = memory.take(QUERIES * BLOCK), b.slope = memory.take(QUERIES * BLOCK);
    b.bias = p.bias ? memory.take(QUERIES * BLOCK) : nullptr, b.turned = p.bias ? memory.take(QUERIES * BLOCK) : nullptr;
    b.bend = p.cap ? memory.take(QUERIES * BLOCK) : nullptr;
    b.key_room = memory.take(key_room(p));
    b.query_room = memory.take(room_for(p.query, QUERIES, p.dim));
    b.grad_room = memory.take(room_for(p.out_grad, QUERIES, p.value_dim));
    return b;
}

// (x − middle) · factor − rest = log₂ w: what is near the row's lse keeps all its bits.
struct Levels {
    real middle[QUERIES], rest[QUERIES];
};

// unit: the score of a product of 1.
REGARD_APART void levels_of(const Problem& p, const Spot& s, double unit, Levels& levels) {
    for (int64_t i = 0; i < s.queries; ++i) {
        const double lse = double{*p.lse.at<const real>(s.batch, s.head, s.query + i)} +
                           double{*p.rest.at<const real>(s.batch, s.head, s.query + i)};
        levels.middle[i] = static_cast<real>(lse / unit);
        const bool empty = lse == -INFINITE;
        levels.rest[i] = empty ? 0 : static_cast<real>((lse - levels.middle[i] * unit) * 1.4426950408889634074);
    }
}

// Weights from products alone, in the product's own pass.
REGARD_APART void plain_weights(const Problem& p, const KeyBlock& b, const Spot& s, const Rows& query) {
    const real factor = static_cast<real>(std::fabs(p.scale) * 1.4426950408889634074), sign = p.scale < 0 ? -1 : 1;
    Levels levels;
    levels_of(p, s, std::fabs(p.scale), levels);
    multiply_parts(b.quarters, s.queries, p.dim, query, b.key_lanes, b.weight,
                   [&](int64_t i, int64_t lane, auto& x) {
                       each_of(x, [&](int m, int n) {
                           x[m][n] = (x[m][n] * sign - levels.middle[i + m]) * factor - levels.rest[i + m];
                       });
                       for (auto& row : x) exp2_each(row);
                       put_down(b.weight + i * BLOCK + lane, BLOCK, x);
                   },
                   b.errands);
}

REGARD_APART void weigh_scores(const Problem& p, const KeyBlock& b, const Spot& s) {
    if (p.normalize == Normalize::sigmoid) return squash(s.queries, b.weight);
    Levels levels;
    levels_of(p, s, 1, levels);
    for (int64_t i = 0; i < s.queries; ++i)
        for (int n = 0; n < BLOCK; n += SIDE * LANES) {
            real* at = b.weight + i * BLOCK + n;
            alignas(REGARD_BYTES) vf x[SIDE];
            load(at, x);
            for (vf& each : x) each = (each - levels.middle[i]) * LOG2E - levels.rest[i];
            exp2_each(x);
            store(at, x);
        }
}

// Products, in b.weight, to weights.
REGARD_INLINE void move_weights(const Problem& p, KeyBlock& b, const Spot& s) {
    scale_and_cap(p, s.queries, b.weight, b.bend);
    if (p.bias) {
        bias_tile<Lanes::keys>(p, s, b.bias, b.turned);
        if (add_bias(b.bias, s.queries, b.weight)) {
            if (!b.partly) std::fill_n(b.words, s.queries, ~uint64_t{0});
            unsee(b.bias, s.queries, b.words);
            b.partly = true;
        }
    }
    weigh_scores(p, b, s);
}

REGARD_APART void product_tile(const Problem& p, const KeyBlock& b, const Spot& s, const Rows& query) {
    multiply_parts(b.quarters, s.queries, p.dim, query, b.key_lanes, b.weight,
                   [&](int64_t i, int64_t lane, const auto& x) { put_down(b.weight + i * BLOCK + lane, BLOCK, x); }, b.errands);
}

// Slopes in the product's own pass, the scale inside.
REGARD_APART void plain_slopes(const Problem& p, const KeyBlock& b, const Spot& s, const Rows& grad, const real* delta) {
    const real scale = static_cast<real>(p.scale);
    multiply_parts(b.quarters, s.queries, p.value_dim, grad, b.value_lanes, b.slope,
                   [&](int64_t i, int64_t lane, const auto& x) {
                       each_of(x, [&](int m, int n) {
                           const int64_t at = (i + m) * BLOCK + lane + n * LANES;
                           store(b.slope + at, load(b.weight + at) * (x[m][n] - delta[i + m]) * scale);
                       });
                   },
                   b.errands);
}

// dw of dropped pairs is 0, of others 1 / (1 − dropout) as great; and so are the weights for dv, once the slopes have used them.
REGARD_INLINE void drop_pairs(const Problem& p, const KeyBlock& b, const Spot& s, real* tile) {
    drop(p, s.queries, [&](int64_t i) { return row_word(p, s.batch, s.head, s.query + i); }, b.key_words, tile);
    const real more = static_cast<real>(1 / (1 - p.dropout));
    for (int64_t n = 0; n < s.queries * BLOCK; n += LANES) store(tile + n, load(tile + n) * more);
}

REGARD_APART void slopes_of_scores(const Problem& p, const KeyBlock& b, const Spot& s, const real* delta) {
    const bool softmax = p.normalize == Normalize::softmax;
    for (int64_t i = 0; i < s.queries; ++i)
        for (int n = 0; n < BLOCK; n += LANES) {
            real* at = b.slope + i * BLOCK + n;
            const vf weight = load(b.weight + i * BLOCK + n), to_weight = load(at);
            store(at, softmax ? weight * (to_weight - delta[i]) : weight * (1 - weight) * to_weight);
        }
}

REGARD_APART void slopes_of_products(const Problem& p, const KeyBlock& b, const Spot& s) {
    const real scale = static_cast<real>(p.scale);
    for (int64_t n = 0; n < s.queries * BLOCK; n += LANES)
        store(b.slope + n, load(b.slope + n) * (b.bend ? load(b.bend + n) : splat(1)) * scale);
}

// do_i · v_j, in b.slope, to slopes.
REGARD_INLINE void move_slopes(const Problem& p, const KeyBlock& b, const Spot& s, const Sums& sums) {
    if (p.dropout) drop_pairs(p, b, s, b.slope);
    slopes_of_scores(p, b, s, sums.delta + s.query);
    if (p.bias_grad || sums.table) add_bias_slopes(p, s, b.slope, sums.table);
    slopes_of_products(p, b, s);
    if (p.dropout) drop_pairs(p, b, s, b.weight);
}

REGARD_APART void slope_tile(const Problem& p, const KeyBlock& b, const Spot& s, const Rows& grad) {
    multiply_parts(b.quarters, s.queries, p.value_dim, grad, b.value_lanes, b.slope,
                   [&](int64_t i, int64_t lane, const auto& x) { put_down(b.slope + i * BLOCK + lane, BLOCK, x); }, b.errands);
    clear_hidden(b.quarters, s.queries, b.slope);  // what a bias gathers its gradient from
}

REGARD_APART void add_gradients(const Problem& p, const KeyBlock& b, const Spot& s, const Rows& query, const Rows& grad,
                                real* query_sum) {
    const auto into = [](real* sum, int64_t width) {
        return [sum, width](int64_t row, int64_t column, const auto& x) { add_to(sum + row * width + column, width, x); };
    };
    gather_parts(b.quarters, s.queries, p.value_dim, grad, b.weight, into(b.value_sum, BLOCK), b.errands);
    gather_parts(b.quarters, s.queries, p.dim, query, b.slope, into(b.key_sum, BLOCK), b.errands);
    const int64_t step = b.quarters.all() ? QUERIES : HALF;
    for (int64_t row = 0; row < s.queries; row += step) {
        const bool* any = b.quarters.any[row / HALF];
        const int64_t first = any[0] ? 0 : HALF, end = any[1] ? BLOCK : HALF;
        if (first < end)
            multiply(std::min(step, s.queries - row), b.width, end - first, b.slope + row * BLOCK + first, BLOCK, 1,
                     b.key_rows + first * b.width, b.width, into(query_sum + (s.query + row) * b.width, b.width), Meanwhile{b.errands});
    }
}

// Whether a pair may be hidden.
static bool hides(const Problem& p) { return p.forms || p.bias; }

REGARD_APART void begin_gradients(const Problem& p, KeyBlock& b, const Spot& s) {
    for (int64_t n = 0; n < p.dim * BLOCK; n += LANES) store(b.key_sum + n, vf{});
    for (int64_t n = 0; n < p.value_dim * BLOCK; n += LANES) store(b.value_sum + n, vf{});
    for (int64_t j = 0; p.dropout && j < BLOCK; ++j) b.key_words[j] = key_word(p, s.batch, s.key + j);
}

REGARD_APART bool begin_keys(const Problem& p, KeyBlock& b, const Spot& s) {
    const int64_t kv_head = s.head / p.group();
    const Rows key = rows_of(p.key, s.batch, kv_head, s.key, s.keys, p.dim, b.key_room);
    bool fine = !hides(p) || tame(key, s.keys, p.dim);
    to_lanes(key, s.keys, p.dim, b.key_lanes);
    to_rows(key, s.keys, p.dim, b.width, b.key_rows);
    for (int64_t n = s.keys * b.width; n < BLOCK * b.width; ++n) b.key_rows[n] = 0;
    const Rows value = rows_of(p.value, s.batch, kv_head, s.key, s.keys, p.value_dim, b.key_room);
    fine = fine && (!hides(p) || tame(value, s.keys, p.value_dim));
    to_lanes(value, s.keys, p.value_dim, b.value_lanes);
    begin_gradients(p, b, s);
    return fine;
}

// A block of queries against the block of keys.
REGARD_INLINE void differentiate_tile(const Problem& p, KeyBlock& b, const Spot& s, const Sums& sums) {
    const Rows query = rows_of(p.query, s.batch, s.head, s.query, s.queries, p.dim, b.query_room);
    const Rows grad = rows_of(p.out_grad, s.batch, s.head, s.query, s.queries, p.value_dim, b.grad_room);
    if (plain(p)) {
        plain_weights(p, b, s, query);
    } else {
        product_tile(p, b, s, query);
        move_weights(p, b, s);
    }
    if (b.partly) hide(b.words, s.queries, 0, b.weight);
    if (plain(p)) {
        plain_slopes(p, b, s, grad, sums.delta + s.query);
    } else {
        slope_tile(p, b, s, grad);
        move_slopes(p, b, s, sums);
    }
    add_gradients(p, b, s, query, grad, sums.query);
}

// A block of keys of reals, for runs.hpp.
class RealTiles {
   public:
    using Shared = NoShared;
    using Own = NoOwn;

    RealTiles(const Problem& p, Own&, Scratch& memory) : block_(take_key_block(p, memory)) {}
    // Beside another block: what lives from tile to tile is its own.
    RealTiles(const Problem& p, const RealTiles& other, Scratch& memory) : block_(other.block_) { take_own(p, block_, memory); }
    static int64_t numbers(const Problem& p) { return key_block_numbers(p); }  // of its memory
    static int64_t own_numbers(const Problem& p) { return own_key_numbers(p); }
    static int64_t width(const Problem& p) { return lanes_up(p.dim); }         // of a row of dq
    KeyBlock& block() { return block_; }
    // Whether all numbers of the block are tame.
    REGARD_INLINE bool begin(const Problem& p, const Spot& s) { return begin_keys(p, block_, s); }
    REGARD_INLINE void tile(const Problem& p, const Spot& s, const Sums& sums) { differentiate_tile(p, block_, s, sums); }

   private:
    KeyBlock block_;
};
