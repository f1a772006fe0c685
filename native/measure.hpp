// What a row of weights says by itself, in the pass that finds its lse. With u_j = log₂ of the power of key j below the
// row's greatest, powers 2^u, total = Σ 2^u + sink:
//   entropy = Σ P (lse − s) = (Σ 2^u · ln total − ln 2 · Σ u 2^u) / total     Σ P² = Σ 4^u / total²
// A hidden pair has u clamped to where its power is exactly 0, so that 0 · ∞ can't arise.

struct RowSums {
    vf heat[VECTORS], square[VECTORS], distance[VECTORS], local[VECTORS];  // Σ u 2^u, Σ 4^u, Σ 2^u |i − j|, Σ 2^u near
    int64_t width;
    real *best, least[BLOCK];  // the greatest scores of each lane, falling, [BLOCK][width]; the last of them
    List<word> best_key;

    RowSums(int64_t top, Scratch& memory) : width(lanes_up(top)), best(memory.take(BLOCK * width)), best_key(BLOCK * width) {}
    static int64_t numbers(int64_t top) { return BLOCK * lanes_up(top); }

    void begin() {
        for (int n = 0; n < VECTORS; ++n) heat[n] = square[n] = distance[n] = local[n] = vf{};
        std::fill_n(least, BLOCK, -INFINITE);
        std::fill_n(best, BLOCK * width, -INFINITE);
        std::fill(best_key.begin(), best_key.end(), word{-1});
    }
};

// How the distances of a tile enter: not at all; one by one; or, where all keys are on one side and out of reach, as i − j,
// whose sum has the sign of that side.
enum class Distances { none, each, far };

// 1 where all keys of a tile are before its queries and out of reach, −1 where they are after them, else 0.
REGARD_INLINE real far_side(const Problem& p, const Request& want, const Spot& s) {
    const int64_t first = s.query + p.first_query(s.batch) - s.key - p.first_key(s.batch);
    return first - (s.keys - 1) > want.reach ? 1 : -first - (s.queries - 1) > want.reach ? -1 : 0;
}

// i − j of the lanes for the first line of a tile.
REGARD_INLINE vf offsets_of(const Problem& p, const Spot& s, int vector) {
    vf offset = splat(static_cast<real>(s.query + p.first_query(s.batch) - s.key - p.first_key(s.batch) + vector * LANES));
    for (int n = 0; n < LANES; ++n) offset[n] += n;
    return offset;
}

// The sums of a tile below its top join the earlier ones, which shrink to it.
struct TileSums {
    vf total{}, heat{}, square{}, distance{}, local{};

    template <Distances HOW>
    REGARD_INLINE void take(vf u, vf power, vf& offset, real reach) {
        total += power, heat += u * power, square += power * power;
        if (HOW == Distances::far) distance += power * offset;
        if (HOW == Distances::each) {
            const vf away = magnitude(offset);
            distance += power * away, local += away <= reach ? power : vf{};
        }
        if (HOW != Distances::none) offset -= 1;
    }
    REGARD_INLINE void add(const TileSums& run) {
        total += run.total, heat += run.heat, square += run.square, distance += run.distance, local += run.local;
    }
    REGARD_INLINE void join(QueryBlock& b, RowSums& r, int n, vf top, real factor) const {
        const vf step = greater(splat(LEAST), (b.top[n] - top) * factor), shrink = exp2_of(step);
        r.heat[n] = (r.heat[n] + b.total[n] * step) * shrink + heat;
        r.square[n] = r.square[n] * (shrink * shrink) + square;
        r.distance[n] = r.distance[n] * shrink + distance;
        r.local[n] = r.local[n] * shrink + local;
        b.total[n] = b.total[n] * shrink + total;
        b.top[n] = top;
    }
};

// u, clamped, and 2^u.
template <int COUNT>
REGARD_INLINE void powers_below(vf (&u)[COUNT], vf (&power)[COUNT]) {
    clamp(u);
#pragma GCC unroll 8
    for (int n = 0; n < COUNT; ++n) power[n] = u[n];
    exp2_each(power);
}

// A tile's sums over rows; weigh(key, u, powers) finds those of as many keys as it is given room for.
template <Distances HOW, class Weigh>
REGARD_INLINE TileSums sums_of(const Problem& p, const Request& want, const Spot& s, int vector, const Weigh& weigh) {
    const real reach = static_cast<real>(want.reach);
    vf offset = HOW == Distances::none ? vf{} : offsets_of(p, s, vector);
    TileSums sums;
    for (int64_t run = 0; run < s.keys; run += 8) {  // summed run by run: errors don't pile up
        TileSums part;
        const int64_t end = std::min(s.keys, run + 8);
        int64_t j = run;
        const auto take = [&](auto count) {
            alignas(REGARD_BYTES) vf u[count], power[count];
            weigh(j, u, power);
            for (int n = 0; n < count; ++n) part.take<HOW>(u[n], power[n], offset, reach);
            j += count;
        };
        while (j + SIDE <= end) take(std::integral_constant<int, SIDE>{});
        while (j < end) take(std::integral_constant<int, 1>{});
        sums.add(part);
    }
    if (HOW == Distances::far) sums.distance *= far_side(p, want, s);
    return sums;
}

// work(how): with distances as the tile and the question have them.
template <class Work>
REGARD_INLINE void by_distances(const Problem& p, const Request& want, const Spot& s, const Work& work) {
    if (!want.distance && !want.local) return work(std::integral_constant<Distances, Distances::none>{});
    if (far_side(p, want, s) != 0) return work(std::integral_constant<Distances, Distances::far>{});
    work(std::integral_constant<Distances, Distances::each>{});
}

template <Distances HOW>
REGARD_APART void absorb(const Problem& p, const Request& want, QueryBlock& b, RowSums& r, const Spot& s, real factor) {
    vf tops[VECTORS];
    top_of(b, s.keys, tops);
    for (int n = 0; n < VECTORS; ++n) {
        const vf top = tops[n];
        const real* score = b.score + n * LANES;
        const TileSums sums = sums_of<HOW>(p, want, s, n, [&](int64_t j, auto& u, auto& power) {
            for (vf& each : u) each = (load(score + j++ * BLOCK) - top) * factor;
            powers_below(u, power);
        });
        sums.join(b, r, n, top, factor);
    }
}

template <class Vector, class Number, int... LANE>
REGARD_INLINE Vector moved_up(Vector x, Number first, std::integer_sequence<int, LANE...>) {
    return __builtin_shufflevector(first - Vector{}, x, (LANE ? LANES + LANE - 1 : 0)...);
}

// Puts a score where it belongs in a falling list, after its equals, which have lower keys; the last one falls out.
REGARD_INLINE void insert(real score, int64_t key, int64_t width, real* best, word* best_key) {
    constexpr auto lanes = std::make_integer_sequence<int, LANES>{};
    for (int64_t n = width - LANES; n >= 0; n -= LANES) {
        const real before = n ? best[n - 1] : INFINITE;
        const word key_before = n ? best_key[n - 1] : 0;
        vi* keys = reinterpret_cast<vi*>(best_key + n);
        const vf old = load(best + n), up = moved_up(old, before, lanes);
        const vi stays = old >= score, begins = up >= score;
        *keys = stays ? *keys : begins ? every(static_cast<word>(key)) : moved_up(*keys, key_before, lanes);
        store(best + n, stays ? old : begins ? splat(score) : up);
        if (before >= score) return;
    }
}

// Scores that are greater than the least of a lane's best take their places.
REGARD_APART void keep_best(const QueryBlock& b, const Spot& s, int64_t top, RowSums& r) {
    constexpr int LINES = 32;
    word found[BLOCK];
    for (int64_t first = 0; first < s.keys; first += LINES) {
        const int64_t end = s.keys - first < LINES ? s.keys - first : LINES;
        for (int n = 0; n < BLOCK; n += LANES) {
            const vf least = load(r.least + n);
            vi bits{};
            for (int64_t j = 0; j < end; ++j)
                bits |= (load(b.score + (first + j) * BLOCK + n) > least) & static_cast<word>(uint32_t{1} << j);
            *reinterpret_cast<vi*>(found + n) = bits;
        }
        for (int64_t i = 0; i < BLOCK; ++i) {
            uint32_t bits = static_cast<uint32_t>(found[i]);
            if (!bits) continue;
            for (; bits; bits &= bits - 1) {
                const int64_t j = first + __builtin_ctz(bits);
                insert(b.score[j * BLOCK + i], s.key + j, r.width, r.best + i * r.width, r.best_key.data() + i * r.width);
            }
            r.least[i] = r.best[i * r.width + top - 1];
        }
    }
}

// The weights of the best, 2^((x − middle) · factor − rest) · share.
REGARD_APART void write_best(const Request& want, const RowSums& r, int64_t row, int64_t i, real middle, real rest, real factor,
                             real share) {
    real* best = r.best + i * r.width;
    for (int64_t n = 0; n < r.width; n += LANES) store(best + n, exp2_of((load(best + n) - middle) * factor - rest));
    for (int64_t n = 0; n < want.top; ++n) {
        static_cast<real*>(want.top_weight)[row * want.top + n] = best[n] * share;
        want.top_key[row * want.top + n] = r.best_key[i * r.width + n];
    }
}

REGARD_INLINE void give(void* to, int64_t row, double number) {
    if (to) static_cast<real*>(to)[row] = static_cast<real>(number);
}

constexpr double LN2 = 0.69314718055994530942;

REGARD_APART void write_measures(const Problem& p, const Request& want, const QueryBlock& b, const RowSums& r, const Spot& s) {
    for (int64_t i = 0; i < s.queries; ++i) {
        const int64_t row = (s.batch * p.heads + s.head) * p.queries + s.query + i, n = i / LANES, lane = i % LANES;
        const double total = write_lse(p, b, s, i);
        const bool none = total == 0 || std::isinf(total);  // no key, or a sink that leaves nothing to any
        const double share = none ? 0 : 1 / total, log_total = none ? 0 : std::log(total);
        give(want.entropy, row, (b.total[n][lane] * log_total - r.heat[n][lane] * LN2) * share);
        give(want.square, row, r.square[n][lane] * share * share);
        give(want.distance, row, r.distance[n][lane] * share);
        give(want.local, row, r.local[n][lane] * share);
        if (want.top) write_best(want, r, row, i, b.top[n][lane], 0, factor_of(p), static_cast<real>(share));
    }
}

template <class Scores>
REGARD_APART void measure_rows(const Problem& p, const Request& want, Scores& scores, RowSums& r, const Spot& rows) {
    const real factor = factor_of(p);
    QueryBlock& b = scores.block;
    scores.begin(p, rows);
    r.begin();
    each_tile(p, b, rows, p.keys, [&](const Spot& s) {
        scores.score(p, s);
        if (want.top) keep_best(b, s, want.top, r);
        by_distances(p, want, s, [&](auto how) { absorb<how()>(p, want, b, r, s, factor); });
    });
    write_measures(p, want, b, r, rows);
}

template <class Scores>
static void measure(const Problem& p, const Request& want) {
    const int64_t blocks = (p.queries + BLOCK - 1) / BLOCK;
    parallel(p.threads, [&](Team& team) {
        Scratch memory(Scores::numbers(p) + RowSums::numbers(want.top));
        Scores scores(p, memory);
        RowSums r(want.top, memory);
        team.dynamic(p.batch * p.heads * blocks, [&](int64_t item) {
            const int64_t head = item / blocks, first = (blocks - 1 - item % blocks) * BLOCK;  // causal: the longest first
            measure_rows(p, want, scores, r, {head / p.heads, head % p.heads, first, std::min<int64_t>(p.queries - first, BLOCK), 0, 0});
        });
        return true;
    });
}
