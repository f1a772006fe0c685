// The forward pass in bfloat16: both products by pairs, everything between them in float32 as in forward.hpp. Pairs are two
// components of a vector for q_i · k_j, two keys for Σ_j w_ij · v_j. Queries lie in the lanes as [pair][BLOCK] words, keys as
// they are, values by pairs of keys, weights as [pair of keys][BLOCK] words.

struct PairBlock {
    QueryBlock block;
    pair *query, *weight;         // [pairs][BLOCK], [KEYS / 2][BLOCK] or two of [KEYS / 2][STRIP]
    real* strips;                 // products of two strips, [2][KEYS][STRIP]
    half *key_room, *query_room;  // rows that don't lie as the instructions want them: [KEYS][depth], [BLOCK][depth]
    int64_t depth;                // dim, whole steps
};

REGARD_APART void begin_pairs(const Problem& p, PairBlock& b, const Spot& s) {
    begin_sums(p, b.block, s);
    pairs_to_lanes(p.query, p.query.at<const half>(s.batch, s.head, s.query), s.queries, p.dim, b.depth, b.query_room, b.query);
    if (p.scale < 0 && !p.moved())
        for (int64_t n = 0; n < b.depth / 2 * BLOCK; ++n) b.query[n] ^= 0x80008000u;
}

// The keys of a tile as `multiply_pairs` takes them.
struct PairedKeys {
    Pairs key;
    int64_t keys;

    PairedKeys(const Problem& p, PairBlock& b, const Spot& s) {
        keys = up(s.keys, PAIR_ROWS);
        key = paired_rows(p.key, p.key.at<const half>(s.batch, s.head / p.group(), s.key), s.keys, p.dim, b.depth, PAIR_ROWS,
                          b.key_room);
    }
    REGARD_INLINE void scores(const PairBlock& b, int strip, real* to, int64_t to_row) const {
        multiply_pairs<false>(keys, b.depth / 2, key, b.query + strip * STRIP, BLOCK, to, to_row, b.block.errands);
    }
};

// And its values.
struct PairedTile : PairedKeys {
    Pairs value;
    int64_t values;

    PairedTile(const Problem& p, PairBlock& b, Across& across, const Spot& s)
        : PairedKeys(p, b, s), value(across.at(s.batch * p.kv_heads + s.head / p.group(), s.key)), values(across.lines()) {}
    REGARD_INLINE void add(const pair* weight, int64_t weight_row, int strip, const QueryBlock& q) const {
        gather_pairs(values, KEYS / 2, value, weight, weight_row, q.sum + strip * STRIP, BLOCK,
                     q.shrink + strip * STRIP_VECTORS, q.errands);
    }
};

// The greatest product of every row of a strip so far.
REGARD_INLINE void raise_strip(const real* score, vf* top) {
    constexpr int CHAINS = 4;
    vf chain[CHAINS][STRIP_VECTORS];
    for (int c = 0; c < CHAINS; ++c)
        for (int n = 0; n < STRIP_VECTORS; ++n) chain[c][n] = top[n];
    for (int64_t j = 0; j < KEYS; j += CHAINS)
#pragma GCC unroll 8
        for (int c = 0; c < CHAINS; ++c)
#pragma GCC unroll 8
            for (int n = 0; n < STRIP_VECTORS; ++n)
                chain[c][n] = greater(load(score + (j + c) * STRIP + n * LANES), chain[c][n]);
    for (int n = 0; n < STRIP_VECTORS; ++n) top[n] = greater(greater(chain[0][n], chain[1][n]), greater(chain[2][n], chain[3][n]));
}

// One strip of a whole tile: products to pairs of weights, and its total.
REGARD_APART void exponentiate_strip(QueryBlock& q, real factor, int strip, const real* score, pair* weight) {
    const int first = strip * STRIP_VECTORS;
    vf top[STRIP_VECTORS], shift[STRIP_VECTORS], sum[STRIP_VECTORS] = {};
    for (int n = 0; n < STRIP_VECTORS; ++n) top[n] = q.top[first + n];
    raise_strip(score, top);
    for (int n = 0; n < STRIP_VECTORS; ++n) shift[n] = top[n] * factor;
    const auto power_of = [&](const real* at, vf (&x)[STRIP_VECTORS]) {
        load(at, x);
#pragma GCC unroll 8
        for (int n = 0; n < STRIP_VECTORS; ++n) x[n] = x[n] * factor - shift[n];
        short_exp2_each(x);
    };
    for (int64_t k = 0; k < KEYS / 2; ++k) {
        alignas(REGARD_BYTES) vf even[STRIP_VECTORS], odd[STRIP_VECTORS];
        power_of(score + 2 * k * STRIP, even);
        power_of(score + (2 * k + 1) * STRIP, odd);
#pragma GCC unroll 8
        for (int n = 0; n < STRIP_VECTORS; ++n) {
            sum[n] += even[n] + odd[n];
            store_powers(weight + k * STRIP + n * LANES, even[n], odd[n]);
        }
    }
    add_sums<STRIP_VECTORS>(q, first, factor, top, sum);
}

// A tile in which everything is visible, strip by strip: the products of the next strip and the values of the one before
// are on their way while one is exponentiated.
REGARD_APART void whole_tile(const Problem& p, PairBlock& b, const PairedTile& tile) {
    const auto score = [&](int strip) { return b.strips + strip % 2 * KEYS * STRIP; };
    const auto weight = [&](int strip) { return b.weight + strip % 2 * (KEYS / 2) * STRIP; };
    tile.scores(b, 0, score(0), STRIP);
    for (int strip = 0; strip < STRIPS; ++strip) {
        if (strip + 1 < STRIPS) tile.scores(b, strip + 1, score(strip + 1), STRIP);
        if (strip > 0) tile.add(weight(strip - 1), STRIP, strip - 1, b.block);
        exponentiate_strip(b.block, factor_of(p), strip, score(strip), weight(strip));
    }
    tile.add(weight(STRIPS - 1), STRIP, STRIPS - 1, b.block);
}

// Any other tile: its pairs hidden, moved, dropped, or too few.
REGARD_APART void partial_tile(const Problem& p, PairBlock& b, const PairedTile& tile, const Spot& s) {
    QueryBlock& q = b.block;
    for (int strip = 0; strip < STRIPS; ++strip) tile.scores(b, strip, q.score + strip * STRIP, BLOCK);
    weigh_tile(p, q, s);
    if (q.partly && !finite(rows_of(p.value, s.batch, s.head / p.group(), s.key, s.keys, p.value_dim, q.value_room), s.keys, p.value_dim)) {
        add_values(p, q, s);
        return;
    }
    couple_lines(q.score, s.keys, KEYS, b.weight);
    for (int strip = 0; strip < STRIPS; ++strip) tile.add(b.weight + strip * STRIP, BLOCK, strip, q);
}

static PairBlock take_pair_block(const Problem& p, Scratch& memory) {
    PairBlock b;
    b.depth = up(p.dim, PAIR_DEPTH);
    b.block = take_query_block(p, memory);
    b.block.sum = memory.take(up(p.value_dim, PAIR_ROWS) * BLOCK);
    b.query = reinterpret_cast<pair*>(memory.take(b.depth / 2 * BLOCK));
    b.weight = reinterpret_cast<pair*>(memory.take(KEYS / 2 * BLOCK));
    b.strips = memory.take(2 * KEYS * STRIP);
    b.key_room = reinterpret_cast<half*>(memory.take(KEYS * b.depth / 2));
    b.query_room = reinterpret_cast<half*>(memory.take(BLOCK * b.depth / 2));
    return b;
}

static int64_t pair_block_numbers(const Problem& p) {
    const int64_t depth = up(p.dim, PAIR_DEPTH);
    return query_block_numbers(p) + (up(p.value_dim, PAIR_ROWS) + depth / 2 + KEYS / 2) * BLOCK + 2 * KEYS * STRIP + (KEYS + BLOCK) * depth / 2 + 8 * LANES;
}

// Scores alone, for the statistics.
class PairScores {
   public:
    PairScores(const Problem& p, Scratch& memory) : b_(take_pair_block(p, memory)), block(b_.block) {}
    static int64_t numbers(const Problem& p) { return pair_block_numbers(p); }
    REGARD_INLINE void begin(const Problem& p, const Spot& s) { begin_pairs(p, b_, s); }
    REGARD_INLINE void score(const Problem& p, const Spot& s) {
        const PairedKeys keys(p, b_, s);
        for (int strip = 0; strip < STRIPS; ++strip) keys.scores(b_, strip, block.score + strip * STRIP, BLOCK);
        move_tile(p, block, s);
    }

   private:
    [[maybe_unused]] const PairUnit unit_{};
    PairBlock b_;

   public:
    QueryBlock& block;
};

// Values by pairs of keys.
struct PairedValues {
    AcrossAll value;

    explicit PairedValues(const Problem& p) : value(p.value, p.batch, p.kv_heads, p.keys, p.value_dim) {}
    void make(const Choice& choice, Team& team) const {
        Scratch words(value.room());
        pair* room = reinterpret_cast<pair*>(words.take(0));
        team.even(value.blocks(), [&](int64_t n) {
            if (!choice.by_rows(value.head(n))) value.make(n, room);
        });
    }
};

struct OwnValues {
    PairUnit unit;
    Across value;

    OwnValues(const Problem&, const PairedValues& all) : value(all.value) {}
};

// A block of rows of pairs, for abreast.hpp.
class PairRows {
   public:
    using Shared = PairedValues;
    using Own = OwnValues;

    PairRows(const Problem& p, Own& own, Scratch& memory) : values_(own.value), b_(take_pair_block(p, memory)) {}
    PairRows(const Problem& p, const PairRows& other, Scratch& memory) : values_(other.values_), b_(other.b_) {
        b_.block.sum = memory.take(up(p.value_dim, PAIR_ROWS) * BLOCK);
        b_.query = reinterpret_cast<pair*>(memory.take(b_.depth / 2 * BLOCK));
    }
    static int64_t numbers(const Problem& p) { return pair_block_numbers(p); }
    static int64_t own_numbers(const Problem& p) { return (up(p.value_dim, PAIR_ROWS) + up(p.dim, PAIR_DEPTH) / 2) * BLOCK; }
    QueryBlock& block() { return b_.block; }
    void begin(const Problem& p, const Spot& s) { begin_pairs(p, b_, s); }
    void tile(const Problem& p, const Spot& s) {
        const PairedTile tile(p, b_, values_, s);
        if (b_.block.partly || !plain(p) || s.keys < KEYS)
            partial_tile(p, b_, tile, s);
        else
            whole_tile(p, b_, tile);
    }

   private:
    Across& values_;
    PairBlock b_;
};
