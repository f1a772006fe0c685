// Rows that see few keys, far apart: each row goes through its own keys. O(pairs · dim) time.

constexpr int64_t SOON = 2;  // so many rows on, what will be read is asked for

// Asks for the first keys and values that a row will meet.
static void ask_for_row(const Problem& p, const Form* form, int64_t batch, int64_t kv_head, int64_t row) {
    if (row >= p.queries) return;
    Listed list;
    Seeing(form, row, 0, p.keys).next(list);
    for (int64_t j = 0; j < list.count; ++j)
        for (const Array* a : {&p.key, &p.value}) {
            const char* line = static_cast<const char*>(a->data) + a->offset(batch, kv_head, list.key[j]) * bytes_of(a->kind);
            ask_all(line, (a == &p.key ? p.dim : p.value_dim) * bytes_of(a->kind));
        }
}

// One query of the heads of a group that see the same.
static void attend_one(const Problem& p, RowBlock& b, const Block& at) {
    const Form* form = p.form(at.batch, at.head);
    ask_for_row(p, form, at.batch, at.head / p.group(), at.query + SOON);
    start_rows(p, b, at);
    Seeing seeing(form, at.query, 0, p.keys);
    for (Listed list; seeing.next(list);) attend_listed(p, b, at, 0, at.rows, list, 0);
    for (int64_t r = 0; r < at.rows; ++r)
        write_result(p, at.batch, at.head_of(r), at.query, b.top[r], b.total[r], b.sum + r * b.value_width, 1);
}

// A run of queries of one key head.
static void attend_sparse(const Problem& p, RowBlock& b, int64_t kv_head, int64_t first, int64_t last) {
    const int64_t batch = kv_head / p.kv_heads, head = kv_head % p.kv_heads * p.group(), end = head + p.group();
    for (int64_t h = head, next; h < end; h = next) {
        for (next = h + 1; next < end && p.form(batch, next) == p.form(batch, h);) ++next;
        for (int64_t query = first; query < last; ++query) attend_one(p, b, {batch, h, next - h, query, next - h});
    }
}

static void rows_forward(const Problem& p, const Choice& choice) {
    const int64_t blocks = (p.queries + BLOCK - 1) / BLOCK, items = p.batch * p.kv_heads * blocks;
    parallel(p.threads, [&](Team& team) {
        Scratch memory(row_block_numbers(p, p.group()));
        RowBlock b = take_row_block(p, p.group(), memory);
        team.dynamic(items, [&](int64_t item) {
            const int64_t first = item % blocks * BLOCK;
            if (choice.by_rows(item / blocks)) attend_sparse(p, b, item / blocks, first, std::min(p.queries, first + BLOCK));
        });
        return true;
    });
}
