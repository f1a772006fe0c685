// Few queries, many keys: all rows of a key head go through its keys together, so that each key and value is read once.
// The keys are cut into runs of fixed length, whose parts (top, total, sum) are merged in order: neither threads nor other
// heads change a bit.

constexpr int64_t RUN = 16 * BLOCK;

// All rows against one block of keys; neighbours that see the same keys together.
static void attend_block(const Problem& p, RowBlock& b, const Block& at, int64_t key) {
    const int64_t width = std::min<int64_t>(p.keys - key, BLOCK);
    const auto form_at = [&](int64_t r) { return p.form(at.batch, at.head_of(r)); };
    const auto see = [&](int64_t r, Listed& list) { Seeing(form_at(r), at.query_of(r), key, key + width).next(list); };
    Listed list, other;
    see(0, list);
    int64_t first = 0, ahead = BLOCK;  // what comes soon is asked for once
    for (int64_t r = 1; r < at.rows; ++r) {
        if (form_at(r) == form_at(r - 1) && (!form_at(r) || at.query_of(r) == at.query_of(r - 1))) continue;
        see(r, other);
        if (list == other) continue;
        attend_listed(p, b, at, first, r - first, list, ahead);
        ahead = list.count ? 0 : ahead, first = r, list = other;
    }
    attend_listed(p, b, at, first, at.rows - first, list, ahead);
}

struct Decode {
    int64_t rows, runs, part;  // of a key head; numbers of a part, [rows] top, [rows] total, [rows][value_width] sum
    Scratch memory;
    real* parts;

    explicit Decode(const Problem& p)
        : rows(p.group() * p.queries), runs((p.keys + RUN - 1) / RUN), part(rows * (2 + lanes_up(p.value_dim))),
          memory(p.batch * p.kv_heads * runs * part + LANES), parts(memory.take(p.batch * p.kv_heads * runs * part)) {}

    Block block(const Problem& p, int64_t kv_head) const {
        return {kv_head / p.kv_heads, kv_head % p.kv_heads * p.group(), p.group(), 0, rows};
    }
    void point(RowBlock& b, int64_t kv_head, int64_t run) const {
        b.top = parts + (kv_head * runs + run) * part, b.total = b.top + rows, b.sum = b.total + rows;
    }
};

static void attend_run(const Problem& p, const Decode& d, RowBlock& b, int64_t kv_head, int64_t run) {
    const Block at = d.block(p, kv_head);
    d.point(b, kv_head, run);
    start_rows(p, b, at);
    for (int64_t key = run * RUN; key < std::min(p.keys, (run + 1) * RUN); key += BLOCK) attend_block(p, b, at, key);
}

// A row's parts in order, into the first of them.
static void merge_row(const Problem& p, const Decode& d, int64_t kv_head, int64_t r) {
    const Block at = d.block(p, kv_head);
    const bool softmax = p.normalize == Normalize::softmax;
    RowBlock into, from;
    d.point(into, kv_head, 0);
    const int64_t width = lanes_up(p.value_dim);
    real* sum = into.sum + r * width;
    for (int64_t run = 1; run < d.runs; ++run) {
        d.point(from, kv_head, run);
        const vf top = greater(splat(from.top[r]), splat(into.top[r]));
        const vf old = exp2_of((into.top[r] - top) * factor_of(p)), more = exp2_of((from.top[r] - top) * factor_of(p));
        if (softmax) into.total[r] = into.total[r] * old[0] + from.total[r] * more[0];
        into.top[r] = top[0];
        for (int64_t c = 0; c < width; c += LANES) store(sum + c, load(sum + c) * old + load(from.sum + r * width + c) * more);
    }
    write_result(p, at.batch, at.head_of(r), at.query_of(r), into.top[r], into.total[r], sum, 1);
}

static void decode(const Problem& p) {
    const Decode d(p);
    const int64_t kv_heads = p.batch * p.kv_heads;
    parallel(p.threads, [&](Team& team) {
        Scratch memory(row_block_numbers(p, d.rows));
        RowBlock b = take_row_block(p, d.rows, memory);
        team.dynamic(kv_heads * d.runs, [&](int64_t item) { attend_run(p, d, b, item / d.runs, item % d.runs); });
        team.even(kv_heads * d.rows, [&](int64_t n) { merge_row(p, d, n / d.rows, n % d.rows); });
        return true;
    });
}
