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

// A tile of sums over STEPS steps of depth, in register SUM, with those of B in the registers from 4 on. The intrinsics
// want the numbers of registers as they stand.
#define REGARD_TILE_OF(NAME, SUM, LEFT)                                                                       \
    template <bool ADD, int STEPS>                                                                            \
    REGARD_INLINE void NAME(const uint16_t* a, int64_t a_line, const real* c, int64_t c_line) {               \
        if constexpr (ADD)                                                                                    \
            _tile_loadd(SUM, c, c_line);                                                                      \
        else                                                                                                  \
            _tile_zero(SUM);                                                                                  \
        _tile_loadd(LEFT, a, a_line);                                                                         \
        _tile_dpbf16ps(SUM, LEFT, 4);                                                                         \
        if constexpr (STEPS > 1) {                                                                            \
            _tile_loadd(LEFT, a + PAIR_DEPTH, a_line);                                                        \
            _tile_dpbf16ps(SUM, LEFT, 5);                                                                     \
        }                                                                                                     \
        if constexpr (STEPS > 2) {                                                                            \
            _tile_loadd(LEFT, a + 2 * PAIR_DEPTH, a_line);                                                    \
            _tile_dpbf16ps(SUM, LEFT, 6);                                                                     \
        }                                                                                                     \
        if constexpr (STEPS > 3) {                                                                            \
            _tile_loadd(LEFT, a + 3 * PAIR_DEPTH, a_line);                                                    \
            _tile_dpbf16ps(SUM, LEFT, 7);                                                                     \
        }                                                                                                     \
    }
REGARD_TILE_OF(even_tile, 0, 2)
REGARD_TILE_OF(odd_tile, 1, 3)
#undef REGARD_TILE_OF

// A strip of sums over STEPS steps of depth: B is read once, and a tile is stored while the next one is summed.
template <bool ADD, int STEPS>
REGARD_INLINE void strip_of(int64_t rows, const uint16_t* a, int64_t a_row, const uint32_t* b, int64_t b_row, real* c, int64_t c_row) {
    const int64_t a_line = a_row * 2, b_line = b_row * 4, c_line = c_row * 4;
    _tile_loadd(4, b, b_line);
    if constexpr (STEPS > 1) _tile_loadd(5, b + 16 * b_row, b_line);
    if constexpr (STEPS > 2) _tile_loadd(6, b + 32 * b_row, b_line);
    if constexpr (STEPS > 3) _tile_loadd(7, b + 48 * b_row, b_line);
    even_tile<ADD, STEPS>(a, a_line, c, c_line);
    int64_t r = 16;
    for (; r + 16 < rows; r += 32) {
        odd_tile<ADD, STEPS>(a + r * a_row, a_line, c + r * c_row, c_line);
        _tile_stored(0, c + (r - 16) * c_row, c_line);
        even_tile<ADD, STEPS>(a + (r + 16) * a_row, a_line, c + (r + 16) * c_row, c_line);
        _tile_stored(1, c + r * c_row, c_line);
    }
    if (r < rows) odd_tile<ADD, STEPS>(a + r * a_row, a_line, c + r * c_row, c_line);
    _tile_stored(0, c + (r - 16) * c_row, c_line);
    if (r < rows) _tile_stored(1, c + r * c_row, c_line);
}

// The same of up to four whole steps.
template <bool ADD>
REGARD_INLINE void strip_of_some(int64_t rows, int64_t pairs, const uint16_t* a, int64_t a_row, const uint32_t* b, int64_t b_row,
                                 real* c, int64_t c_row) {
    if (pairs == 16) strip_of<ADD, 1>(rows, a, a_row, b, b_row, c, c_row);
    if (pairs == 32) strip_of<ADD, 2>(rows, a, a_row, b, b_row, c, c_row);
    if (pairs == 48) strip_of<ADD, 3>(rows, a, a_row, b, b_row, c, c_row);
    if (pairs == 64) strip_of<ADD, 4>(rows, a, a_row, b, b_row, c, c_row);
}

// c [rows][STRIP] (+)= Σ_k A(row, pair k) · B(pair k, column); rows in whole steps, pairs side by side in a row of A.
template <bool ADD>
REGARD_INLINE void multiply_pairs(int64_t rows, int64_t pairs, const Pairs& a, const pair* b, int64_t b_row,
                                  real* c, int64_t c_row, Errands* errands) {
    constexpr int64_t MOST = 64;
    settle_memory();
    strip_of_some<ADD>(rows, std::min(pairs, MOST), a.at, a.row, b, b_row, c, c_row);
    for (int64_t k = MOST; k < pairs; k += MOST)
        strip_of_some<true>(rows, std::min(pairs - k, MOST), a.at + 2 * k, a.row, b + k * b_row, b_row, c, c_row);
    settle_memory();
    Meanwhile{errands}(rows, STRIP);
}

// c [rows][WIDE], likewise.
template <bool ADD>
REGARD_INLINE void multiply_wide(int64_t rows, int64_t pairs, const Pairs& a, const pair* b, int64_t b_row,
                                 real* c, int64_t c_row, Errands* errands) {
    multiply_pairs<ADD>(rows, pairs, a, b, b_row, c, c_row, errands);
    multiply_pairs<ADD>(rows, pairs, a, b + STRIP, b_row, c + STRIP, c_row, errands);
}

// c · shrink + the same sum; shrink: one vector for each of a row.
REGARD_INLINE void gather_pairs(int64_t rows, int64_t pairs, const Pairs& a, const pair* b, int64_t b_row,
                                real* c, int64_t c_row, const vf* shrink, Errands* errands) {
    if (!same(*shrink, splat(1)))
        for (int64_t r = 0; r < rows; ++r) store(c + r * c_row, load(c + r * c_row) * *shrink);
    multiply_pairs<true>(rows, pairs, a, b, b_row, c, c_row, errands);
}
