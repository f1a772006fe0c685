// The forward pass in bfloat16: both products by instructions that multiply pairs, everything between them in float32 as
// in forward.hpp. A pair is two numbers side by side in one 32-bit word: two components of a vector for q_i · k_j, two keys
// for Σ_j w_ij · v_j. Queries lie in the lanes as [pair][BLOCK] words, keys as they are, values turned to [value_dim][keys]
// once a head, weights as [pair of keys][BLOCK] words.

using half = uint16_t;
using pair = uint32_t;

REGARD_INLINE int64_t up(int64_t size, int64_t step) { return (size + step - 1) / step * step; }

// Values of all heads, turned: [batch · kv_heads][value_dim, whole row steps][keys, a whole block and one more], 0 around.
class Turned {
   public:
    explicit Turned(const Problem& p)
        : rows_(up(p.value_dim, PAIR_ROWS)), row_(up(p.keys, BLOCK) + BLOCK), heads_(p.batch * p.kv_heads),
          data_(static_cast<half*>(aligned_alloc(64, up(heads_ * rows_ * row_ * 2, 64)))) {}
    ~Turned() { free(data_); }
    Turned(const Turned&) = delete;
    Turned& operator=(const Turned&) = delete;
    half* at(int64_t head, int64_t key) const { return data_ + head * rows_ * row_ + key; }
    int64_t row() const { return row_; }
    int64_t rows() const { return rows_; }

    // Turns one block of keys of one head; `room` [BLOCK / 2][value_dim] words.
    void turn(const Problem& p, int64_t head, int64_t key, pair* room) const {
        const int64_t keys = std::min<int64_t>(std::max<int64_t>(p.keys - key, 0), BLOCK);
        const half* from = p.value.at<const half>(head / p.kv_heads, head % p.kv_heads, key);
        for (int64_t k = 0; k < BLOCK / 2; ++k)
            for (int64_t c = 0; c < p.value_dim; ++c) {
                const pair first = 2 * k < keys ? from[2 * k * p.value.row + c * p.value.column] : 0;
                const pair second = 2 * k + 1 < keys ? from[(2 * k + 1) * p.value.row + c * p.value.column] : 0;
                room[k * p.value_dim + c] = first | second << 16;
            }
        transpose(reinterpret_cast<const real*>(room), p.value_dim, 1, BLOCK / 2, p.value_dim,
                  reinterpret_cast<real*>(at(head, key)), row_ / 2);
        for (int64_t c = p.value_dim; c < rows_; ++c) memset(at(head, key) + c * row_, 0, BLOCK * 2);
    }

   private:
    int64_t rows_, row_, heads_;
    half* data_;
};

struct PairBlock {
    QueryBlock block;
    pair *query, *weight;  // [pairs][BLOCK], [KEYS / 2][BLOCK]
    half *key_room, *query_room;  // rows that don't lie as the instructions want them: [KEYS][depth], [BLOCK][depth]
    int64_t depth;         // dim, whole steps
};

// Rows as the instructions want them: components side by side, 0 up to whole steps. Copied into room where they are not.
REGARD_APART const half* paired_rows(const Array& a, const half* from, int64_t rows, int64_t columns, int64_t depth,
                                     int64_t whole_rows, half* room, int64_t& row) {
    row = a.row;
    if (a.column == 1 && columns == depth && rows % whole_rows == 0) return from;
    row = depth;
    memset(room, 0, static_cast<size_t>(up(rows, whole_rows) * depth) * 2);
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c) room[r * depth + c] = from[r * a.row + c * a.column];
    return room;
}

REGARD_APART void begin_pairs(const Problem& p, PairBlock& b, const Spot& s) {
    begin_sums(p, b.block, s);
    int64_t row;
    const half* query = paired_rows(p.query, p.query.at<const half>(s.batch, s.head, s.query), s.queries, p.dim, b.depth, 1,
                                    b.query_room, row);
    transpose(reinterpret_cast<const real*>(query), row / 2, 1, s.queries, b.depth / 2, reinterpret_cast<real*>(b.query), BLOCK);
    for (int64_t k = 0; s.queries < BLOCK && k < b.depth / 2; ++k)
        std::fill(b.query + k * BLOCK + s.queries, b.query + (k + 1) * BLOCK, 0);
    if (p.scale < 0 && !p.moved())
        for (int64_t n = 0; n < b.depth / 2 * BLOCK; ++n) b.query[n] ^= 0x80008000u;
}

REGARD_INLINE void product_pairs(const Problem& p, PairBlock& b, const Spot& s) {
    int64_t row;
    const half* key = paired_rows(p.key, p.key.at<const half>(s.batch, s.head / p.group(), s.key), s.keys, p.dim, b.depth,
                                  PAIR_ROWS, b.key_room, row);
    multiply_pairs<false>(up(s.keys, PAIR_ROWS), b.depth / 2, key, row, b.query, b.block.score);
}

// Weights to pairs of keys, those past the end 0.
REGARD_APART void pack_weights(const real* weight, int64_t keys, pair* packed) {
    for (int64_t k = 0; k < KEYS / 2; ++k) {
        const real* at = weight + 2 * k * BLOCK;
        for (int n = 0; n < BLOCK; n += LANES) {
            const vf first = 2 * k < keys ? load(at + n) : vf{}, second = 2 * k + 1 < keys ? load(at + BLOCK + n) : vf{};
            store_pairs(packed + k * BLOCK + n, first, second);
        }
    }
}

REGARD_APART void add_value_pairs(const Problem& p, PairBlock& b, const Turned& turned, const Spot& s) {
    QueryBlock& q = b.block;
    if (q.partly && !finite(rows_of(p.value, s.batch, s.head / p.group(), s.key, s.keys, p.value_dim, q.value_room), s.keys, p.value_dim)) {
        add_values(p, q, s);
        return;
    }
    shrink_sums(p, q);
    pack_weights(q.score, s.keys, b.weight);
    const half* value = turned.at(s.batch * p.kv_heads + s.head / p.group(), s.key);
    multiply_pairs<true>(turned.rows(), KEYS / 2, value, turned.row(), b.weight, q.sum);
}

REGARD_APART void attend_pairs(const Problem& p, PairBlock& b, const Turned& turned, Spot s) {
    begin_pairs(p, b, s);
    each_tile(p, b.block, s, [&](const Spot& tile) {
        product_pairs(p, b, tile);
        weigh_tile(p, b.block, tile);
        add_value_pairs(p, b, turned, tile);
    });
    write_rows(p, b.block, s);
}

static PairBlock take_pair_block(const Problem& p, Scratch& memory) {
    PairBlock b;
    b.depth = up(p.dim, PAIR_DEPTH);
    b.block = take_query_block(p, memory);
    b.block.sum = memory.take(up(p.value_dim, PAIR_ROWS) * BLOCK);
    b.query = reinterpret_cast<pair*>(memory.take(b.depth / 2 * BLOCK));
    b.weight = reinterpret_cast<pair*>(memory.take(KEYS / 2 * BLOCK));
    b.key_room = reinterpret_cast<half*>(memory.take(KEYS * b.depth / 2));
    b.query_room = reinterpret_cast<half*>(memory.take(BLOCK * b.depth / 2));
    return b;
}

static int64_t pair_block_numbers(const Problem& p) {
    const int64_t depth = up(p.dim, PAIR_DEPTH);
    return query_block_numbers(p) + (up(p.value_dim, PAIR_ROWS) + depth / 2 + KEYS / 2) * BLOCK + (KEYS + BLOCK) * depth / 2 + 8 * LANES;
}

// Whether the pass is for the problem.
static bool takes_pairs(const Problem& p) {
    return p.query.kind == Kind::bfloat16 && p.key.kind == Kind::bfloat16 && p.value.kind == Kind::bfloat16;
}

static bool forward_pairs(const Problem& p) {
    const int64_t blocks = (p.queries + BLOCK - 1) / BLOCK, items = p.batch * p.heads * blocks;
    const int64_t key_blocks = up(p.keys, BLOCK) / BLOCK + 1;
    const Turned turned(p);
#pragma omp parallel num_threads(static_cast<int>(p.threads))
    {
        [[maybe_unused]] const PairUnit unit;
        Scratch memory(pair_block_numbers(p)), words(BLOCK / 2 * p.value_dim);
        PairBlock b = take_pair_block(p, memory);
        pair* room = reinterpret_cast<pair*>(words.take(BLOCK / 2 * p.value_dim));
#pragma omp for schedule(static)
        for (int64_t n = 0; n < p.batch * p.kv_heads * key_blocks; ++n) turned.turn(p, n / key_blocks, n % key_blocks * BLOCK, room);
#pragma omp for schedule(dynamic)
        for (int64_t item = 0; item < items; ++item) {
            const int64_t head = item / blocks, first = (blocks - 1 - item % blocks) * BLOCK;
            attend_pairs(p, b, turned, {head / p.heads, head % p.heads, first, std::min<int64_t>(p.queries - first, BLOCK), 0, 0});
        }
    }
    return true;
}
