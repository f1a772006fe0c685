// The equation and its derivatives in plain loops over double: what every kernel is compared with.
//   out_i = Σ_j w_ij · d_ij · v_j        w_i = normalize_j(cap · tanh(scale · q_i · k_j / cap) + bias_ij)
#pragma once
#include <map>

#include "case.hpp"

namespace driver {

// Every result by its name, in the order of Tensor::each.
using Answer = std::map<std::string, std::vector<double>>;

inline std::vector<double> dense(const Array& a, int64_t batch, int64_t heads, int64_t rows, int64_t columns) {
    std::vector<double> numbers;
    for (int64_t b = 0; b < batch; ++b)
        for (int64_t h = 0; h < heads; ++h)
            for (int64_t r = 0; r < rows; ++r)
                for (int64_t c = 0; c < columns; ++c) numbers.push_back(read(a, b, h, r, c));
    return numbers;
}

inline bool in_form(const Form& form, int64_t query, int64_t key) {
    if (!form.offsets) return form.words[query * form.stride + key / 8] >> (7 - key % 8) & 1;
    for (int64_t n = form.offsets[query]; n < form.offsets[query + 1]; ++n)
        if (form.low[n] <= key && key < form.high[n]) return true;
    return false;
}

inline uint32_t mix(uint32_t x) {
    x = (x ^ x >> 16) * 0x7FEB352Du;
    x = (x ^ x >> 15) * 0x846CA68Bu;
    return x ^ x >> 16;
}

// One query: everything that has an entry for each key.
struct Row {
    std::vector<double> weight, kept, bend;
    std::vector<bool> seen;
    double lse = 0;
};

class Equation {
   public:
    explicit Equation(const Problem& problem)
        : p(problem), query_(dense(p.query, p.batch, p.heads, p.queries, p.dim)),
          key_(dense(p.key, p.batch, p.kv_heads, p.keys, p.dim)),
          value_(dense(p.value, p.batch, p.kv_heads, p.keys, p.value_dim)) {}

    Answer forward() const {
        Answer answer;
        rows([&](int64_t b, int64_t h, int64_t i) {
            const Row row = row_of(b, h, i);
            std::vector<double> out(static_cast<size_t>(p.value_dim));
            for (int64_t j = 0; j < p.keys; ++j)
                for (int64_t c = 0; row.seen[size_t(j)] && c < p.value_dim; ++c)
                    out[size_t(c)] += row.weight[size_t(j)] * row.kept[size_t(j)] * value(b, h, j)[c];
            for (double x : out) answer["out"].push_back(x);
            answer["lse"].push_back(p.normalize == Normalize::softmax ? row.lse : 0);
        });
        return answer;
    }

    // `out` is taken from the problem, as a kernel does.
    Answer backward() const {
        Answer to;
        to["query_grad"].resize(query_.size()), to["key_grad"].resize(key_.size()), to["value_grad"].resize(value_.size());
        to["table_grad"].resize(size_t(p.heads * p.bias.table_size)), to["keys_grad"].resize(size_t(p.batch * p.heads * p.keys));
        to["edges_grad"].resize(size_t(p.batch * p.heads * (p.bias.edges ? std::max<int64_t>(1, edges()) : 0)));
        to["pairs_grad"].resize(size_t(pair_at(p.batch - 1, p.heads - 1, p.queries - 1, p.keys - 1) + 1));
        rows([&](int64_t b, int64_t h, int64_t i) { differentiate(to, b, h, i); });
        return to;
    }

    template <class Each>
    void rows(const Each& each) const {
        for (int64_t b = 0; b < p.batch; ++b)
            for (int64_t h = 0; h < p.heads; ++h)
                for (int64_t i = 0; i < p.queries; ++i) each(b, h, i);
    }

    int64_t distance(int64_t b, int64_t i, int64_t j) const { return j + p.first_key(b) - i - p.first_query(b); }

    Row row_of(int64_t b, int64_t h, int64_t i) const {
        Row row;
        const double* q = query_.data() + query_row(b, h, i) * p.dim;
        for (int64_t j = 0; j < p.keys; ++j) {
            const double* k = key_.data() + key_row(b, h, j) * p.dim;
            double score = p.scale * std::inner_product(q, q + p.dim, k, 0.0), bend = 1;
            if (p.cap != 0) {
                const double t = std::tanh(score / p.cap);
                score = p.cap * t, bend = 1 - t * t;
            }
            const double moves = bias(b, h, i, j);
            row.weight.push_back(score + moves), row.bend.push_back(bend), row.kept.push_back(kept(b, h, i, j));
            row.seen.push_back((!p.forms || in_form(*p.form(b, h), i, j)) && moves != -INFINITY);
        }
        normalize(row, p.sink ? read(p.sink, 0, h, 0, 0) : -INFINITY);
        return row;
    }

   private:
    int64_t query_row(int64_t b, int64_t h, int64_t i) const { return (b * p.heads + h) * p.queries + i; }
    int64_t key_row(int64_t b, int64_t h, int64_t j) const { return (b * p.kv_heads + h / p.group()) * p.keys + j; }
    const double* value(int64_t b, int64_t h, int64_t j) const { return value_.data() + key_row(b, h, j) * p.value_dim; }
    int64_t edges() const { return p.bias.edge_offsets[p.bias.targets]; }

    // The edge from a key to a query, or −1.
    int64_t edge(int64_t b, int64_t i, int64_t j) const {
        const int64_t target = i + p.first_query(b);
        if (target < 0 || target >= p.bias.targets) return -1;
        for (int64_t n = p.bias.edge_offsets[target]; n < p.bias.edge_offsets[target + 1]; ++n)
            if (p.bias.edge_key[n] == j + p.first_key(b)) return n;
        return -1;
    }

    // Where a pair's bias stands in a tensor whose broadcast axes have one entry.
    int64_t pair_at(int64_t b, int64_t h, int64_t i, int64_t j) const {
        const Array& a = p.bias.pairs;
        int64_t at = a.batch ? b : 0;
        at = a.head ? at * p.heads + h : at;
        at = a.row ? at * p.queries + i : at;
        return a.column ? at * p.keys + j : at;
    }

    double bias(int64_t b, int64_t h, int64_t i, int64_t j) const {
        double sum = 0;
        if (p.bias.table) sum += read(p.bias.table, 0, h, 0, distance(b, i, j) + p.bias.table_zero);
        if (p.bias.keys) sum += read(p.bias.keys, b, h, 0, j);
        if (p.bias.pairs) sum += read(p.bias.pairs, b, h, i, j);
        if (p.bias.edges && edge(b, i, j) >= 0) sum += read(p.bias.edges, b, h, 0, edge(b, i, j));
        return sum;
    }

    // What dropout leaves of a weight of 1.
    double kept(int64_t b, int64_t h, int64_t i, int64_t j) const {
        uint32_t row = mix(mix(static_cast<uint32_t>(p.seed)) ^ static_cast<uint32_t>(p.seed >> 32));
        for (int64_t at : {int64_t{1}, b, h, i + p.first_query(b)}) row = mix(row + static_cast<uint32_t>(at));
        const uint32_t word = mix(row ^ mix(static_cast<uint32_t>(j + p.first_key(b)) * 0x9E3779B9u + 1));
        return word >= std::floor(p.dropout * 4294967296.0) ? 1 / (1 - p.dropout) : 0;
    }

    // Scores to weights.
    void normalize(Row& row, double sink) const {
        const bool softmax = p.normalize == Normalize::softmax;
        const bool any = std::find(row.seen.begin(), row.seen.end(), true) != row.seen.end();
        double top = sink, total = 0;
        for (size_t j = 0; j < row.seen.size(); ++j)
            if (row.seen[j]) top = std::fmax(top, row.weight[j]);
        for (size_t j = 0; j < row.seen.size(); ++j) total += row.seen[j] ? std::exp(row.weight[j] - top) : 0;
        row.lse = any ? top + std::log(total + std::exp(sink - top)) : -INFINITY;
        for (size_t j = 0; j < row.seen.size(); ++j) {
            const double score = row.weight[j];
            row.weight[j] = !row.seen[j] ? 0 : softmax ? std::exp(score - row.lse) : 1 / (1 + std::exp(-score));
        }
    }

    void differentiate(Answer& to, int64_t b, int64_t h, int64_t i) const {
        const Row row = row_of(b, h, i);
        double delta = 0;
        for (int64_t c = 0; c < p.value_dim; ++c) delta += read(p.out_grad, b, h, i, c) * read(p.out, b, h, i, c);
        if (p.sink) to["sink_grad"].push_back(row.lse == -INFINITY ? 0 : -std::exp(read(p.sink, 0, h, 0, 0) - row.lse) * delta);
        if (p.lse_grad) delta -= read(p.lse_grad, b, h, i, 0);
        for (int64_t j = 0; j < p.keys; ++j) {
            if (!row.seen[size_t(j)]) continue;
            const double weight = row.weight[size_t(j)], kept = row.kept[size_t(j)];
            double to_weight = 0;
            for (int64_t c = 0; c < p.value_dim; ++c) {
                const double upstream = read(p.out_grad, b, h, i, c);
                to_weight += kept * upstream * value(b, h, j)[c];
                to["value_grad"][size_t(key_row(b, h, j) * p.value_dim + c)] += weight * kept * upstream;
            }
            const bool softmax = p.normalize == Normalize::softmax;
            const double slope = softmax ? weight * (to_weight - delta) : weight * (1 - weight) * to_weight;
            add_slope(to, b, h, i, j, slope, slope * row.bend[size_t(j)] * p.scale);
        }
    }

    // slope: of the score; raw: of the product.
    void add_slope(Answer& to, int64_t b, int64_t h, int64_t i, int64_t j, double slope, double raw) const {
        const size_t query = size_t(query_row(b, h, i) * p.dim), key = size_t(key_row(b, h, j) * p.dim);
        for (size_t d = 0; d < size_t(p.dim); ++d) {
            to["query_grad"][query + d] += raw * key_[key + d];
            to["key_grad"][key + d] += raw * query_[query + d];
        }
        if (p.bias.table) to["table_grad"][size_t(h * p.bias.table_size + distance(b, i, j) + p.bias.table_zero)] += slope;
        if (p.bias.keys) to["keys_grad"][size_t((b * p.heads + h) * p.keys + j)] += slope;
        if (p.bias.pairs) to["pairs_grad"][size_t(pair_at(b, h, i, j))] += slope;
        if (p.bias.edges && edge(b, i, j) >= 0)
            to["edges_grad"][size_t((b * p.heads + h) * std::max<int64_t>(1, edges()) + edge(b, i, j))] += slope;
    }

    const Problem p;
    std::vector<double> query_, key_, value_;
};

}  // namespace driver
