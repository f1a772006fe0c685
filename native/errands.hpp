// What will be wanted soon, asked for a few lines at a time between products: all at once would keep their loads waiting.
// Into the nearest cache, where it is first read by transpositions and sums, which wait for every line: from the next one,
// a backward pass through a window took 5 % longer, a forward pass of short heads 1 %.
class Errands {
   public:
    Errands() = default;
    Errands(const Errands&) = delete;
    Errands& operator=(const Errands&) = delete;

    // Begins anew. What is added last is asked for first.
    void clear() { count_ = kept_ = 0; }
    void add(const Array& a, int64_t batch, int64_t head, int64_t row, int64_t rows, int64_t columns) {
        if (count_ == ROOM || rows <= 0 || a.column != 1) return;
        const int64_t size = bytes_of(a.kind);
        const uintptr_t at = reinterpret_cast<uintptr_t>(a.data) + a.offset(batch, head, row) * size;
        rows_[count_++] = {at, a.row * size, rows, (columns * size + 63) / 64, 0};
    }
    // What is there now stays; what is added from now on lasts until `drop`.
    void keep() { kept_ = count_; }
    void drop() { count_ = std::min(count_, kept_); }

    // Asks for so many lines.
    void run(int64_t lines) {
        while (lines && count_) {
            Rows& r = rows_[count_ - 1];
            for (; lines && r.rows; --lines) {
                __builtin_prefetch(reinterpret_cast<const void*>(r.at + r.done * 64), 0, 3);
                if (++r.done == r.lines) r.done = 0, r.at += r.step, --r.rows;
            }
            if (r.rows) return;
            kept_ = std::min(kept_, --count_);
        }
    }

   private:
    struct Rows {
        uintptr_t at;
        int64_t step, rows, lines, done;
    };
    static constexpr int ROOM = 12;
    Rows rows_[ROOM];
    int count_ = 0, kept_ = 0;
};

// Runs errands after each of a product's blocks of rows, a little more than its own numbers are.
struct Meanwhile {
    Errands* errands;

    REGARD_INLINE void operator()(int64_t rows, int64_t columns) const {
        if (errands) errands->run(rows * columns * LINES / BLOCK);
    }
    static constexpr int64_t LINES = 5;  // for BLOCK columns of a row
};
