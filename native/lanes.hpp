// Moving blocks into and out of the vector lanes, and hiding pairs there.

// [rows, columns] with strides → [columns][BLOCK], rows in the lanes, those that are missing 0.
static void to_lanes(const float* from, int64_t row, int64_t column, int64_t rows, int64_t columns, float* packed) {
    for (int64_t c = 0; c < columns; ++c) {
        for (int64_t r = 0; r < rows; ++r) packed[c * BLOCK + r] = from[r * row + c * column];
        for (int64_t r = rows; r < BLOCK; ++r) packed[c * BLOCK + r] = 0;
    }
}

// [rows, columns] with strides → [rows][width], columns in the lanes, those that are missing 0.
static void to_rows(const float* from, int64_t row, int64_t column, int64_t rows, int64_t columns, int64_t width,
                    float* packed) {
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < columns; ++c) packed[r * width + c] = from[r * row + c * column];
        for (int64_t c = columns; c < width; ++c) packed[r * width + c] = 0;
    }
}

// True in the lanes whose bit is set.
REGARD_INLINE vi shown(uint64_t word, int first, vi lane) {
    return (splat(static_cast<int32_t>((word >> first) & ((uint64_t{1} << REGARD_LANES) - 1))) & lane) != 0;
}

REGARD_INLINE vi lane_bits() {
    vi lane{};
    for (int n = 0; n < REGARD_LANES; ++n) lane[n] = 1 << n;
    return lane;
}

// The pairs of a tile that the words do not show become `value`. Apart from the products, whose registers it would take.
REGARD_APART void hide(const uint64_t* words, int64_t rows, float value, float* tile) {
    const vi lane = lane_bits();
    const vf hidden = splat(value);
    for (int64_t r = 0; r < rows; ++r)
        for (int n = 0; n < BLOCK; n += REGARD_LANES) {
            float* at = tile + r * BLOCK + n;
            store(at, shown(words[r], n, lane) ? load(at) : hidden);
        }
}

REGARD_INLINE int64_t lanes_up(int64_t size) { return (size + REGARD_LANES - 1) / REGARD_LANES * REGARD_LANES; }

// Scratch memory of one thread, in floats, aligned to a cache line.
class Scratch {
   public:
    explicit Scratch(int64_t floats) : data_(static_cast<float*>(aligned_alloc(64, (floats * 4 + 63) / 64 * 64))) {}
    ~Scratch() { free(data_); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    float* take(int64_t floats) {
        float* given = data_ + used_;
        used_ += (floats + 15) / 16 * 16;
        return given;
    }

   private:
    float* data_;
    int64_t used_ = 0;
};
