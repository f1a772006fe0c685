// Every tile of the backward pass in bfloat16, plain or not.

// Any other tile: its scores moved or its pairs dropped.
REGARD_APART void moved_tile(const Problem& p, PairKeys& b, const PairedQueries& at, const OwnRows& across, const Spot& s,
                             const Sums& sums) {
    KeyBlock& tile = b.block;
    for (int strip = 0; strip < WIDE_STRIPS; ++strip) at.products(b, strip, tile.weight + strip * WIDE, BLOCK);
    move_weights(p, tile, s);
    if (tile.partly) hide(tile.words, s.queries, 0, tile.weight);
    for (int strip = 0; strip < WIDE_STRIPS; ++strip) at.slopes(b, strip, tile.slope + strip * WIDE, BLOCK);
    move_slopes(p, tile, s, sums);
    couple_lines(tile.weight, s.queries, at.rows, b.weight);
    couple_lines(tile.slope, s.queries, at.rows, b.slope);
    for (int64_t i = 0; i < at.rows; i += 2)
        for (int n = 0; n < BLOCK; n += LANES) {
            const real* from = tile.slope + i * BLOCK + n;
            half* row = b.slope_rows + i * BLOCK + n;
            store_halves(row, row + BLOCK, rounded(i < s.queries ? load(from) : vf{}, i + 1 < s.queries ? load(from + BLOCK) : vf{}));
        }
    for (int strip = 0; strip < WIDE_STRIPS; ++strip)
        at.add(b, across, strip, b.weight + strip * WIDE, b.slope + strip * WIDE, BLOCK);
}

// A block of keys of pairs, for runs.hpp.
class PairTiles {
   public:
    using Shared = PairedRows;
    using Own = OwnRows;

    PairTiles(const Problem& p, Own& own, Scratch& memory) : across_(own), b_(take_pair_keys(p, memory)) {}
    PairTiles(const Problem& p, const PairTiles& other, Scratch& memory) : across_(other.across_), b_(other.b_) { take_own(p, b_, memory); }
    static int64_t numbers(const Problem& p) { return pair_keys_numbers(p); }
    static int64_t own_numbers(const Problem& p) { return own_pair_numbers(p); }
    static int64_t width(const Problem& p) { return pair_width(p); }
    KeyBlock& block() { return b_.block; }
    REGARD_INLINE bool begin(const Problem& p, const Spot& s) { return begin_pair_keys(p, b_, s); }
    REGARD_INLINE void tile(const Problem& p, const Spot& s, const Sums& sums) {
        const PairedQueries at(p, b_, across_, s);
        if (plain(p))
            straight_tile(p, b_, at, across_, s, sums.delta + s.query);
        else
            moved_tile(p, b_, at, across_, s, sums);
        at.add_query(b_, sums.query + s.query * b_.width);
    }

   private:
    Own& across_;
    PairKeys b_;
};
