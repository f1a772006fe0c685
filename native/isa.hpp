// The kernels of each instruction set, and which of them this processor runs.
#pragma once
#include "problem.hpp"
#include "request.hpp"

namespace regard {

// One kernel, accumulating in float32 or in float64. Says whether its result keeps every promise.
template <class... Asked>
struct Kernel {
    bool (*float32)(const Problem&, const Asked&...);
    bool (*float64)(const Problem&, const Asked&...);

    bool operator()(const Problem& p, const Asked&... asked) const {
        return (p.query.kind == Kind::float64 ? float64 : float32)(p, asked...);
    }
};

struct Kernels {
    const char* name;
    Kernel<> forward, backward;
    Kernel<Request> statistics;
};

#define REGARD_DECLARE_TYPE(type)                                  \
    namespace type {                                               \
    bool forward(const Problem&);                                  \
    bool backward(const Problem&);                                 \
    bool statistics(const Problem&, const Request&);               \
    }
#define REGARD_DECLARE(isa)                                        \
    namespace isa {                                                \
    REGARD_DECLARE_TYPE(f32)                                       \
    REGARD_DECLARE_TYPE(f64)                                       \
    constexpr Kernels kernels = {#isa,                             \
                                 {f32::forward, f64::forward},     \
                                 {f32::backward, f64::backward},   \
                                 {f32::statistics, f64::statistics}}; \
    }
REGARD_DECLARE(baseline)
REGARD_DECLARE(avx2)
REGARD_DECLARE(avx512)
REGARD_DECLARE(avx512bf16)
REGARD_DECLARE(amx)
REGARD_DECLARE(neon)
#undef REGARD_DECLARE
#undef REGARD_DECLARE_TYPE

// The widest that this processor has; or the one named, where the processor has it, else null.
const Kernels* kernels(const char* name);

#ifdef REGARD_X86
// Whether there are the tiles of AMX, whose registers the operating system keeps from a process until it asks for them.
bool runs_amx();
#endif

}  // namespace regard
