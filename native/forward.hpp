// out_i = Σ_j normalize_j(score_ij) · v_j over the visible pairs, queries in the vector lanes; lse_i beside it.
// Powers are 2^((x − top) · factor): the greatest is exactly 1, so that a row with one great weight gives its value
// exactly, and the backward pass cancels there. x is the product q_i · k_j where nothing but the scale moves it, else
// the score.

REGARD_APART void product_tile(const Problem& p, QueryBlock& b, const Spot& s) {
    const Rows key = rows_of(p.key, s.batch, s.head / p.group(), s.key, s.keys, p.dim, b.key_room);
    multiply_parts(b.quarters, s.keys, p.dim, key, b.query, b.score,
                   [&](int64_t j, int64_t lane, const auto& x) { put_down(b.score + j * BLOCK + lane, BLOCK, x); }, b.errands);
}

// The same of a tile in which all is visible and only the scale makes scores, and the greatest of every row so far.
REGARD_APART void raise_tile(const Problem& p, QueryBlock& b, const Spot& s, vf* top) {
    const Rows key = rows_of(p.key, s.batch, s.head / p.group(), s.key, s.keys, p.dim, b.key_room);
    for (int n = 0; n < VECTORS; ++n) top[n] = b.top[n];
    multiply_parts(b.quarters, s.keys, p.dim, key, b.query, b.score,
                   [&](int64_t j, int64_t lane, const auto& x) {
                       put_down(b.score + j * BLOCK + lane, BLOCK, x);
                       raise_top(x, top + lane / LANES);
                   },
                   b.errands);
}

// Products to what is to be exponentiated, hidden pairs −∞.
REGARD_INLINE void move_tile(const Problem& p, QueryBlock& b, const Spot& s) {
    if (p.moved()) scale_and_cap(p, s.keys, b.score, nullptr);
    if (p.bias) {
        bias_tile<Lanes::queries>(p, s, b.bias, b.turned);
        if (add_bias(b.bias, s.keys, b.score)) {
            if (!b.partly) std::fill_n(b.words, s.keys, ~uint64_t{0});
            unsee(b.bias, s.keys, b.words);
            b.partly = true;
        }
    }
    if (b.partly) hide(b.words, s.keys, -INFINITE, b.score);
}

// The greatest score of every row so far.
REGARD_INLINE void top_of(const QueryBlock& b, int64_t width, vf* top) {
    for (int n = 0; n < VECTORS; ++n) top[n] = b.top[n];
    for (int64_t j = 0; j < width; ++j)
#pragma GCC unroll 8
        for (int n = 0; n < VECTORS; ++n) top[n] = greater(load(b.score + j * BLOCK + n * LANES), top[n]);
}

// All earlier sums of COUNT vectors shrink to the new top.
template <int COUNT>
REGARD_INLINE void add_sums(QueryBlock& b, int first, real factor, const vf* top, const vf* sum) {
    constexpr int STEP = COUNT < SIDE ? COUNT : SIDE;
    for (int m = 0; m < COUNT; m += STEP, first += STEP, top += STEP, sum += STEP) {
        alignas(REGARD_BYTES) vf shrink[STEP];
        for (int n = 0; n < STEP; ++n) shrink[n] = (b.top[first + n] - top[n]) * factor;
        exp2_each(shrink);
        for (int n = 0; n < STEP; ++n) {
            b.shrink[first + n] = shrink[n];
            b.total[first + n] = b.total[first + n] * shrink[n] + sum[n];
            b.top[first + n] = top[n];
        }
    }
}

// Scores to powers, their sums into total; top: the greatest score of every row so far.
REGARD_APART void exponentiate(QueryBlock& b, real factor, int64_t width, const vf* top) {
    real* score = b.score;
    vf sum[VECTORS] = {};
    for (int64_t run = 0; run < width; run += 8) {  // summed run by run: errors don't pile up
        vf part[VECTORS] = {};
        for (int64_t j = run; j < width && j < run + 8; ++j)
#pragma GCC unroll 4
            for (int first = 0; first < VECTORS; first += SIDE) {
                real* at = score + j * BLOCK + first * LANES;
                alignas(REGARD_BYTES) vf x[SIDE];
                load(at, x);
#pragma GCC unroll 4
                for (int n = 0; n < SIDE; ++n) x[n] = (x[n] - top[first + n]) * factor;
                exp2_each(x);
                store(at, x);
#pragma GCC unroll 4
                for (int n = 0; n < SIDE; ++n) part[first + n] += x[n];
            }
        for (int n = 0; n < VECTORS; ++n) sum[n] += part[n];
    }
    add_sums<VECTORS>(b, 0, factor, top, sum);
}

REGARD_INLINE void exponentiate(QueryBlock& b, real factor, int64_t width) {
    vf top[VECTORS];
    top_of(b, width, top);
    exponentiate(b, factor, width, top);
}

// What NaN and ∞ among the values give to the rows that see them; elsewhere they are 0 in `values`.
REGARD_APART void add_poison(const Problem& p, QueryBlock& b, const Spot& s, const Rows& from, real* values) {
    for (int64_t j = 0; j < s.keys; ++j)
        for (int64_t c = 0; c < p.value_dim; ++c) {
            const real x = from.data[j * from.row + c * from.column];
            const bool fine = x - x == 0;
            values[j * p.value_dim + c] = fine ? x : 0;
            for (int64_t i = 0; !fine && i < s.queries; ++i)
                if (b.words[j] >> i & 1) b.sum[c * BLOCK + i] += b.score[j * BLOCK + i] * x;
        }
}

// Shrinks the earlier sums on their own, where any has to be.
REGARD_APART void shrink_sums(const Problem& p, QueryBlock& b) {
    bool shrinks = false;
    for (int n = 0; n < VECTORS; ++n) shrinks |= !same(b.shrink[n], splat(1));
    if (!shrinks) return;
    for (int64_t n = 0; n < p.value_dim * BLOCK; n += LANES) store(b.sum + n, load(b.sum + n) * b.shrink[n / LANES % VECTORS]);
    for (int n = 0; n < VECTORS; ++n) b.shrink[n] = splat(1);
}

REGARD_APART void add_values(const Problem& p, QueryBlock& b, const Spot& s) {
    Rows value = rows_of(p.value, s.batch, s.head / p.group(), s.key, s.keys, p.value_dim, b.value_room);
    const bool poisoned = b.partly && !finite(value, s.keys, p.value_dim);
    if (poisoned) {
        shrink_sums(p, b);
        add_poison(p, b, s, value, b.value_room);
        value = {b.value_room, p.value_dim, 1};
    }
    gather_parts(b.quarters, s.keys, p.value_dim, value, b.score,
                 [&](int64_t c, int64_t lane, const auto& x) {
                     each_of(x, [&](int m, int n) {
                         real* at = b.sum + (c + m) * BLOCK + lane + n * LANES;
                         store(at, load(at) * b.shrink[lane / LANES + n] + x[m][n]);
                     });
                 },
                 b.errands);
}

REGARD_APART void begin_sums(const Problem& p, QueryBlock& b, const Spot& s) {
    const bool softmax = p.normalize == Normalize::softmax;
    for (int n = 0; n < VECTORS; ++n) {
        b.top[n] = splat(softmax ? LOWEST : 0), b.total[n] = splat(softmax ? 0 : 1);
        b.shrink[n] = splat(1);
    }
    for (int64_t n = 0; n < p.value_dim * BLOCK; n += LANES) store(b.sum + n, vf{});
    for (int64_t i = 0; p.dropout && i < BLOCK; ++i) b.row_words[i] = row_word(p, s.batch, s.head, s.query + i);
}

REGARD_APART void begin_rows(const Problem& p, QueryBlock& b, const Spot& s) {
    begin_sums(p, b, s);
    to_lanes(rows_of(p.query, s.batch, s.head, s.query, s.queries, p.dim, b.value_room), s.queries, p.dim, b.query);
    if (p.scale < 0 && !p.moved())  // the greatest product must be the greatest score
        for (int64_t n = 0; n < p.dim * BLOCK; n += LANES) store(b.query + n, -load(b.query + n));
}

// A tile of what is to be exponentiated.
REGARD_INLINE void score_tile(const Problem& p, QueryBlock& b, const Spot& s) {
    product_tile(p, b, s);
    move_tile(p, b, s);
}

// Scores alone, for the statistics.
class RealScores {
   public:
    QueryBlock block;

    RealScores(const Problem& p, Scratch& memory) : block(take_query_block(p, memory)) {}
    static int64_t numbers(const Problem& p) { return query_block_numbers(p); }
    REGARD_INLINE void begin(const Problem& p, const Spot& s) { begin_rows(p, block, s); }
    REGARD_INLINE void score(const Problem& p, const Spot& s) { score_tile(p, block, s); }
};

// Products to weights, dropout included.
REGARD_INLINE void weigh_tile(const Problem& p, QueryBlock& b, const Spot& s) {
    move_tile(p, b, s);
    if (p.normalize == Normalize::softmax)
        exponentiate(b, factor_of(p), s.keys);
    else
        squash(s.keys, b.score);  // total stays the 1 that it began with
    if (p.dropout) drop(p, s.keys, [&](int64_t j) { return key_word(p, s.batch, s.key + j); }, b.row_words, b.score);
}

// The tiles of a block of query rows, upwards from s.key to `end`: those of which a row sees any.
class TileWalk {
   public:
    TileWalk(const Problem& p, const Spot& s, int64_t end)
        : walk_(p.form(s.batch, s.head), s.query, s.queries, p.keys), at_(s), end_(std::min(end, p.keys)) {
        at_.key = walk_.next(s.key);
    }
    // each(tile) for those that begin before `key`; b.words and b.partly say which of its pairs are visible.
    template <class Each>
    REGARD_INLINE void before(int64_t key, QueryBlock& b, const Each& each) {
        for (key = std::min(key, end_); at_.key < key; at_.key = walk_.next(at_.key + KEYS)) {
            at_.keys = std::min<int64_t>(end_ - at_.key, KEYS);
            const Seen seen = walk_.look(at_.key, at_.keys, b.words);
            if (seen == Seen::nothing) continue;
            b.partly = seen == Seen::some;
            b.quarters = b.partly ? Quarters(b.words, at_.keys) : Quarters();
            each(at_);
        }
    }

   private:
    Walk walk_;
    Spot at_;
    int64_t end_;
};

// each(tile) for all of them.
template <class Each>
REGARD_INLINE void each_tile(const Problem& p, QueryBlock& b, const Spot& s, int64_t end, const Each& each) {
    TileWalk(p, s, end).before(end, b, each);
}

// What stands ready for all blocks, and what each thread has besides: of reals, nothing.
struct NoShared {
    explicit NoShared(const Problem&) {}
    void make(const Choice&, Team&) const {}
};
struct NoOwn {
    NoOwn(const Problem&, const NoShared&) {}
};

// A block of rows of reals, for abreast.hpp.
class RealRows {
   public:
    using Shared = NoShared;
    using Own = NoOwn;

    RealRows(const Problem& p, Own&, Scratch& memory) : block_(take_query_block(p, memory)) {}
    // Beside another block: what lives from tile to tile is its own.
    RealRows(const Problem& p, const RealRows& other, Scratch& memory) : block_(other.block_) {
        block_.query = memory.take(p.dim * BLOCK), block_.sum = memory.take(p.value_dim * BLOCK);
    }
    static int64_t numbers(const Problem& p) { return query_block_numbers(p); }  // of its memory
    static int64_t own_numbers(const Problem& p) { return (p.dim + p.value_dim) * BLOCK; }
    QueryBlock& block() { return block_; }
    void begin(const Problem& p, const Spot& s) { begin_rows(p, block_, s); }
    void tile(const Problem& p, const Spot& s) {
        if (block_.partly || !plain(p)) {
            product_tile(p, block_, s);
            weigh_tile(p, block_, s);
        } else {
            vf top[VECTORS];
            raise_tile(p, block_, s, top);
            exponentiate(block_, factor_of(p), s.keys, top);
        }
        add_values(p, block_, s);
    }

   private:
    QueryBlock block_;
};
