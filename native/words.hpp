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
