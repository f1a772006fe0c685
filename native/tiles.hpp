// Moving blocks between tensors of any kind and the vector lanes.

REGARD_INLINE int64_t lanes_up(int64_t size) { return (size + LANES - 1) / LANES * LANES; }

// Scratch memory of one thread, aligned to a cache line.
class Scratch {
   public:
    explicit Scratch(int64_t numbers)
        : data_(static_cast<real*>(aligned_alloc(64, (numbers * sizeof(real) + 63) / 64 * 64))) {
        if (!data_ && numbers) throw std::bad_alloc();
    }
    ~Scratch() { free(data_); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    real* all() const { return data_; }
    real* take(int64_t numbers) {
        real* given = data_ + used_;
        used_ += lanes_up(numbers);
        return given;
    }

   private:
    real* data_;
    int64_t used_ = 0;
};

REGARD_INLINE int64_t bytes_of(Kind kind) { return kind == Kind::float64 ? 8 : kind == Kind::float32 ? 4 : 2; }

// A block of rows as reals, wherever they lie.
struct Rows {
    const real* data;
    int64_t row, column;

    Rows from(int64_t first) const { return {data + first * row, row, column}; }
};

// One column of LANES of them.
REGARD_INLINE vf column_of(const Rows& rows, int64_t column) {
    vf x{};
#pragma GCC unroll 16
    for (int n = 0; n < LANES; ++n) x[n] = rows.data[n * rows.row + column * rows.column];
    return x;
}

REGARD_INLINE float widened(uint16_t bits, Kind kind) {
    uint32_t wide;
    float number;
    if (kind == Kind::bfloat16) {
        wide = uint32_t{bits} << 16;
        memcpy(&number, &wide, 4);
        return number;
    }
    wide = (bits & 0x7FFFu) << 13;  // the exponent's bias is 112 greater; this keeps denormals, too
    memcpy(&number, &wide, 4);
    number *= 0x1p112f;
    memcpy(&wide, &number, 4);
    wide |= (bits & 0x8000u) << 16 | ((bits & 0x7C00u) == 0x7C00u ? 0x7F800000u : 0);
    memcpy(&number, &wide, 4);
    return number;
}

template <Kind KIND>
REGARD_APART void widen_rows(const Array& a, const uint16_t* from, int64_t rows, int64_t columns, real* room) {
    for (int64_t r = 0; r < rows; ++r, from += a.row, room += columns) {
        if (a.column == 1)
            for (int64_t c = 0; c < columns; ++c) room[c] = widened(from[c], KIND);
        else
            for (int64_t c = 0; c < columns; ++c) room[c] = widened(from[c * a.column], KIND);
    }
}

REGARD_INLINE bool is_real(Kind kind) { return kind == (SINGLE ? Kind::float32 : Kind::float64); }

// Rows `first` … of one head: where they lie, or widened into `room` [rows][columns].
REGARD_INLINE Rows rows_of(const Array& a, int64_t b, int64_t h, int64_t first, int64_t rows, int64_t columns, real* room) {
    if (is_real(a.kind)) return {a.at<const real>(b, h, first), a.row, a.column};
    const uint16_t* from = a.at<const uint16_t>(b, h, first);
    if (a.kind == Kind::bfloat16)
        widen_rows<Kind::bfloat16>(a, from, rows, columns, room);
    else
        widen_rows<Kind::float16>(a, from, rows, columns, room);
    return {room, columns, 1};
}

// How much room `rows_of` wants.
REGARD_INLINE int64_t room_for(const Array& a, int64_t rows, int64_t columns) { return is_real(a.kind) ? 0 : rows * columns; }

REGARD_INLINE uint16_t to_bfloat16(float number) {
    uint32_t bits;
    memcpy(&bits, &number, 4);
    if (number != number) return static_cast<uint16_t>(bits >> 16 | 0x40);
    return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);  // to the nearest, ties to even
}

// Without the compiler's own type, which not every C++ compiler has. Adding ½ shifts a denormal's bits into place.
REGARD_INLINE uint16_t to_float16(float number) {
    uint32_t bits, shifted;
    memcpy(&bits, &number, 4);
    const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
    bits &= 0x7FFFFFFFu;
    if (bits > 0x7F800000u) return static_cast<uint16_t>(sign | 0x7E00u | (bits >> 13 & 0x3FFu));
    if (bits >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7C00u);
    if (bits < 0x38800000u) {
        const float above = std::fabs(number) + 0.5f;
        memcpy(&shifted, &above, 4);
        return static_cast<uint16_t>(sign | (shifted - 0x3F000000u));
    }
    return static_cast<uint16_t>(sign | (bits - 0x38000000u + 0xFFFu + (bits >> 13 & 1)) >> 13);  // ties to even
}

// a[b, h, r, c] = value(c) from column `from` on, rounded to the numbers of the tensor.
template <class Value>
REGARD_INLINE void write_row(const Array& a, int64_t b, int64_t h, int64_t r, int64_t from, int64_t columns, const Value& value) {
    if (is_real(a.kind)) {
        real* to = a.at<real>(b, h, r);
        if (a.column == 1)
            for (int64_t c = from; c < columns; ++c) to[c] = value(c);
        else
            for (int64_t c = from; c < columns; ++c) to[c * a.column] = value(c);
    } else if (a.kind == Kind::bfloat16) {
        uint16_t* to = a.at<uint16_t>(b, h, r);
        for (int64_t c = from; c < columns; ++c) to[c * a.column] = to_bfloat16(static_cast<float>(value(c)));
    } else {
        uint16_t* to = a.at<uint16_t>(b, h, r);
        for (int64_t c = from; c < columns; ++c) to[c * a.column] = to_float16(static_cast<float>(value(c)));
    }
}

typedef uint16_t v16 __attribute__((vector_size(LANES * 2), aligned(2), may_alias));

// The same as `to_bfloat16`, lane by lane.
REGARD_INLINE v16 to_bfloat16(vf x) {
    const vi bits = reinterpret_cast<const vi&>(x), high = bits >> 16;
    const vi rounded = (bits + 0x7FFF + (high & 1)) >> 16;
    return __builtin_convertvector(x == x ? rounded : high | 0x40, v16);
}

// run(put), where put(offset, x) puts LANES numbers down as those of the tensor (not float16's).
template <class Run>
REGARD_INLINE void with_vectors(const Array& a, const Run& run) {
    if (is_real(a.kind))
        run([&](int64_t offset, vf x) { store(static_cast<real*>(a.data) + offset, x); });
    else
        run([&](int64_t offset, vf x) {
            *reinterpret_cast<v16*>(static_cast<uint16_t*>(a.data) + offset) = to_bfloat16(x);
        });
}

// A row of numbers as they lie.
REGARD_APART void write_numbers(const Array& a, int64_t b, int64_t h, int64_t r, int64_t columns, const real* from) {
    const int64_t whole = a.column == 1 && a.kind != Kind::float16 ? columns / LANES * LANES : 0, offset = a.offset(b, h, r);
    with_vectors(a, [&](const auto& put) {
        for (int64_t c = 0; c < whole; c += LANES) put(offset + c, load(from + c));
    });
    write_row(a, b, h, r, whole, columns, [&](int64_t c) { return from[c]; });
}

// Quotients by one number a row, rounded once: a product with the inverse, set right by what it leaves over.
struct Divide {
    real by[BLOCK], inverse[BLOCK];

    void set(int64_t row, real number) {
        by[row] = number, inverse[row] = 1 / number;
        if (inverse[row] == 0) by[row] = 0;  // by ∞: 0
    }
    REGARD_INLINE vf operator()(vf x, int64_t row) const {
        const vf y = x * inverse[row], fine = y + (x - y * by[row]) * inverse[row];
        return fine == fine ? fine : y;
    }
    REGARD_INLINE real operator()(real x, int64_t row) const { return inverse[row] == 0 ? x * 0 : x / by[row]; }
};

struct Undivided {
    template <class Number>
    REGARD_INLINE Number operator()(Number x, int64_t) const {
        return x;
    }
};

// a[b, h, first + r, c] = block[c][r] / divide[r] for a block [columns][BLOCK], rows in the lanes.
template <class By>
REGARD_APART void write_lanes(const Array& a, int64_t b, int64_t h, int64_t first, int64_t rows, int64_t columns,
                              const real* block, const By& divide) {
    const bool vectors = a.column == 1 && a.kind != Kind::float16;
    const int64_t whole_rows = vectors ? rows / PIECE * PIECE : 0, whole_columns = columns / LANES * LANES;
    const int64_t offset = a.offset(b, h, first);
    with_vectors(a, [&](const auto& put) {
        for (int64_t r = 0; r < whole_rows; r += PIECE)
            for (int64_t c = 0; c < whole_columns; c += LANES) {
                alignas(REGARD_BYTES) vf x[PIECE];
                columns_of(block + c * BLOCK + r, BLOCK, x);
#pragma GCC unroll 4
                for (int n = 0; n < PIECE; ++n) put(offset + (r + n) * a.row + c, divide(x[n], r + n));
            }
    });
    for (int64_t r = 0; r < rows; ++r) {
        const int64_t from = r < whole_rows ? whole_columns : 0;
        write_row(a, b, h, first + r, from, columns, [&](int64_t c) { return divide(block[c * BLOCK + r], r); });
    }
}

// [rows, columns] → [columns][BLOCK], rows in the lanes, those that are missing 0.
REGARD_INLINE void to_lanes(const Rows& from, int64_t rows, int64_t columns, real* packed) {
    transpose(from.data, from.row, from.column, rows, columns, packed, BLOCK);
    for (int64_t c = 0; rows < BLOCK && c < columns; ++c)
        for (int64_t r = rows; r < BLOCK; ++r) packed[c * BLOCK + r] = 0;
}

// [rows, columns] → [rows][width], columns in the lanes, those that are missing 0.
REGARD_APART void to_rows(const Rows& from, int64_t rows, int64_t columns, int64_t width, real* packed) {
    for (int64_t r = 0; r < rows; ++r) {
        const real* row = from.data + r * from.row;
        if (from.column == 1)
            std::copy_n(row, columns, packed + r * width);
        else
            for (int64_t c = 0; c < columns; ++c) packed[r * width + c] = row[c * from.column];
        for (int64_t c = columns; c < width; ++c) packed[r * width + c] = 0;
    }
}

// within(|x|) for every number of a block; a comparison, so that NaN is not within.
template <class Within>
REGARD_INLINE bool all_of(const Rows& from, int64_t rows, int64_t columns, const Within& within) {
    const int64_t whole = from.column == 1 ? columns / LANES * LANES : 0;
    vi lanes = ~vi{};
    bool all = true;
    for (int64_t r = 0; r < rows; ++r) {
        const real* row = from.data + r * from.row;
        for (int64_t c = 0; c < whole; c += LANES) lanes &= within(magnitude(load(row + c)));
        for (int64_t c = whole; c < columns; ++c) all &= within(std::fabs(row[c * from.column])) != 0;
    }
    for (int n = 0; n < LANES; ++n) all &= lanes[n] != 0;
    return all;
}

// Whether a block holds neither NaN nor ∞.
REGARD_APART bool finite(const Rows& from, int64_t rows, int64_t columns) {
    return all_of(from, rows, columns, [](auto x) { return x < INFINITE; });
}

// Whether no product of a block's vectors with others of its kind can leave the finite numbers: then hidden pairs stay 0
// whatever they are multiplied with.
REGARD_APART bool tame(const Rows& from, int64_t rows, int64_t columns) {
    return all_of(from, rows, columns, [](auto x) { return x <= static_cast<real>(SINGLE ? 0x1p58 : 0x1p500); });
}
