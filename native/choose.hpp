// Which kernels run a problem, by queries, keys, group and pattern alone: neither threads nor other heads change a bit.

constexpr int64_t FEW_ROWS = 32;  // a block of 64 costs about as much as so many rows one by one; fewer of small dims
constexpr int64_t OWN = 25;       // what a row costs beside its pairs, in pairs

// Whether score and slope are the product but for the scale, so that they can be had in the product's own pass.
static bool plain(const Problem& p) { return !p.moved() && !p.dropout; }

// Bytes of a head that stay in the nearer caches by themselves; the driver makes do with less.
#ifndef REGARD_NEAR
#define REGARD_NEAR (int64_t{1} << 18)
#endif
constexpr int64_t NEAR = REGARD_NEAR;

// A tile of 64 × 64 costs at least as much as so many pairs one by one, forward and backward: a low guess.
static int64_t worth_of_tile(const Problem& p) { return std::min<int64_t>(300 + 10 * (p.dim + p.value_dim), 1800); }

// What a block of rows saves, in pairs, without the tiles of 64 keys that it touches; where its pairs are worth all tiles
// of its reach, these stand for them. touched: for each tile the last block that did.
static int64_t saved_by_block(const Form& form, int64_t first, int64_t rows, int64_t worth, List<int64_t>& touched) {
    int64_t low, high, cost = OWN * rows;
    reach(form, first, rows, touched.size() * KEYS, low, high);
    const int64_t begin = form.offsets[first], end = form.offsets[first + rows];
    if (begin == end) return 0;
    for (int64_t n = begin; n < end; ++n) cost += form.high[n] - form.low[n];
    int64_t tiles = (high - low + KEYS - 1) / KEYS;
    if (cost >= worth * tiles) return worth * tiles - cost;
    tiles = 0;
    for (int64_t n = begin; n < end; ++n)
        for (int64_t tile = form.low[n] / KEYS; tile <= (form.high[n] - 1) / KEYS; ++tile)
            if (touched[tile] != first) touched[tile] = first, ++tiles;
    return worth * tiles - cost;
}

// The same for all rows; bits, which are for patterns that are not sparse, save nothing.
static int64_t saved_by_rows(const Problem& p, const Form& form) {
    constexpr int64_t never = -(int64_t{1} << 48);
    if (!form.offsets) return never;
    int64_t saved = 0;
    List<int64_t> touched((p.keys + KEYS - 1) / KEYS, -1);
    for (int64_t first = 0; first < p.queries; first += BLOCK)
        saved += saved_by_block(form, first, std::min<int64_t>(p.queries - first, BLOCK), worth_of_tile(p), touched);
    return saved;
}

// Whether all rows of a key head go through its keys together, each key once. Where bias or dropout go by head, groups
// can't be packed into blocks, and each head has a block of its own.
static bool few_rows(const Problem& p) {
    return p.queries * (p.bias || p.dropout ? 1 : p.group()) < FEW_ROWS;
}

// For each key head of each batch entry: tiles of 64 × 64 pairs, or row by row. The backward pass makes the same choice,
// so that its products have the bits of the forward pass and cancel where they should.
class Choice {
   public:
    explicit Choice(const Problem& p) : by_rows_(p.batch * p.kv_heads, few_rows(p)) {
        if (p.forms && !few_rows(p)) weigh(p);
        count();
    }
    explicit Choice(List<char> by_rows) : by_rows_(std::move(by_rows)) { count(); }
    bool by_rows(int64_t kv_head) const { return by_rows_[kv_head]; }
    bool any_by_rows() const { return count_; }
    bool all_by_rows() const { return count_ == static_cast<int64_t>(by_rows_.size()); }

   private:
    void count() {
        for (const char chosen : by_rows_) count_ += chosen;
    }
    void weigh(const Problem& p) {
        List<int64_t> saved(p.form_count);
        for (int64_t n = 0; n < p.form_count; ++n) saved[n] = saved_by_rows(p, p.forms[n]);
        for (int64_t kv_head = 0; kv_head < p.batch * p.kv_heads; ++kv_head) {
            int64_t sum = 0;
            for (int64_t g = 0; g < p.group(); ++g)
                sum += saved[p.form(kv_head / p.kv_heads, kv_head % p.kv_heads * p.group() + g) - p.forms];
            by_rows_[kv_head] = sum > 0;
        }
    }

    List<char> by_rows_;
    int64_t count_ = 0;
};
