// Blocks of query rows that go through the keys of a head together, a stretch of keys at a time, so that keys and values
// that are more than the nearer caches hold are fetched once for all of them. Each block meets the tiles that it would
// meet alone, in the same order: how many go together changes no bit.

constexpr int64_t ABREAST = 4;         // blocks at most
constexpr int64_t STRETCH = 4 * KEYS;  // keys of a turn

// How many blocks go together: as many as leave each thread some turns to take.
static int64_t abreast(const Problem& p) {
    constexpr int64_t TURNS = 8;
    if (p.keys * (p.dim + p.value_dim) * bytes_of(p.key.kind) <= NEAR) return 1;
    const int64_t blocks = (p.queries + BLOCK - 1) / BLOCK;
    return std::clamp<int64_t>(p.batch * p.heads * blocks / (TURNS * p.threads), 1, std::min(blocks, ABREAST));
}

// What a thread has seen of the keys of one head, and what it will want next.
class Outlook {
   public:
    explicit Outlook(const Problem& p) : p_(p) {}
    Errands errands;

    // Rows that begin, and those that will.
    void begin(const Spot& rows, const Spot& next) {
        errands.clear();
        const int64_t kv_head = rows.head / p_.group(), next_head = next.head / p_.group();
        if (next_head != kv_head || next.batch != rows.batch) add_keys(next.batch, next_head, first_key(next));
        errands.add(p_.query, next.batch, next.head, next.query, next.queries, p_.dim);
        errands.add(p_.out, rows.batch, rows.head, rows.query, rows.queries, p_.value_dim);
        errands.keep();
        if (rows.batch != batch_ || kv_head != head_) batch_ = rows.batch, head_ = kv_head, low_ = high_ = 0;
    }
    // A tile, after which the next keys are likely to come.
    void pass(const Spot& tile) {
        if (tile.key < low_ || tile.key > high_) low_ = tile.key, high_ = tile.key;
        high_ = std::max(high_, tile.key + tile.keys);
        const int64_t key = tile.key + KEYS;
        if (key >= p_.keys || key + KEYS <= high_) return;
        errands.drop();
        add_keys(batch_, head_, key);
        high_ = key + KEYS;
    }

   private:
    void add_keys(int64_t batch, int64_t kv_head, int64_t key) {
        const int64_t keys = std::min<int64_t>(p_.keys - key, KEYS);
        errands.add(p_.value, batch, kv_head, key, keys, p_.value_dim);
        errands.add(p_.key, batch, kv_head, key, keys, p_.dim);
    }
    int64_t first_key(const Spot& rows) const {
        const Form* form = p_.form(rows.batch, rows.head);
        if (!form || !form->offsets || form->offsets[rows.query] == form->offsets[rows.query + 1]) return 0;
        return form->low[form->offsets[rows.query]];
    }

    const Problem& p_;
    int64_t batch_ = -1, head_ = -1, low_ = 0, high_ = 0;
};

// Rows: what a block is computed with (RealRows, PairRows).
template <class Rows>
class Abreast {
   public:
    Abreast(const Problem& p, typename Rows::Own& own, int64_t count)
        : p_(p), memory_(Rows::numbers(p) + (count - 1) * Rows::own_numbers(p)), outlook_(p) {
        rows_.reserve(count);
        rows_.emplace_back(p, own, memory_);
        rows_[0].block().errands = &outlook_.errands;
        while (static_cast<int64_t>(rows_.size()) < count) rows_.emplace_back(p, rows_[0], memory_);
    }
    // Some rows of a head, and those that come after them.
    void attend(const Spot& rows, const Spot& next) {
        List<Spot> spots;
        List<TileWalk> tiles;
        outlook_.begin(rows, next);
        for (int64_t row = 0; row < rows.queries; row += BLOCK) {
            spots.push_back({rows.batch, rows.head, rows.query + row, std::min<int64_t>(rows.queries - row, BLOCK), 0, 0});
            tiles.emplace_back(p_, spots.back(), p_.keys);
            rows_[spots.size() - 1].begin(p_, spots.back());
        }
        const int64_t step = spots.size() > 1 ? STRETCH : p_.keys;
        for (int64_t key = step; key < p_.keys + step; key += step)
            for (size_t n = 0; n < spots.size(); ++n)
                tiles[n].before(key, rows_[n].block(), [&](const Spot& tile) {
                    outlook_.pass(tile);
                    rows_[n].tile(p_, tile);
                });
        for (size_t n = 0; n < spots.size(); ++n) write_rows(p_, rows_[n].block(), spots[n]);
    }

   private:
    const Problem& p_;
    Scratch memory_;
    Outlook outlook_;
    List<Rows> rows_;
};

template <class Rows>
static bool tiles_forward(const Problem& p, const Choice& choice) {
    const int64_t rows = abreast(p) * BLOCK, groups = (p.queries + rows - 1) / rows;
    const typename Rows::Shared before(p);
    Claims claims(p.batch * p.heads, groups, p.threads);
    const auto spot = [&](const Claims::Turn& turn) {
        const int64_t first = (groups - 1 - turn.group) * rows;  // causal: the longest first
        return Spot{turn.head / p.heads, turn.head % p.heads, first, std::min(p.queries - first, rows), 0, 0};
    };
    return parallel(p.threads, [&](Team& team) {
        typename Rows::Own own(p, before);
        Abreast<Rows> together(p, own, rows / BLOCK);
        before.make(choice, team);
        claims.work([&](const Claims::Turn& turn, const Claims::Turn& next) {
            if (!choice.by_rows(turn.head / p.group())) together.attend(spot(turn), spot(next));
        });
        return true;
    });
}
