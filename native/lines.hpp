// Rows of a tensor one by one, their components in the vector lanes, read once from where they lie: products of a few
// rows with many lines, and weighted sums of lines. A row's result has the same bits whatever rows stand beside it.

// Up to a block of rows of a tensor.
struct Lines {
    const void* at[BLOCK];
    Kind kind;
};

// Numbers as they lie in memory: a vector of them, and the first `count`, the rest 0.
struct Real {
    using type = real;
    static REGARD_INLINE vf whole(const real* p) { return load(p); }
    static REGARD_INLINE vf some(const real* p, int64_t count) { return load_some(p, count); }
};

typedef uint16_t vh __attribute__((vector_size(REGARD_BYTES / 2), aligned(2), may_alias));  // for float32's lanes

REGARD_INLINE vh load_shorts(const uint16_t* p, int64_t count) {
    vh x{};
    memcpy(&x, p, count * 2);
    return x;
}

// 16-bit numbers, by the instructions for them where there are any: the compiler's own conversion took four for one.
REGARD_INLINE vf widen_brain(vh x) {
    vf wide{};
#if REGARD_BYTES == 64
    const __m512i low = _mm512_maskz_cvtepu16_epi32(0xFFFF, reinterpret_cast<const __m256i_u&>(x));
    const __m512i found = _mm512_maskz_slli_epi32(0xFFFF, low, 16);
    memcpy(&wide, &found, sizeof wide);
#elif REGARD_BYTES == 32
    const __m256i found = _mm256_slli_epi32(_mm256_cvtepu16_epi32(reinterpret_cast<const __m128i_u&>(x)), 16);
    memcpy(&wide, &found, sizeof wide);
#else
    for (int n = 0; n < LANES; ++n) wide[n] = widened(x[n], Kind::bfloat16);
#endif
    return wide;
}

REGARD_INLINE vf widen_half(vh x) {
    vf wide{};
#if REGARD_BYTES == 64
    const __m512 found = _mm512_maskz_cvtph_ps(0xFFFF, reinterpret_cast<const __m256i_u&>(x));
    memcpy(&wide, &found, sizeof wide);
#elif REGARD_BYTES == 32
    const __m256 found = _mm256_cvtph_ps(reinterpret_cast<const __m128i_u&>(x));
    memcpy(&wide, &found, sizeof wide);
#else
    for (int n = 0; n < LANES; ++n) wide[n] = widened(x[n], Kind::float16);
#endif
    return wide;
}

struct Brain {
    using type = uint16_t;
    static REGARD_INLINE vf whole(const uint16_t* p) { return widen_brain(*reinterpret_cast<const vh*>(p)); }
    static REGARD_INLINE vf some(const uint16_t* p, int64_t count) { return widen_brain(load_shorts(p, count)); }
};

struct Half {
    using type = uint16_t;
    static REGARD_INLINE vf whole(const uint16_t* p) { return widen_half(*reinterpret_cast<const vh*>(p)); }
    static REGARD_INLINE vf some(const uint16_t* p, int64_t count) { return widen_half(load_shorts(p, count)); }
};

template <class Run>
REGARD_INLINE void by_kind(Kind kind, const Run& run) {
    if constexpr (SINGLE) {  // 16-bit numbers are summed in float32
        if (kind == Kind::bfloat16) return run(Brain{});
        if (kind == Kind::float16) return run(Half{});
    }
    run(Real{});
}

// Rows `row[0]` … of one head; those whose columns lie apart are copied to `room` [BLOCK][columns] first. Pointers up to
// the next multiple of the lanes repeat the last.
REGARD_APART void find_lines(const Array& a, int64_t batch, int64_t head, const int64_t* row, int64_t count,
                             int64_t columns, real* room, Lines& lines) {
    const bool apart = a.column != 1 && columns > 1;
    lines.kind = apart ? (SINGLE ? Kind::float32 : Kind::float64) : a.kind;
    const char* base = static_cast<const char*>(a.data);
    const int64_t bytes = bytes_of(a.kind), first = a.offset(batch, head, 0);
    for (int64_t j = 0; j < count; ++j) {
        lines.at[j] = base + (first + row[j] * a.row) * bytes;
        if (!apart) continue;
        real* copy = room + j * columns;
        const Rows one = rows_of(a, batch, head, row[j], 1, columns, copy);
        for (int64_t c = 0; c < columns; ++c) copy[c] = one.data[c * one.column];
        lines.at[j] = copy;
    }
    for (int64_t j = count; j < lanes_up(count); ++j) lines.at[j] = lines.at[count - 1];
}

REGARD_INLINE int64_t lines_room(const Array& a, int64_t columns) { return a.column != 1 ? BLOCK * columns : 0; }

// Asks for what will be read `ahead` bytes further on.
REGARD_INLINE void ask(const void* at, int64_t ahead) {
    __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(at) + ahead), 0, 2);
}

// A whole line of a tensor.
REGARD_INLINE void ask_all(const void* line, int64_t bytes) {
    for (int64_t n = 0; n < bytes; n += 64) ask(line, n);
}

constexpr int REGISTERS = REGARD_BYTES == 64 ? 16 : 8;  // for sums; as many are left for what is multiplied
constexpr int TEAM = LANES < 4 ? LANES : 4;             // rows that share what is loaded

// The lanes of `low` with bit STEP and those of `high` without it change places.
template <int STEP, int... LANE>
REGARD_INLINE void exchange(vf& low, vf& high, std::integer_sequence<int, LANE...>) {
    const vf a = low, b = high;
    low = __builtin_shufflevector(a, b, ((LANE & STEP) ? LANES + LANE - STEP : LANE)...);
    high = __builtin_shufflevector(a, b, ((LANE & STEP) ? LANES + LANE : LANE + STEP)...);
}

// Lane n of the result is the sum over all lanes of x[n]: pairs of lanes STEP apart, then nearer ones.
template <int STEP>
REGARD_INLINE vf sum_each(vf* x) {
#pragma GCC unroll 16
    for (int n = 0; n < STEP; ++n) {
        exchange<STEP>(x[n], x[n + STEP], std::make_integer_sequence<int, LANES>());
        x[n] += x[n + STEP];
    }
    if constexpr (STEP > 1) return sum_each<STEP / 2>(x);
    return x[0];
}

// All lanes joined, the result in every lane.
template <int STEP, class Join, int... LANE>
REGARD_INLINE vf joined(vf x, const Join& join, std::integer_sequence<int, LANE...>) {
    return join(x, __builtin_shufflevector(x, x, (LANE ^ STEP)...));
}

template <int STEP, class Join>
REGARD_INLINE vf across(vf x, const Join& join) {
    x = joined<STEP>(x, join, std::make_integer_sequence<int, LANES>());
    if constexpr (STEP > 1) return across<STEP / 2>(x, join);
    return x;
}

// x[r · STEP + j]: lane by lane, row r · line j.
template <class Numbers, int ROWS, int LINES>
REGARD_INLINE void products_by_lane(const real* rows, int64_t width, int64_t dim, const void* const* at, int64_t ahead,
                                    vf* x, int step) {
    using Number = typename Numbers::type;
    vf acc[ROWS][LINES] = {};
    const Number* line[LINES];
    for (int j = 0; j < LINES; ++j) line[j] = static_cast<const Number*>(at[j]);
    const auto add = [&](int64_t c, const auto& read) {
        vf right[LINES];
#pragma GCC unroll 8
        for (int j = 0; j < LINES; ++j) right[j] = read(line[j] + c);
        if (ahead && c * sizeof(Number) % 64 == 0)  // one by one between the products: a burst of them would wait
            for (int j = 0; j < LINES; ++j) ask(line[j] + c, ahead);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            const vf left = load(rows + r * width + c);
#pragma GCC unroll 8
            for (int j = 0; j < LINES; ++j) acc[r][j] += left * right[j];
        }
    };
    int64_t c = 0;
    for (; c + LANES <= dim; c += LANES) add(c, [](const Number* p) { return Numbers::whole(p); });
    if (c < dim) add(c, [&](const Number* p) { return Numbers::some(p, dim - c); });
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
        for (int j = 0; j < LINES; ++j) x[r * step + j] = acc[r][j];
}

// tile[r][j] = row r · line j for ROWS rows [width] and the lines up to a multiple of the lanes.
template <class Numbers, int ROWS>
REGARD_APART void products(const real* rows, int64_t width, int64_t dim, const Lines& lines, int64_t count,
                           int64_t ahead, real* tile) {
    constexpr int STEP = LANES / ROWS, LINES = STEP < 4 ? STEP : 4;
    for (int64_t j = 0; j < count; j += STEP) {
        alignas(REGARD_BYTES) vf x[LANES];
        for (int n = 0; n < STEP; n += LINES) {
            products_by_lane<Numbers, ROWS, LINES>(rows, width, dim, lines.at + j + n, ahead, x + n, STEP);
        }
        const vf sums = sum_each<LANES / 2>(x);
        const real* each = reinterpret_cast<const real*>(&sums);
        for (int r = 0; r < ROWS; ++r) memcpy(tile + r * BLOCK + j, each + r * STEP, STEP * sizeof(real));
    }
}

// sum[r] = sum[r] · shrink[r] + Σ_j weight[r][j] · line_j for VECTORS vectors from component c.
template <class Numbers, int ROWS, int VECTORS, class Read>
REGARD_INLINE void sum_strip(const real* weight, const Lines& lines, int64_t count, int64_t c, const real* shrink,
                             real* sum, int64_t width, const Read& read) {
    vf acc[ROWS][VECTORS] = {};
    for (int64_t j = 0; j < count; ++j) {
        const auto* line = static_cast<const typename Numbers::type*>(lines.at[j]) + c;
        vf right[VECTORS];
#pragma GCC unroll 8
        for (int n = 0; n < VECTORS; ++n) right[n] = read(line + n * LANES, j);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            const vf left = splat(weight[r * BLOCK + j]);
#pragma GCC unroll 8
            for (int n = 0; n < VECTORS; ++n) acc[r][n] += left * right[n];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
        for (int n = 0; n < VECTORS; ++n) {
            real* at = sum + r * width + c + n * LANES;
            store(at, load(at) * shrink[r] + acc[r][n]);
        }
}

// Strips of VECTORS vectors, then narrower ones.
template <class Numbers, int ROWS, int VECTORS>
REGARD_INLINE void sum_strips(const real* weight, const Lines& lines, int64_t count, int64_t c, int64_t dim,
                              const real* shrink, real* sum, int64_t width, int64_t ahead) {
    using Number = typename Numbers::type;
    for (; c + VECTORS * LANES <= dim; c += VECTORS * LANES)
        sum_strip<Numbers, ROWS, VECTORS>(weight, lines, count, c, shrink, sum, width, [&](const Number* p, int64_t) {
            if (ahead && reinterpret_cast<uintptr_t>(p) % 64 < LANES * sizeof(Number)) ask(p, ahead);
            return Numbers::whole(p);
        });
    if constexpr (VECTORS > 1)
        sum_strips<Numbers, ROWS, VECTORS / 2>(weight, lines, count, c, dim, shrink, sum, width, ahead);
    else if (c < dim)
        sum_strip<Numbers, ROWS, 1>(weight, lines, count, c, shrink, sum, width,
                                    [&](const Number* p, int64_t) { return Numbers::some(p, dim - c); });
}

template <class Numbers, int ROWS>
REGARD_APART void sums(const real* weight, const Lines& lines, int64_t count, int64_t dim, const real* shrink,
                       real* sum, int64_t width, int64_t ahead) {
    constexpr int VECTORS = REGISTERS / ROWS < 8 ? REGISTERS / ROWS : 8;
    sum_strips<Numbers, ROWS, VECTORS>(weight, lines, count, 0, dim, shrink, sum, width, ahead);
}

// run(first row, std::integral_constant of how many) for all rows, as many at once as share what is loaded.
template <class Run>
REGARD_INLINE void by_team(int64_t rows, const Run& run) {
    int64_t r = 0;
    for (; r + TEAM <= rows; r += TEAM) run(r, std::integral_constant<int, TEAM>());
    if constexpr (TEAM > 2)
        for (; r + 2 <= rows; r += 2) run(r, std::integral_constant<int, 2>());
    for (; r < rows; ++r) run(r, std::integral_constant<int, 1>());
}

// tile[r][j] = row r · line j. rows: [rows][width], 0 after `dim`. ahead: bytes from a line
// to one that comes soon, or 0.
static void multiply_lines(const real* rows, int64_t count_rows, int64_t width, int64_t dim, const Lines& lines,
                           int64_t count, int64_t ahead, real* tile) {
    by_kind(lines.kind, [&](auto numbers) {
        by_team(count_rows, [&](int64_t r, auto team) {
            products<decltype(numbers), decltype(team)::value>(
                rows + r * width, width, dim, lines, count, r ? 0 : ahead, tile + r * BLOCK);
        });
    });
}

// sum[r] = sum[r] · shrink[r] + Σ_j weight[r][j] · line_j. sum: [rows][width].
static void add_lines(const real* weight, int64_t rows, const Lines& lines, int64_t count, int64_t dim,
                      const real* shrink, real* sum, int64_t width, int64_t ahead) {
    by_kind(lines.kind, [&](auto numbers) {
        by_team(rows, [&](int64_t r, auto team) {
            sums<decltype(numbers), decltype(team)::value>(
                weight + r * BLOCK, lines, count, dim, shrink + r, sum + r * width, width, r ? 0 : ahead);
        });
    });
}
