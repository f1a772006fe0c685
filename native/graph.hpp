// The pairs of a form in the order of their rows, and for each key the rows that see it.

struct Graph {
    List<int64_t> first;      // [queries + 1]: the number of each row's first pair
    List<int64_t> offsets;    // [keys + 1] and one, into
    List<int64_t> row, pair;  // [pairs], by key, then row

    Graph(const Form* form, int64_t queries, int64_t keys) : first(queries + 1), offsets(keys + 2) {
        Listed list;
        for (int64_t i = 0; i < queries; ++i) {
            first[i + 1] = first[i];
            for (Seeing seeing(form, i, 0, keys); seeing.next(list); first[i + 1] += list.count)
                for (int64_t j = 0; j < list.count; ++j) ++offsets[list.key[j] + 2];
        }
        for (int64_t key = 0; key < keys; ++key) offsets[key + 2] += offsets[key + 1];
        row.resize(pairs()), pair.resize(pairs());
        for (int64_t i = 0; i < queries; ++i)
            for (Seeing seeing(form, i, 0, keys); seeing.next(list);)
                for (int64_t j = 0; j < list.count; ++j) place(list.key[j], i, first[i] + list.number[j]);
    }
    int64_t pairs() const { return first.back(); }

   private:
    // offsets[key + 1] grows from the start of a key's rows to their end.
    void place(int64_t key, int64_t i, int64_t n) {
        const int64_t at = offsets[key + 1]++;
        row[at] = i, pair[at] = n;
    }
};
