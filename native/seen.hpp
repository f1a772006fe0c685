// What a form says of a tile: nothing visible, everything, or which pairs.

enum class Seen { nothing, some, everything };

REGARD_INLINE uint64_t low_bits(int64_t count) { return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1; }

// The first range of a row that ends after `key`.
REGARD_INLINE int64_t first_range(const Form& form, int64_t row, int64_t key) {
    int64_t begin = form.offsets[row], end = form.offsets[row + 1];
    while (end - begin > 4) {
        const int64_t middle = begin + (end - begin) / 2;
        if (form.high[middle] <= key)
            begin = middle + 1;
        else
            end = middle + 1;
    }
    while (begin < form.offsets[row + 1] && form.high[begin] <= key) ++begin;
    return begin;
}

REGARD_INLINE Seen summed(const uint64_t* words, int64_t count, uint64_t whole) {
    uint64_t every = whole, any = 0;
    for (int64_t n = 0; n < count; ++n) every &= words[n], any |= words[n];
    return any == 0 ? Seen::nothing : every == whole ? Seen::everything : Seen::some;
}

// 64 bits from a byte on, where the row has so many. Of a byte, the highest is the first; here, the lowest.
REGARD_INLINE uint64_t bits_at(const uint8_t* row, int64_t byte, int64_t stride) {
    uint64_t word = 0;
    if (byte < stride) memcpy(&word, row + byte, std::min<int64_t>(stride - byte, 8));
    const auto swap = [&](int step, uint64_t low) { word = (word >> step & low) | (word & low) << step; };
    swap(1, 0x5555555555555555u), swap(2, 0x3333333333333333u), swap(4, 0x0F0F0F0F0F0F0F0Fu);
    return word;
}

// Bit j: whether the row sees key `key` + j.
REGARD_INLINE uint64_t bits_from(const Form& form, int64_t row, int64_t key, int64_t width) {
    const int64_t byte = key >> 3, shift = key & 7;
    const uint8_t* bits = form.words + row * form.stride;
    uint64_t word = bits_at(bits, byte, form.stride) >> shift;
    if (shift) word |= bits_at(bits, byte + 8, form.stride) << (64 - shift);
    return word & low_bits(width);
}

// Bit c of word r becomes bit r of word c, by halves, quarters and so on.
REGARD_INLINE void turn_bits(uint64_t* square) {
    uint64_t low = 0xFFFFFFFFu;
    for (int step = 32; step; step >>= 1, low ^= low << step)
        for (int first = 0; first < 64; first += 2 * step)
            for (int k = first; k < first + step; ++k) {
                const uint64_t differs = (square[k] >> step ^ square[k + step]) & low;
                square[k] ^= differs << step, square[k + step] ^= differs;
            }
}

// Walks the keys of a block of query rows upwards: bit r of words[j] says whether row r sees key `key` + j.
class Walk {
   public:
    Walk(const Form* form, int64_t first, int64_t rows, int64_t keys) : form_(form), first_(first), rows_(rows), keys_(keys) {
        if (form_ && form_->offsets)
            for (int64_t r = 0; r < rows_; ++r) at_[r] = form_->offsets[first_ + r];
    }

    // The first key at or after `key` that some row sees; `keys` where there is none.
    int64_t next(int64_t key) {
        if (!form_ || !form_->offsets) return key < keys_ ? key : keys_;
        if (key < open_) return key;
        int64_t least = keys_, greatest = 0, end = keys_;
        for (int64_t r = 0; r < rows_; ++r) {
            const int64_t last = form_->offsets[first_ + r + 1];
            while (at_[r] < last && form_->high[at_[r]] <= key) ++at_[r];
            const int64_t low = at_[r] < last ? form_->low[at_[r]] : keys_;
            least = std::min(least, low), greatest = std::max(greatest, low);
            end = std::min(end, at_[r] < last ? form_->high[at_[r]] : 0);
        }
        if (greatest <= key) open_ = end;
        return least < key ? key : least;
    }

    Seen look(int64_t key, int64_t width, uint64_t* words) {
        if (!form_ || key + width <= open_) return Seen::everything;
        for (int64_t j = 0; j < width; ++j) words[j] = 0;
        if (form_->offsets)
            flip(key, width, words);
        else
            copy(key, width, words);
        return summed(words, width, low_bits(rows_));
    }

   private:
    // Each end of a range flips its row's bit from there on: a running XOR over the keys gives the words.
    void flip(int64_t key, int64_t width, uint64_t* words) {
        for (int64_t r = 0; r < rows_; ++r) {
            const int64_t end = form_->offsets[first_ + r + 1];
            while (at_[r] < end && form_->high[at_[r]] <= key) ++at_[r];
            for (int64_t n = at_[r]; n < end && form_->low[n] < key + width; ++n) {
                words[form_->low[n] > key ? form_->low[n] - key : 0] ^= uint64_t{1} << r;
                if (form_->high[n] < key + width) words[form_->high[n] - key] ^= uint64_t{1} << r;
            }
        }
        for (int64_t j = 1; j < width; ++j) words[j] ^= words[j - 1];
    }

    void copy(int64_t key, int64_t width, uint64_t* words) {
        uint64_t square[64] = {};
        for (int64_t r = 0; r < rows_; ++r) square[r] = bits_from(*form_, first_ + r, key, width);
        turn_bits(square);
        std::copy(square, square + width, words);
    }

    const Form* form_;
    int64_t first_, rows_, keys_;
    int64_t at_[BLOCK];  // for each row, its first range that may still matter
    int64_t open_ = 0;   // all rows see every key from the last one asked for up to here
};

// Bit j of words[r]: row `first` + r sees key `key` + j, for one block of keys.
REGARD_APART Seen look_along(const Form* form, int64_t first, int64_t rows, int64_t key, int64_t width, uint64_t* words) {
    const uint64_t whole = low_bits(width);
    for (int64_t r = 0; r < rows; ++r) {
        uint64_t word = 0;
        if (!form) {
            word = whole;
        } else if (form->offsets) {
            const int64_t end = form->offsets[first + r + 1];
            for (int64_t n = first_range(*form, first + r, key); n < end && form->low[n] < key + width; ++n) {
                const int64_t low = form->low[n] > key ? form->low[n] - key : 0;
                const int64_t high = form->high[n] < key + width ? form->high[n] - key : width;
                word |= low_bits(high) & ~low_bits(low);
            }
        } else {
            word = bits_from(*form, first + r, key, width);
        }
        words[r] = word;
    }
    return width < BLOCK ? (summed(words, rows, whole) == Seen::nothing ? Seen::nothing : Seen::some)
                         : summed(words, rows, whole);
}

// The keys [low, high) between which a block of rows sees anything.
static void reach(const Form& form, int64_t first, int64_t rows, int64_t keys, int64_t& low, int64_t& high) {
    low = keys, high = 0;
    if (!form.offsets) {
        low = 0, high = keys;
        return;
    }
    for (int64_t r = first; r < first + rows; ++r) {
        const int64_t begin = form.offsets[r], end = form.offsets[r + 1];
        if (begin == end) continue;
        if (form.low[begin] < low) low = form.low[begin];
        if (form.high[end - 1] > high) high = form.high[end - 1];
    }
}
