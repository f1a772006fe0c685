// Products of pairs by the tiles of AMX: 16 × 16 sums of 16 × 32 by 32 × 16 numbers at a time.
constexpr int64_t PAIR_ROWS = 16, PAIR_DEPTH = 32;
constexpr int STRIP = 16, WIDE = 32;  // lanes of one product, forward and backward

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

// Up to four tiles of sums, DOWN · ACROSS: four by one or two by two.
template <bool ADD, int DOWN, int ACROSS>
REGARD_INLINE void tile_block(int64_t pairs, const uint16_t* a, int64_t a_row, const uint32_t* b, int64_t b_row, real* c,
                              int64_t c_row) {
    constexpr int COUNT = DOWN * ACROSS;
    static_assert(COUNT <= 4 && ACROSS <= 2);
    const int64_t a_line = a_row * 2, b_line = b_row * 4, c_line = c_row * 4;
    const auto sum = [&](int n) { return c + n / ACROSS * 16 * c_row + n % ACROSS * 16; };
    if constexpr (ADD) {
        _tile_loadd(0, sum(0), c_line);
        if constexpr (COUNT > 1) _tile_loadd(1, sum(1), c_line);
        if constexpr (COUNT > 2) _tile_loadd(2, sum(2), c_line);
        if constexpr (COUNT > 3) _tile_loadd(3, sum(3), c_line);
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
        if constexpr (ACROSS > 1) {
            _tile_loadd(7, b + k * b_row + 16, b_line);
            _tile_dpbf16ps(1, 4, 7);
        }
        if constexpr (DOWN > 1) _tile_loadd(5, at + 16 * a_row, a_line);
        if constexpr (DOWN > 1 && ACROSS > 1) {
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        if constexpr (DOWN > 1 && ACROSS == 1) _tile_dpbf16ps(1, 5, 6);
        if constexpr (DOWN > 2) {
            _tile_loadd(7, at + 32 * a_row, a_line);
            _tile_dpbf16ps(2, 7, 6);
        }
        if constexpr (DOWN > 3) {
            _tile_loadd(4, at + 48 * a_row, a_line);
            _tile_dpbf16ps(3, 4, 6);
        }
    }
    _tile_stored(0, sum(0), c_line);
    if constexpr (COUNT > 1) _tile_stored(1, sum(1), c_line);
    if constexpr (COUNT > 2) _tile_stored(2, sum(2), c_line);
    if constexpr (COUNT > 3) _tile_stored(3, sum(3), c_line);
}

// c [rows][STRIP] (+)= Σ_k A(row, pair k) · B(pair k, column); rows in whole steps, pairs side by side in a row of A.
template <bool ADD>
REGARD_INLINE void multiply_pairs(int64_t rows, int64_t pairs, const uint16_t* a, int64_t a_row, const uint32_t* b, int64_t b_row,
                                  real* c, int64_t c_row) {
    settle_memory();
    int64_t r = 0;
    for (; r + 64 <= rows; r += 64) tile_block<ADD, 4, 1>(pairs, a + r * a_row, a_row, b, b_row, c + r * c_row, c_row);
    if (rows - r == 48) tile_block<ADD, 3, 1>(pairs, a + r * a_row, a_row, b, b_row, c + r * c_row, c_row);
    if (rows - r == 32) tile_block<ADD, 2, 1>(pairs, a + r * a_row, a_row, b, b_row, c + r * c_row, c_row);
    if (rows - r == 16) tile_block<ADD, 1, 1>(pairs, a + r * a_row, a_row, b, b_row, c + r * c_row, c_row);
    settle_memory();
}

// c [rows][WIDE], likewise: every row of A is read half as often.
template <bool ADD>
REGARD_INLINE void multiply_wide(int64_t rows, int64_t pairs, const uint16_t* a, int64_t a_row, const uint32_t* b, int64_t b_row,
                                 real* c, int64_t c_row) {
    settle_memory();
    int64_t r = 0;
    for (; r + 32 <= rows; r += 32) tile_block<ADD, 2, 2>(pairs, a + r * a_row, a_row, b, b_row, c + r * c_row, c_row);
    if (r < rows) tile_block<ADD, 1, 2>(pairs, a + r * a_row, a_row, b, b_row, c + r * c_row, c_row);
    settle_memory();
}
