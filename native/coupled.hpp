// Pairs across the rows of a tensor, two rows of one block side by side: [batch · heads][pairs of rows][columns], 0 at the end.
class Across {
   public:
    Across(const Array& from, int64_t batch, int64_t heads, int64_t rows, int64_t columns)
        : from_(from), heads_(heads), count_(rows), columns_(columns), rows_(up(rows, BLOCK)), blocks_(batch * heads * (rows_ / BLOCK)),
          data_(blocks_ * BLOCK / 2 * columns) {}
    // From a row on, one line a column.
    Pairs at(int64_t head, int64_t row) const { return {reinterpret_cast<half*>(place(head, row)), 2, 2 * columns_}; }
    int64_t lines() const { return columns_; }
    int64_t blocks() const { return blocks_; }
    int64_t head(int64_t block) const { return block / (rows_ / BLOCK); }
    int64_t room() const { return 0; }

    // One of the blocks.
    void make(int64_t block, pair*) const {
        const int64_t head = this->head(block), first = block % (rows_ / BLOCK) * BLOCK;
        couple_rows(from_, from_.at<const half>(head / heads_, head % heads_, first), std::min<int64_t>(count_ - first, BLOCK), columns_,
                    place(head, first), columns_);
    }

   private:
    pair* place(int64_t head, int64_t row) const {
        return reinterpret_cast<pair*>(data_.all()) + (head * rows_ + row) / 2 * columns_;
    }

    const Array& from_;
    int64_t heads_, count_, columns_, rows_, blocks_;
    Scratch data_;
};
