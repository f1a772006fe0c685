// Pairs across the rows of a tensor as AMX loads them, all rows turned before any is used: [batch · heads][columns, whole row
// steps][rows, a whole block and one more], 0 around.
class AcrossAll {
   public:
    AcrossAll(const Array& from, int64_t batch, int64_t heads, int64_t rows, int64_t columns)
        : from_(from), heads_(heads), count_(rows), columns_(columns), lines_(up(columns, PAIR_ROWS)), row_(up(rows, BLOCK) + BLOCK),
          blocks_(batch * heads * (row_ / BLOCK)),
          data_(batch * heads * lines_ * row_ / 2) {}
    // From a row on, one line a column.
    Pairs at(int64_t head, int64_t row) const { return {place(head, row), row_, 2}; }
    int64_t lines() const { return lines_; }
    int64_t blocks() const { return blocks_; }
    int64_t head(int64_t block) const { return block / (row_ / BLOCK); }
    int64_t room() const { return BLOCK / 2 * columns_; }

    // One of the blocks; room: words.
    void make(int64_t block, pair* room) const {
        const int64_t head = this->head(block), first = block % (row_ / BLOCK) * BLOCK;
        const int64_t rows = std::min<int64_t>(std::max<int64_t>(count_ - first, 0), BLOCK);
        couple_rows(from_, from_.at<const half>(head / heads_, head % heads_, first), rows, columns_, room, columns_);
        half* to = place(head, first);
        transpose(reinterpret_cast<const real*>(room), columns_, 1, BLOCK / 2, columns_, reinterpret_cast<real*>(to), row_ / 2);
        for (int64_t c = columns_; c < lines_; ++c) memset(to + c * row_, 0, BLOCK * 2);
    }

   private:
    half* place(int64_t head, int64_t row) const { return reinterpret_cast<half*>(data_.all()) + head * lines_ * row_ + row; }

    const Array& from_;
    int64_t heads_, count_, columns_, lines_, row_, blocks_;
    Scratch data_;
};

// A thread's view of them.
class Across {
   public:
    explicit Across(const AcrossAll& all) : all_(all) {}
    Pairs at(int64_t head, int64_t row) const { return all_.at(head, row); }
    int64_t lines() const { return all_.lines(); }

   private:
    const AcrossAll& all_;
};
