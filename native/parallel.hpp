// Loops over threads: OpenMP's, in the runtime that PyTorch has loaded; or, where REGARD_STD_THREADS is defined, those of
// the standard library, which ThreadSanitizer can follow. No exception may leave a body.

// While it lives, results below the least normal number are 0 in its thread: a processor of x86 takes many times as long
// for them, and a bias that falls with distance makes whole tiles of such weights. Numbers that come in so small are kept.
class Flush {
   public:
#ifdef __SSE__
    Flush() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8000u); }
    ~Flush() { _mm_setcsr(before_); }

   private:
    const unsigned before_;
#endif
};

#ifdef REGARD_STD_THREADS

class Team {
   public:
    explicit Team(int64_t size) : size_(size) {}

    // each(n) for every n below `count`, by whichever thread is free; all have ended when it returns.
    template <class Each>
    void dynamic(int64_t count, const Each& each) {
        for (int64_t n = next_++; n < count; n = next_++) each(n);
        meet();
    }
    // The same where all take equally long.
    template <class Each>
    void even(int64_t count, const Each& each) {
        dynamic(count, each);
    }

    // Waits for all others.
    void meet() {
        std::unique_lock<std::mutex> lock(mutex_);
        const int64_t round = rounds_;
        if (++waiting_ == size_) {
            waiting_ = 0, next_ = 0, ++rounds_;
            met_.notify_all();
        } else {
            met_.wait(lock, [&] { return rounds_ != round; });
        }
    }

   private:
    const int64_t size_;
    std::atomic<int64_t> next_{0};
    int64_t waiting_ = 0, rounds_ = 0;
    std::mutex mutex_;
    std::condition_variable met_;
};

// body(team) on every thread: whether all say true.
template <class Body>
bool parallel(int64_t threads, const Body& body) {
    Team team(threads);
    std::atomic<bool> all{true};
    const auto run = [&] {
        [[maybe_unused]] const Flush flush{};
        if (!body(team)) all = false;
    };
    std::vector<std::thread> others;
    for (int64_t n = 1; n < threads; ++n) others.emplace_back(run);
    run();
    for (std::thread& other : others) other.join();
    return all;
}

#else

struct Team {
    // each(n) for every n below `count`, by whichever thread is free; all have ended when it returns.
    template <class Each>
    void dynamic(int64_t count, const Each& each) {
#pragma omp for schedule(dynamic)
        for (int64_t n = 0; n < count; ++n) each(n);
    }
    // The same where all take equally long.
    template <class Each>
    void even(int64_t count, const Each& each) {
#pragma omp for schedule(static)
        for (int64_t n = 0; n < count; ++n) each(n);
    }
    // Waits for all others.
    void meet() {
#pragma omp barrier
    }
};

// body(team) on every thread: whether all say true.
template <class Body>
bool parallel([[maybe_unused]] int64_t threads, const Body& body) {
    bool all = true;
#pragma omp parallel num_threads(static_cast<int>(threads)) reduction(&& : all)
    {
        [[maybe_unused]] const Flush flush{};
        Team team;
        all = body(team) && all;
    }
    return all;
}

#endif
