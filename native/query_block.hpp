// What one block of query rows has in hand while it goes through its keys.

constexpr int VECTORS = BLOCK / LANES;

struct QueryBlock {
    real *query, *score, *sum;                        // [dim][BLOCK], [KEYS][BLOCK], [value_dim][BLOCK]
    real *bias, *turned, *key_room, *value_room;      // bias tiles; keys, values and queries of other kinds, widened
    vf top[VECTORS], total[VECTORS], shrink[VECTORS];
    Errands* errands = nullptr;
    uint64_t words[KEYS];
    Quarters quarters;
    uint32_t row_words[BLOCK];
    bool partly;                                      // whether words hide any pair of the tile
};

static int64_t query_block_numbers(const Problem& p) {
    const int64_t widest = p.dim > p.value_dim ? p.dim : p.value_dim;
    return (p.dim + KEYS + p.value_dim + (p.bias ? 2 * KEYS : 0)) * BLOCK + room_for(p.key, KEYS, p.dim) + KEYS * widest + 8 * LANES;
}

static QueryBlock take_query_block(const Problem& p, Scratch& memory) {
    QueryBlock b;
    b.query = memory.take(p.dim * BLOCK), b.score = memory.take(KEYS * BLOCK), b.sum = memory.take(p.value_dim * BLOCK);
    b.bias = p.bias ? memory.take(KEYS * BLOCK) : nullptr, b.turned = p.bias ? memory.take(KEYS * BLOCK) : nullptr;
    b.key_room = memory.take(room_for(p.key, KEYS, p.dim));
    b.value_room = memory.take(KEYS * (p.dim > p.value_dim ? p.dim : p.value_dim));
    return b;
}
