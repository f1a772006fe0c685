// The kernels of each instruction set, and which of them this processor runs.
#pragma once
#include "problem.hpp"

namespace regard {

struct Kernels {
    const char* name;
    void (*forward)(const Problem&);
    void (*backward)(const Problem&);
};

#define REGARD_DECLARE(isa)            \
    namespace isa {                    \
    void forward(const Problem&);      \
    void backward(const Problem&);     \
    }
REGARD_DECLARE(baseline)
REGARD_DECLARE(avx2)
REGARD_DECLARE(avx512)
#undef REGARD_DECLARE

// The widest that this processor has; or the one named, where the processor has it, else null.
const Kernels* kernels(const char* name);

}  // namespace regard
