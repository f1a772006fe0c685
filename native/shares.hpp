// What the runs of a key head share: delta of its rows; and dq of each run, added in order when all have ended, so that neither
// threads nor other heads change a bit of the result.

// How many runs the keys are cut into: by their number alone.
static int64_t parts_of(int64_t keys) { return keys <= 4 * BLOCK ? 1 : keys <= 16 * BLOCK ? 2 : 4; }

// Whether one element of a bias stands for several batch entries or heads, so that their gradients can't run side by side.
static bool shared(const Problem& p) {
    const Array& to = p.bias_grad.pairs;
    return to && ((p.batch > 1 && !to.batch) || (p.heads > 1 && !to.head));
}

// dq is there for the heads that are under way, which are no more than there are threads: memory that a head leaves is the
// next one's, and still close by. Of more than 16 MiB it is for some heads at a time, with all threads on these.
class Shares {
   public:
    const int64_t blocks, parts, width, rows, table;  // blocks: of keys; rows: whole blocks; table: numbers of one head's, its room included, or 0

    Shares(const Problem& p, int64_t width)
        : blocks((p.keys + BLOCK - 1) / BLOCK), parts(parts_of(p.keys)), width(width), rows((p.queries + QUERIES - 1) / QUERIES * QUERIES),
          table(p.bias_grad.table ? p.bias.table_size + 2 * BLOCK : 0), group_(p.group()), heads_(p.batch * p.kv_heads),
          wanted_(shared(p) ? heads_ : std::min(heads_, p.threads)),
          places_(std::clamp<int64_t>((int64_t{1} << 24) / (numbers() * sizeof(real)), 1, wanted_)),
          query_(places_ * numbers()), tables_(parts * p.batch * p.heads * table),
          queries_(p.queries), delta_(p.batch * p.heads * p.queries), place_(heads_, -1), ended_(heads_), taken_(places_),
          row_blocks_(group_ * rows / QUERIES), found_(heads_ * row_blocks_, OPEN) {}

    int64_t row_blocks() const { return row_blocks_; }  // of a key head's group
    bool has_delta(int64_t kv_head, int64_t n) const {
        return __atomic_load_n(&found_[kv_head * row_blocks_ + n], __ATOMIC_ACQUIRE) == DONE;
    }
    // find() finds delta of a block of rows: in the run that comes to it first, close by; the others wait for it.
    template <class Find>
    void find_delta(int64_t kv_head, int64_t n, const Find& find) {
        int8_t *found = &found_[kv_head * row_blocks_ + n], open = OPEN;
        if (__atomic_compare_exchange_n(found, &open, BEGUN, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            find();
            __atomic_store_n(found, DONE, __ATOMIC_RELEASE);
        } else {
            while (!has_delta(kv_head, n)) sched_yield();
        }
    }
    // Key heads at a time.
    int64_t together() const { return places_ < wanted_ ? places_ : heads_; }
    // The keys [first_key(part), first_key(part + 1)) are those of a run.
    int64_t first_key(int64_t part) const { return blocks * part / parts * BLOCK; }
    // Where dq of a key head is, from its first run to the last.
    int64_t place(int64_t kv_head) {
        int64_t known, free = 0;
        while ((known = __atomic_load_n(&place_[kv_head], __ATOMIC_ACQUIRE)) < 0) {
            if (!__atomic_exchange_n(&taken_[free], 1, __ATOMIC_ACQUIRE)) return seat(kv_head, free);
            free = (free + 1) % places_;
            if (!free) sched_yield();
        }
        return known;
    }
    // Whether all runs of a key head have ended.
    bool end_run(int64_t kv_head) { return __atomic_add_fetch(&ended_[kv_head], 1, __ATOMIC_ACQ_REL) == parts; }
    void leave(int64_t place) { __atomic_store_n(&taken_[place], 0, __ATOMIC_RELEASE); }

    // A row of dq; head: of the group.
    real* query_row(int64_t place, int64_t part, int64_t head, int64_t row) const {
        return query_.all() + place * numbers() + ((part * group_ + head) * rows + row) * width;
    }
    // [queries]; head: of all batch entries.
    real* delta_of(int64_t head) { return delta_.data() + head * queries_; }
    // The gradient of a head's table, or null.
    real* table_of(int64_t part, int64_t head) {
        return table ? tables_.data() + (part * heads_ * group_ + head) * table : nullptr;
    }

   private:
    enum : int8_t { OPEN, BEGUN, DONE };
    int64_t numbers() const { return parts * group_ * rows * width; }  // of one key head
    int64_t seat(int64_t kv_head, int64_t free) {
        int64_t known = -1;
        if (__atomic_compare_exchange_n(&place_[kv_head], &known, free, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return free;
        leave(free);  // another thread was first
        return known;
    }

    const int64_t group_, heads_, wanted_, places_;
    Scratch query_;                         // [places][parts][group][rows][width]
    List<real> tables_;                     // [parts][heads of all entries][table]
    const int64_t queries_;
    List<real> delta_;                      // [heads of all entries][queries]
    List<int64_t> place_, ended_, taken_;
    const int64_t row_blocks_;
    List<int8_t> found_;                    // [key heads][row_blocks]: whether delta is
};

// The table's gradient of a head: batch entries and parts in order.
static void write_table(const Problem& p, Shares& shares, int64_t head) {
    real* to = p.bias_grad.table.at<real>(0, head, 0);
    for (int64_t n = 0; n < p.bias.table_size; ++n) {
        real sum = 0;
        for (int64_t one = 0; one < shares.parts * p.batch; ++one)
            sum += shares.table_of(one / p.batch, one % p.batch * p.heads + head)[BLOCK + n];
        to[n] = sum;
    }
}
