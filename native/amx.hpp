// Products of pairs by the tiles of AMX: 16 × 16 sums of 16 × 32 by 32 × 16 numbers at a time.
constexpr int64_t PAIR_ROWS = 16, PAIR_DEPTH = 32;
constexpr int STRIP = 16, WIDE = 32;  // lanes of one product

// The unit's registers as this thread uses them, given back at the end.
class PairUnit {
   public:
    PairUnit() {
        alignas(64) uint8_t shape[64] = {1};
        for (int tile = 0; tile < 8; ++tile) shape[16 + 2 * tile] = 64, shape[48 + tile] = 16;  // bytes a row, rows
        __asm__ volatile("" ::"r"(shape) : "memory");  // GCC takes the next line for a read of 8 bytes, and the rest for unused
        _tile_loadconfig(shape);
    }
    ~PairUnit() { _tile_release(); }
};

// The compiler takes the unit's loads for reads of nothing; this makes it keep its own stores before them.
REGARD_INLINE void settle_memory() { __asm__ volatile("" ::: "memory"); }

// A column of up to four tiles of sums.
template <bool ADD, int COUNT>
REGARD_INLINE void tile_column(int64_t pairs, const uint16_t* a, int64_t a_row, const uint32_t* b, int64_t b_row, real* c,
                               int64_t c_row) {
    const int64_t a_line = a_row * 2, b_line = b_row * 4, c_line = c_row * 4;
    if constexpr (ADD) {
        _tile_loadd(0, c, c_line);
        if constexpr (COUNT > 1) _tile_loadd(1, c + 16 * c_row, c_line);
        if constexpr (COUNT > 2) _tile_loadd(2, c + 32 * c_row, c_line);
        if constexpr (COUNT > 3) _tile_loadd(3, c + 48 * c_row, c_line);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t k = 0; k < pairs; k += 16) {
        const uint16_t* at = a + 2 * k;
        _tile_loadd(6, b + k * b_row, b_line);
        _tile_loadd(4, at, a_line);
        _tile_dpbf16ps(0, 4, 6);
        if constexpr (COUNT > 1) {
            _tile_loadd(5, at + 16 * a_row, a_line);
            _tile_dpbf16ps(1, 5, 6);
        }
        if constexpr (COUNT > 2) {
            _tile_loadd(7, at + 32 * a_row, a_line);
            _tile_dpbf16ps(2, 7, 6);
        }
        if constexpr (COUNT > 3) {
            _tile_loadd(4, at + 48 * a_row, a_line);
            _tile_dpbf16ps(3, 4, 6);
        }
    }
    _tile_stored(0, c, c_line);
    if constexpr (COUNT > 1) _tile_stored(1, c + 16 * c_row, c_line);
    if constexpr (COUNT > 2) _tile_stored(2, c + 32 * c_row, c_line);
    if constexpr (COUNT > 3) _tile_stored(3, c + 48 * c_row, c_line);
}

// c [rows][STRIP] (+)= Σ_k A(row, pair k) · B(pair k, column); rows in whole steps, pairs side by side in a row of A.
template <bool ADD>
REGARD_INLINE void multiply_pairs(int64_t rows, int64_t pairs, const uint16_t* a, int64_t a_row, const uint32_t* b, int64_t b_row,
                                  real* c, int64_t c_row) {
    settle_memory();
    int64_t r = 0;
    for (; r + 64 <= rows; r += 64) tile_column<ADD, 4>(pairs, a + r * a_row, a_row, b, b_row, c + r * c_row, c_row);
    if (rows - r == 48) tile_column<ADD, 3>(pairs, a + r * a_row, a_row, b, b_row, c + r * c_row, c_row);
    if (rows - r == 32) tile_column<ADD, 2>(pairs, a + r * a_row, a_row, b, b_row, c + r * c_row, c_row);
    if (rows - r == 16) tile_column<ADD, 1>(pairs, a + r * a_row, a_row, b, b_row, c + r * c_row, c_row);
    settle_memory();
}

// Up to two by two tiles of sums.
template <bool ADD, int DOWN, int ACROSS>
REGARD_INLINE void tile_square(int64_t pairs, const uint16_t* a, int64_t a_row, const uint32_t* b, int64_t b_row, real* c,
                               int64_t c_row) {
    const int64_t a_line = a_row * 2, b_line = b_row * 4, c_line = c_row * 4;
    if constexpr (ADD) {
        _tile_loadd(0, c, c_line);
        if constexpr (ACROSS > 1) _tile_loadd(1, c + 16, c_line);
        if constexpr (DOWN > 1) _tile_loadd(2, c + 16 * c_row, c_line);
        if constexpr (DOWN > 1 && ACROSS > 1) _tile_loadd(3, c + 16 * c_row + 16, c_line);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t k = 0; k < pairs; k += 16) {
        _tile_loadd(6, b + k * b_row, b_line);
        _tile_loadd(4, a + 2 * k, a_line);
        _tile_dpbf16ps(0, 4, 6);
        if constexpr (ACROSS > 1) {
            _tile_loadd(7, b + k * b_row + 16, b_line);
            _tile_dpbf16ps(1, 4, 7);
        }
        if constexpr (DOWN > 1) {
            _tile_loadd(5, a + 2 * k + 16 * a_row, a_line);
            _tile_dpbf16ps(2, 5, 6);
        }
        if constexpr (DOWN > 1 && ACROSS > 1) _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, c_line);
    if constexpr (ACROSS > 1) _tile_stored(1, c + 16, c_line);
    if constexpr (DOWN > 1) _tile_stored(2, c + 16 * c_row, c_line);
    if constexpr (DOWN > 1 && ACROSS > 1) _tile_stored(3, c + 16 * c_row + 16, c_line);
}

// The same for twice as many columns.
template <bool ADD>
REGARD_INLINE void multiply_wide(int64_t rows, int64_t pairs, const uint16_t* a, int64_t a_row, const uint32_t* b, int64_t b_row,
                                 real* c, int64_t c_row) {
    settle_memory();
    int64_t r = 0;
    for (; r + 32 <= rows; r += 32) tile_square<ADD, 2, 2>(pairs, a + r * a_row, a_row, b, b_row, c + r * c_row, c_row);
    if (r < rows) tile_square<ADD, 1, 2>(pairs, a + r * a_row, a_row, b, b_row, c + r * c_row, c_row);
    settle_memory();
}
