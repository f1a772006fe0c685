// The backward pass of all sparse heads, a wave of them at a time, so that what is kept of their pairs stays O(pairs).

constexpr int64_t WAVE = int64_t{1} << 22;  // pairs, unless one key head has more

using Graphs = List<std::unique_ptr<Graph>>;  // by form; the last for no form, where every pair is visible

static int64_t graph_of(const Problem& p, const Form* form) { return form ? form - p.forms : p.form_count; }

class Wave {
   public:
    Wave(const Problem& p, const Graphs& graphs) : p_(p), graphs_(graphs) {}

    // Takes a key head, unless it is full.
    bool take(int64_t kv_head) {
        int64_t pairs = pairs_;
        for (int64_t g = 0; g < p_.group(); ++g) pairs += graph(kv_head * p_.group() + g).pairs();
        if (pairs_ && pairs > WAVE) return false;
        for (int64_t g = 0; g < p_.group(); ++g) {
            heads_.push_back({kv_head * p_.group() + g, pairs_});
            pairs_ += graph(kv_head * p_.group() + g).pairs();
        }
        return true;
    }
    bool differentiate() {
        weight_.assign(pairs_, 0), slope_.assign(pairs_, 0), move_.assign(p_.bias_grad ? pairs_ : 0, 0);
        return parallel(p_.threads, [&](Team& team) {
            const bool fine = by_rows(team);
            by_keys(team);
            if (p_.bias_grad.pairs || p_.bias_grad.edges) bias_by_rows(team);
            if (p_.bias_grad.table) table_by_heads(team);
            return fine;
        });
    }

   private:
    struct Head {
        int64_t number, first;  // among all heads of all entries; its first pair in the arrays
    };
    const Form* form(int64_t number) const { return p_.form(number / p_.heads, number % p_.heads); }
    const Graph& graph(int64_t number) const { return *graphs_[graph_of(p_, form(number))]; }
    Kept kept(const Head& head) {
        return {weight_.data() + head.first, slope_.data() + head.first, p_.bias_grad ? move_.data() + head.first : nullptr};
    }

    bool by_rows(Team& team) {
        Scratch memory(slope_row_numbers(p_));
        SlopeRow s = take_slope_row(p_, memory);
        bool fine = true;
        const int64_t blocks = (p_.queries + BLOCK - 1) / BLOCK, items = blocks * heads_.size();
        team.dynamic(items, [&](int64_t item) {
            const Head& head = heads_[item / blocks];
            const int64_t begin = item % blocks * BLOCK, end = std::min(p_.queries, begin + BLOCK);
            for (int64_t i = begin; i < end; ++i) {
                const Spot at{head.number / p_.heads, head.number % p_.heads, i, 1, 0, 0};
                fine = slope_row(p_, s, form(head.number), at, graph(head.number).first[i], kept(head)) && fine;
            }
        });
        return fine;
    }

    void by_keys(Team& team) {
        Scratch memory(key_sums_numbers(p_));
        KeySums s = take_key_sums(p_, memory);
        const int64_t blocks = (p_.keys + BLOCK - 1) / BLOCK, items = blocks * heads_.size() / p_.group();
        team.dynamic(items, [&](int64_t item) {
            const int64_t begin = item % blocks * BLOCK, end = std::min(p_.keys, begin + BLOCK);
            for (int64_t key = begin; key < end; ++key) write_key(s, &heads_[item / blocks * p_.group()], key);
        });
    }

    // heads: those of one group.
    void write_key(KeySums& s, const Head* heads, int64_t key) {
        const int64_t batch = heads->number / p_.heads, kv_head = heads->number % p_.heads / p_.group();
        std::fill_n(s.key, lanes_up(p_.dim), real(0)), std::fill_n(s.value, lanes_up(p_.value_dim), real(0));
        for (int64_t g = 0; g < p_.group(); ++g)
            add_key(p_, s, graph(heads[g].number), batch, heads[g].number % p_.heads, key, kept(heads[g]));
        write_numbers(p_.key_grad, batch, kv_head, key, p_.dim, s.key);
        write_numbers(p_.value_grad, batch, kv_head, key, p_.value_dim, s.value);
    }

    // A pair's entry may stand for several heads: these in order, rows side by side, unless it stands for all rows.
    void bias_by_rows(Team& team) {
        const int64_t runs = p_.bias_grad.pairs && !p_.bias_grad.pairs.row ? 1 : p_.queries;
        team.even(runs, [&](int64_t run) {
            for (int64_t i = run; i < p_.queries; i += runs)
                for (const Head& head : heads_) add_pair_slopes(head, i);
        });
    }

    void add_pair_slopes(const Head& head, int64_t query) {
        const int64_t batch = head.number / p_.heads, h = head.number % p_.heads;
        const real* move = move_.data() + head.first + graph(head.number).first[query];
        const Array &pairs = p_.bias_grad.pairs, &edges = p_.bias_grad.edges;
        Seeing seeing(form(head.number), query, 0, p_.keys);
        for (Listed list; seeing.next(list);) {
            if (pairs)
                for (int64_t j = 0; j < list.count; ++j)
                    pairs.at<real>(batch, h, query)[list.key[j] * pairs.column] += move[list.number[j]];
            if (edges)
                edges_among(p_, batch, query, list, [&](int64_t edge, int64_t j) {
                    edges.at<real>(batch, h, 0)[edge * edges.column] += move[list.number[j]];
                });
        }
    }

    // An entry of the table stands for all batch entries: these in order, heads side by side.
    void table_by_heads(Team& team) {
        team.even(p_.heads, [&](int64_t h) {
            for (const Head& head : heads_)
                if (head.number % p_.heads == h) add_distance_slopes(head);
        });
    }

    void add_distance_slopes(const Head& head) {
        const real* move = move_.data() + head.first;
        real* to = p_.bias_grad.table.at<real>(0, head.number % p_.heads, 0);
        for (int64_t i = 0; i < p_.queries; ++i) {
            real* zero = to + table_zero_of(p_, head.number / p_.heads, i);
            Seeing seeing(form(head.number), i, 0, p_.keys);
            for (Listed list; seeing.next(list);)
                for (int64_t j = 0; j < list.count; ++j) zero[list.key[j]] += *move++;
        }
    }

    const Problem& p_;
    const Graphs& graphs_;
    List<Head> heads_;
    List<real> weight_, slope_, move_;
    int64_t pairs_ = 0;
};

// False where NaN or ∞ may be about: then the gradients are not to be used.
static bool rows_backward(const Problem& p, const Choice& choice) {
    const int64_t kv_heads = p.batch * p.kv_heads;
    Graphs graphs(p.form_count + 1);
    for (int64_t head = 0; head < p.batch * p.heads; ++head) {
        const Form* form = p.form(head / p.heads, head % p.heads);
        std::unique_ptr<Graph>& graph = graphs[graph_of(p, form)];
        if (choice.by_rows(head / p.group()) && !graph) graph = std::make_unique<Graph>(form, p.queries, p.keys);
    }
    bool fine = true;
    for (int64_t kv_head = 0; kv_head < kv_heads;) {
        Wave wave(p, graphs);
        while (kv_head < kv_heads && (!choice.by_rows(kv_head) || wave.take(kv_head))) ++kv_head;
        fine = wave.differentiate() && fine;
    }
    return fine;
}
