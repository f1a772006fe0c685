// The bias of a tile, and the gradient of a bias from a tile of slopes. Lines of the tile are keys and lanes queries, or
// the other way round.

// Where a tile stands, in local positions.
struct Spot {
    int64_t batch, head, query, queries, key, keys;
};

enum class Lanes { queries, keys };

REGARD_INLINE int64_t edge_begin(const Problem& p, int64_t batch, int64_t query) {
    const int64_t at = query + p.first_query(batch);
    return at < 0 || at >= p.bias.targets ? 0 : p.bias.edge_offsets[at];
}

REGARD_INLINE int64_t edge_end(const Problem& p, int64_t batch, int64_t query) {
    const int64_t at = query + p.first_query(batch);
    return at < 0 || at >= p.bias.targets ? 0 : p.bias.edge_offsets[at + 1];
}

// each(edge, query, key) for the edges within the tile, query and key counted within it.
template <class Each>
REGARD_INLINE void edges_of(const Problem& p, const Spot& s, const Each& each) {
    const int64_t first = s.key + p.first_key(s.batch);
    for (int64_t i = 0; i < s.queries; ++i) {
        const int64_t begin = edge_begin(p, s.batch, s.query + i), end = edge_end(p, s.batch, s.query + i);
        const int64_t* key = std::lower_bound(p.bias.edge_key + begin, p.bias.edge_key + end, first);
        for (; key < p.bias.edge_key + end && *key < first + s.keys; ++key) each(key - p.bias.edge_key, i, *key - first);
    }
}

// The entry of the table for the first line and lane; it falls by one a line.
template <Lanes LANES_ARE>
REGARD_INLINE int64_t table_entry(const Problem& p, const Spot& s) {
    const int64_t entry = s.key + p.first_key(s.batch) - s.query - p.first_query(s.batch) + p.bias.table_zero;
    return LANES_ARE == Lanes::keys ? entry : p.bias.table_size - 1 - entry;
}

template <Lanes LANES_ARE>
REGARD_APART void table_tile(const Problem& p, const Spot& s, int64_t lines, real* tile) {
    const Array& table = LANES_ARE == Lanes::keys ? p.bias.table : p.bias.table_back;
    const real* from = table.at<const real>(0, s.head, 0) + table_entry<LANES_ARE>(p, s);
    for (int64_t a = 0; a < lines; ++a)
        for (int n = 0; n < BLOCK; n += LANES) store(tile + a * BLOCK + n, load(from - a + n));
}

template <Lanes LANES_ARE>
REGARD_APART void add_pairs(const Problem& p, const Spot& s, int64_t lines, int64_t lanes, real* tile, real* room) {
    const Array& pairs = p.bias.pairs;
    const real* from = pairs.at<const real>(s.batch, s.head, s.query) + s.key * pairs.column;
    const bool keys = LANES_ARE == Lanes::keys;
    const int64_t line = keys ? pairs.row : pairs.column, lane = keys ? pairs.column : pairs.row;
    if (lane == 1) {
        for (int64_t a = 0; a < lines; ++a)
            for (int64_t n = 0; n < lanes; ++n) tile[a * BLOCK + n] += from[a * line + n];
        return;
    }
    transpose(from, lane, line, lanes, lines, room, BLOCK);
    for (int64_t a = 0; a < lines; ++a)
        for (int64_t n = 0; n < lanes; ++n) tile[a * BLOCK + n] += room[a * BLOCK + n];
}

template <Lanes LANES_ARE>
REGARD_APART void add_keys(const Problem& p, const Spot& s, int64_t lines, int64_t lanes, real* tile) {
    const real* from = p.bias.keys.at<const real>(s.batch, s.head, 0) + s.key * p.bias.keys.column;
    for (int64_t a = 0; a < lines; ++a)
        for (int64_t n = 0; n < lanes; ++n)
            tile[a * BLOCK + n] += from[(LANES_ARE == Lanes::keys ? n : a) * p.bias.keys.column];
}

// The bias of every pair of the tile, 0 in lanes that stand for nothing.
template <Lanes LANES_ARE>
REGARD_INLINE void bias_tile(const Problem& p, const Spot& s, real* tile, real* room) {
    const bool keys = LANES_ARE == Lanes::keys;
    const int64_t lines = keys ? s.queries : s.keys, lanes = keys ? s.keys : s.queries;
    if (p.bias.table)
        table_tile<LANES_ARE>(p, s, lines, tile);
    else
        for (int64_t n = 0; n < lines * BLOCK; n += LANES) store(tile + n, vf{});
    if (p.bias.keys) add_keys<LANES_ARE>(p, s, lines, lanes, tile);
    if (p.bias.pairs) add_pairs<LANES_ARE>(p, s, lines, lanes, tile, room);
    if (p.bias.edges) {
        const real* values = p.bias.edges.at<const real>(s.batch, s.head, 0);
        edges_of(p, s, [&](int64_t edge, int64_t i, int64_t j) {
            tile[keys ? i * BLOCK + j : j * BLOCK + i] += values[edge * p.bias.edges.column];
        });
    }
}

// Adds the slopes of a tile [queries][keys in the lanes] to the gradient of every bias; hidden slopes are 0.
REGARD_APART void add_bias_slopes(const Problem& p, const Spot& s, const real* slope, real* table_sum) {
    const Bias& to = p.bias_grad;
    if (table_sum) {
        real* sum = table_sum + BLOCK + table_entry<Lanes::keys>(p, s);
        for (int64_t i = 0; i < s.queries; ++i) {
            for (int n = 0; n < BLOCK; n += LANES) store(sum - i + n, load(sum - i + n) + load(slope + i * BLOCK + n));
            asm volatile("" ::: "memory");  // lines overlap by all but a number: GCC 12 at -O3 kept old sums in registers
        }
    }
    if (to.keys)
        for (int64_t j = 0; j < s.keys; ++j) {
            real sum = 0;
            for (int64_t i = 0; i < s.queries; ++i) sum += slope[i * BLOCK + j];
            to.keys.at<real>(s.batch, s.head, 0)[(s.key + j) * to.keys.column] += sum;
        }
    if (to.pairs)
        for (int64_t i = 0; i < s.queries; ++i) {
            real* row = to.pairs.at<real>(s.batch, s.head, s.query + i) + s.key * to.pairs.column;
            for (int64_t j = 0; j < s.keys; ++j) row[j * to.pairs.column] += slope[i * BLOCK + j];
        }
    if (to.edges) {
        real* values = to.edges.at<real>(s.batch, s.head, 0);
        edges_of(p, s, [&](int64_t edge, int64_t i, int64_t j) { values[edge * to.edges.column] += slope[i * BLOCK + j]; });
    }
}
