// Products of pairs by the tiles of AMX: 16 × 16 sums of 16 × 32 by 32 × 16 numbers at a time.
constexpr int64_t PAIR_ROWS = 16, PAIR_DEPTH = 32;

// The unit's registers as this thread uses them, given back at the end.
class PairUnit {
   public:
    PairUnit() {
        alignas(64) uint8_t shape[64] = {1};
        for (int tile = 0; tile < 8; ++tile) shape[16 + 2 * tile] = 64, shape[48 + tile] = 16;  // bytes a row, rows
        _tile_loadconfig(shape);
    }
    ~PairUnit() { _tile_release(); }
};

// The compiler takes the unit's loads for reads of nothing; this makes it keep its own stores before them.
REGARD_INLINE void settle_memory() { __asm__ volatile("" ::: "memory"); }

// Two by two tiles of sums, or one by two.
template <bool ADD, bool SECOND>
REGARD_INLINE void tile_rows(int64_t pairs, const uint16_t* a, int64_t a_row, const uint32_t* b, real* c) {
    const int64_t a_bytes = a_row * 2, line = BLOCK * 4;
    real* below = c + 16 * BLOCK;
    if constexpr (ADD) {
        _tile_loadd(0, c, line);
        _tile_loadd(1, c + 16, line);
        if constexpr (SECOND) {
            _tile_loadd(2, below, line);
            _tile_loadd(3, below + 16, line);
        }
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t k = 0; k < pairs; k += 16) {
        _tile_loadd(6, b + k * BLOCK, line);
        _tile_loadd(4, a + 2 * k, a_bytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + k * BLOCK + 16, line);
        _tile_dpbf16ps(1, 4, 7);
        if constexpr (SECOND) {
            _tile_loadd(5, a + 16 * a_row + 2 * k, a_bytes);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c, line);
    _tile_stored(1, c + 16, line);
    if constexpr (SECOND) {
        _tile_stored(2, below, line);
        _tile_stored(3, below + 16, line);
    }
}

// c [rows][BLOCK] (+)= Σ_k A(row, pair k) · B(pair k, column); rows in whole steps, pairs side by side in a row of A.
template <bool ADD>
REGARD_APART void multiply_pairs(int64_t rows, int64_t pairs, const uint16_t* a, int64_t a_row, const uint32_t* b, real* c) {
    settle_memory();
    for (int64_t n = 0; n < BLOCK; n += 32) {
        int64_t r = 0;
        for (; r + 32 <= rows; r += 32) tile_rows<ADD, true>(pairs, a + r * a_row, a_row, b + n, c + r * BLOCK + n);
        if (r < rows) tile_rows<ADD, false>(pairs, a + r * a_row, a_row, b + n, c + r * BLOCK + n);
    }
    settle_memory();
}
