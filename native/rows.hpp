// A few query rows of one key head against keys that all of them see, listed one by one: for rows that are few, or that
// see little of what lies between their keys. What is hidden is not read. As in forward.hpp, powers are
// 2^((x − top) · factor), and a score is what it is there.

// The rows of a block: heads `head` …, `heads` of them, of query `query`, then those of the next query.
struct Block {
    int64_t batch, head, heads, query, rows;

    int64_t head_of(int64_t r) const { return head + r % heads; }
    int64_t query_of(int64_t r) const { return query + r / heads; }
};

struct RowBlock {
    real *query, *score, *bias;                 // [rows][width], [rows][BLOCK] each
    real *top, *total, *shrink, *sum;           // [rows], and [rows][value_width]
    real *key_room, *value_room;
    int64_t width, value_width;
    Lines keys, values;
    uint32_t key_words[BLOCK];
};

static int64_t row_block_numbers(const Problem& p, int64_t rows) {
    return rows * (lanes_up(p.dim) + lanes_up(p.value_dim) + 2 * BLOCK) + 3 * lanes_up(rows) +
           lines_room(p.key, p.dim) + lines_room(p.value, p.value_dim) + 10 * LANES;
}

static RowBlock take_row_block(const Problem& p, int64_t rows, Scratch& memory) {
    RowBlock b;
    b.width = lanes_up(p.dim), b.value_width = lanes_up(p.value_dim);
    b.query = memory.take(rows * b.width), b.score = memory.take(rows * BLOCK), b.bias = memory.take(rows * BLOCK);
    b.top = memory.take(rows), b.total = memory.take(rows), b.shrink = memory.take(rows);
    b.sum = memory.take(rows * b.value_width);
    b.key_room = memory.take(lines_room(p.key, p.dim)), b.value_room = memory.take(lines_room(p.value, p.value_dim));
    return b;
}

// One row as reals [width], 0 after its end.
REGARD_APART void pack_row(const Array& a, int64_t batch, int64_t head, int64_t row, int64_t columns, bool negate,
                           real* packed) {
    const Rows from = rows_of(a, batch, head, row, 1, columns, packed);
    for (int64_t c = 0; c < columns; ++c) packed[c] = negate ? -from.data[c * from.column] : from.data[c * from.column];
    for (int64_t c = columns; c < lanes_up(columns); ++c) packed[c] = 0;
}

// The greatest product must be the greatest score.
static bool negated(const Problem& p) { return p.scale < 0 && !p.moved(); }

static void start_rows(const Problem& p, RowBlock& b, const Block& at) {
    const bool softmax = p.normalize == Normalize::softmax;
    for (int64_t r = 0; r < at.rows; ++r) {
        pack_row(p.query, at.batch, at.head_of(r), at.query_of(r), p.dim, negated(p), b.query + r * b.width);
        b.top[r] = softmax ? LOWEST : 0, b.total[r] = softmax ? 0 : 1, b.shrink[r] = 1;
    }
    std::fill_n(b.sum, at.rows * b.value_width, real(0));
}

// each(edge, place in the list) for the edges from listed keys to a query.
template <class Each>
REGARD_INLINE void edges_among(const Problem& p, int64_t batch, int64_t query, const Listed& list, const Each& each) {
    const int64_t first = p.first_key(batch), *end = p.bias.edge_key + edge_end(p, batch, query);
    const int64_t* key = std::lower_bound(p.bias.edge_key + edge_begin(p, batch, query), end, list.key[0] + first);
    for (int64_t j = 0; j < list.count; ++j) {
        while (key < end && *key < list.key[j] + first) ++key;
        for (; key < end && *key == list.key[j] + first; ++key) each(key - p.bias.edge_key, j);
    }
}

// The entry of the table for key 0, local, of a query.
REGARD_INLINE int64_t table_zero_of(const Problem& p, int64_t batch, int64_t query) {
    return p.first_key(batch) - query - p.first_query(batch) + p.bias.table_zero;
}

// The bias of the listed keys for one row, 0 in the lanes after them.
REGARD_APART void bias_of_row(const Problem& p, int64_t batch, int64_t head, int64_t query, const Listed& list,
                              real* bias) {
    std::fill_n(bias, BLOCK, real(0));
    if (p.bias.table) {
        const real* table = p.bias.table.at<const real>(0, head, 0) + table_zero_of(p, batch, query);
        for (int64_t j = 0; j < list.count; ++j) bias[j] = table[list.key[j]];
    }
    if (p.bias.keys) {
        const real* keys = p.bias.keys.at<const real>(batch, head, 0);
        for (int64_t j = 0; j < list.count; ++j) bias[j] += keys[list.key[j] * p.bias.keys.column];
    }
    if (p.bias.pairs) {
        const real* pairs = p.bias.pairs.at<const real>(batch, head, query);
        for (int64_t j = 0; j < list.count; ++j) bias[j] += pairs[list.key[j] * p.bias.pairs.column];
    }
    if (p.bias.edges) {
        const real* edges = p.bias.edges.at<const real>(batch, head, 0);
        const int64_t step = p.bias.edges.column;
        edges_among(p, batch, query, list, [&](int64_t edge, int64_t j) { bias[j] += edges[edge * step]; });
    }
}

// Scores to powers, their sum into total; what was summed before is to shrink.
REGARD_APART void exponentiate_row(real* score, int64_t count, real factor, real& top, real& total, real& shrink) {
    const auto most = [](vf a, vf b) { return greater(a, b); };
    vf highest = splat(top), sum{};
    for (int64_t j = 0; j < count; j += LANES) highest = greater(load(score + j), highest);
    highest = across<LANES / 2>(highest, most);
    for (int64_t j = 0; j < count; j += LANES) {
        const vf power = exp2_of((load(score + j) - highest) * factor);
        store(score + j, power);
        sum += power;
    }
    shrink = exp2_of((splat(top) - highest) * factor)[0];
    total = total * shrink + across<LANES / 2>(sum, [](vf a, vf b) { return a + b; })[0];
    top = highest[0];
}

// Scores of rows `first` …: whether a bias hides a pair. bend: as scale_and_cap gives it, or null.
static bool score_rows(const Problem& p, RowBlock& b, const Block& at, int64_t first, int64_t rows, const Listed& list,
                       int64_t ahead, real* bend) {
    real* score = b.score + first * BLOCK;
    multiply_lines(b.query + first * b.width, rows, b.width, p.dim, b.keys, list.count, ahead, score);
    if (p.moved()) scale_and_cap(p, rows, score, bend);
    bool hidden = false;
    if (p.bias) {
        real* bias = b.bias + first * BLOCK;
        for (int64_t r = 0; r < rows; ++r)
            bias_of_row(p, at.batch, at.head_of(first + r), at.query_of(first + r), list, bias + r * BLOCK);
        hidden = add_bias(bias, rows, score);
    }
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t j = list.count; j < lanes_up(list.count); ++j) score[r * BLOCK + j] = -INFINITE;
    return hidden;
}

static void weigh_rows(const Problem& p, RowBlock& b, const Block& at, int64_t first, int64_t rows,
                       const Listed& list) {
    for (int64_t r = first; r < first + rows; ++r) {
        real* score = b.score + r * BLOCK;
        if (p.normalize == Normalize::softmax)
            exponentiate_row(score, list.count, factor_of(p), b.top[r], b.total[r], b.shrink[r]);
        else
            for (int64_t j = 0; j < list.count; j += LANES) store(score + j, sigmoid_of(load(score + j)));
    }
    if (!p.dropout) return;
    for (int64_t j = 0; j < BLOCK; ++j) b.key_words[j] = j < list.count ? key_word(p, at.batch, list.key[j]) : 0;
    const auto word = [&](int64_t r) { return row_word(p, at.batch, at.head_of(first + r), at.query_of(first + r)); };
    drop(p, rows, word, b.key_words, b.score + first * BLOCK);
}

// Those keys that the bias of a row does not hide.
static Listed shown_of(const Listed& list, const real* bias) {
    Listed left;
    for (int64_t j = 0; j < list.count; ++j)
        if (bias[j] != -INFINITE) left.add(list.key[j], list.number[j]);
    return left;
}

// Rows `first` … meet keys that all of them see. ahead: how many keys on those are that will be wanted next, or 0.
static void attend_listed(const Problem& p, RowBlock& b, const Block& at, int64_t first, int64_t rows,
                          const Listed& list, int64_t ahead) {
    if (!list.count) return;
    const int64_t kv_head = at.head / p.group();
    find_lines(p.key, at.batch, kv_head, list.key, list.count, p.dim, b.key_room, b.keys);
    find_lines(p.value, at.batch, kv_head, list.key, list.count, p.value_dim, b.value_room, b.values);
    if (score_rows(p, b, at, first, rows, list, ahead * p.key.row * bytes_of(p.key.kind), nullptr)) {
        for (int64_t r = first; r < first + rows; ++r)  // what one row may not see, another may
            attend_listed(p, b, at, r, 1, shown_of(list, b.bias + r * BLOCK), 0);
        return;
    }
    weigh_rows(p, b, at, first, rows, list);
    add_lines(b.score + first * BLOCK, rows, b.values, list.count, p.value_dim, b.shrink + first,
              b.sum + first * b.value_width, b.value_width, ahead * p.value.row * bytes_of(p.value.kind));
}
