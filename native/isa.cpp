#include "isa.hpp"

#include <cstring>

namespace regard {

namespace {

bool runs(const char* name) {
#ifdef REGARD_X86
    if (!std::strcmp(name, "avx512"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
    if (!std::strcmp(name, "avx2")) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return !std::strcmp(name, "baseline") || !std::strcmp(name, "neon");  // neon is in ALL only where it always runs
}

constexpr const Kernels* ALL[] = {
#ifdef REGARD_X86
    &avx512::kernels, &avx2::kernels,
#endif
#ifdef REGARD_ARM64
    &neon::kernels,
#endif
    &baseline::kernels,
};

}  // namespace

const Kernels* kernels(const char* name) {
    for (const Kernels* each : ALL)
        if (runs(each->name) && (!*name || !std::strcmp(name, each->name))) return each;
    return nullptr;
}

}  // namespace regard
