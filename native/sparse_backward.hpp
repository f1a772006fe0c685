// The gradients of rows that see few keys, far apart. First by rows: dq, and of every pair its weight and the slope of its
// product; then by keys, over a transposed list: dk and dv. O(pairs · dim) time, O(pairs) memory; each sum in one order.

struct SlopeRow {
    RowBlock b;
    real *grad, *query_sum;                // [value_width], [width]
    real *to_weight, *bend, *slope;        // [BLOCK]: dw, 1 − tanh², the slopes of scores
    real* out_room;
    Lines out;
};

static int64_t slope_row_numbers(const Problem& p) {
    return row_block_numbers(p, 1) + lanes_up(p.value_dim) + lanes_up(p.dim) + 3 * BLOCK + lines_room(p.out, p.value_dim) + 6 * LANES;
}

static SlopeRow take_slope_row(const Problem& p, Scratch& memory) {
    SlopeRow s;
    s.b = take_row_block(p, 1, memory);
    s.grad = memory.take(p.value_dim), s.query_sum = memory.take(p.dim);
    s.to_weight = memory.take(BLOCK), s.bend = memory.take(BLOCK), s.slope = memory.take(BLOCK);
    s.out_room = memory.take(lines_room(p.out, p.value_dim));
    return s;
}

// delta_i, summed in the order of dw, so that a row with one key has a slope of exactly 0.
static real delta_of_row(const Problem& p, SlopeRow& s, const Spot& at) {
    find_lines(p.out, at.batch, at.head, &at.query, 1, p.value_dim, s.out_room, s.out);
    multiply_lines(s.grad, 1, s.b.value_width, p.value_dim, s.out, 1, 0, s.to_weight);
    return settled_delta(p, at.batch, at.head, at.query, s.to_weight[0]);
}

static void weights_of_row(const Problem& p, const Spot& at, int64_t count, real* score) {
    if (p.normalize == Normalize::sigmoid) {
        for (int64_t j = 0; j < count; j += LANES) store(score + j, sigmoid_of(load(score + j)));
        return;
    }
    Levels levels;
    levels_of(p, at, p.moved() ? 1 : std::fabs(p.scale), levels);
    for (int64_t j = 0; j < count; j += LANES)
        store(score + j, exp2_of((load(score + j) - levels.middle[0]) * factor_of(p) - levels.rest[0]));
}

static void drop_row(const Problem& p, const SlopeRow& s, const Spot& at, real* tile) {
    drop(p, 1, [&](int64_t) { return row_word(p, at.batch, at.head, at.query); }, s.b.key_words, tile);
    for (int64_t j = 0; j < BLOCK; ++j) tile[j] *= static_cast<real>(1 / (1 - p.dropout));
}

// From weights and dw to the slopes of scores; then of the weights what dropout leaves, for dv.
static void slopes_of_row(const Problem& p, SlopeRow& s, const Spot& at, const Listed& list, real delta) {
    const bool softmax = p.normalize == Normalize::softmax;
    real* weight = s.b.score;
    for (int64_t j = 0; p.dropout && j < BLOCK; ++j) s.b.key_words[j] = j < list.count ? key_word(p, at.batch, list.key[j]) : 0;
    if (p.dropout) drop_row(p, s, at, s.to_weight);
    for (int64_t j = 0; j < list.count; ++j)
        s.slope[j] = weight[j] * (softmax ? s.to_weight[j] - delta : (1 - weight[j]) * s.to_weight[j]);
    if (p.dropout) drop_row(p, s, at, weight);
}

// What is kept of the pairs of one head, in the order of its rows.
struct Kept {
    real *weight, *slope, *move;  // for dv, of the products, of the scores (null where no bias wants it)
};

// One row against some of its keys. first: the number of the row's first pair.
static void slope_listed(const Problem& p, SlopeRow& s, const Spot& at, const Listed& list, int64_t first, real delta,
                         const Kept& kept) {
    if (!list.count) return;
    const int64_t kv_head = at.head / p.group();
    RowBlock& b = s.b;
    find_lines(p.key, at.batch, kv_head, list.key, list.count, p.dim, b.key_room, b.keys);
    find_lines(p.value, at.batch, kv_head, list.key, list.count, p.value_dim, b.value_room, b.values);
    if (score_rows(p, b, {at.batch, at.head, 1, at.query, 1}, 0, 1, list, 0, s.bend))  // what a bias hides keeps slopes of 0
        return slope_listed(p, s, at, shown_of(list, b.bias), first, delta, kept);
    multiply_lines(s.grad, 1, b.value_width, p.value_dim, b.values, list.count, 0, s.to_weight);
    weights_of_row(p, at, list.count, b.score);
    slopes_of_row(p, s, at, list, delta);
    for (int64_t j = 0; j < list.count; ++j) {
        const int64_t pair = first + list.number[j];
        if (kept.move) kept.move[pair] = s.slope[j];
        s.slope[j] *= (p.cap ? s.bend[j] : real(1)) * static_cast<real>(p.scale);
        kept.weight[pair] = b.score[j], kept.slope[pair] = s.slope[j];
    }
    add_lines(s.slope, 1, b.keys, list.count, p.dim, b.shrink, s.query_sum, b.width, 0);
}

// dq of one row, and what is kept of its pairs: whether all numbers are finite.
static bool slope_row(const Problem& p, SlopeRow& s, const Form* form, const Spot& at, int64_t first, const Kept& kept) {
    ask_for_row(p, form, at.batch, at.head / p.group(), at.query + SOON);
    RowBlock& b = s.b;
    pack_row(p.query, at.batch, at.head, at.query, p.dim, negated(p), b.query);
    pack_row(p.out_grad, at.batch, at.head, at.query, p.value_dim, false, s.grad);
    b.shrink[0] = 1;
    const real delta = delta_of_row(p, s, at);
    std::fill_n(s.query_sum, b.width, real(0));
    Seeing seeing(form, at.query, 0, p.keys);
    for (Listed list; seeing.next(list);) slope_listed(p, s, at, list, first, delta, kept);
    write_numbers(p.query_grad, at.batch, at.head, at.query, p.dim, s.query_sum);
    return delta - delta == 0 && finite({b.query, b.width, 1}, 1, p.dim);
}

struct KeySums {
    real *key, *value, *query_room, *grad_room;
    Lines queries, grads;
};

static int64_t key_sums_numbers(const Problem& p) {
    return lanes_up(p.dim) + lanes_up(p.value_dim) + lines_room(p.query, p.dim) + lines_room(p.out_grad, p.value_dim) + 4 * LANES;
}

static KeySums take_key_sums(const Problem& p, Scratch& memory) {
    KeySums s;
    s.key = memory.take(p.dim), s.value = memory.take(p.value_dim);
    s.query_room = memory.take(lines_room(p.query, p.dim)), s.grad_room = memory.take(lines_room(p.out_grad, p.value_dim));
    return s;
}

// dk and dv of one key from the rows of one head; pairs that weigh nothing are as if hidden.
static void add_key(const Problem& p, KeySums& s, const Graph& graph, int64_t batch, int64_t head, int64_t key, const Kept& kept) {
    const real one = 1;
    real weight[BLOCK], slope[BLOCK], move = 0;
    int64_t row[BLOCK];
    for (int64_t n = graph.offsets[key], end = graph.offsets[key + 1]; n < end;) {
        int64_t count = 0;
        for (; n < end && count < BLOCK; ++n) {
            const int64_t pair = graph.pair[n];
            weight[count] = kept.weight[pair], slope[count] = kept.slope[pair], row[count] = graph.row[n];
            if (kept.move) move += kept.move[pair];
            count += weight[count] != 0 || slope[count] != 0;
        }
        if (!count) continue;
        find_lines(p.query, batch, head, row, count, p.dim, s.query_room, s.queries);
        find_lines(p.out_grad, batch, head, row, count, p.value_dim, s.grad_room, s.grads);
        for (int64_t j = 0; j < count; ++j) ask_all(s.grads.at[j], p.value_dim * bytes_of(s.grads.kind));
        add_lines(slope, 1, s.queries, count, p.dim, &one, s.key, lanes_up(p.dim), 0);
        add_lines(weight, 1, s.grads, count, p.value_dim, &one, s.value, lanes_up(p.value_dim), 0);
    }
    const Array& keys = p.bias_grad.keys;
    if (keys) keys.at<real>(batch, head, 0)[key * keys.column] += move;
}
