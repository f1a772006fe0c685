// Numbers as the instructions that multiply pairs of bfloat16 want them. A pair is two numbers side by side in one 32-bit
// word: of a row as it lies, two components; of two rows, one component of each.

using half = uint16_t;
using pair = uint32_t;

constexpr int STRIPS = BLOCK / STRIP, STRIP_VECTORS = STRIP / LANES;

REGARD_INLINE int64_t up(int64_t size, int64_t step) { return (size + step - 1) / step * step; }

// Whether all inputs are bfloat16.
static bool takes_pairs(const Problem& p) {
    const auto is_half = [](const Array& a) { return !a || a.kind == Kind::bfloat16; };
    return is_half(p.query) && is_half(p.key) && is_half(p.value) && is_half(p.out_grad);
}

// Rows with components side by side, 0 up to whole steps of both. Copied into room [whole rows][depth] where they don't lie so.
REGARD_APART const half* paired_rows(const Array& a, const half* from, int64_t rows, int64_t columns, int64_t depth,
                                     int64_t whole_rows, half* room, int64_t& row) {
    row = a.row;
    if (a.column == 1 && columns == depth && rows % whole_rows == 0) return from;
    row = depth;
    memset(room, 0, static_cast<size_t>(up(rows, whole_rows) * depth) * 2);
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c) room[r * depth + c] = from[r * a.row + c * a.column];
    return room;
}

// Rows to the lanes: [depth / 2][BLOCK] pairs of components, rows that are missing 0.
REGARD_APART void pairs_to_lanes(const Array& a, const half* from, int64_t rows, int64_t columns, int64_t depth, half* room,
                                 pair* lanes) {
    int64_t row;
    from = paired_rows(a, from, rows, columns, depth, 1, room, row);
    if (row % 2 == 0 && reinterpret_cast<uintptr_t>(from) % 4 == 0) {
        transpose(reinterpret_cast<const real*>(from), row / 2, 1, rows, depth / 2, reinterpret_cast<real*>(lanes), BLOCK);
    } else {
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t k = 0; k < depth / 2; ++k) memcpy(lanes + k * BLOCK + r, from + r * row + 2 * k, 4);
    }
    for (int64_t k = 0; rows < BLOCK && k < depth / 2; ++k) std::fill(lanes + k * BLOCK + rows, lanes + (k + 1) * BLOCK, 0);
}

// Two rows of one block side by side: to[k · to_row + c] = (from[2k][c], from[2k + 1][c]), rows and columns that are missing 0.
REGARD_APART void couple_rows(const Array& a, const half* from, int64_t rows, int64_t columns, pair* to, int64_t to_row) {
    for (int64_t k = 0; k < BLOCK / 2; ++k, to += to_row) {
        const half *first = from + 2 * k * a.row, *second = first + a.row;
        if (a.column == 1 && 2 * k + 1 < rows)
            for (int64_t c = 0; c < columns; ++c) to[c] = first[c] | static_cast<pair>(second[c]) << 16;
        else
            for (int64_t c = 0; c < columns; ++c)
                to[c] = (2 * k < rows ? first[c * a.column] : 0) | static_cast<pair>(2 * k + 1 < rows ? second[c * a.column] : 0) << 16;
        std::fill(to + columns, to + to_row, 0);
    }
}

// Lines of a tile [·][BLOCK] to pairs of lines, rounded; those from `lines` to `whole` are 0.
REGARD_APART void couple_lines(const real* tile, int64_t lines, int64_t whole, pair* to) {
    for (int64_t k = 0; k < whole / 2; ++k) {
        const real* at = tile + 2 * k * BLOCK;
        for (int n = 0; n < BLOCK; n += LANES) {
            const vf first = 2 * k < lines ? load(at + n) : vf{}, second = 2 * k + 1 < lines ? load(at + BLOCK + n) : vf{};
            store_pairs(to + k * BLOCK + n, rounded(first, second));
        }
    }
}

// All rows of a tensor turned: [batch · heads][columns, whole row steps][rows, a whole block and one more], 0 around.
class Turned {
   public:
    Turned(const Array& from, int64_t batch, int64_t heads, int64_t rows, int64_t columns)
        : from_(from), heads_(heads), count_(rows), columns_(columns), lines_(up(columns, PAIR_ROWS)), row_(up(rows, BLOCK) + BLOCK),
          blocks_(batch * heads * (row_ / BLOCK)),
          data_(batch * heads * lines_ * row_ / 2) {}
    half* at(int64_t head, int64_t row) const { return reinterpret_cast<half*>(data_.all()) + head * lines_ * row_ + row; }
    int64_t row() const { return row_; }
    int64_t lines() const { return lines_; }
    int64_t blocks() const { return blocks_; }
    int64_t head(int64_t block) const { return block / (row_ / BLOCK); }
    int64_t room() const { return BLOCK / 2 * columns_; }

    // Turns one of the blocks; room: words.
    void turn(int64_t block, pair* room) const {
        const int64_t head = this->head(block), first = block % (row_ / BLOCK) * BLOCK;
        const int64_t rows = std::min<int64_t>(std::max<int64_t>(count_ - first, 0), BLOCK);
        couple_rows(from_, from_.at<const half>(head / heads_, head % heads_, first), rows, columns_, room, columns_);
        half* to = at(head, first);
        transpose(reinterpret_cast<const real*>(room), columns_, 1, BLOCK / 2, columns_, reinterpret_cast<real*>(to), row_ / 2);
        for (int64_t c = columns_; c < lines_; ++c) memset(to + c * row_, 0, BLOCK * 2);
    }

   private:
    const Array& from_;
    int64_t heads_, count_, columns_, lines_, row_, blocks_;
    Scratch data_;
};
