// Pairs across the rows of a tensor, two rows of one block side by side, [pairs of rows][columns], where they are wanted.
class AcrossAll {
   public:
    AcrossAll(const Array& from, int64_t, int64_t heads, int64_t rows, int64_t columns)
        : from(from), heads(heads), rows(rows), columns(columns) {}
    // Nothing stands ready before.
    int64_t blocks() const { return 0; }
    int64_t head(int64_t) const { return 0; }
    int64_t room() const { return 0; }
    void make(int64_t, pair*) const {}

    const Array& from;
    const int64_t heads, rows, columns;
};

// The blocks that a thread has met of late.
class Across {
   public:
    explicit Across(const AcrossAll& all) : all_(all), data_(HELD * BLOCK / 2 * all.columns) { std::fill_n(held_, HELD, Held{-1, -1}); }
    // A block of rows from any row on, one line a column.
    Pairs at(int64_t head, int64_t row) {
        const int64_t place = row / BLOCK % HELD;
        pair* to = reinterpret_cast<pair*>(data_.all()) + place * BLOCK / 2 * all_.columns;
        if (held_[place].head != head || held_[place].row != row) {
            held_[place] = {head, row};
            couple_rows(all_.from, all_.from.at<const half>(head / all_.heads, head % all_.heads, row),
                        std::min<int64_t>(all_.rows - row, BLOCK), all_.columns, to, all_.columns);
        }
        return {reinterpret_cast<half*>(to), 2, 2 * all_.columns};
    }
    int64_t lines() const { return all_.columns; }

   private:
    struct Held {
        int64_t head, row;
    };
    static constexpr int64_t HELD = 32;  // of 64 rows and columns, 256 KiB

    const AcrossAll& all_;
    Held held_[HELD];
    Scratch data_;
};
