// The entries: each problem, or each key head of it, to the kernels that suit it.

static bool blocks_forward(const Problem& p, const Choice& choice) {
#ifdef REGARD_PAIRS_HERE
    if (takes_pairs(p)) return pairs_forward(p, choice);
#endif
    return tiles_forward(p, choice);
}

bool forward(const Problem& p) {
    if (few_rows(p)) {
        decode(p);
        return true;
    }
    const Choice choice(p);
    if (!choice.all_by_rows()) blocks_forward(p, choice);
    if (choice.any_by_rows()) rows_forward(p, choice);
    return true;
}

// False where a hidden pair may have met NaN or ∞: then the gradients are not to be used.
bool backward(const Problem& p) {
    const Choice choice(p);
    const bool fine = choice.all_by_rows() || tiles_backward(p, choice);
    return (!choice.any_by_rows() || rows_backward(p, choice)) && fine;
}
