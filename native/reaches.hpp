// Between which keys each block of query rows sees anything, and between which its rows see everything.
class Reaches {
   public:
    explicit Reaches(const Problem& p)
        : p_(p), blocks_((p.queries + QUERIES - 1) / QUERIES), reach_((p.forms ? p.form_count : 0) * blocks_) {
        for (int64_t n = 0; n < static_cast<int64_t>(reach_.size()); ++n) {
            const int64_t first = n % blocks_ * QUERIES, rows = std::min<int64_t>(p.queries - first, QUERIES);
            const Form& form = p.forms[n / blocks_];
            reach(form, first, rows, p.keys, reach_[n].low, reach_[n].high);
            if (form.offsets) open(form, first, rows, reach_[n]);
        }
    }
    int64_t blocks() const { return blocks_; }

    // Whether a block of rows of a head may see any of the keys [low, high).
    bool meet(const Form* form, int64_t block, int64_t low, int64_t high) const {
        if (!form) return true;
        const Reach& r = of(form, block);
        return r.low < high && r.high > low;
    }
    // Whether all its rows are known to see all of them.
    bool within(const Form* form, int64_t block, int64_t low, int64_t high) const {
        if (!form) return true;
        const Reach& r = of(form, block);
        return r.open <= low && high <= r.shut;
    }

   private:
    struct Reach {
        int64_t low, high, open = 0, shut = 0;
    };
    const Reach& of(const Form* form, int64_t block) const { return reach_[(form - p_.forms) * blocks_ + block]; }

    // What the first ranges of all rows share.
    static void open(const Form& form, int64_t first, int64_t rows, Reach& to) {
        to.shut = to.high;
        for (int64_t r = first; r < first + rows; ++r) {
            const int64_t range = form.offsets[r];
            const bool any = range < form.offsets[r + 1];
            to.open = std::max(to.open, any ? form.low[range] : 0), to.shut = std::min(to.shut, any ? form.high[range] : 0);
        }
    }

    const Problem& p_;
    int64_t blocks_;
    List<Reach> reach_;  // [forms][blocks]
};
