// The entries: each problem, or each key head of it, to the kernels that suit it.

static void blocks_forward(const Problem& p, const Choice& choice) {
    if (choice.all_by_rows()) return;
#ifdef REGARD_PAIRS_HERE
    if (takes_pairs(p)) return void(tiles_forward<PairRows>(p, choice));
#endif
    tiles_forward<RealRows>(p, choice);
}

bool forward(const Problem& p) {
    if (few_rows(p)) {
        decode(p);
        return true;
    }
    const Choice choice(p);
    blocks_forward(p, packs(p) ? packed_forward(p, choice, blocks_forward) : choice);
    if (choice.any_by_rows()) rows_forward(p, choice);
    return true;
}

static bool blocks_backward(const Problem& p, const Choice& choice) {
    if (choice.all_by_rows()) return true;
#ifdef REGARD_PAIRS_HERE
    if (takes_pairs(p)) return tiles_backward<PairTiles>(p, choice);
#endif
    return tiles_backward<RealTiles>(p, choice);
}

// False where a hidden pair may have met NaN or ∞: then the gradients are not to be used.
bool backward(const Problem& p) {
    const Choice choice(p);
    const bool fine = blocks_backward(p, choice);
    return (!choice.any_by_rows() || rows_backward(p, choice)) && fine;
}
