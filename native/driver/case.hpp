// A problem made of one number: sizes, strides, kinds, pattern, bias and all else that a kernel can be asked for.
#pragma once
#include <deque>
#include <string>

#include "memory.hpp"

namespace driver {

using regard::Form;
using regard::Normalize;
using regard::Problem;

struct Limits {
    int64_t longest = 200, widest = 130, guard = 72;  // guard: no multiple of a vector, so that nothing is aligned to one
};

// A tensor that a kernel writes, under the name that `Answer` knows it by.
struct Result {
    std::string name;
    Tensor* tensor;
    bool of_backward;
};

class Case {
   public:
    Problem problem{};
    std::vector<Result> results;
    bool poisoned = false;  // NaN in a key or a value

    Case(uint64_t number, const Limits& limits) : random_(number + 1), limits_(limits) {
        choose_sizes();
        choose_numbers();
        if (random_.chance(0.8)) choose_pattern();
        if (random_.chance(0.6)) choose_bias();
        fill_vectors();
        make_results();
    }
    Case(const Case&) = delete;

    bool intact() {
        bool fine = true;
        for (Tensor& tensor : tensors_) fine = tensor.intact() && fine;
        return fine;
    }

   private:
    int64_t length(int64_t most) {
        static constexpr int64_t edges[] = {1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129};
        return std::min(most, random_.chance(0.4) ? edges[random_.below(11)] : random_.between(1, most));
    }

    Kind narrow_or_wide() { return random_.chance(0.25) ? wide_ : kind_; }

    void choose_sizes() {
        Problem& p = problem;
        kind_ = static_cast<Kind>(random_.below(4)), wide_ = kind_ == Kind::float64 ? kind_ : Kind::float32;
        p.batch = random_.between(1, 2), p.kv_heads = random_.between(1, 2), p.heads = p.kv_heads * random_.between(1, 3);
        p.queries = length(limits_.longest), p.keys = length(limits_.longest);
        p.dim = length(limits_.widest), p.value_dim = length(limits_.widest);
        if (random_.chance(0.1)) {  // keys enough to be cut into parts
            p.keys = random_.between(limits_.longest, 6 * limits_.longest);
            p.dim = std::min<int64_t>(p.dim, 5), p.value_dim = std::min<int64_t>(p.value_dim, 7);
        }
        p.threads = random_.between(1, 3), odd_ = random_.chance(0.5);
    }

    void choose_numbers() {
        Problem& p = problem;
        p.scale = (random_.chance(0.1) ? 0 : random_.chance(0.2) ? -1 : 1) / std::sqrt(static_cast<double>(p.dim));
        p.cap = random_.chance(0.25) ? 2 + random_.unit() : 0;
        p.normalize = random_.chance(0.2) ? Normalize::sigmoid : Normalize::softmax;
        p.dropout = random_.chance(0.25) ? 0.1 + 0.5 * random_.unit() : 0, p.seed = random_.word();
        if (p.normalize == Normalize::softmax && random_.chance(0.25)) p.sink = filled(wide_, {1, p.heads, 1, 1}, {}, odd_).array;
        const bool each = random_.chance(0.5);
        p.query_start = starts(each), p.query_start_step = each;
        p.key_start = starts(each), p.key_start_step = each;
    }

    const int64_t* starts(bool each) {
        std::vector<int64_t> found;
        for (int64_t b = 0; b < (each ? problem.batch : 1); ++b) found.push_back(random_.between(-3, 20));
        return kept(found);
    }

    const int64_t* kept(const std::vector<int64_t>& list) {  // exactly as long as it is
        lists_.emplace_back(list.begin(), list.end());
        return lists_.back().data();
    }

    void choose_pattern() {
        Problem& p = problem;
        const int64_t by_batch = random_.chance(0.4) ? p.batch : 1, by_head = random_.chance(0.4) ? p.heads : 1;
        p.form_count = by_batch * by_head == 1 ? 1 : random_.between(2, 3);
        for (int64_t n = 0; n < p.form_count; ++n) forms_.push_back(random_.chance(0.3) ? bits() : ranges());
        std::vector<int64_t> index;
        for (int64_t n = 0; n < by_batch * by_head; ++n) index.push_back(random_.below(p.form_count));
        p.forms = forms_.data(), p.form_of = kept(index);
        p.form_batch = by_batch > 1 ? by_head : 0, p.form_head = by_head > 1;
    }

    // Which keys a row sees: up to itself, a window, coins, a few runs; some rows nothing, some everything.
    std::vector<bool> row(int64_t style, int64_t query) {
        const Problem& p = problem;
        std::vector<bool> seen(static_cast<size_t>(p.keys));
        const double share = style == 2 ? 0.5 : 0.03;
        const int64_t end = query * p.keys / p.queries + 1, width = random_.between(1, 40), special = random_.below(20);
        for (int64_t j = 0; j < p.keys; ++j) {
            const bool by_style = style == 0 ? j < end : style == 1 ? j < end && j >= end - width : random_.chance(share);
            seen[static_cast<size_t>(j)] = special == 0 ? false : special == 1 ? true : by_style;
        }
        return seen;
    }

    Form ranges() {
        std::vector<int64_t> offsets{0}, low, high;
        const int64_t style = random_.below(4);
        for (int64_t i = 0; i < problem.queries; ++i) {
            const std::vector<bool> seen = row(style, i);
            for (size_t j = 0; j < seen.size(); ++j) {
                if (seen[j] && (j == 0 || !seen[j - 1])) low.push_back(static_cast<int64_t>(j));
                if (seen[j] && (j + 1 == seen.size() || !seen[j + 1])) high.push_back(static_cast<int64_t>(j) + 1);
            }
            offsets.push_back(static_cast<int64_t>(low.size()));
        }
        return {kept(offsets), kept(low), kept(high), nullptr, 0};
    }

    Form bits() {
        const int64_t stride = (problem.keys + 7) / 8, style = random_.below(4);
        words_.emplace_back(static_cast<size_t>(stride * problem.queries));
        for (int64_t i = 0; i < problem.queries; ++i) {
            const std::vector<bool> seen = row(style, i);
            for (size_t j = 0; j < seen.size(); ++j)
                if (seen[j]) words_.back()[static_cast<size_t>(i * stride) + j / 8] |= static_cast<uint8_t>(128 >> j % 8);
        }
        return {nullptr, nullptr, nullptr, words_.back().data(), stride};
    }

    void choose_bias() {
        Problem& p = problem;
        const bool hides = random_.chance(0.3), slopes = random_.chance(0.8);
        if (random_.chance(0.4)) choose_table(slopes);
        if (random_.chance(0.4)) {
            p.bias.keys = filled(wide_, {p.batch, p.heads, 1, p.keys}, {}, odd_, hides).array;
            if (slopes) p.bias_grad.keys = result("keys_grad", wide_, {p.batch, p.heads, 1, p.keys}, true, odd_).array;
        }
        if (random_.chance(0.4)) {
            const bool one[] = {random_.chance(0.3), random_.chance(0.3), random_.chance(0.1), random_.chance(0.1)};
            p.bias.pairs = filled(wide_, {p.batch, p.heads, p.queries, p.keys}, one, odd_, hides).array;
            if (slopes && !one[3])
                p.bias_grad.pairs = result("pairs_grad", wide_, {p.batch, p.heads, p.queries, p.keys}, true, odd_, one).array;
        }
        if (random_.chance(0.4)) choose_edges(slopes, hides);
    }

    void choose_table(bool slopes) {
        constexpr int64_t room = 64;
        Problem& p = problem;
        int64_t least = 1 << 20, most = -least;
        for (int64_t b = 0; b < p.batch; ++b) {
            least = std::min(least, p.first_key(b) - p.first_query(b) - p.queries + 1);
            most = std::max(most, p.first_key(b) - p.first_query(b) + p.keys - 1);
        }
        const int64_t size = most - least + 1;
        p.bias.table_size = size, p.bias.table_zero = -least;
        Array forth = filled(wide_, {1, p.heads, 1, size + 2 * room}, {}, false).array;
        Array back = filled(wide_, {1, p.heads, 1, size + 2 * room}, {}, false).array;
        for (int64_t h = 0; h < p.heads; ++h)
            for (int64_t n = 0; n < size; ++n) write(back, 0, h, 0, room + size - 1 - n, read(forth, 0, h, 0, room + n));
        for (Array* each : {&forth, &back}) each->data = static_cast<char*>(each->data) + room * bytes_of(wide_);
        p.bias.table = forth, p.bias.table_back = back;
        if (slopes) p.bias_grad.table = result("table_grad", wide_, {1, p.heads, 1, size}, true, false).array;
    }

    void choose_edges(bool slopes, bool hides) {
        Problem& p = problem;
        std::vector<int64_t> offsets{0}, keys;
        p.bias.targets = random_.between(1, p.queries + 20);
        for (int64_t i = 0; i < p.bias.targets; ++i) {
            for (int64_t key = random_.between(0, 30); key < p.keys + 25; key += random_.between(1, 30)) keys.push_back(key);
            offsets.push_back(static_cast<int64_t>(keys.size()));
        }
        const int64_t count = std::max<int64_t>(1, static_cast<int64_t>(keys.size()));
        p.bias.edge_offsets = kept(offsets), p.bias.edge_key = kept(keys);
        p.bias.edges = filled(wide_, {p.batch, p.heads, 1, count}, {}, odd_, hides).array;
        if (slopes) p.bias_grad.edges = result("edges_grad", wide_, {p.batch, p.heads, 1, count}, true, odd_).array;
    }

    void fill_vectors() {
        Problem& p = problem;
        const bool one[] = {random_.chance(0.2), random_.chance(0.2), false, false};
        p.query = filled(narrow_or_wide(), {p.batch, p.heads, p.queries, p.dim}, {}, odd_, false, 9).array;
        p.key = filled(narrow_or_wide(), {p.batch, p.kv_heads, p.keys, p.dim}, one, odd_).array;
        p.value = filled(narrow_or_wide(), {p.batch, p.kv_heads, p.keys, p.value_dim}, one, odd_).array;
        poisoned = random_.chance(0.08);
        if (poisoned) {
            const bool key = random_.chance(0.3);
            write(key ? p.key : p.value, p.batch - 1, 0, random_.below(p.keys), random_.below(key ? p.dim : p.value_dim), NAN);
        }
    }

    void make_results() {
        Problem& p = problem;
        const bool one[] = {random_.chance(0.2), random_.chance(0.2), random_.chance(0.2), random_.chance(0.2)};
        p.out = result("out", narrow_or_wide(), {p.batch, p.heads, p.queries, p.value_dim}, false, odd_).array;
        p.lse = result("lse", wide_, {p.batch, p.heads, p.queries, 1}, false, odd_).array;
        p.rest = made(wide_, {p.batch, p.heads, p.queries, 1}, {}, odd_).array;
        p.out_grad = filled(narrow_or_wide(), {p.batch, p.heads, p.queries, p.value_dim}, one, odd_).array;
        if (p.sink)
            p.sink_grad = result("sink_grad", wide_, {p.batch, p.heads, p.queries, 1}, true, odd_).array;
        else if (p.normalize == Normalize::softmax && random_.chance(0.3))
            p.lse_grad = filled(wide_, {p.batch, p.heads, p.queries, 1}, {}, odd_).array;
        p.query_grad = result("query_grad", narrow_or_wide(), {p.batch, p.heads, p.queries, p.dim}, true, odd_).array;
        p.key_grad = result("key_grad", narrow_or_wide(), {p.batch, p.kv_heads, p.keys, p.dim}, true, odd_).array;
        p.value_grad = result("value_grad", narrow_or_wide(), {p.batch, p.kv_heads, p.keys, p.value_dim}, true, odd_).array;
    }

    Tensor& made(Kind kind, const int64_t (&sizes)[4], const bool (&one)[4], bool odd) {
        tensors_.emplace_back(random_, kind, sizes, one, odd, limits_.guard);
        return tensors_.back();
    }

    Tensor& filled(Kind kind, const int64_t (&sizes)[4], const bool (&one)[4], bool odd, bool hides = false, double most = 1) {
        Tensor& tensor = made(kind, sizes, one, odd);
        tensor.each([&](int64_t b, int64_t h, int64_t r, int64_t c) {
            write(tensor.array, b, h, r, c, hides && random_.chance(0.03) ? -INFINITY : most * random_.number());
        });
        return tensor;
    }

    // Gradients of a bias are added to, and begin at 0.
    Tensor& result(const char* name, Kind kind, const int64_t (&sizes)[4], bool of_backward, bool odd,
                   const bool (&one)[4] = {false, false, false, false}) {
        Tensor& tensor = made(kind, sizes, one, odd);
        tensor.each([&](int64_t b, int64_t h, int64_t r, int64_t c) { write(tensor.array, b, h, r, c, of_backward ? 0 : NAN); });
        results.push_back({name, &tensor, of_backward});
        return tensor;
    }

    Random random_;
    Limits limits_;
    Kind kind_ = Kind::float32, wide_ = Kind::float32;
    bool odd_ = false;
    std::deque<Tensor> tensors_;
    std::deque<std::vector<int64_t>> lists_;
    std::deque<std::vector<uint8_t>> words_;
    std::vector<Form> forms_;
};

}  // namespace driver
