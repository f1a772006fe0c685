// Which pairs of a tile are visible, one 64-bit word a line of the tile, one bit a lane.

// True in the lanes whose bit is set.
REGARD_INLINE vi shown(uint64_t bits, int first, vi lane) {
    return (every(static_cast<word>((bits >> first) & ((uint64_t{1} << LANES) - 1))) & lane) != 0;
}

REGARD_INLINE vi lane_bits() {
    vi lane{};
    for (int n = 0; n < LANES; ++n) lane[n] = word{1} << n;
    return lane;
}

// The pairs of a tile that the words do not show become `value`. Apart from the products, whose registers it would take.
REGARD_APART void hide(const uint64_t* words, int64_t lines, real value, real* tile) {
    const vi lane = lane_bits();
    const vf hidden = splat(value);
    for (int64_t a = 0; a < lines; ++a)
        for (int n = 0; n < BLOCK; n += LANES) {
            real* at = tile + a * BLOCK + n;
            store(at, shown(words[a], n, lane) ? load(at) : hidden);
        }
}

// Takes the pairs from the words whose number in the tile is −∞.
REGARD_APART void unsee(const real* tile, int64_t lines, uint64_t* words) {
    for (int64_t a = 0; a < lines; ++a)
        for (int n = 0; n < BLOCK; ++n)
            if (tile[a * BLOCK + n] == -INFINITE) words[a] &= ~(uint64_t{1} << n);
}

// Which quarters of a tile hold visible pairs: what is hidden as a whole is not computed. Lines are the tile's rows.
constexpr int HALF = BLOCK / 2;

struct Quarters {
    bool any[2][2] = {{true, true}, {true, true}};  // [half of the lines][half of the lanes]

    Quarters() = default;
    Quarters(const uint64_t* words, int64_t lines) {
        for (int half = 0; half < 2; ++half) {
            uint64_t seen = 0;
            for (int64_t n = half * HALF; n < std::min<int64_t>(lines, (half + 1) * HALF); ++n) seen |= words[n];
            any[half][0] = seen & 0xFFFFFFFFu, any[half][1] = seen >> 32;
        }
    }
    bool all() const { return any[0][0] && any[0][1] && any[1][0] && any[1][1]; }
};

// Some lanes and the lines that they need.
struct Part {
    int64_t lane, lanes, line, lines;
};

// The parts of a tile that are computed: all of it, or either half of the lanes.
class Parts {
   public:
    Parts(const Quarters& q, int64_t lines) {
        if (q.all() || lines <= HALF) {
            add({0, BLOCK, 0, lines});
            return;
        }
        for (int half = 0; half < 2; ++half) {
            const int64_t first = q.any[0][half] ? 0 : HALF, end = q.any[1][half] ? lines : HALF;
            if (first < end) add({half * HALF, HALF, first, end - first});
        }
    }
    const Part* begin() const { return parts_; }
    const Part* end() const { return parts_ + count_; }

   private:
    void add(const Part& part) { parts_[count_++] = part; }
    Part parts_[2];
    int count_ = 0;
};

// 0 for the quarters that are not computed.
REGARD_APART void clear_hidden(const Quarters& q, int64_t lines, real* tile) {
    for (int64_t n = 0; n < lines; ++n)
        for (int half = 0; half < 2; ++half)
            if (!q.any[n / HALF][half]) std::fill_n(tile + n * BLOCK + half * HALF, HALF, real(0));
}
