// Weights one by one: all keys of a few rows, and a few pairs in O(dim) each.

// Rows chosen[begin … end), which lie within BLOCK of the first: their lse, then their weights.
template <class Scores>
static void weigh_rows(const Problem& p, const Request& want, Scores& scores, Spot rows, int64_t begin, int64_t end) {
    QueryBlock& b = scores.block;
    const real factor = factor_of(p);
    real* weights = static_cast<real*>(want.weights) + (rows.batch * p.heads + rows.head) * want.chosen_count * p.keys;
    rows.query = want.chosen[begin], rows.queries = want.chosen[end - 1] + 1 - rows.query;
    scores.begin(p, rows);
    if (p.normalize == Normalize::softmax) {
        each_tile(p, b, rows, p.keys, [&](const Spot& s) {
            scores.score(p, s);
            exponentiate(b, factor, s.keys);
        });
        for (int64_t i = 0; i < rows.queries; ++i) write_lse(p, b, rows, i);
    }
    RowLevels levels;
    row_levels(p, rows, levels);
    each_tile(p, b, rows, p.keys, [&](const Spot& s) {
        score_lanes(p, scores, s);
        weigh_tile(p, b, s, levels);
        for (int64_t n = begin; n < end; ++n)
            for (int64_t j = 0; j < s.keys; ++j)
                weights[n * p.keys + s.key + j] = b.score[j * BLOCK + want.chosen[n] - rows.query];
    });
}

template <class Scores>
static void weigh(const Problem& p, const Request& want) {
    List<int64_t> begins;
    for (int64_t n = 0; n < want.chosen_count; ++n)
        if (!n || want.chosen[n] >= want.chosen[begins.back()] + BLOCK) begins.push_back(n);
    const int64_t groups = static_cast<int64_t>(begins.size());
    begins.push_back(want.chosen_count);
    parallel(p.threads, [&](Team& team) {
        Scratch memory(Scores::numbers(p));
        Scores scores(p, memory);
        team.dynamic(p.batch * p.heads * groups, [&](int64_t item) {
            const int64_t head = item / groups, group = item % groups;
            weigh_rows(p, want, scores, {head / p.heads, head % p.heads, 0, 0, 0, 0}, begins[group], begins[group + 1]);
        });
        return true;
    });
}

static bool sees(const Form* form, int64_t query, int64_t key) {
    if (!form) return true;
    if (!form->offsets) return form->words[query * form->stride + (key >> 3)] >> (7 - (key & 7)) & 1;
    const int64_t range = first_range(*form, query, key);
    return range < form->offsets[query + 1] && form->low[range] <= key;
}

// q_i · k_j; room: [2 · dim].
REGARD_APART real product_of(const Problem& p, const Spot& s, real* room) {
    const Rows query = rows_of(p.query, s.batch, s.head, s.query, 1, p.dim, room);
    const Rows key = rows_of(p.key, s.batch, s.head / p.group(), s.key, 1, p.dim, room + p.dim);
    const int64_t whole = query.column == 1 && key.column == 1 ? p.dim / LANES * LANES : 0;
    vf lanes{};
    for (int64_t c = 0; c < whole; c += LANES) lanes += load(query.data + c) * load(key.data + c);
    real sum = across<LANES / 2>(lanes, [](vf a, vf b) { return a + b; })[0];
    for (int64_t c = whole; c < p.dim; ++c) sum = fused(query.data[c * query.column], key.data[c * key.column], sum);
    return sum;
}

static double bias_of(const Problem& p, const Spot& s) {
    double sum = 0;
    if (p.bias.table)
        sum += p.bias.table.at<const real>(0, s.head, 0)[s.key + p.first_key(s.batch) - s.query - p.first_query(s.batch) +
                                                         p.bias.table_zero];
    if (p.bias.keys) sum += p.bias.keys.at<const real>(s.batch, s.head, 0)[s.key * p.bias.keys.column];
    if (p.bias.pairs) sum += p.bias.pairs.at<const real>(s.batch, s.head, s.query)[s.key * p.bias.pairs.column];
    if (p.bias.edges)
        edges_of(p, s, [&](int64_t edge, int64_t, int64_t) {
            sum += p.bias.edges.at<const real>(s.batch, s.head, 0)[edge * p.bias.edges.column];
        });
    return sum;
}

static double weight_of(const Problem& p, const Spot& s, real* room) {
    const double bias = bias_of(p, s);
    if (!sees(p.form(s.batch, s.head), s.query, s.key) || bias == -INFINITE) return 0;
    const double plain = p.scale * product_of(p, s, room);
    const double score = (p.cap != 0 ? p.cap * std::tanh(plain / p.cap) : plain) + bias;
    if (p.normalize == Normalize::sigmoid) return 1 / (1 + std::exp(-score));
    return std::exp(score - *p.lse.at<const real>(s.batch, s.head, s.query) - *p.rest.at<const real>(s.batch, s.head, s.query));
}

static void pick(const Problem& p, const Request& want) {
    parallel(p.threads, [&](Team& team) {
        Scratch memory(2 * p.dim);
        real* room = memory.take(2 * p.dim);
        team.even(p.batch * p.heads * want.chosen_count, [&](int64_t n) {
            const int64_t head = n / want.chosen_count, batch = head / p.heads;
            const int64_t* pair = want.chosen + batch * want.chosen_step + 2 * (n % want.chosen_count);
            const Spot s = {batch, head % p.heads, pair[0], 1, pair[1], 1};
            static_cast<real*>(want.weights)[n] = pair[1] < 0 ? 0 : static_cast<real>(weight_of(p, s, room));
        });
        return true;
    });
}
