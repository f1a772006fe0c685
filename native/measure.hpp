// What a row of weights says by itself, in the pass that finds its lse. With u_j = log₂ of the power of key j below the
// row's greatest, powers 2^u, total = Σ 2^u + sink:
//   entropy = Σ P (lse − s) = (Σ 2^u · ln total − ln 2 · Σ u 2^u) / total     Σ P² = Σ 4^u / total²
// A hidden pair has u clamped to where its power is exactly 0, so that 0 · ∞ can't arise.

struct RowSums {
    vf heat[VECTORS], square[VECTORS], distance[VECTORS], local[VECTORS];  // Σ u 2^u, Σ 4^u, Σ 2^u |i − j|, Σ 2^u near
    real *best, least[BLOCK];  // the greatest scores of each lane, falling, [BLOCK][width]; the last of them
    word* best_key;
    int64_t width;
};

REGARD_INLINE vf clamped(vf x) { return x < LEAST ? splat(LEAST) : x; }

// i − j of the lanes for the first line of a tile.
REGARD_INLINE vf offsets_of(const Problem& p, const Spot& s, int vector) {
    vf offset = splat(static_cast<real>(s.query + p.first_query(s.batch) - s.key - p.first_key(s.batch) + vector * LANES));
    for (int n = 0; n < LANES; ++n) offset[n] += n;
    return offset;
}

// The sums of a tile below its top join the earlier ones, which shrink to it.
struct TileSums {
    vf total{}, heat{}, square{}, distance{}, local{};

    REGARD_INLINE void add(const TileSums& run) {
        total += run.total, heat += run.heat, square += run.square, distance += run.distance, local += run.local;
    }
    REGARD_INLINE void join(QueryBlock& b, RowSums& r, int n, vf top, real factor) const {
        const vf step = clamped((b.top[n] - top) * factor), shrink = exp2_of(step);
        r.heat[n] = (r.heat[n] + b.total[n] * step) * shrink + heat;
        r.square[n] = r.square[n] * (shrink * shrink) + square;
        r.distance[n] = r.distance[n] * shrink + distance;
        r.local[n] = r.local[n] * shrink + local;
        b.total[n] = b.total[n] * shrink + total;
        b.top[n] = top;
    }
};

template <bool DISTANCES>
REGARD_APART void absorb(const Problem& p, const Request& want, QueryBlock& b, RowSums& r, const Spot& s, real factor) {
    const real reach = static_cast<real>(want.reach);
    vf tops[VECTORS];
    top_of(b, s.keys, tops);
    for (int n = 0; n < VECTORS; ++n) {
        const vf top = tops[n];
        const real* score = b.score + n * LANES;
        vf offset = DISTANCES ? offsets_of(p, s, n) : vf{};
        TileSums sums;
        for (int64_t run = 0; run < s.keys; run += 8) {  // summed run by run: errors don't pile up
            TileSums part;
            for (int64_t j = run; j < s.keys && j < run + 8; ++j) {
                const vf u = clamped((load(score + j * BLOCK) - top) * factor), power = exp2_of(u);
                part.total += power, part.heat += u * power, part.square += power * power;
                if (DISTANCES) {
                    const vf away = magnitude(offset);
                    part.distance += power * away, part.local += away <= reach ? power : vf{};
                    offset -= 1;
                }
            }
            sums.add(part);
        }
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
                insert(b.score[j * BLOCK + i], s.key + j, r.width, r.best + i * r.width, r.best_key + i * r.width);
            }
            r.least[i] = r.best[i * r.width + top - 1];
        }
    }
}

REGARD_APART void write_best(const Request& want, const RowSums& r, int64_t row, int64_t i, real top, real factor, real share) {
    real* best = r.best + i * r.width;
    for (int64_t n = 0; n < r.width; n += LANES) store(best + n, exp2_of((load(best + n) - top) * factor));
    for (int64_t n = 0; n < want.top; ++n) {
        static_cast<real*>(want.top_weight)[row * want.top + n] = best[n] * share;
        want.top_key[row * want.top + n] = r.best_key[i * r.width + n];
    }
}

REGARD_APART void write_measures(const Problem& p, const Request& want, const QueryBlock& b, const RowSums& r, const Spot& s) {
    const auto give = [](void* to, int64_t row, double number) {
        if (to) static_cast<real*>(to)[row] = static_cast<real>(number);
    };
    for (int64_t i = 0; i < s.queries; ++i) {
        const int64_t row = (s.batch * p.heads + s.head) * p.queries + s.query + i, n = i / LANES, lane = i % LANES;
        const double total = write_lse(p, b, s, i);
        const bool none = total == 0 || std::isinf(total);  // no key, or a sink that leaves nothing to any
        const double share = none ? 0 : 1 / total, log_total = none ? 0 : std::log(total);
        give(want.entropy, row, (b.total[n][lane] * log_total - r.heat[n][lane] * 0.69314718055994530942) * share);
        give(want.square, row, r.square[n][lane] * share * share);
        give(want.distance, row, r.distance[n][lane] * share);
        give(want.local, row, r.local[n][lane] * share);
        if (want.top) write_best(want, r, row, i, b.top[n][lane], factor_of(p), static_cast<real>(share));
    }
}

template <class Scores>
REGARD_APART void measure_rows(const Problem& p, const Request& want, Scores& scores, RowSums& r, const Spot& rows) {
    const real factor = factor_of(p);
    QueryBlock& b = scores.block;
    scores.begin(p, rows);
    for (int n = 0; n < VECTORS; ++n) r.heat[n] = r.square[n] = r.distance[n] = r.local[n] = vf{};
    std::fill_n(r.least, BLOCK, -INFINITE);
    std::fill_n(r.best, BLOCK * r.width, -INFINITE);
    std::fill_n(r.best_key, BLOCK * r.width, word{-1});
    each_tile(p, b, rows, p.keys, [&](const Spot& s) {
        scores.score(p, s);
        if (want.top) keep_best(b, s, want.top, r);
        if (want.distance || want.local)
            absorb<true>(p, want, b, r, s, factor);
        else
            absorb<false>(p, want, b, r, s, factor);
    });
    write_measures(p, want, b, r, rows);
}

template <class Scores>
static void measure(const Problem& p, const Request& want) {
    const int64_t blocks = (p.queries + BLOCK - 1) / BLOCK, width = lanes_up(want.top);
    parallel(p.threads, [&](Team& team) {
        Scratch memory(Scores::numbers(p) + BLOCK * width);
        Scores scores(p, memory);
        List<word> keys(BLOCK * width);
        RowSums r;
        r.best = memory.take(BLOCK * width), r.best_key = keys.data(), r.width = width;
        team.dynamic(p.batch * p.heads * blocks, [&](int64_t item) {
            const int64_t head = item / blocks, first = (blocks - 1 - item % blocks) * BLOCK;  // causal: the longest first
            measure_rows(p, want, scores, r, {head / p.heads, head % p.heads, first, std::min<int64_t>(p.queries - first, BLOCK), 0, 0});
        });
        return true;
    });
}
