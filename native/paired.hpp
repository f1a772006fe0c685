// Numbers as the instructions that multiply pairs of bfloat16 want them. A pair is two numbers side by side in one 32-bit
// word: of a row as it lies, two components; of two rows, one component of each.

constexpr int STRIPS = BLOCK / STRIP, STRIP_VECTORS = STRIP / LANES;

REGARD_INLINE int64_t up(int64_t size, int64_t step) { return (size + step - 1) / step * step; }

// Whether all inputs are bfloat16.
static bool takes_pairs(const Problem& p) {
    const auto is_half = [](const Array& a) { return !a || a.kind == Kind::bfloat16; };
    return is_half(p.query) && is_half(p.key) && is_half(p.value) && is_half(p.out_grad);
}

// Rows with components side by side, 0 up to whole steps of both. Copied into room [whole rows][depth] where they don't lie so.
REGARD_APART Pairs paired_rows(const Array& a, const half* from, int64_t rows, int64_t columns, int64_t depth, int64_t whole_rows,
                               half* room) {
    if (a.column == 1 && columns == depth && rows % whole_rows == 0) return {from, a.row, 2};
    memset(room, 0, static_cast<size_t>(up(rows, whole_rows) * depth) * 2);
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c) room[r * depth + c] = from[r * a.row + c * a.column];
    return {room, depth, 2};
}

// Rows to the lanes: [depth / 2][BLOCK] pairs of components, rows that are missing 0.
REGARD_APART void pairs_to_lanes(const Array& a, const half* from, int64_t rows, int64_t columns, int64_t depth, half* room,
                                 pair* lanes) {
    const Pairs lying = paired_rows(a, from, rows, columns, depth, 1, room);
    if (lying.row % 2 == 0 && reinterpret_cast<uintptr_t>(lying.at) % 4 == 0) {
        transpose(reinterpret_cast<const real*>(lying.at), lying.row / 2, 1, rows, depth / 2, reinterpret_cast<real*>(lanes), BLOCK);
    } else {
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t k = 0; k < depth / 2; ++k) memcpy(lanes + k * BLOCK + r, lying.at + r * lying.row + 2 * k, 4);
    }
    for (int64_t k = 0; rows < BLOCK && k < depth / 2; ++k) std::fill(lanes + k * BLOCK + rows, lanes + (k + 1) * BLOCK, 0);
}

// to[c] = (first[c], second[c]) for twice as many as there are lanes.
REGARD_INLINE void zip(const half* first, const half* second, pair* to) {
    alignas(64) static constexpr half LOW[] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                               8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
    const __m512i low = _mm512_load_si512(LOW), high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    const __m512i a = _mm512_loadu_si512(first), b = _mm512_loadu_si512(second);
    _mm512_storeu_si512(to, _mm512_permutex2var_epi16(a, low, b));
    _mm512_storeu_si512(to + LANES, _mm512_permutex2var_epi16(a, high, b));
}

// Two rows of one block side by side: to[k · to_row + c] = (from[2k][c], from[2k + 1][c]), rows and columns that are missing 0.
REGARD_APART void couple_rows(const Array& a, const half* from, int64_t rows, int64_t columns, pair* to, int64_t to_row) {
    for (int64_t k = 0; k < BLOCK / 2; ++k, to += to_row) {
        const half *first = from + 2 * k * a.row, *second = first + a.row;
        int64_t c = 0;
        for (; a.column == 1 && 2 * k + 1 < rows && c + 2 * LANES <= columns; c += 2 * LANES) zip(first + c, second + c, to + c);
        for (; c < columns; ++c)
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
