// The backward pass over all tiles, whatever a tile is computed with (RealTiles, PairTiles). The keys of a head are cut into
// runs, each with a dq of its own.

// delta_i from do_i · out_i, and the row's part of the sink's gradient, −w_sink · (do_i · out_i).
REGARD_INLINE real settled_delta(const Problem& p, int64_t batch, int64_t head, int64_t row, real sum) {
    if (p.sink_grad) {
        const real lse = *p.lse.at<const real>(batch, head, row);
        const real share = lse == -INFINITE ? 0 : std::exp(*p.sink.at<const real>(0, head, 0) - lse);
        *p.sink_grad.at<real>(batch, head, row) = -share * sum;
    }
    return p.lse_grad ? sum - *p.lse_grad.at<const real>(batch, head, row) : sum;
}

// do_i · out_i of LANES rows: summed in the order of do_i · v_j, so that a row with one key has a slope of exactly 0.
REGARD_INLINE vf dots_of_rows(const Rows& grad, const Rows& out, int64_t columns) {
    const int64_t whole = grad.column == 1 && out.column == 1 ? columns / PIECE * PIECE : 0;
    vf sum{};
    for (int64_t run = 0; run < columns; run += DEPTH) {
        const int64_t end = std::min(columns, run + DEPTH);
        vf part{};
        int64_t c = run;
        for (; c < std::min(end, whole); c += PIECE) {
            alignas(REGARD_BYTES) vf x[PIECE], y[PIECE];
            columns_of(grad.data + c, grad.row, x), columns_of(out.data + c, out.row, y);
#pragma GCC unroll 4
            for (int n = 0; n < PIECE; ++n) part += x[n] * y[n];
        }
        for (; c < end; ++c) part += column_of(grad, c) * column_of(out, c);
        sum = run ? sum + part : part;
    }
    return sum;
}

// The same of one row.
REGARD_INLINE real dot_of_row(const Rows& grad, const Rows& out, int64_t columns) {
    real sum = 0;
    for (int64_t run = 0; run < columns; run += DEPTH) {
        real part = 0;
        for (int64_t c = run; c < std::min(columns, run + DEPTH); ++c)
            part = fused(grad.data[c * grad.column], out.data[c * out.column], part);
        sum = run ? sum + part : part;
    }
    return sum;
}

REGARD_APART void dots_of(const Rows& grad, const Rows& out, int64_t rows, int64_t columns, real* dots) {
    const int64_t whole = rows / LANES * LANES;
    for (int64_t r = 0; r < whole; r += LANES) store(dots + r, dots_of_rows(grad.from(r), out.from(r), columns));
    for (int64_t r = whole; r < rows; ++r) dots[r] = dot_of_row(grad.from(r), out.from(r), columns);
}

// Room for the blocks of rows that are widened for their delta.
struct RowRoom {
    real *out, *query_or_grad;

    RowRoom(const Problem& p, Scratch& memory)
        : out(memory.take(room_for(p.out, QUERIES, p.value_dim))), query_or_grad(memory.take(most(p))) {}
    static int64_t numbers(const Problem& p) { return room_for(p.out, QUERIES, p.value_dim) + most(p) + 2 * LANES; }

   private:
    static int64_t most(const Problem& p) {
        return std::max(room_for(p.query, QUERIES, p.dim), room_for(p.out_grad, QUERIES, p.value_dim));
    }
};

// delta of a block of rows, into its place: whether all their numbers are tame.
static bool begin_block(const Problem& p, Shares& shares, const RowRoom& room, const Spot& s) {
    real dots[BLOCK], *delta = shares.delta_of(s.batch * p.heads + s.head) + s.query;
    const Rows out = rows_of(p.out, s.batch, s.head, s.query, s.queries, p.value_dim, room.out);
    const Rows grad = rows_of(p.out_grad, s.batch, s.head, s.query, s.queries, p.value_dim, room.query_or_grad);
    dots_of(grad, out, s.queries, p.value_dim, dots);
    bool fine = !hides(p) || tame(grad, s.queries, p.value_dim);
    for (int64_t i = 0; i < s.queries; ++i) {
        delta[i] = settled_delta(p, s.batch, s.head, s.query + i, dots[i]);
        fine = fine && delta[i] - delta[i] == 0;
    }
    return fine && (!hides(p) || tame(rows_of(p.query, s.batch, s.head, s.query, s.queries, p.dim, room.query_or_grad), s.queries, p.dim));
}

// How many blocks of keys go through the rows of a head together: where these are more than the nearer caches hold, they
// are fetched once for all blocks. Each meets them in the same order as alone; how many they are hangs on no thread.
static int64_t blocks_together(const Problem& p, const Shares& shares) {
    constexpr int64_t MOST = 4, ROOM = int64_t{1} << 17;  // blocks, and numbers of these
    if (p.group() * p.queries * (p.dim * 2 + p.value_dim) * bytes_of(p.query.kind) <= NEAR) return 1;
    return std::clamp<int64_t>(ROOM / own_key_numbers(p), 1, std::min(MOST, shares.blocks));
}

// One thread's runs, one after another.
template <class Tiles>
class Runner {
   public:
    bool fine = true;  // whether all numbers were tame

    Runner(const Problem& p, typename Tiles::Own& own, const Reaches& reaches, Shares& shares)
        : p_(p), reaches_(reaches), shares_(shares), together_(blocks_together(p, shares)),
          memory_(Tiles::numbers(p) + (together_ - 1) * Tiles::own_numbers(p) + RowRoom::numbers(p)), room_(p, memory_) {
        tiles_.reserve(together_);
        tiles_.emplace_back(p, own, memory_);
        tiles_[0].block().errands = &errands_;
        while (static_cast<int64_t>(tiles_.size()) < together_) tiles_.emplace_back(p, tiles_[0], memory_);
    }
    // A run of a key head; next: the head of the run that is likely to come after it.
    void run(int64_t kv_head, int64_t part, int64_t next) {
        const int64_t place = shares_.place(kv_head), end = std::min(shares_.first_key(part + 1), p_.keys);
        begun_.assign(shares_.row_blocks(), false);
        for (int64_t key = shares_.first_key(part); key < end; key += together_ * BLOCK) {
            const int64_t keys = std::min(end - key, together_ * BLOCK);
            Spot s = {kv_head / p_.kv_heads, kv_head % p_.kv_heads * p_.group(), 0, 0, key, keys};
            look_ahead(s, end, next);
            begin(s);
            for (int64_t g = 0; g < p_.group(); ++g) differentiate(s, g, place, part);
            write_keys(s);
        }
        if (!shares_.end_run(kv_head)) return;
        for (int64_t n = 0; n < shares_.row_blocks(); ++n) {
            find_delta(kv_head, n);  // of those that see nothing, for the gradient of the sink
            write_queries(kv_head, place, n);
        }
        shares_.leave(place);
    }

   private:
    // Whether a block of query rows has a dq of this run.
    bool has_part(int64_t kv_head, int64_t head, int64_t part, int64_t block) const {
        const Form* form = p_.form(kv_head / p_.kv_heads, kv_head % p_.kv_heads * p_.group() + head);
        return reaches_.meet(form, block, shares_.first_key(part), shares_.first_key(part + 1));
    }
    // Rows of the block of that number in the key head's group, without keys.
    Spot rows_at(int64_t kv_head, int64_t n) const {
        const int64_t head = kv_head % p_.kv_heads * p_.group() + n / reaches_.blocks(), row = n % reaches_.blocks() * QUERIES;
        return {kv_head / p_.kv_heads, head, row, std::min<int64_t>(p_.queries - row, QUERIES), 0, 0};
    }
    void find_delta(int64_t kv_head, int64_t n) {
        shares_.find_delta(kv_head, n, [&] { fine = begin_block(p_, shares_, room_, rows_at(kv_head, n)) && fine; });
    }
    // A block of rows that the run meets for the first time.
    void begin_rows(int64_t kv_head, int64_t n, real* query_sum) {
        if (begun_[n]) return;
        find_delta(kv_head, n);
        std::fill_n(query_sum, QUERIES * shares_.width, real(0));
        begun_[n] = true;
    }
    // each(tiles, spot) for the blocks of keys of a spot.
    template <class Each>
    REGARD_INLINE void each_block(const Spot& s, const Each& each) {
        Spot one = s;
        for (int64_t n = 0; n * BLOCK < s.keys; ++n) {
            one.key = s.key + n * BLOCK, one.keys = std::min<int64_t>(s.keys - n * BLOCK, BLOCK);
            each(tiles_[n], one);
        }
    }
    void begin(const Spot& s) {
        each_block(s, [&](Tiles& tiles, const Spot& one) { fine = tiles.begin(p_, one) && fine; });
    }
    void write_keys(const Spot& s) {
        each_block(s, [&](Tiles& tiles, const Spot& one) {
            const int64_t kv_head = s.head / p_.group();
            write_lanes(p_.key_grad, s.batch, kv_head, one.key, one.keys, p_.dim, tiles.block().key_sum, Undivided{});
            write_lanes(p_.value_grad, s.batch, kv_head, one.key, one.keys, p_.value_dim, tiles.block().value_sum, Undivided{});
        });
    }
    // All query rows of a head of the group against the blocks of keys.
    void differentiate(Spot s, int64_t g, int64_t place, int64_t part) {
        s.head += g;
        const Form* form = p_.form(s.batch, s.head);
        const int64_t head = s.batch * p_.heads + s.head, kv_head = head / p_.group();
        const Sums sums = {shares_.delta_of(head), shares_.query_row(place, part, g, 0), shares_.table_of(part, head)};
        for (int64_t block = 0; block < reaches_.blocks(); ++block) {
            if (!reaches_.meet(form, block, s.key, s.key + s.keys)) continue;
            s.query = block * QUERIES, s.queries = std::min<int64_t>(p_.queries - s.query, QUERIES);
            const int64_t n = g * reaches_.blocks() + block;
            begin_rows(kv_head, n, sums.query + s.query * shares_.width);
            if (block + 1 < reaches_.blocks() && (together_ > 1 || !begun_[n + 1])) ask_rows(s, shares_.has_delta(kv_head, n + 1));
            each_block(s, [&](Tiles& tiles, const Spot& one) { meet(tiles, one, form, sums); });
        }
    }
    void meet(Tiles& tiles, const Spot& s, const Form* form, const Sums& sums) {
        if (!reaches_.meet(form, s.query / QUERIES, s.key, s.key + s.keys)) return;
        const bool whole = s.keys == BLOCK && reaches_.within(form, s.query / QUERIES, s.key, s.key + s.keys);
        const Seen seen = whole ? Seen::everything : look_along(form, s.query, s.queries, s.key, s.keys, tiles.block().words);
        if (seen == Seen::nothing) return;
        tiles.block().partly = seen == Seen::some;
        tiles.block().quarters = tiles.block().partly ? Quarters(tiles.block().words, s.queries) : Quarters();
        tiles.tile(p_, s, sums);
    }
    // dq of a block of rows: the parts that there are, in order.
    void write_queries(int64_t kv_head, int64_t place, int64_t n) const {
        const Spot s = rows_at(kv_head, n);
        const int64_t g = n / reaches_.blocks(), block = n % reaches_.blocks(), width = shares_.width;
        real* sum = nullptr;
        for (int64_t part = 0; part < shares_.parts; ++part) {
            if (!has_part(kv_head, g, part, block)) continue;
            real* more = shares_.query_row(place, part, g, s.query);
            for (int64_t at = 0; sum && at < s.queries * width; at += LANES) store(sum + at, load(sum + at) + load(more + at));
            if (!sum) sum = more;
        }
        for (int64_t r = 0; r < s.queries; ++r)
            if (sum)
                write_numbers(p_.query_grad, s.batch, s.head, s.query + r, p_.dim, sum + r * width);
            else
                write_row(p_.query_grad, s.batch, s.head, s.query + r, 0, p_.dim, [](int64_t) { return real(0); });
    }

    // The next block of query rows, and of their outputs where they have no delta yet.
    void ask_rows(const Spot& s, bool have_delta) {
        const int64_t row = s.query + QUERIES, rows = std::min<int64_t>(p_.queries - row, QUERIES);
        errands_.drop();
        if (!have_delta) errands_.add(p_.out, s.batch, s.head, row, rows, p_.value_dim);
        errands_.add(p_.out_grad, s.batch, s.head, row, rows, p_.value_dim);
        errands_.add(p_.query, s.batch, s.head, row, rows, p_.dim);
    }
    // The gradients that come of blocks of keys, and what comes after it: keys of this run or rows of the next.
    void look_ahead(const Spot& s, int64_t end, int64_t next) {
        const int64_t kv_head = s.head / p_.group(), key = s.key + s.keys;
        const bool stays = next == s.batch * p_.kv_heads + kv_head;
        errands_.clear();
        if (key < (stays ? p_.keys : end)) {
            ask_keys(s.batch, kv_head, key);
        } else if (!stays) {
            const int64_t batch = next / p_.kv_heads, head = next % p_.kv_heads, rows = std::min<int64_t>(p_.queries, QUERIES);
            errands_.add(p_.query, batch, head * p_.group(), 0, rows, p_.dim);
            ask_keys(batch, head, 0);
            errands_.add(p_.out_grad, batch, head * p_.group(), 0, rows, p_.value_dim);
            errands_.add(p_.out, batch, head * p_.group(), 0, rows, p_.value_dim);
        }
        errands_.add(p_.value_grad, s.batch, kv_head, s.key, s.keys, p_.value_dim);
        errands_.add(p_.key_grad, s.batch, kv_head, s.key, s.keys, p_.dim);
        errands_.keep();
    }
    void ask_keys(int64_t batch, int64_t kv_head, int64_t key) {
        const int64_t keys = std::min<int64_t>(p_.keys - key, together_ * BLOCK);
        errands_.add(p_.value, batch, kv_head, key, keys, p_.value_dim);
        errands_.add(p_.key, batch, kv_head, key, keys, p_.dim);
    }

    const Problem& p_;
    const Reaches& reaches_;
    Shares& shares_;
    const int64_t together_;
    Scratch memory_;
    const RowRoom room_;
    List<Tiles> tiles_;
    Errands errands_;
    List<uint8_t> begun_;  // of a run: whether it has met a block of rows
};

// False where a hidden pair may have met NaN or ∞, or a product that is: then the gradients are not to be used.
template <class Tiles>
static bool tiles_backward(const Problem& p, const Choice& choice) {
    const Reaches reaches(p);
    Shares shares(p, Tiles::width(p));
    const typename Tiles::Shared before(p);
    const int64_t heads = p.batch * p.kv_heads, together = shares.together(), in_turn = shared(p) ? together : 1;
    List<Claims> rounds;
    for (int64_t first = 0; first < heads; first += together)
        rounds.emplace_back((std::min(together, heads - first) + in_turn - 1) / in_turn, shares.parts, p.threads);
    return parallel(p.threads, [&](Team& team) {
        typename Tiles::Own own(p, before);
        Runner<Tiles> runner(p, own, reaches, shares);
        before.make(choice, team);
        for (int64_t round = 0; round < static_cast<int64_t>(rounds.size()); ++round) {
            const int64_t first = round * together, end = std::min(heads, first + together);
            rounds[round].work([&](const Claims::Turn& turn, const Claims::Turn& next) {
                const int64_t head = first + turn.head * in_turn;
                for (int64_t n = head; n < std::min(end, head + in_turn); ++n)
                    if (!choice.by_rows(n)) runner.run(n, turn.group, in_turn > 1 ? std::min(n + 1, end - 1) : first + next.head);
            });
            team.meet();
        }
        team.even(shares.table ? p.heads : 0, [&](int64_t head) { write_table(p, shares, head); });
        return runner.fine;
    });
}
