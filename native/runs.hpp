// The backward pass over all tiles, whatever a tile is computed with (RealTiles, PairTiles). The keys of a head are cut into
// runs, each with a dq of its own that is added in order, so that neither threads nor other heads change a bit of the result.

// Between which keys each block of query rows sees anything.
class Reaches {
   public:
    explicit Reaches(const Problem& p)
        : p_(p), blocks_((p.queries + QUERIES - 1) / QUERIES), ends_((p.forms ? p.form_count : 0) * blocks_ * 2) {
        for (int64_t n = 0; n < static_cast<int64_t>(ends_.size()) / 2; ++n) {
            const int64_t first = n % blocks_ * QUERIES, rows = std::min<int64_t>(p.queries - first, QUERIES);
            reach(p.forms[n / blocks_], first, rows, p.keys, ends_[2 * n], ends_[2 * n + 1]);
        }
    }
    int64_t blocks() const { return blocks_; }

    // Whether a block of rows of a head may see any of the keys [low, high).
    bool meet(const Form* form, int64_t block, int64_t low, int64_t high) const {
        if (!form) return true;
        const int64_t* ends = &ends_[((form - p_.forms) * blocks_ + block) * 2];
        return ends[0] < high && ends[1] > low;
    }

   private:
    const Problem& p_;
    int64_t blocks_;
    List<int64_t> ends_;  // [forms][blocks][2]
};

// All query rows of one head against the block of keys.
template <class Tiles>
REGARD_APART void differentiate_head(const Problem& p, Tiles& tiles, const Reaches& reaches, Spot s, const Sums& sums) {
    const Form* form = p.form(s.batch, s.head);
    for (int64_t block = 0; block < reaches.blocks(); ++block) {
        if (!reaches.meet(form, block, s.key, s.key + s.keys)) continue;
        s.query = block * QUERIES, s.queries = std::min<int64_t>(p.queries - s.query, QUERIES);
        const Seen seen = look_along(form, s.query, s.queries, s.key, s.keys, tiles.block.words);
        if (seen == Seen::nothing) continue;
        tiles.block.partly = seen == Seen::some;
        tiles.tile(p, s, sums);
    }
}

// How many runs the keys are cut into: by their number alone.
static int64_t parts_of(int64_t keys) { return keys <= 4 * BLOCK ? 1 : keys <= 16 * BLOCK ? 2 : 4; }

// delta_i from do_i · out_i, and the row's part of the sink's gradient, −w_sink · (do_i · out_i).
REGARD_INLINE real settled_delta(const Problem& p, int64_t batch, int64_t head, int64_t row, real sum) {
    if (p.sink_grad) {
        const real lse = *p.lse.at<const real>(batch, head, row);
        const real share = lse == -INFINITE ? 0 : std::exp(*p.sink.at<const real>(0, head, 0) - lse);
        *p.sink_grad.at<real>(batch, head, row) = -share * sum;
    }
    return p.lse_grad ? sum - *p.lse_grad.at<const real>(batch, head, row) : sum;
}

// do_i · out_i of a block of rows, in the lanes.
REGARD_APART void dots_of(const Problem& p, const real* grad, const real* out, real* dots) {
    for (int n = 0; n < BLOCK; n += LANES) {
        vf sum{};
        for (int64_t run = 0; run < p.value_dim; run += DEPTH) {
            vf part{};
            for (int64_t c = run; c < p.value_dim && c < run + DEPTH; ++c)
                part += load(grad + c * BLOCK + n) * load(out + c * BLOCK + n);
            sum = run ? sum + part : part;
        }
        store(dots + n, sum);
    }
}

// Memory that several runs of keys add to, each to its own. dq is there for as many key heads at a time as 16 MiB hold:
// memory of that size is found again by the next call, more would be new pages every time.
struct Shares {
    int64_t blocks, parts, width, rows, table;  // blocks: of keys; rows: whole blocks; table: numbers of one head's, its room included, or 0
    int64_t together;                   // key heads at a time
    Scratch query;                      // [parts][together · group][rows][width]
    List<real> tables, delta;           // [parts][heads of all entries][table], [heads of all entries][queries]

    Shares(const Problem& p, int64_t width)
        : blocks((p.keys + BLOCK - 1) / BLOCK), parts(parts_of(p.keys)), width(width), rows((p.queries + QUERIES - 1) / QUERIES * QUERIES),
          table(p.bias_grad.table ? p.bias.table_size + 2 * BLOCK : 0),
          together(std::clamp<int64_t>((int64_t{1} << 24) / (parts * p.group() * rows * width * sizeof(real)), 1, p.batch * p.kv_heads)),
          query(parts * together * p.group() * rows * width), tables(parts * p.batch * p.heads * table),
          delta(p.batch * p.heads * p.queries) {}

    // The keys [first_key(part), first_key(part + 1)) are those of a run.
    int64_t first_key(int64_t part) const { return blocks * part / parts * BLOCK; }
    // head: of all entries.
    real* query_row(const Problem& p, int64_t part, int64_t head, int64_t row) const {
        const int64_t heads = together * p.group();
        return query.all() + ((part * heads + head % heads) * rows + row) * width;
    }
    Sums of(const Problem& p, int64_t batch, int64_t head, int64_t part) {
        const int64_t all = p.batch * p.heads;
        head += batch * p.heads;
        return {delta.data() + head * p.queries, query_row(p, part, head, 0),
                table ? tables.data() + (part * all + head) * table : nullptr};
    }
};

// Whether a block of query rows has a dq of this run of keys.
static bool has_part(const Problem& p, const Reaches& reaches, const Shares& shares, int64_t batch, int64_t head, int64_t part,
                     int64_t block) {
    return reaches.meet(p.form(batch, head), block, shares.first_key(part), shares.first_key(part + 1));
}

static void clear_query(const Problem& p, const Reaches& reaches, const Shares& shares, int64_t batch, int64_t head, int64_t part) {
    for (int64_t block = 0; block < reaches.blocks(); ++block)
        if (has_part(p, reaches, shares, batch, head, part, block))
            std::fill_n(shares.query_row(p, part, batch * p.heads + head, block * QUERIES), QUERIES * shares.width, real(0));
}

// One run of keys of one key head: whether all numbers are tame.
template <class Tiles>
static bool differentiate_part(const Problem& p, Tiles& tiles, const Reaches& reaches, Shares& shares, int64_t kv_head,
                               int64_t part) {
    const int64_t batch = kv_head / p.kv_heads, low = shares.first_key(part), high = shares.first_key(part + 1);
    kv_head %= p.kv_heads;
    bool fine = true;
    for (int64_t g = 0; g < p.group(); ++g) clear_query(p, reaches, shares, batch, kv_head * p.group() + g, part);
    Divide ones;
    for (int n = 0; n < BLOCK; ++n) ones.set(n, 1);
    for (int64_t key = low; key < high; key += BLOCK) {
        const int64_t keys = std::min<int64_t>(p.keys - key, BLOCK), head = kv_head * p.group();
        fine = tiles.begin(p, {batch, head, 0, 0, key, keys}) && fine;
        for (int64_t g = 0; g < p.group(); ++g)
            differentiate_head(p, tiles, reaches, {batch, head + g, 0, 0, key, keys}, shares.of(p, batch, head + g, part));
        write_lanes(p.key_grad, batch, kv_head, key, keys, p.dim, tiles.block.key_sum, ones);
        write_lanes(p.value_grad, batch, kv_head, key, keys, p.value_dim, tiles.block.value_sum, ones);
    }
    return fine;
}

// dq of a row: the parts that there are, in order.
static void write_query(const Problem& p, const Reaches& reaches, const Shares& shares, int64_t n) {
    const int64_t head = n / p.queries, row = n % p.queries;
    real* sum = nullptr;
    for (int64_t part = 0; part < shares.parts; ++part) {
        if (!has_part(p, reaches, shares, head / p.heads, head % p.heads, part, row / QUERIES)) continue;
        real* more = shares.query_row(p, part, head, row);
        for (int64_t d = 0; sum && d < shares.width; d += LANES) store(sum + d, load(sum + d) + load(more + d));
        if (!sum) sum = more;
    }
    write_row(p.query_grad, head / p.heads, head % p.heads, row, 0, p.dim, [&](int64_t d) { return sum ? sum[d] : real(0); });
}

// The table's gradient of a head: batch entries and parts in order.
static void write_table(const Problem& p, Shares& shares, int64_t head) {
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

// Room for the blocks of rows that `begin_block` brings into the lanes.
struct RowRoom {
    real *grad, *out, *rows;

    RowRoom(const Problem& p, Scratch& memory)
        : grad(memory.take(p.value_dim * BLOCK)), out(memory.take(p.value_dim * BLOCK)),
          rows(memory.take(std::max(p.dim, p.value_dim) * BLOCK)) {}
    static int64_t numbers(const Problem& p) { return (2 * p.value_dim + std::max(p.dim, p.value_dim)) * BLOCK; }
};

// delta of a block of rows, into its place: whether all their numbers are tame.
static bool begin_block(const Problem& p, Shares& shares, const RowRoom& room, const Spot& s) {
    real dots[BLOCK];
    const Rows out = rows_of(p.out, s.batch, s.head, s.query, s.queries, p.value_dim, room.rows);
    to_lanes(out, s.queries, p.value_dim, room.out);
    const Rows grad = rows_of(p.out_grad, s.batch, s.head, s.query, s.queries, p.value_dim, room.rows);
    to_lanes(grad, s.queries, p.value_dim, room.grad);
    bool fine = !hides(p) || tame(grad, s.queries, p.value_dim);
    dots_of(p, room.grad, room.out, dots);
    for (int64_t i = 0; i < s.queries; ++i) {
        const real delta = settled_delta(p, s.batch, s.head, s.query + i, dots[i]);
        shares.delta[(s.batch * p.heads + s.head) * p.queries + s.query + i] = delta;
        fine = fine && delta - delta == 0;
    }
    return fine && (!hides(p) || tame(rows_of(p.query, s.batch, s.head, s.query, s.queries, p.dim, room.rows), s.queries, p.dim));
}

// Some key heads, from `first` on, all their runs.
template <class Tiles>
static bool differentiate_heads(const Problem& p, Tiles& tiles, const Choice& choice, const Reaches& reaches, Shares& shares,
                                int64_t first, Team& team) {
    const int64_t count = std::min(shares.together, p.batch * p.kv_heads - first), in_turn = shared(p) ? count : 1;
    bool fine = true;
    team.dynamic(count / in_turn * shares.parts, [&](int64_t item) {
        for (int64_t n = 0; n < in_turn; ++n) {
            const int64_t kv_head = first + item / shares.parts * in_turn + n;
            if (!choice.by_rows(kv_head))
                fine = differentiate_part(p, tiles, reaches, shares, kv_head, item % shares.parts) && fine;
        }
    });
    team.even(count * p.group() * p.queries, [&](int64_t n) {
        if (!choice.by_rows(first + n / p.queries / p.group())) write_query(p, reaches, shares, first * p.group() * p.queries + n);
    });
    return fine;
}

// False where a hidden pair may have met NaN or ∞, or a product that is: then the gradients are not to be used.
template <class Tiles>
static bool tiles_backward(const Problem& p, const Choice& choice) {
    const int64_t blocks = (p.queries + BLOCK - 1) / BLOCK;
    const Reaches reaches(p);
    Shares shares(p, Tiles::width(p));
    const typename Tiles::Shared before(p);
    return parallel(p.threads, [&](Team& team) {
        bool fine = true;
        Scratch memory(Tiles::numbers(p) + RowRoom::numbers(p));
        Tiles tiles(p, before, memory);
        const RowRoom room(p, memory);
        before.make(choice, team);
        team.even(p.batch * p.heads * blocks, [&](int64_t n) {
            const int64_t head = n / blocks, first = n % blocks * BLOCK;
            const Spot rows = {head / p.heads, head % p.heads, first, std::min<int64_t>(p.queries - first, BLOCK), 0, 0};
            if (!choice.by_rows(head / p.group())) fine = begin_block(p, shares, room, rows) && fine;
        });
        for (int64_t first = 0; first < p.batch * p.kv_heads; first += shares.together)
            fine = differentiate_heads(p, tiles, choice, reaches, shares, first, team) && fine;
        team.even(shares.table ? p.heads : 0, [&](int64_t head) { write_table(p, shares, head); });
        return fine;
    });
}
