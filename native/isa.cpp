#include "isa.hpp"

#include <cstring>
#ifdef REGARD_X86
#include <cpuid.h>
#endif
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace regard {

#ifdef REGARD_X86
bool runs_amx() {
#ifdef __linux__
    constexpr long request = 0x1023, tiles = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    const bool has = (d >> 22 & 1) && (d >> 24 & 1);  // amx-bf16, amx-tile
    return has && syscall(SYS_arch_prctl, request, tiles) == 0;
#else
    return false;
#endif
}
#endif

namespace {

#ifdef REGARD_X86
// Clang knows this feature's name from its 15th version on.
bool runs_f16c() {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && c >> 29 & 1;
}

bool runs_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && runs_f16c(); }

bool runs_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && runs_avx2();
}
#endif

bool runs(const char* name) {
#ifdef REGARD_X86
    if (!std::strcmp(name, "amx")) return runs_avx512() && __builtin_cpu_supports("avx512bf16") && runs_amx();
    if (!std::strcmp(name, "avx512bf16")) return runs_avx512() && __builtin_cpu_supports("avx512bf16");
    if (!std::strcmp(name, "avx512")) return runs_avx512();
    if (!std::strcmp(name, "avx2")) return runs_avx2();
#endif
    return !std::strcmp(name, "baseline") || !std::strcmp(name, "neon");  // neon is in ALL only where it always runs
}

constexpr const Kernels* ALL[] = {
#ifdef REGARD_X86
    &amx::kernels, &avx512bf16::kernels, &avx512::kernels, &avx2::kernels,
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
