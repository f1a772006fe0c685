// Who does what: groups of rows of many heads, each done once, by threads that stay with a head as long as it has groups,
// so that its keys and values come to one thread's cache alone. A thread that is through with its share helps with others.
class Claims {
   public:
    Claims(int64_t heads, int64_t groups, int64_t threads)
        : heads_(heads), groups_(groups), threads_(threads), next_(heads) {}

    struct Turn {
        int64_t head, group;
    };

    // each(turn, the turn that comes next if nobody helps) until nothing is left.
    template <class Each>
    void work(const Each& each) {
        const int64_t first = __atomic_fetch_add(&arrived_, 1, __ATOMIC_RELAXED) % threads_ * heads_ / threads_;
        for (int64_t n = 0; n < heads_; ++n) {
            const int64_t head = (first + n) % heads_;
            int64_t group;
            while ((group = __atomic_fetch_add(&next_[head], 1, __ATOMIC_RELAXED)) < groups_)
                each(Turn{head, group}, group + 1 < groups_ ? Turn{head, group + 1} : Turn{(head + 1) % heads_, 0});
        }
    }

   private:
    const int64_t heads_, groups_, threads_;
    int64_t arrived_ = 0;
    List<int64_t> next_;
};
