// Large results on great pages. Whoever touches a page first waits for the system to clear it, often longer than for the numbers
// that go there; and it has pages of 2 MiB for those who ask.
#pragma once
#ifdef __linux__
#include <sys/mman.h>
#endif

#include "problem.hpp"

namespace regard {

// Asks for them where a result is so large that its memory is new at every call: what is smaller, malloc finds again.
inline void ask_great_pages([[maybe_unused]] const Array& a, [[maybe_unused]] int64_t batch, [[maybe_unused]] int64_t heads,
                            [[maybe_unused]] int64_t rows, [[maybe_unused]] int64_t columns) {
#ifdef __linux__
    constexpr uintptr_t PAGE = uintptr_t{1} << 21, LARGE = 16 * PAGE;
    if (!a || a.column != 1) return;
    const uintptr_t size = a.kind == Kind::float64 ? 8 : a.kind == Kind::float32 ? 4 : 2, first = reinterpret_cast<uintptr_t>(a.data);
    const uintptr_t end = first + (a.offset(batch - 1, heads - 1, rows - 1) + columns) * size;
    if (end - first < LARGE) return;
    const uintptr_t begin = (first + PAGE - 1) / PAGE * PAGE;
    madvise(reinterpret_cast<void*>(begin), end / PAGE * PAGE - begin, MADV_HUGEPAGE);
#endif
}

inline void ask_pages_forward(const Problem& p) { ask_great_pages(p.out, p.batch, p.heads, p.queries, p.value_dim); }

inline void ask_pages_backward(const Problem& p) {
    ask_great_pages(p.query_grad, p.batch, p.heads, p.queries, p.dim);
    ask_great_pages(p.key_grad, p.batch, p.kv_heads, p.keys, p.dim);
    ask_great_pages(p.value_grad, p.batch, p.kv_heads, p.keys, p.value_dim);
}

}  // namespace regard
