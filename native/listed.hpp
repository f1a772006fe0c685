// The keys that a row sees, one by one, some at a time.

// Local positions, ascending; and each one's number among all that its row sees, where that is asked for.
struct Listed {
    int64_t count = 0, key[BLOCK], number[BLOCK];

    void add(int64_t k, int64_t n) { key[count] = k, number[count++] = n; }
    bool operator==(const Listed& other) const { return count == other.count && !memcmp(key, other.key, count * sizeof *key); }
};

// Walks what a row sees of the keys `first` … `last` − 1.
class Seeing {
   public:
    Seeing(const Form* form, int64_t row, int64_t first, int64_t last)
        : low_(&first_), high_(&last_), bits_(form && !form->offsets ? form->words + row * form->stride : nullptr),
          first_(first), last_(last) {
        if (form && form->offsets)
            low_ = form->low, high_ = form->high, at_ = first_range(*form, row, first), end_ = form->offsets[row + 1];
        if (at_ < end_) key_ = std::max(first_, low_[at_]);
    }
    Seeing(const Seeing&) = delete;
    Seeing& operator=(const Seeing&) = delete;

    // The next ones, a block at most: whether there are any.
    bool next(Listed& list) {
        list.count = 0;
        while (at_ < end_ && key_ < last_ && list.count < BLOCK) {
            const int64_t stop = std::min(std::min(high_[at_], last_), key_ + BLOCK - list.count);
            for (; key_ < stop; ++key_)
                if (!bits_ || bits_[key_ >> 3] >> (7 - (key_ & 7)) & 1) list.add(key_, number_++);
            if (key_ == high_[at_] && ++at_ < end_) key_ = low_[at_];
        }
        return list.count;
    }

   private:
    const int64_t *low_, *high_;
    const uint8_t* bits_;
    int64_t first_, last_, at_ = 0, end_ = 1, key_ = 0, number_ = 0;
};
