// What can be said of the weights P_ij = exp(s_ij − lse_i) without keeping them: one tile of scores at a time.
#include "measure.hpp"
#include "collect.hpp"
#include "single.hpp"

bool statistics(const Problem& p, const Request& want) {
    if (want.pass == Pass::rows) measure(p, want);
    if (want.pass == Pass::sums) collect(p, want);
    if (want.pass == Pass::weights) weigh(p, want);
    if (want.pass == Pass::entries) pick(p, want);
    return true;
}
