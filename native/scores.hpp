// Products to scores: score = cap · tanh(scale · q_i · k_j / cap) + bias_ij; and what dropout leaves of their weights.

// Scale and cap; where the tile `bend` is given, 1 − tanh² for the slopes.
REGARD_APART void scale_and_cap(const Problem& p, int64_t lines, real* tile, real* bend) {
    const real scale = static_cast<real>(p.cap ? p.scale / p.cap : p.scale), cap = static_cast<real>(p.cap);
    for (int64_t n = 0; n < lines * BLOCK; n += SIDE * LANES) {
        alignas(REGARD_BYTES) vf x[SIDE];
        load(tile + n, x);
        for (vf& each : x) each *= scale;
        if (p.cap != 0) {
            alignas(REGARD_BYTES) vf slope[SIDE];
            tanh_each(x, bend ? slope : nullptr);
            if (bend) store(bend + n, slope);
            for (vf& each : x) each *= cap;
        }
        store(tile + n, x);
    }
}

// Scores to weights of their own.
REGARD_APART void squash(int64_t lines, real* tile) {
    for (int64_t n = 0; n < lines * BLOCK; n += SIDE * LANES) {
        alignas(REGARD_BYTES) vf x[SIDE];
        load(tile + n, x);
        sigmoid_each(x);
        store(tile + n, x);
    }
}

// Adds a bias tile; a bias of −∞ hides its pair as a pattern does: whether there is one.
REGARD_APART bool add_bias(const real* bias, int64_t lines, real* tile) {
    vi hidden{};
    for (int64_t n = 0; n < lines * BLOCK; n += LANES) {
        const vf moves = load(bias + n);
        const vi gone = moves == -INFINITE;
        store(tile + n, gone ? moves : load(tile + n) + moves);
        hidden |= gone;
    }
    for (int n = 0; n < LANES; ++n)
        if (hidden[n]) return true;
    return false;
}

// lowbias32 of Wellons 2018, as in src/regard/counter.py.
template <class Word>
REGARD_INLINE Word mixed(Word x) {
    x = (x ^ (x >> 16)) * 0x7FEB352Du;
    x = (x ^ (x >> 15)) * 0x846CA68Bu;
    return x ^ (x >> 16);
}

// The part of a pair's random word that belongs to its row.
REGARD_INLINE uint32_t row_word(const Problem& p, int64_t batch, int64_t head, int64_t query) {
    constexpr uint32_t stream = 1;
    uint32_t row = mixed(static_cast<uint32_t>(p.seed));
    row = mixed(row ^ static_cast<uint32_t>(p.seed >> 32));
    row = mixed(mixed(mixed(row + stream) + static_cast<uint32_t>(batch)) + static_cast<uint32_t>(head));
    return mixed(row + static_cast<uint32_t>(query + p.first_query(batch)));
}

REGARD_INLINE uint32_t key_word(const Problem& p, int64_t batch, int64_t key) {
    return mixed(static_cast<uint32_t>(key + p.first_key(batch)) * 0x9E3779B9u + 1u);
}

// Lines and lanes whose words meet below the threshold are dropped from the tile. lane_words: [BLOCK].
template <class LineWord>
REGARD_INLINE void drop(const Problem& p, int64_t lines, const LineWord& line_word, const uint32_t* lane_words, real* tile) {
    const vu least = static_cast<uint32_t>(p.dropout * 4294967296.0) - vu{};
    for (int64_t a = 0; a < lines; ++a) {
        const uint32_t line = line_word(a);
        for (int n = 0; n < BLOCK; n += LANES) {
            const vu meeting = mixed(*reinterpret_cast<const vu*>(lane_words + n) ^ (line - vu{}));
            const vi kept = __builtin_convertvector(meeting >= least, vi);
            real* at = tile + a * BLOCK + n;
            store(at, kept ? load(at) : vf{});
        }
    }
}
