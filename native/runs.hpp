// The backward pass over all tiles, whatever a tile is computed with (RealTiles, PairTiles). The keys of a head are cut into
// runs, each with a dq of its own that is added in order, so that neither threads nor other heads change a bit of the result.

// Where each block of query rows sees anything, for every form: [forms][blocks][2].
using Reach = List<int64_t>;

// All query rows of one head against the block of keys.
template <class Tiles>
REGARD_APART void differentiate_head(const Problem& p, Tiles& tiles, const Reach& reaches, Spot s, const Sums& sums) {
    const int64_t blocks = (p.queries + QUERIES - 1) / QUERIES;
    const Form* form = p.form(s.batch, s.head);
    const int64_t* reach = form ? reaches.data() + (form - p.forms) * blocks * 2 : nullptr;
    for (int64_t block = 0; block < blocks; ++block) {
        if (reach && (reach[2 * block] >= s.key + s.keys || reach[2 * block + 1] <= s.key)) continue;
        s.query = block * QUERIES, s.queries = std::min<int64_t>(p.queries - s.query, QUERIES);
        const Seen seen = look_along(form, s.query, s.queries, s.key, s.keys, tiles.block.words);
        if (seen == Seen::nothing) continue;
        tiles.block.partly = seen == Seen::some;
        tiles.tile(p, s, sums);
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

// Memory that several runs of keys add to, each to its own: [parts][heads of all entries][·].
struct Shares {
    int64_t parts, width, rows, table;  // rows: whole blocks; table: numbers of one head's, its room included, or 0
    Zeros query, tables, delta;

    Shares(const Problem& p, int64_t width)
        : parts(parts_of(p.keys)), width(width), rows((p.queries + QUERIES - 1) / QUERIES * QUERIES),
          table(p.bias_grad.table ? p.bias.table_size + 2 * BLOCK : 0), query(parts * p.batch * p.heads * rows * width),
          tables(parts * p.batch * p.heads * table), delta(p.batch * p.heads * p.queries) {}

    real* query_row(const Problem& p, int64_t part, int64_t head, int64_t row) const {
        return query.data() + ((part * p.batch * p.heads + head) * rows + row) * width;
    }
    Sums of(const Problem& p, int64_t batch, int64_t head, int64_t part) const {
        const int64_t all = p.batch * p.heads;
        head += batch * p.heads;
        return {delta.data() + head * p.queries, query_row(p, part, head, 0),
                table ? tables.data() + (part * all + head) * table : nullptr};
    }
};

// One run of keys of one key head: whether all numbers are tame.
template <class Tiles>
static bool differentiate_part(const Problem& p, Tiles& tiles, const Reach& reaches, const Shares& shares, int64_t kv_head,
                               int64_t part) {
    const int64_t blocks = (p.keys + BLOCK - 1) / BLOCK, batch = kv_head / p.kv_heads;
    kv_head %= p.kv_heads;
    bool fine = true;
    Divide ones;
    for (int n = 0; n < BLOCK; ++n) ones.set(n, 1);
    for (int64_t block = blocks * part / shares.parts; block < blocks * (part + 1) / shares.parts; ++block) {
        const int64_t key = block * BLOCK, keys = std::min<int64_t>(p.keys - key, BLOCK), head = kv_head * p.group();
        fine = tiles.begin(p, {batch, head, 0, 0, key, keys}) && fine;
        for (int64_t g = 0; g < p.group(); ++g)
            differentiate_head(p, tiles, reaches, {batch, head + g, 0, 0, key, keys}, shares.of(p, batch, head + g, part));
        write_lanes(p.key_grad, batch, kv_head, key, keys, p.dim, tiles.block.key_sum, ones);
        write_lanes(p.value_grad, batch, kv_head, key, keys, p.value_dim, tiles.block.value_sum, ones);
    }
    return fine;
}

// dq of a row: the parts in order.
static void write_query(const Problem& p, const Shares& shares, int64_t n) {
    const int64_t head = n / p.queries;
    write_row(p.query_grad, head / p.heads, head % p.heads, n % p.queries, 0, p.dim, [&](int64_t d) {
        real sum = 0;
        for (int64_t part = 0; part < shares.parts; ++part) sum += shares.query_row(p, part, head, n % p.queries)[d];
        return sum;
    });
}

// The table's gradient of a head: batch entries and parts in order.
static void write_table(const Problem& p, const Shares& shares, int64_t head) {
    real* to = p.bias_grad.table.at<real>(0, head, 0);
    for (int64_t n = 0; n < p.bias.table_size; ++n) {
        real sum = 0;
        for (int64_t one = 0; one < shares.parts * p.batch; ++one)
            sum += shares.tables.data()[(one * p.heads + head) * shares.table + BLOCK + n];
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

// delta of row n of all, into its place: whether all numbers of the row are tame.
static bool begin_row(const Problem& p, const Shares& shares, int64_t n, real* room) {
    const real delta = delta_of(p, n / p.queries / p.heads, n / p.queries % p.heads, n % p.queries, room);
    shares.delta.data()[n] = delta;
    return delta - delta == 0 &&
           (!hides(p) || (tame_row(p, p.query, n, p.dim, room) && tame_row(p, p.out_grad, n, p.value_dim, room)));
}

// False where a hidden pair may have met NaN or ∞, or a product that is: then the gradients are not to be used.
template <class Tiles>
static bool tiles_backward(const Problem& p, const Choice& choice) {
    const int64_t kv_heads = p.batch * p.kv_heads, together = shared(p) ? kv_heads : 1;
    const Reach reaches = reach_all(p);
    const Shares shares(p, Tiles::width(p));
    const typename Tiles::Shared before(p);
    return parallel(p.threads, [&](Team& team) {
        bool fine = true;
        Scratch memory(Tiles::numbers(p) + 2 * p.value_dim + p.dim);
        Tiles tiles(p, before, memory);
        real* room = memory.take(2 * p.value_dim + p.dim);
        before.make(choice, team);
        team.even(p.batch * p.heads * p.queries, [&](int64_t n) {
            if (!choice.by_rows(n / p.queries / p.group())) fine = begin_row(p, shares, n, room) && fine;
        });
        team.dynamic(kv_heads / together * shares.parts, [&](int64_t item) {
            for (int64_t n = 0; n < together; ++n) {
                const int64_t kv_head = item / shares.parts * together + n;
                if (!choice.by_rows(kv_head))
                    fine = differentiate_part(p, tiles, reaches, shares, kv_head, item % shares.parts) && fine;
            }
        });
        team.even(p.batch * p.heads * p.queries, [&](int64_t n) {
            if (!choice.by_rows(n / p.queries / p.group())) write_query(p, shares, n);
        });
        team.even(shares.table ? p.heads : 0, [&](int64_t head) { write_table(p, shares, head); });
        return fine;
    });
}
