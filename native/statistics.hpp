// What can be said of the weights P_ij = exp(s_ij − lse_i) without keeping them: one tile of scores at a time.
#include "measure.hpp"
#include "weights.hpp"
#include "collect.hpp"
#include "single.hpp"

template <class Scores>
static void statistics_by(const Problem& p, const Request& want) {
    if (want.pass == Pass::rows) measure<Scores>(p, want);
    if (want.pass == Pass::sums) collect<Scores>(p, want);
    if (want.pass == Pass::weights) weigh<Scores>(p, want);
    if (want.pass == Pass::entries) pick(p, want);
}

bool statistics(const Problem& p, const Request& want) {
#ifdef REGARD_PAIRS_HERE
    if (takes_pairs(p)) {
        statistics_by<PairScores>(p, want);
        return true;
    }
#endif
    statistics_by<RealScores>(p, want);
    return true;
}
