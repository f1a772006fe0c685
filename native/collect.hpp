// Sums of weights over rows, lse known.
//   received_j = Σ_i P_ij     distances_d = Σ_{j − i = d} P_ij     sum_ab = Σ_{i ∈ a, j ∈ b} P_ij, and its greatest
// The rows of a head are cut into runs, each with sums of its own that are added in order, so that neither threads nor
// other heads change a bit of the result.

// What one run of rows of one head adds up to.
struct Cells {
    int64_t low = 0, classes = 0;  // of the query classes from low on
    List<real> sum, greatest;
    List<int64_t> pairs;
};

struct Share {
    List<real> received, distances;  // [keys]; by i − j from −(keys − 1) up, BLOCK entries of room on both sides
    List<int64_t> visible;           // [keys]
    List<Cells> cells;               // one a grouping
};

// One block of rows by class of key, [key_classes][BLOCK]; and what a run of rows needs besides.
struct Folds {
    struct Fold {
        List<real> mass, greatest, seen;
    };
    List<Fold> folds;
    List<real> columns;  // [keys][LANES]
    RowLevels levels;
};

REGARD_APART void add_columns(const QueryBlock& b, const Spot& s, real* columns) {
    for (int64_t j = 0; j < s.keys; ++j) {
        vf sum{};
#pragma GCC unroll 8
        for (int n = 0; n < BLOCK; n += LANES) sum += load(b.score + j * BLOCK + n);
        real* at = columns + (s.key + j) * LANES;
        store(at, load(at) + sum);
    }
}

REGARD_APART void add_visible(const QueryBlock& b, const Spot& s, int64_t* visible) {
    for (int64_t j = 0; j < s.keys; ++j) visible[s.key + j] += b.partly ? __builtin_popcountll(b.words[j]) : s.queries;
}

// Lines that lie LANES apart have their diagonals in the same vectors. `sum` is the diagonal of line 0, lane 0.
REGARD_APART void add_diagonals(const QueryBlock& b, const Spot& s, real* sum) {
    constexpr int WIDE = 2 * VECTORS - 1;
    for (int64_t first = 0; first < LANES && first < s.keys; ++first) {
        vf part[WIDE] = {};
#pragma GCC unroll 4
        for (int m = 0; m < VECTORS; ++m) {
            if (first + m * LANES >= s.keys) break;
#pragma GCC unroll 4
            for (int n = 0; n < VECTORS; ++n)
                part[n - m + VECTORS - 1] += load(b.score + (first + m * LANES) * BLOCK + n * LANES);
        }
        real* at = sum - first - (VECTORS - 1) * LANES;
        for (int n = 0; n < WIDE; ++n, at += LANES) store(at, load(at) + part[n]);
    }
}

REGARD_INLINE void add_lines(const QueryBlock& b, int64_t first, int64_t end, real* sum) {
    for (int n = 0; n < BLOCK; n += LANES) {
        vf part{};
        for (int64_t j = first; j < end; ++j) part += load(b.score + j * BLOCK + n);
        store(sum + n, load(sum + n) + part);
    }
}

REGARD_INLINE void raise_lines(const QueryBlock& b, int64_t first, int64_t end, real* greatest) {
    for (int n = 0; n < BLOCK; n += LANES) {
        vf top = load(greatest + n);
        for (int64_t j = first; j < end; ++j) top = greater(load(b.score + j * BLOCK + n), top);
        store(greatest + n, top);
    }
}

REGARD_INLINE void count_lines(const QueryBlock& b, int64_t first, int64_t end, real* seen) {
    const vi lane = lane_bits();
    for (int n = 0; n < BLOCK; n += LANES) {
        vf count = splat(b.partly ? real(0) : static_cast<real>(end - first));
        for (int64_t j = first; b.partly && j < end; ++j) count += shown(b.words[j], n, lane) ? splat(1) : vf{};
        store(seen + n, load(seen + n) + count);
    }
}

// Adds a tile to the classes of its keys, equal neighbours at once.
REGARD_APART void add_classes(const Grouping& g, const QueryBlock& b, const Spot& s, Folds::Fold& fold) {
    const int64_t* key_class = g.key_class + s.batch * g.key_step + s.key;
    for (int64_t first = 0, end = 0; first < s.keys; first = end) {
        while (end < s.keys && key_class[end] == key_class[first]) ++end;
        if (key_class[first] < 0) continue;
        const int64_t at = key_class[first] * BLOCK;
        if (g.rows || g.sum) add_lines(b, first, end, fold.mass.data() + at);
        if (g.greatest) raise_lines(b, first, end, fold.greatest.data() + at);
        if (g.pairs) count_lines(b, first, end, fold.seen.data() + at);
    }
}

// From a block of rows by class of key to classes of both, equal neighbours at once.
REGARD_APART void fold_rows(const Grouping& g, const Spot& s, const Folds::Fold& fold, Cells& cells) {
    const int64_t* query_class = g.query_class + s.batch * g.query_step + s.query;
    for (int64_t first = 0, end = 0; first < s.queries; first = end) {
        while (end < s.queries && query_class[end] == query_class[first]) ++end;
        if (query_class[first] < 0) continue;
        const int64_t to = (query_class[first] - cells.low) * g.key_classes;
        for (int64_t b = 0; b < g.key_classes; ++b) {
            real sum = 0, greatest = 0, seen = 0;
            for (int64_t i = b * BLOCK + first; g.sum && i < b * BLOCK + end; ++i) sum += fold.mass[i];
            for (int64_t i = b * BLOCK + first; g.greatest && i < b * BLOCK + end; ++i)
                greatest = std::max(greatest, fold.greatest[i]);
            for (int64_t i = b * BLOCK + first; g.pairs && i < b * BLOCK + end; ++i) seen += fold.seen[i];
            if (g.sum) cells.sum[to + b] += sum;
            if (g.greatest) cells.greatest[to + b] = std::max(cells.greatest[to + b], greatest);
            if (g.pairs) cells.pairs[to + b] += static_cast<int64_t>(seen);
        }
    }
}

// `head` counts batch entries and the heads that were asked for.
REGARD_APART void give_rows(const Problem& p, const Grouping& g, const Spot& s, int64_t head, const Folds::Fold& fold) {
    real* rows = static_cast<real*>(g.rows) + (head * p.queries + s.query) * g.key_classes;
    for (int64_t i = 0; i < s.queries; ++i)
        for (int64_t b = 0; b < g.key_classes; ++b) rows[i * g.key_classes + b] = fold.mass[b * BLOCK + i];
}

static void begin_share(const Problem& p, const Request& want, const Spot& run, Share& share) {
    if (want.received) share.received.resize(p.keys);
    if (want.visible) share.visible.resize(p.keys);
    if (want.distances) share.distances.resize(p.queries + p.keys - 1 + 2 * BLOCK);
    share.cells.resize(want.grouping_count);
    for (int64_t n = 0; n < want.grouping_count; ++n) {
        const Grouping& g = want.groupings[n];
        Cells& cells = share.cells[n];
        if (!g.query_class) continue;
        int64_t low = g.query_classes, high = 0;
        for (int64_t i = run.query; i < run.query + run.queries; ++i) {
            const int64_t own = g.query_class[run.batch * g.query_step + i];
            if (own >= 0) low = std::min(low, own), high = std::max(high, own + 1);
        }
        cells.low = low, cells.classes = std::max<int64_t>(high - low, 0);
        const int64_t numbers = cells.classes * g.key_classes;
        if (g.sum) cells.sum.resize(numbers);
        if (g.greatest) cells.greatest.resize(numbers);
        if (g.pairs) cells.pairs.resize(numbers);
    }
}

// A block of rows against all keys that were asked for.
template <class Scores>
REGARD_APART void collect_block(const Problem& p, const Request& want, Scores& scores, RowSums& r, Folds& f, const Spot& rows,
                                int64_t head, Share& share) {
    QueryBlock& b = scores.block;
    scores.begin(p, rows);
    if (want.entropy) r.begin();
    row_levels(p, rows, f.levels);
    for (int64_t n = 0; n < want.grouping_count; ++n) {
        const Grouping& g = want.groupings[n];
        if (g.rows || g.sum) f.folds[n].mass.assign(g.key_classes * BLOCK, 0);
        if (g.greatest) f.folds[n].greatest.assign(g.key_classes * BLOCK, 0);
        if (g.pairs) f.folds[n].seen.assign(g.key_classes * BLOCK, 0);
    }
    each_tile(p, b, rows, want.end_key, [&](const Spot& s) {
        score_lanes(p, scores, s);
        if (want.entropy) {
            if (want.top) keep_best(b, s, want.top, r);
            by_distances(p, want, s, [&](auto how) { weigh_and_measure<how()>(p, want, b, r, s, f.levels); });
        } else {
            weigh_tile(p, b, s, f.levels);
        }
        if (want.received) add_columns(b, s, f.columns.data());
        if (want.visible) add_visible(b, s, share.visible.data());
        if (want.distances) add_diagonals(b, s, share.distances.data() + BLOCK + s.query - s.key + p.keys - 1);
        for (int64_t n = 0; n < want.grouping_count; ++n) add_classes(want.groupings[n], b, s, f.folds[n]);
    });
    if (want.entropy) write_measures(p, want, r, rows, f.levels.levels);
    for (int64_t n = 0; n < want.grouping_count; ++n) {
        if (want.groupings[n].rows) give_rows(p, want.groupings[n], rows, head, f.folds[n]);
        if (want.groupings[n].query_class) fold_rows(want.groupings[n], rows, f.folds[n], share.cells[n]);
    }
}

// One run of rows of one head.
template <class Scores>
static void collect_run(const Problem& p, const Request& want, Scores& scores, RowSums& r, Folds& f, const Spot& run,
                        int64_t head, Share& share) {
    begin_share(p, want, run, share);
    if (want.received) f.columns.assign(p.keys * LANES, 0);
    for (int64_t first = run.query; first < run.query + run.queries; first += BLOCK) {
        Spot rows = run;
        rows.query = first, rows.queries = std::min<int64_t>(run.query + run.queries - first, BLOCK);
        collect_block(p, want, scores, r, f, rows, head, share);
    }
    for (int64_t j = 0; j < static_cast<int64_t>(share.received.size()); ++j)
        for (int n = 0; n < LANES; ++n) share.received[j] += f.columns[j * LANES + n];
}

// How many runs the rows of a head are cut into: by their number, and by the room that the classes of a run may take.
static int64_t runs_of(const Request& want) {
    constexpr int64_t LONGEST = 8 * BLOCK, MOST = 16, ROOM = 1 << 21;
    int64_t runs = std::min((want.end_query - want.first_query + LONGEST - 1) / LONGEST, MOST), cells = 0;
    for (int64_t n = 0; n < want.grouping_count; ++n)
        if (want.groupings[n].query_class) cells += want.groupings[n].query_classes * want.groupings[n].key_classes;
    while (runs > 1 && runs * cells > ROOM) runs /= 2;
    return std::max<int64_t>(runs, 1);
}

static void add_cells(const Grouping& g, const Cells& cells, int64_t head) {
    const int64_t numbers = cells.classes * g.key_classes;
    const int64_t first = (head * g.query_classes + cells.low) * g.key_classes;
    for (int64_t n = 0; n < numbers; ++n) {
        if (g.sum) static_cast<real*>(g.sum)[first + n] += cells.sum[n];
        if (g.pairs) g.pairs[first + n] += cells.pairs[n];
        if (!g.greatest) continue;
        real& greatest = static_cast<real*>(g.greatest)[first + n];
        greatest = std::max(greatest, cells.greatest[n]);
    }
}

// Adds what a run gave to the results of its head.
static void add_share(const Problem& p, const Request& want, const Share& share, int64_t head) {
    const int64_t distances = p.queries + p.keys - 1;
    for (int64_t j = 0; want.received && j < p.keys; ++j)
        static_cast<real*>(want.received)[head * p.keys + j] += share.received[j];
    for (int64_t j = 0; want.visible && j < p.keys; ++j) want.visible[head * p.keys + j] += share.visible[j];
    for (int64_t d = 0; want.distances && d < distances; ++d)
        static_cast<real*>(want.distances)[head * distances + d] += share.distances[BLOCK + distances - 1 - d];
    for (int64_t n = 0; n < want.grouping_count; ++n)
        if (want.groupings[n].query_class) add_cells(want.groupings[n], share.cells[n], head);
}

template <class Scores>
static void collect(const Problem& p, const Request& want) {
    const int64_t runs = runs_of(want), heads = p.batch * want.head_count;
    const int64_t blocks = (want.end_query - want.first_query + BLOCK - 1) / BLOCK;
    List<Share> shares(runs * heads);
    parallel(p.threads, [&](Team& team) {
        Scratch memory(Scores::numbers(p) + RowSums::numbers(want.top));
        Scores scores(p, memory);
        RowSums r(want.top, memory);
        Folds f;
        f.folds.resize(want.grouping_count);
        team.dynamic(runs * heads, [&](int64_t item) {
            const int64_t head = item % heads, run = runs - 1 - item / heads;  // causal: the longest first
            const int64_t first = want.first_query + blocks * run / runs * BLOCK;
            const int64_t end = std::min(want.first_query + blocks * (run + 1) / runs * BLOCK, want.end_query);
            const Spot rows = {head / want.head_count, want.heads[head % want.head_count], first, end - first, want.first_key, 0};
            collect_run(p, want, scores, r, f, rows, head, shares[run * heads + head]);
        });
        team.even(heads, [&](int64_t head) {
            for (int64_t run = 0; run < runs; ++run) add_share(p, want, shares[run * heads + head], head);
        });
        return true;
    });
}
