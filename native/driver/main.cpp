// Runs the kernels of every instruction set that this processor has on problems made of numbers, without Python, and
// compares all they write with plain loops over double. For sanitizers, valgrind and emulators: see the Makefile here.
#include <cstdio>
#include <cstring>
#include <set>

#include "../isa.hpp"
#include "statistics.hpp"

namespace driver {
namespace {

struct Options {
    std::string isa;  // empty: all
    uint64_t first = 0, cases = 100;
    Limits limits;
};

std::string described(const Problem& p) {
    char text[400];
    std::snprintf(text, sizeof text,
                  "batch %lld, heads %lld / %lld, queries %lld, keys %lld, dim %lld, value_dim %lld, threads %lld, kinds %lld %lld "
                  "%lld → %lld, forms %lld, scale %g, cap %g, %s, dropout %g%s%s%s%s%s",
                  (long long)p.batch, (long long)p.heads, (long long)p.kv_heads, (long long)p.queries, (long long)p.keys,
                  (long long)p.dim, (long long)p.value_dim, (long long)p.threads, (long long)p.query.kind, (long long)p.key.kind,
                  (long long)p.value.kind, (long long)p.out.kind, (long long)p.form_count, p.scale, p.cap,
                  p.normalize == Normalize::softmax ? "softmax" : "sigmoid", p.dropout, p.sink ? ", sink" : "",
                  p.bias.table ? ", table" : "", p.bias.keys ? ", key bias" : "", p.bias.pairs ? ", pair bias" : "",
                  p.bias.edges ? ", edge bias" : "");
    return text;
}

bool near(double found, double want, double allowed) {
    return found == want || (std::isnan(found) && std::isnan(want)) || std::fabs(found - want) <= allowed;
}

// The first difference in words; empty where there is none. Sums of a few hundred terms of order 1 to 10 lose a few
// hundred roundings of the type that they are accumulated in; a result is rounded once more to its own.
std::string difference(const Result& result, const std::vector<double>& want, double rounding) {
    double most = 1;
    for (double x : want) most = std::isfinite(x) ? std::max(most, std::fabs(x)) : most;
    std::string said;
    size_t n = 0;
    result.tensor->each([&](int64_t b, int64_t h, int64_t r, int64_t c) {
        const double found = read(result.tensor->array, b, h, r, c), expected = want.at(n++);
        const double own = 2 * epsilon(result.tensor->array.kind) * std::fabs(expected);
        if (!said.empty() || near(found, expected, 400 * rounding * most + own)) return;
        char text[200];
        std::snprintf(text, sizeof text, "%s[%lld, %lld, %lld, %lld] is %.9g, not %.9g", result.name.c_str(), (long long)b,
                      (long long)h, (long long)r, (long long)c, found, expected);
        said = text;
    });
    return said;
}

// What a kernel computes in: pairs of bfloat16, where its instruction set multiplies them and all inputs are.
Kind kind_of(const Case& one, bool pairs, bool of_backward) {
    const Problem& p = one.problem;
    const auto is_half = [](const Array& a) { return a.kind == Kind::bfloat16; };
    const bool all = is_half(p.query) && is_half(p.key) && is_half(p.value) && (!of_backward || is_half(p.out_grad));
    return p.query.kind == Kind::float64 ? Kind::float64 : pairs && all ? Kind::bfloat16 : Kind::float32;
}

std::string differences(const Case& one, const Answer& want, bool of_backward, bool pairs = false) {
    const Kind kind = kind_of(one, pairs, of_backward);
    // A weight that is rounded to bfloat16 moves its row by as much as one rounding of its values; the weights of a column,
    // whose sum is not 1, by some.
    const double rounding = kind == Kind::bfloat16 ? (of_backward ? 4 : 1) * epsilon(kind) / 400 : epsilon(kind);
    for (const Result& result : one.results) {
        if (result.of_backward != of_backward) continue;
        const auto found = want.find(result.name);
        const std::string said = difference(result, found == want.end() ? std::vector<double>() : found->second, rounding);
        if (!said.empty()) return said;
    }
    return "";
}

// What the backward pass reads of the forward pass, from the equation.
void give(const Case& one, const Answer& forward) {
    const Problem& p = one.problem;
    size_t n = 0, row = 0;
    for (int64_t b = 0; b < p.batch; ++b)
        for (int64_t h = 0; h < p.heads; ++h)
            for (int64_t i = 0; i < p.queries; ++i, ++row) {
                for (int64_t c = 0; c < p.value_dim; ++c) write(p.out, b, h, i, c, forward.at("out")[n++]);
                const double lse = forward.at("lse")[row];
                write(p.lse, b, h, i, 0, lse);
                write(p.rest, b, h, i, 0, std::isinf(lse) ? 0 : lse - read(p.lse, b, h, i, 0));
            }
}

struct Expected {
    Answer forward, backward;
};

Expected expected(uint64_t number, const Limits& limits) {
    const Case one(number, limits);
    const Equation equation(one.problem);
    Expected found{equation.forward(), {}};
    give(one, found.forward);
    found.backward = equation.backward();
    return found;
}

// What is wrong with one instruction set's results; empty where nothing is.
std::string fault(const regard::Kernels& kernels, uint64_t number, const Limits& limits, const Expected& want) {
    Case one(number, limits);
    if (!kernels.forward(one.problem)) return "the forward pass gave up";
    const bool pairs = !std::strcmp(kernels.name, "amx") || !std::strcmp(kernels.name, "avx512bf16");
    std::string said = differences(one, want.forward, false, pairs);
    if (!said.empty()) return said;
    if (one.problem.normalize == Normalize::softmax && !one.poisoned)
        said = one.problem.query.kind == Kind::float64 ? statistics_fault<double>(kernels, one.problem, epsilon(Kind::float64))
                                                       : statistics_fault<float>(kernels, one.problem, epsilon(Kind::float32));
    if (!said.empty()) return said;
    give(one, want.forward);
    const bool fine = kernels.backward(one.problem);
    if (!fine && !one.poisoned) return "the backward pass gave up on finite numbers";
    if (fine) said = differences(one, want.backward, true, pairs);
    if (said.empty() && !one.intact()) return "something outside of a tensor was written";
    return said;
}

// Features without which the result is another: a comparison that let them go would be worth nothing.
void seek(std::set<std::string>& told, uint64_t number, const Limits& limits, const Answer& want) {
    const Case one(number, limits);
    const auto without = [&](const char* feature, bool there, const auto& remove) {
        if (!there || told.count(feature) || one.poisoned) return;
        Problem changed = one.problem;
        remove(changed);
        give(one, Equation(changed).forward());
        if (!differences(one, want, false).empty()) told.insert(feature);
    };
    const Problem& p = one.problem;
    without("ranges", p.forms && p.forms->offsets, [](Problem& q) { q.forms = nullptr; });
    without("bits", p.forms && p.forms->words, [](Problem& q) { q.forms = nullptr; });
    without("forms by batch", p.forms && p.form_batch, [](Problem& q) { q.form_batch = 0; });
    without("forms by head", p.forms && p.form_head, [](Problem& q) { q.form_head = 0; });
    without("cap", p.cap != 0, [](Problem& q) { q.cap = 0; });
    without("sigmoid", p.normalize == Normalize::sigmoid, [](Problem& q) { q.normalize = Normalize::softmax; });
    without("sink", bool(p.sink), [](Problem& q) { q.sink = {}; });
    without("dropout", p.dropout != 0, [](Problem& q) { q.dropout = 0; });
    without("seed", p.dropout != 0, [](Problem& q) { q.seed += 1; });
    without("table", bool(p.bias.table), [](Problem& q) { q.bias.table = {}; });
    without("table by head", bool(p.bias.table), [](Problem& q) { q.bias.table.head = 0; });
    without("key bias", bool(p.bias.keys), [](Problem& q) { q.bias.keys = {}; });
    without("pair bias", bool(p.bias.pairs), [](Problem& q) { q.bias.pairs = {}; });
    without("edge bias", bool(p.bias.edges), [](Problem& q) { q.bias.edges = {}; });
}

constexpr size_t FEATURES = 14;

int run(const Options& options) {
    std::set<std::string> told, ran;
    for (uint64_t number = options.first; number < options.first + options.cases; ++number) {
        const Expected want = expected(number, options.limits);
        for (const char* name : {"amx", "avx512bf16", "avx512", "avx2", "neon", "baseline"}) {
            const regard::Kernels* kernels = options.isa.empty() || options.isa == name ? regard::kernels(name) : nullptr;
            if (!kernels) continue;
            ran.insert(name);
            const std::string said = fault(*kernels, number, options.limits, want);
            if (said.empty()) continue;
            const Case one(number, options.limits);
            std::fprintf(stderr, "%s, case %llu: %s\n  %s\n", name, (unsigned long long)number, said.c_str(),
                         described(one.problem).c_str());
            return 1;
        }
        seek(told, number, options.limits, want.forward);
    }
    if (ran.empty()) return std::fprintf(stderr, "this processor runs no such instruction set\n"), 1;
    std::printf("%llu cases, forward, backward and statistics:", (unsigned long long)options.cases);
    for (const std::string& name : ran) std::printf(" %s", name.c_str());
    std::printf("; %zu of %zu features were seen to matter\n", told.size(), FEATURES);
    return options.cases >= 100 && told.size() < FEATURES;
}

}  // namespace
}  // namespace driver

int main(int count, char** words) {
    driver::Options options;
    for (int n = 1; n + 1 < count; n += 2) {
        const std::string name = words[n], value = words[n + 1];
        if (name == "--isa") options.isa = value;
        if (name == "--first") options.first = std::stoull(value);
        if (name == "--cases") options.cases = std::stoull(value);
        if (name == "--longest") options.limits.longest = std::stoll(value);
        if (name == "--widest") options.limits.widest = std::stoll(value);
        if (name == "--guard") options.limits.guard = std::stoll(value);
    }
    return driver::run(options);
}
