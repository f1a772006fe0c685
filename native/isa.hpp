// The kernels of each instruction set, and which of them this processor runs.
#pragma once
#include "problem.hpp"

namespace regard {

// One kernel, accumulating in float32 or in float64. Says whether its result keeps every promise.
struct Kernel {
    bool (*float32)(const Problem&);
    bool (*float64)(const Problem&);

    bool operator()(const Problem& p) const { return (p.query.kind == Kind::float64 ? float64 : float32)(p); }
};

struct Kernels {
    const char* name;
    Kernel forward, backward;
};

#define REGARD_DECLARE(isa)                                                                \
    namespace isa {                                                                        \
    namespace f32 { bool forward(const Problem&); bool backward(const Problem&); }         \
    namespace f64 { bool forward(const Problem&); bool backward(const Problem&); }         \
    constexpr Kernels kernels = {#isa, {f32::forward, f64::forward}, {f32::backward, f64::backward}}; \
    }
REGARD_DECLARE(baseline)
REGARD_DECLARE(avx2)
REGARD_DECLARE(avx512)
REGARD_DECLARE(avx512bf16)
REGARD_DECLARE(amx)
REGARD_DECLARE(neon)
#undef REGARD_DECLARE

// The widest that this processor has; or the one named, where the processor has it, else null.
const Kernels* kernels(const char* name);

}  // namespace regard
