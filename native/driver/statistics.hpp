// What the kernels say of the weights without keeping them, beside sums of the weights themselves.
#pragma once
#include <limits>

#include "../isa.hpp"
#include "equation.hpp"

namespace driver {

// A request with room for all that it asks for, T the type of the sums. Queries and keys take turns in no class and in each of three.
template <class T>
class Asked {
   public:
    static constexpr int64_t classes = 3, top = 2;
    regard::Request rows{}, sums{};

    explicit Asked(const Problem& p) : heads_(p.heads), class_of_(p.queries + p.keys) {
        for (int64_t h = 0; h < p.heads; ++h) heads_[h] = h;
        for (size_t n = 0; n < class_of_.size(); ++n) class_of_[n] = static_cast<int64_t>(n) % (classes + 1) - 1;
        const int64_t all = p.batch * p.heads;
        rows.pass = regard::Pass::rows, rows.reach = 2, rows.top = top;
        rows.entropy = real("entropy", all * p.queries), rows.square = real("square", all * p.queries);
        rows.distance = real("distance", all * p.queries), rows.local = real("local", all * p.queries);
        rows.top_weight = real("top", all * p.queries * top);
        top_key_.resize(all * p.queries * top), rows.top_key = top_key_.data();
        sums.pass = regard::Pass::sums, sums.heads = heads_.data(), sums.head_count = p.heads;
        sums.end_query = p.queries, sums.end_key = p.keys;
        sums.received = real("received", all * p.keys), sums.distances = real("distances", all * (p.queries + p.keys - 1));
        visible_.resize(all * p.keys), sums.visible = visible_.data();
        pairs_.resize(all * classes * classes);
        grouping_ = {class_of_.data(), class_of_.data(), 0, 0, classes, classes, nullptr,
                     real("sum", all * classes * classes), real("greatest", all * classes * classes), pairs_.data()};
        sums.groupings = &grouping_, sums.grouping_count = 1;
    }
    Asked(const Asked&) = delete;

    // What rows say, in the pass of the sums; what was found of it before is forgotten.
    regard::Request at_once() {
        for (const char* name : {"entropy", "square", "distance", "local", "top"})
            std::fill(reals_[name].begin(), reals_[name].end(), std::numeric_limits<T>::quiet_NaN());
        regard::Request both = rows;
        both.pass = regard::Pass::sums, both.heads = sums.heads, both.head_count = sums.head_count;
        both.end_query = sums.end_query, both.end_key = sums.end_key;
        return both;
    }

    Answer answer() const {
        Answer found;
        for (const auto& [name, numbers] : reals_) found[name].assign(numbers.begin(), numbers.end());
        found["visible"].assign(visible_.begin(), visible_.end());
        found["pairs"].assign(pairs_.begin(), pairs_.end());
        return found;
    }
    int64_t class_of(int64_t n) const { return class_of_[size_t(n)]; }

   private:
    void* real(const char* name, int64_t numbers) {
        reals_[name].resize(size_t(numbers));
        return reals_[name].data();
    }

    std::map<std::string, std::vector<T>> reals_;
    std::vector<int64_t> heads_, class_of_, top_key_, visible_, pairs_;
    regard::Grouping grouping_{};
};

// The same from the weights.
template <class T>
Answer statistics_of(const Problem& p, const Equation& equation, const Asked<T>& asked) {
    constexpr int64_t classes = Asked<T>::classes, top = Asked<T>::top;
    Answer to = asked.answer();
    for (auto& [name, numbers] : to) std::fill(numbers.begin(), numbers.end(), 0.0);
    equation.rows([&](int64_t b, int64_t h, int64_t i) {
        const Row row = equation.row_of(b, h, i);
        const int64_t head = b * p.heads + h;
        const size_t at = size_t(head * p.queries + i);
        for (int64_t j = 0; j < p.keys; ++j) {
            if (!row.seen[size_t(j)]) continue;
            const double weight = row.weight[size_t(j)], away = std::fabs(double(equation.distance(b, i, j)));
            to["entropy"][at] -= weight > 0 ? weight * std::log(weight) : 0;
            to["square"][at] += weight * weight, to["distance"][at] += weight * away, to["local"][at] += away <= 2 ? weight : 0;
            to["received"][size_t(head * p.keys + j)] += weight, to["visible"][size_t(head * p.keys + j)] += 1;
            to["distances"][size_t(head * (p.queries + p.keys - 1) + j - i + p.queries - 1)] += weight;
            if (asked.class_of(i) < 0 || asked.class_of(j) < 0) continue;
            const size_t cell = size_t((head * classes + asked.class_of(i)) * classes + asked.class_of(j));
            to["sum"][cell] += weight, to["pairs"][cell] += 1, to["greatest"][cell] = std::max(to["greatest"][cell], weight);
        }
        std::vector<double> falling = row.weight;
        std::sort(falling.begin(), falling.end(), std::greater<double>());
        for (size_t n = 0; n < size_t(top) && n < falling.size(); ++n) to["top"][at * top + n] = falling[n];
    });
    return to;
}

// What is wrong with these answers; empty where nothing is.
template <class T>
std::string difference(const Problem& p, const Asked<T>& asked, const Answer& right, double rounding) {
    const Answer found = asked.answer();
    for (const auto& [name, want] : right)
        for (size_t n = 0; n < want.size(); ++n) {
            const double most = name == "distance" ? double(p.queries + p.keys) : double(p.queries);
            if (std::fabs(found.at(name)[n] - want[n]) <= 400 * rounding * most) continue;
            char text[200];
            std::snprintf(text, sizeof text, "%s[%zu] is %.9g, not %.9g", name.c_str(), n, found.at(name)[n], want[n]);
            return text;
        }
    return "";
}

// What is wrong with a kernel's statistics, rows before sums and both at once; empty where nothing is.
template <class T>
std::string statistics_fault(const regard::Kernels& kernels, const Problem& p, double rounding) {
    Asked<T> asked(p);
    const Answer right = statistics_of(p, Equation(p), asked);
    if (!kernels.statistics(p, asked.rows) || !kernels.statistics(p, asked.sums)) return "the statistics gave up";
    const std::string apart = difference(p, asked, right, rounding);
    if (!apart.empty()) return apart;
    if (!kernels.statistics(p, asked.at_once())) return "the statistics at once gave up";
    const std::string together = difference(p, asked, right, rounding);
    return together.empty() ? "" : "at once, " + together;
}

}  // namespace driver
