// The quarters of a tile that hold visible pairs: what is hidden as a whole is not computed.
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

// Products that fill a tile: finish(first line, first lane, block of row `line` of a · column `lane` of b) for the parts that
// are computed.
// b: [depth][BLOCK]; tile: where long sums are kept until they are whole.
template <class Finish>
REGARD_INLINE void multiply_parts(const Quarters& q, int64_t lines, int64_t depth, const Rows& a, const real* b, real* tile,
                                  const Finish& finish, Errands* errands) {
    for (const Part& part : Parts(q, lines))
        multiply_long(part.lines, part.lanes, depth, a.data + part.line * a.row, a.row, a.column, b + part.lane,
                      tile + part.line * BLOCK + part.lane,
                      [&](int64_t line, int64_t lane, auto& x) { finish(part.line + line, part.lane + lane, x); }, Meanwhile{errands});
}

// Products that use one up: finish(first column, first lane, block of Σ over the lines of column `column` of a · lane `lane` of
// the tile).
template <class Finish>
REGARD_INLINE void gather_parts(const Quarters& q, int64_t lines, int64_t columns, const Rows& a, const real* tile,
                                const Finish& finish, Errands* errands) {
    for (const Part& part : Parts(q, lines))
        multiply(columns, part.lanes, part.lines, a.data + part.line * a.row, a.column, a.row, tile + part.line * BLOCK + part.lane,
                 BLOCK, [&](int64_t column, int64_t lane, auto& x) { finish(column, part.lane + lane, x); }, Meanwhile{errands});
}
