// out_i = Σ_j softmax_j(scale · q_i · k_j) · v_j over the visible pairs, queries in the vector lanes; lse_i beside it.
// Powers are 2^((x − top) · factor): the greatest is exactly 1, so that a row with one great weight gives its value
// exactly, and the backward pass cancels there.

struct QueryBlock {
    float *query, *score, *sum;  // [dim][BLOCK], [KEYS][BLOCK], [value_dim][BLOCK]
    vf top[BLOCK / REGARD_LANES], total[BLOCK / REGARD_LANES], shrink[BLOCK / REGARD_LANES];
};

// A tile of products q_i · k_j, hidden pairs −∞.
REGARD_APART void score_tile(const Problem& p, QueryBlock& b, int64_t batch, int64_t kv_head, int64_t key, int64_t width,
                       const uint64_t* words, bool partly) {
    multiply_long(width, p.dim, p.key.at(batch, kv_head, key), p.key.row, p.key.column, b.query, b.score,
             [&](int64_t j, int64_t column, vf x) {
                 store(b.score + j * BLOCK + column, x);
             });
    if (partly) hide(words, width, -__builtin_inff(), b.score);
}

// Products to powers, their sums into total; all earlier sums shrink to the new top.
REGARD_APART void exponentiate(QueryBlock& b, float factor, int64_t width) {
    constexpr int VECTORS = BLOCK / REGARD_LANES;
    float* score = b.score;
    vf top[VECTORS], sum[VECTORS];
    for (int n = 0; n < VECTORS; ++n) top[n] = b.top[n], sum[n] = vf{};
    for (int64_t j = 0; j < width; ++j)
#pragma GCC unroll 8
        for (int n = 0; n < VECTORS; ++n) top[n] = greater(load(score + j * BLOCK + n * REGARD_LANES), top[n]);
    for (int64_t run = 0; run < width; run += 8) {  // summed run by run: errors don't pile up
        vf part[VECTORS] = {};
        for (int64_t j = run; j < width && j < run + 8; ++j)
#pragma GCC unroll 8
            for (int n = 0; n < VECTORS; ++n) {
                float* at = score + j * BLOCK + n * REGARD_LANES;
                const vf power = exp2_of((load(at) - top[n]) * factor);
                store(at, power);
                part[n] += power;
            }
        for (int n = 0; n < VECTORS; ++n) sum[n] += part[n];
    }
    for (int n = 0; n < VECTORS; ++n) {
        b.shrink[n] = exp2_of((b.top[n] - top[n]) * factor);
        b.total[n] = b.total[n] * b.shrink[n] + sum[n];
        b.top[n] = top[n];
    }
}

REGARD_APART void add_values(const Problem& p, QueryBlock& b, int64_t batch, int64_t kv_head, int64_t key, int64_t width) {
    multiply(p.value_dim, BLOCK, width, p.value.at(batch, kv_head, key), p.value.column, p.value.row, b.score, BLOCK,
             [&](int64_t c, int64_t column, vf x) {
                 float* at = b.sum + c * BLOCK + column;
                 store(at, load(at) * b.shrink[column / REGARD_LANES] + x);
             });
}

REGARD_APART void write_rows(const Problem& p, const QueryBlock& b, int64_t batch, int64_t head, int64_t first, int64_t rows) {
    for (int64_t r = 0; r < rows; ++r) {
        const float total = b.total[r / REGARD_LANES][r % REGARD_LANES], top = b.top[r / REGARD_LANES][r % REGARD_LANES];
        const bool empty = total == 0;
        const double lse = empty ? -__builtin_inf() : top * __builtin_fabs(p.scale) + __builtin_log(total);
        *p.lse.at(batch, head, first + r) = static_cast<float>(lse);
        *p.rest.at(batch, head, first + r) = empty ? 0 : static_cast<float>(lse - static_cast<float>(lse));
        float* out = p.out.at(batch, head, first + r);
        for (int64_t c = 0; c < p.value_dim; ++c) out[c * p.out.column] = empty ? 0 : b.sum[c * BLOCK + r] / total;
    }
}

REGARD_APART void attend_rows(const Problem& p, QueryBlock& b, int64_t batch, int64_t head, int64_t first) {
    const int64_t rows = p.queries - first < BLOCK ? p.queries - first : BLOCK, kv_head = head / p.group();
    Walk walk(p.form(batch, head), first, rows, p.keys);
    for (int n = 0; n < BLOCK / REGARD_LANES; ++n) b.top[n] = splat(-3.4028235e38f), b.total[n] = vf{};
    for (int64_t n = 0; n < p.value_dim * BLOCK; ++n) b.sum[n] = 0;
    to_lanes(p.query.at(batch, head, first), p.query.row, p.query.column, rows, p.dim, b.query);
    const float factor = static_cast<float>(__builtin_fabs(p.scale) * 1.4426950408889634);
    if (p.scale < 0)  // the greatest product must be the greatest score
        for (int64_t n = 0; n < p.dim * BLOCK; ++n) b.query[n] = -b.query[n];
    uint64_t words[KEYS];
    for (int64_t key = walk.next(0); key < p.keys; key = walk.next(key + KEYS)) {
        const int64_t width = p.keys - key < KEYS ? p.keys - key : KEYS;
        const Seen seen = walk.look(key, width, words);
        if (seen == Seen::nothing) continue;
        score_tile(p, b, batch, kv_head, key, width, words, seen == Seen::some);
        exponentiate(b, factor, width);
        add_values(p, b, batch, kv_head, key, width);
    }
    write_rows(p, b, batch, head, first, rows);
}

void forward(const Problem& p) {
    const int64_t blocks = (p.queries + BLOCK - 1) / BLOCK, items = p.batch * p.heads * blocks;
#pragma omp parallel num_threads(static_cast<int>(p.threads))
    {
        Scratch memory((p.dim + KEYS + p.value_dim) * BLOCK);
        QueryBlock b;
        b.query = memory.take(p.dim * BLOCK), b.score = memory.take(KEYS * BLOCK), b.sum = memory.take(p.value_dim * BLOCK);
#pragma omp for schedule(dynamic)
        for (int64_t item = 0; item < items; ++item) {
            const int64_t head = item / blocks, block = blocks - 1 - item % blocks;  // causal: the longest rows first
            attend_rows(p, b, head / p.heads, head % p.heads, block * BLOCK);
        }
    }
}
