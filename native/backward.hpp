// w_ij = exp(s_ij − lse_i) or σ(s_ij), dw_ij = do_i · v_j, both as dropout leaves them;
// ds_ij = w_ij · (dw_ij − delta_i) or w_ij · (1 − w_ij) · dw_ij, delta_i = do_i · out_i − dlse_i, summed in the order of
// dw, so that a row with one key has a slope of exactly 0:
//   dv_j = Σ_i w_ij · do_i     dbias_ij = ds_ij     dk_j = scale · Σ_i ds_ij · q_i     dq_i = scale · Σ_j ds_ij · k_j
// Keys in the vector lanes. The keys of a head are cut into PARTS runs, each with a dq of its own that is added in order,
// so that neither threads nor other heads change a bit of the result.

struct KeyBlock {
    real *key_lanes, *value_lanes, *key_rows;      // [dim][BLOCK], [value_dim][BLOCK], [BLOCK][width]
    real *key_sum, *value_sum;                     // gradients, [dim][BLOCK], [value_dim][BLOCK]
    real *weight, *slope, *bias, *turned, *bend;   // tiles [QUERIES][BLOCK]
    real *key_room, *query_room, *grad_room;       // of other kinds, widened
    int64_t width;
    uint64_t words[QUERIES];
    uint32_t key_words[BLOCK];
    bool partly;
};

// What all tiles of a head share.
struct Sums {
    const real* delta;   // [queries]
    real *query, *table; // of this part: [queries][width], [table_size + 2 · BLOCK] or null
};

// Keys and values take turns in it; one of them may be widened and the other not.
static int64_t key_room(const Problem& p) {
    return std::max(room_for(p.key, BLOCK, p.dim), room_for(p.value, BLOCK, p.value_dim));
}

static int64_t key_block_numbers(const Problem& p) {
    const int64_t tiles = 2 + (p.bias ? 2 : 0) + (p.cap ? 1 : 0);
    return (2 * p.dim + 2 * p.value_dim + lanes_up(p.dim)) * BLOCK + tiles * QUERIES * BLOCK +
           key_room(p) + room_for(p.query, QUERIES, p.dim) + room_for(p.out_grad, QUERIES, p.value_dim) +
           16 * LANES;
}

static KeyBlock take_key_block(const Problem& p, Scratch& memory) {
    KeyBlock b;
    b.width = lanes_up(p.dim);
    b.key_lanes = memory.take(p.dim * BLOCK), b.value_lanes = memory.take(p.value_dim * BLOCK);
    b.key_rows = memory.take(b.width * BLOCK);
    b.key_sum = memory.take(p.dim * BLOCK), b.value_sum = memory.take(p.value_dim * BLOCK);
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
    multiply_long(s.queries, p.dim, query.data, query.row, query.column, b.key_lanes, b.weight,
                  [&](int64_t i, int64_t column, vf x) {
                      store(b.weight + i * BLOCK + column, exp2_of((x * sign - levels.middle[i]) * factor - levels.rest[i]));
                  });
}

REGARD_APART void weigh_scores(const Problem& p, const KeyBlock& b, const Spot& s) {
    if (p.normalize == Normalize::sigmoid) {
        for (int64_t n = 0; n < s.queries * BLOCK; n += LANES) store(b.weight + n, sigmoid_of(load(b.weight + n)));
        return;
    }
    Levels levels;
    levels_of(p, s, 1, levels);
    for (int64_t i = 0; i < s.queries; ++i)
        for (int n = 0; n < BLOCK; n += LANES) {
            real* at = b.weight + i * BLOCK + n;
            store(at, exp2_of((load(at) - levels.middle[i]) * LOG2E - levels.rest[i]));
        }
}

REGARD_INLINE void moved_weights(const Problem& p, KeyBlock& b, const Spot& s, const Rows& query) {
    multiply_long(s.queries, p.dim, query.data, query.row, query.column, b.key_lanes, b.weight,
                  [&](int64_t i, int64_t column, vf x) { store(b.weight + i * BLOCK + column, x); });
    scale_and_cap(p, s.queries, b.weight, b.bend);
    if (p.bias) {
        bias_tile<Lanes::keys>(p, s, b.bias, b.turned);
        if (add_bias(b.bias, s.queries, b.weight)) {
            unsee(b.bias, s.queries, b.words);
            b.partly = true;
        }
    }
    weigh_scores(p, b, s);
}

// Slopes in the product's own pass, the scale inside.
REGARD_APART void plain_slopes(const Problem& p, const KeyBlock& b, const Spot& s, const Rows& grad, const real* delta) {
    const real scale = static_cast<real>(p.scale);
    multiply_long(s.queries, p.value_dim, grad.data, grad.row, grad.column, b.value_lanes, b.slope,
                  [&](int64_t i, int64_t column, vf x) {
                      const vf weight = load(b.weight + i * BLOCK + column);
                      store(b.slope + i * BLOCK + column, weight * (x - delta[i]) * scale);
                  });
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

REGARD_INLINE void moved_slopes(const Problem& p, const KeyBlock& b, const Spot& s, const Rows& grad, const Sums& sums) {
    multiply_long(s.queries, p.value_dim, grad.data, grad.row, grad.column, b.value_lanes, b.slope,
                  [&](int64_t i, int64_t column, vf x) { store(b.slope + i * BLOCK + column, x); });
    if (p.dropout) drop_pairs(p, b, s, b.slope);
    slopes_of_scores(p, b, s, sums.delta + s.query);
    if (p.bias_grad || sums.table) add_bias_slopes(p, s, b.slope, sums.table);
    slopes_of_products(p, b, s);
    if (p.dropout) drop_pairs(p, b, s, b.weight);
}

REGARD_APART void add_gradients(const Problem& p, const KeyBlock& b, const Spot& s, const Rows& query, const Rows& grad,
                                real* query_sum) {
    const auto add_to = [](real* sum, int64_t width) {
        return [sum, width](int64_t row, int64_t column, vf x) {
            store(sum + row * width + column, load(sum + row * width + column) + x);
        };
    };
    multiply(p.value_dim, BLOCK, s.queries, grad.data, grad.column, grad.row, b.weight, BLOCK, add_to(b.value_sum, BLOCK));
    multiply(p.dim, BLOCK, s.queries, query.data, query.column, query.row, b.slope, BLOCK, add_to(b.key_sum, BLOCK));
    multiply(s.queries, b.width, BLOCK, b.slope, BLOCK, 1, b.key_rows, b.width, add_to(query_sum + s.query * b.width, b.width));
}

// One tile: a block of queries against the block of keys.
REGARD_INLINE void differentiate_tile(const Problem& p, KeyBlock& b, const Spot& s, const Sums& sums) {
    const Rows query = rows_of(p.query, s.batch, s.head, s.query, s.queries, p.dim, b.query_room);
    const Rows grad = rows_of(p.out_grad, s.batch, s.head, s.query, s.queries, p.value_dim, b.grad_room);
    const bool plain = !p.moved() && !p.dropout;
    if (plain)
        plain_weights(p, b, s, query);
    else
        moved_weights(p, b, s, query);
    if (b.partly) hide(b.words, s.queries, 0, b.weight);
    if (plain)
        plain_slopes(p, b, s, grad, sums.delta + s.query);
    else
        moved_slopes(p, b, s, grad, sums);
    add_gradients(p, b, s, query, grad, sums.query);
}

// Whether a pair may be hidden.
static bool hides(const Problem& p) { return p.forms || p.bias; }

// Brings a block of keys into the lanes: whether all its numbers are tame.
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
    for (int64_t n = 0; n < p.dim * BLOCK; n += LANES) store(b.key_sum + n, vf{});
    for (int64_t n = 0; n < p.value_dim * BLOCK; n += LANES) store(b.value_sum + n, vf{});
    for (int64_t j = 0; p.dropout && j < BLOCK; ++j) b.key_words[j] = key_word(p, s.batch, s.key + j);
    return fine;
}

// Where each block of query rows sees anything, for every form: [forms][blocks][2].
using Reach = std::vector<int64_t>;

// All query rows of one head against the block of keys.
REGARD_APART void differentiate_head(const Problem& p, KeyBlock& b, const Reach& reaches, Spot s, const Sums& sums) {
    const int64_t blocks = (p.queries + QUERIES - 1) / QUERIES;
    const Form* form = p.form(s.batch, s.head);
    const int64_t* reach = form ? reaches.data() + (form - p.forms) * blocks * 2 : nullptr;
    for (int64_t block = 0; block < blocks; ++block) {
        if (reach && (reach[2 * block] >= s.key + s.keys || reach[2 * block + 1] <= s.key)) continue;
        s.query = block * QUERIES, s.queries = std::min<int64_t>(p.queries - s.query, QUERIES);
        const Seen seen = look_along(form, s.query, s.queries, s.key, s.keys, b.words);
        if (seen == Seen::nothing) continue;
        b.partly = seen == Seen::some;
        differentiate_tile(p, b, s, sums);
    }
}

// How many runs the keys are cut into: by their number alone.
static int64_t parts_of(int64_t keys) { return keys <= 4 * BLOCK ? 1 : keys <= 16 * BLOCK ? 2 : 4; }

static Reach reach_all(const Problem& p) {
    const int64_t blocks = (p.queries + QUERIES - 1) / QUERIES, forms = p.forms ? p.form_count : 0;
    Reach reaches(forms * blocks * 2);
    for (int64_t n = 0; n < forms * blocks; ++n) {
        const int64_t first = n % blocks * QUERIES, rows = std::min<int64_t>(p.queries - first, QUERIES);
        reach(p.forms[n / blocks], first, rows, p.keys, reaches[2 * n], reaches[2 * n + 1]);
    }
    return reaches;
}

// delta_i from do_i · out_i, and the row's part of the sink's gradient, −w_sink · (do_i · out_i).
REGARD_INLINE real settled_delta(const Problem& p, int64_t batch, int64_t head, int64_t row, real sum) {
    if (p.sink_grad) {
        const real lse = *p.lse.at<const real>(batch, head, row);
        const real share = lse == -INFINITE ? 0 : std::exp(*p.sink.at<const real>(0, head, 0) - lse);
        *p.sink_grad.at<real>(batch, head, row) = -share * sum;
    }
    return p.lse_grad ? sum - *p.lse_grad.at<const real>(batch, head, row) : sum;
}

REGARD_INLINE real delta_of(const Problem& p, int64_t batch, int64_t head, int64_t row, real* room) {
    const Rows grad = rows_of(p.out_grad, batch, head, row, 1, p.value_dim, room);
    const Rows out = rows_of(p.out, batch, head, row, 1, p.value_dim, room + p.value_dim);
    real sum = 0;
    for (int64_t run = 0; run < p.value_dim; run += DEPTH) {
        real part = 0;
        for (int64_t c = run; c < p.value_dim && c < run + DEPTH; ++c)
            part = fused(grad.data[c * grad.column], out.data[c * out.column], part);
        sum = run ? sum + part : part;
    }
    return settled_delta(p, batch, head, row, sum);
}

// Memory that several runs of keys add to, each to its own: [parts][kv_heads of all entries][·].
struct Shares {
    int64_t parts, width, rows, table;  // table: numbers of one head's, its room included, or 0
    std::vector<real> query, tables, delta;

    explicit Shares(const Problem& p)
        : parts(parts_of(p.keys)), width(lanes_up(p.dim)), rows(p.group() * p.queries),
          table(p.bias_grad.table ? p.bias.table_size + 2 * BLOCK : 0), query(parts * p.batch * p.kv_heads * rows * width),
          tables(parts * p.batch * p.heads * table), delta(p.batch * p.heads * p.queries) {}

    Sums of(const Problem& p, int64_t batch, int64_t head, int64_t part) {
        const int64_t row = (batch * p.heads + head) * p.queries, all = p.batch * p.heads;
        return {delta.data() + row, query.data() + (part * all * p.queries + row) * width,
                table ? tables.data() + (part * all + batch * p.heads + head) * table : nullptr};
    }
};

// One run of keys of one key head: whether all numbers are tame.
static bool differentiate_part(const Problem& p, KeyBlock& b, const Reach& reaches, Shares& shares, int64_t kv_head,
                               int64_t part) {
    const int64_t blocks = (p.keys + BLOCK - 1) / BLOCK, batch = kv_head / p.kv_heads;
    kv_head %= p.kv_heads;
    bool fine = true;
    Divide ones;
    for (int n = 0; n < BLOCK; ++n) ones.set(n, 1);
    for (int64_t block = blocks * part / shares.parts; block < blocks * (part + 1) / shares.parts; ++block) {
        const int64_t key = block * BLOCK, keys = std::min<int64_t>(p.keys - key, BLOCK), head = kv_head * p.group();
        fine = begin_keys(p, b, {batch, head, 0, 0, key, keys}) && fine;
        for (int64_t g = 0; g < p.group(); ++g)
            differentiate_head(p, b, reaches, {batch, head + g, 0, 0, key, keys}, shares.of(p, batch, head + g, part));
        write_lanes(p.key_grad, batch, kv_head, key, keys, p.dim, b.key_sum, ones);
        write_lanes(p.value_grad, batch, kv_head, key, keys, p.value_dim, b.value_sum, ones);
    }
    return fine;
}

// dq of a row: the parts in order.
static void write_query(const Problem& p, const Shares& shares, int64_t n) {
    const int64_t all = p.batch * p.heads * p.queries, head = n / p.queries;
    write_row(p.query_grad, head / p.heads, head % p.heads, n % p.queries, 0, p.dim, [&](int64_t d) {
        real sum = 0;
        for (int64_t part = 0; part < shares.parts; ++part) sum += shares.query[(part * all + n) * shares.width + d];
        return sum;
    });
}

// The table's gradient of a head: batch entries and parts in order.
static void write_table(const Problem& p, const Shares& shares, int64_t head) {
    real* to = p.bias_grad.table.at<real>(0, head, 0);
    for (int64_t n = 0; n < p.bias.table_size; ++n) {
        real sum = 0;
        for (int64_t one = 0; one < shares.parts * p.batch; ++one)
            sum += shares.tables[(one * p.heads + head) * shares.table + BLOCK + n];
        to[n] = sum;
    }
}

// Whether one element of a bias stands for several batch entries or heads, so that their gradients can't run side by side.
static bool shared(const Problem& p) {
    const Array& to = p.bias_grad.pairs;
    return to && ((p.batch > 1 && !to.batch) || (p.heads > 1 && !to.head));
}

static bool tame_row(const Problem& p, const Array& a, int64_t n, int64_t columns, real* room) {
    const int64_t head = n / p.queries;
    return tame(rows_of(a, head / p.heads, head % p.heads, n % p.queries, 1, columns, room), 1, columns);
}

// False where a hidden pair may have met NaN or ∞, or a product that is: then the gradients are not to be used.
static bool tiles_backward(const Problem& p, const Choice& choice) {
    const int64_t kv_heads = p.batch * p.kv_heads, together = shared(p) ? kv_heads : 1;
    const Reach reaches = reach_all(p);
    Shares shares(p);
    return parallel(p.threads, [&](Team& team) {
        bool fine = true;
        Scratch memory(key_block_numbers(p) + 2 * p.value_dim + p.dim);
        KeyBlock b = take_key_block(p, memory);
        real* room = memory.take(2 * p.value_dim + p.dim);
        team.even(p.batch * p.heads * p.queries, [&](int64_t n) {
            if (choice.by_rows(n / p.queries / p.group())) return;
            shares.delta[n] = delta_of(p, n / p.queries / p.heads, n / p.queries % p.heads, n % p.queries, room);
            fine = fine && shares.delta[n] - shares.delta[n] == 0;
            if (hides(p))
                fine = fine && tame_row(p, p.query, n, p.dim, room) && tame_row(p, p.out_grad, n, p.value_dim, room);
        });
        team.dynamic(kv_heads / together * shares.parts, [&](int64_t item) {
            for (int64_t n = 0; n < together; ++n) {
                const int64_t kv_head = item / shares.parts * together + n;
                if (!choice.by_rows(kv_head)) fine = differentiate_part(p, b, reaches, shares, kv_head, item % shares.parts) && fine;
            }
        });
        team.even(p.batch * p.heads * p.queries, [&](int64_t n) {
            if (!choice.by_rows(n / p.queries / p.group())) write_query(p, shares, n);
        });
        team.even(shares.table ? p.heads : 0, [&](int64_t head) { write_table(p, shares, head); });
        return fine;
    });
}
