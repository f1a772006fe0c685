// p_ij = exp(scale · q_i · k_j − lse_i), dp_ij = do_i · v_j, ds_ij = p_ij · (dp_ij − delta_i),
// delta_i = do_i · out_i − dlse_i, summed in the order of dp, so that a row with one key has a slope of exactly 0:
//   dv_j = Σ_i p_ij · do_i     dk_j = scale · Σ_i ds_ij · q_i     dq_i = scale · Σ_j ds_ij · k_j
// Keys in the vector lanes. The keys of a head are cut into PARTS runs, each with a dq of its own that is added in order,
// so that neither threads nor other heads change a bit of the result.

struct KeyBlock {
    float *key_lanes, *value_lanes, *key_rows;      // [dim][BLOCK], [value_dim][BLOCK], [BLOCK][width]
    float *key_sum, *value_sum;                     // gradients, [dim][BLOCK], [value_dim][BLOCK]
    float *power, *slope;                           // tiles [QUERIES][BLOCK]
    int64_t width;
};

static int64_t block_floats(const Problem& p) {
    return (3 * p.dim + 2 * p.value_dim + 2 * QUERIES + lanes_up(p.dim) + 16 * 8) * BLOCK;
}

static KeyBlock take_block(const Problem& p, Scratch& memory) {
    KeyBlock b;
    b.width = lanes_up(p.dim);
    b.key_lanes = memory.take(p.dim * BLOCK), b.value_lanes = memory.take(p.value_dim * BLOCK);
    b.key_rows = memory.take(b.width * BLOCK);
    b.key_sum = memory.take(p.dim * BLOCK), b.value_sum = memory.take(p.value_dim * BLOCK);
    b.power = memory.take(QUERIES * BLOCK), b.slope = memory.take(QUERIES * BLOCK);
    return b;
}

// One tile: `rows` queries from `first` against a block of keys, of which the words' pairs are visible, or all.
REGARD_APART void differentiate_tile(const Problem& p, const KeyBlock& b, int64_t batch, int64_t head, int64_t first,
                                     int64_t rows, const uint64_t* words, bool partly, const float* delta,
                                     float* query_sum) {
    const float* query = p.query.at(batch, head, first);
    const float* out_grad = p.out_grad.at(batch, head, first);
    const float factor = static_cast<float>(__builtin_fabs(p.scale) * 1.4426950408889634);
    const float scale = static_cast<float>(p.scale), sign = p.scale < 0 ? -1.0f : 1.0f;
    // (x − middle) · factor − rest = log₂ p: what is near the row's lse keeps all its bits.
    float middle[QUERIES], rest[QUERIES];
    for (int64_t i = 0; i < rows; ++i) {
        const double lse = double{*p.lse.at(batch, head, first + i)} + double{*p.rest.at(batch, head, first + i)};
        middle[i] = static_cast<float>(lse / __builtin_fabs(p.scale));
        const bool empty = lse == -__builtin_inf();
        rest[i] = empty ? 0 : static_cast<float>((lse - middle[i] * __builtin_fabs(p.scale)) * 1.4426950408889634);
    }
    multiply_long(rows, p.dim, query, p.query.row, p.query.column, b.key_lanes, b.power,
             [&](int64_t i, int64_t column, vf x) {
                 store(b.power + i * BLOCK + column, exp2_of((x * sign - middle[i]) * factor - rest[i]));
             });
    if (partly) hide(words, rows, 0, b.power);
    multiply_long(rows, p.value_dim, out_grad, p.out_grad.row, p.out_grad.column, b.value_lanes, b.slope,
             [&](int64_t i, int64_t column, vf x) {
                 const vf power = load(b.power + i * BLOCK + column);
                 store(b.slope + i * BLOCK + column, power * (x - delta[first + i]) * scale);
             });
    const auto add_to = [](float* sum, int64_t width) {
        return [sum, width](int64_t row, int64_t column, vf x) {
            store(sum + row * width + column, load(sum + row * width + column) + x);
        };
    };
    multiply(p.value_dim, BLOCK, rows, out_grad, p.out_grad.column, p.out_grad.row, b.power, BLOCK,
             add_to(b.value_sum, BLOCK));
    multiply(p.dim, BLOCK, rows, query, p.query.column, p.query.row, b.slope, BLOCK, add_to(b.key_sum, BLOCK));
    multiply(rows, b.width, BLOCK, b.slope, BLOCK, 1, b.key_rows, b.width, add_to(query_sum + first * b.width, b.width));
}

REGARD_APART void write_keys(const float* sum, const Array& grad, int64_t batch, int64_t kv_head, int64_t key,
                       int64_t width, int64_t dim) {
    for (int64_t j = 0; j < width; ++j) {
        float* to = grad.at(batch, kv_head, key + j);
        for (int64_t d = 0; d < dim; ++d) to[d * grad.column] = sum[d * BLOCK + j];
    }
}

// Where each block of query rows sees anything, for every form: [forms][blocks][2].
using Reach = std::vector<int64_t>;

REGARD_APART void differentiate_keys(const Problem& p, const KeyBlock& b, const Reach& reaches, int64_t batch, int64_t kv_head,
                               int64_t key, const float* deltas, float* query_sums) {
    const int64_t width = p.keys - key < BLOCK ? p.keys - key : BLOCK;
    const int64_t blocks = (p.queries + QUERIES - 1) / QUERIES;
    to_lanes(p.key.at(batch, kv_head, key), p.key.row, p.key.column, width, p.dim, b.key_lanes);
    to_lanes(p.value.at(batch, kv_head, key), p.value.row, p.value.column, width, p.value_dim, b.value_lanes);
    to_rows(p.key.at(batch, kv_head, key), p.key.row, p.key.column, width, p.dim, b.width, b.key_rows);
    for (int64_t n = width * b.width; n < BLOCK * b.width; ++n) b.key_rows[n] = 0;
    for (int64_t n = 0; n < p.dim * BLOCK; ++n) b.key_sum[n] = 0;
    for (int64_t n = 0; n < p.value_dim * BLOCK; ++n) b.value_sum[n] = 0;
    uint64_t words[QUERIES];
    for (int64_t g = 0; g < p.group(); ++g) {
        const int64_t head = kv_head * p.group() + g;
        const Form* form = p.form(batch, head);
        const int64_t* reach = form ? reaches.data() + (form - p.forms) * blocks * 2 : nullptr;
        for (int64_t block = 0; block < blocks; ++block) {
            if (reach && (reach[2 * block] >= key + width || reach[2 * block + 1] <= key)) continue;
            const int64_t first = block * QUERIES, rows = p.queries - first < QUERIES ? p.queries - first : QUERIES;
            const Seen seen = look_along(form, first, rows, key, width, words);
            if (seen == Seen::nothing) continue;
            differentiate_tile(p, b, batch, head, first, rows, words, seen == Seen::some,
                               deltas + (batch * p.heads + head) * p.queries, query_sums + g * p.queries * b.width);
        }
    }
    write_keys(b.key_sum, p.key_grad, batch, kv_head, key, width, p.dim);
    write_keys(b.value_sum, p.value_grad, batch, kv_head, key, width, p.value_dim);
}

// How many runs the keys are cut into: by their number alone.
static int64_t parts_of(int64_t keys) { return keys <= 4 * BLOCK ? 1 : keys <= 16 * BLOCK ? 2 : 4; }

static void reach_all(const Problem& p, int64_t forms, Reach& reaches) {
    const int64_t blocks = (p.queries + QUERIES - 1) / QUERIES;
    reaches.resize(forms * blocks * 2);
    for (int64_t n = 0; n < forms * blocks; ++n) {
        const int64_t first = n % blocks * QUERIES, rows = p.queries - first < QUERIES ? p.queries - first : QUERIES;
        reach(p.forms[n / blocks], first, rows, p.keys, reaches[2 * n], reaches[2 * n + 1]);
    }
}

static float delta_of(const Problem& p, int64_t batch, int64_t head, int64_t row) {
    const float *out = p.out.at(batch, head, row), *grad = p.out_grad.at(batch, head, row);
    float sum = 0;
    for (int64_t run = 0; run < p.value_dim; run += DEPTH) {
        float part = 0;
        for (int64_t c = run; c < p.value_dim && c < run + DEPTH; ++c)
            part = fused(grad[c * p.out_grad.column], out[c * p.out.column], part);
        sum = run ? sum + part : part;
    }
    return p.lse_grad.data ? sum - *p.lse_grad.at(batch, head, row) : sum;
}

void backward(const Problem& p) {
    const int64_t parts = parts_of(p.keys), width = lanes_up(p.dim), rows = p.group() * p.queries;
    const int64_t key_blocks = (p.keys + BLOCK - 1) / BLOCK, kv_heads = p.batch * p.kv_heads;
    Reach reaches;
    if (p.forms) reach_all(p, p.form_count, reaches);
    std::vector<float> sums(parts * kv_heads * rows * width), deltas(p.batch * p.heads * p.queries);
#pragma omp parallel num_threads(static_cast<int>(p.threads))
    {
        Scratch memory(block_floats(p));
        const KeyBlock b = take_block(p, memory);
#pragma omp for schedule(static)
        for (int64_t n = 0; n < p.batch * p.heads * p.queries; ++n)
            deltas[n] = delta_of(p, n / p.queries / p.heads, n / p.queries % p.heads, n % p.queries);
#pragma omp for schedule(dynamic)
        for (int64_t item = 0; item < kv_heads * parts; ++item) {
            const int64_t head = item / parts, part = item % parts;
            float* query_sums = sums.data() + item * rows * width;
            for (int64_t block = key_blocks * part / parts; block < key_blocks * (part + 1) / parts; ++block)
                differentiate_keys(p, b, reaches, head / p.kv_heads, head % p.kv_heads, block * BLOCK, deltas.data(),
                                   query_sums);
        }
#pragma omp for schedule(static)
        for (int64_t n = 0; n < kv_heads * rows; ++n) {
            const int64_t kv_head = n / rows, row = n % rows;
            float* to = p.query_grad.at(kv_head / p.kv_heads, kv_head % p.kv_heads * p.group() + row / p.queries, row % p.queries);
            for (int64_t d = 0; d < p.dim; ++d) {
                float sum = 0;
                for (int64_t part = 0; part < parts; ++part) sum += sums[((kv_head * parts + part) * rows + row) * width + d];
                to[d * p.query_grad.column] = sum;
            }
        }
    }
}
