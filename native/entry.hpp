// Which kernel runs a problem.

bool forward(const Problem& p) {
#ifdef REGARD_PAIRS_HERE
    if (takes_pairs(p)) return forward_pairs(p);
#endif
    return forward_tiles(p);
}

bool backward(const Problem& p) { return backward_tiles(p); }
