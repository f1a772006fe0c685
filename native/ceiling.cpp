#include "ceiling.hpp"

#include "isa.hpp"

#include <nanobind/stl/string.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#ifdef REGARD_X86
#include <immintrin.h>
#endif

namespace nb = nanobind;

namespace {

// A loop works on registers that do not depend on one another, enough of them to hide an instruction's latency; it gives
// a number that hangs on all of them, so that nothing is left out.
using Loop = float (*)(int64_t rounds);

typedef float v4 __attribute__((vector_size(16)));

float multiply_add(int64_t rounds) {
    constexpr int CHAINS = 12;
    v4 sum[CHAINS] = {};
    v4 factor = {0.5f, 0.25f, 0.125f, 0.0625f}, term = {1, 2, 3, 4};
    for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; ++c) sum[c] = sum[c] * factor + term;
        asm volatile("" : : : "memory");
    }
    float all = 0;
    for (const v4& each : sum) all += each[0] + each[1] + each[2] + each[3];
    return all;
}

#ifdef REGARD_X86
__attribute__((target("avx2,fma"))) float multiply_add_avx2(int64_t rounds) {
    constexpr int CHAINS = 12;
    __m256 sum[CHAINS];
    for (__m256& each : sum) each = _mm256_setzero_ps();
    const __m256 factor = _mm256_set1_ps(0.5f), term = _mm256_set1_ps(1);
    for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; ++c) sum[c] = _mm256_fmadd_ps(sum[c], factor, term);
    }
    __m256 all = sum[0];
    for (const __m256& each : sum) all = _mm256_add_ps(all, each);
    return _mm256_cvtss_f32(all);
}

__attribute__((target("avx512f"))) float multiply_add_avx512(int64_t rounds) {
    constexpr int CHAINS = 24;
    __m512 sum[CHAINS];
    for (__m512& each : sum) each = _mm512_setzero_ps();
    const __m512 factor = _mm512_set1_ps(0.5f), term = _mm512_set1_ps(1);
    for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 24
        for (int c = 0; c < CHAINS; ++c) sum[c] = _mm512_fmadd_ps(sum[c], factor, term);
    }
    __m512 all = sum[0];
    for (const __m512& each : sum) all = _mm512_add_ps(all, each);
    return _mm512_cvtss_f32(all);
}

__attribute__((target("avx512f,avx512bw,avx512bf16"))) float dot_avx512(int64_t rounds) {
    constexpr int CHAINS = 24;
    __m512 sum[CHAINS];
    for (__m512& each : sum) each = _mm512_setzero_ps();
    const __m512bh left = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f)), right = left;
    for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 24
        for (int c = 0; c < CHAINS; ++c) sum[c] = _mm512_dpbf16_ps(sum[c], left, right);
    }
    __m512 all = sum[0];
    for (const __m512& each : sum) all = _mm512_add_ps(all, each);
    return _mm512_cvtss_f32(all);
}

// Four tiles of sums, two of factors each way: the square that a matrix product would use.
__attribute__((target("amx-tile,amx-bf16"))) float dot_amx(int64_t rounds) {
    struct alignas(64) Shape {
        uint8_t palette = 1, start = 0, reserved[14] = {};
        uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
        uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } shape;
    alignas(64) float kept[16 * 16] = {};
    _tile_loadconfig(&shape);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, kept, 64);
    _tile_loadd(5, kept, 64);
    _tile_loadd(6, kept, 64);
    _tile_loadd(7, kept, 64);
    for (int64_t r = 0; r < rounds; ++r) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, kept, 64);
    _tile_release();
    return kept[0];
}
#endif

constexpr int64_t AHEAD = 64 * 64;

// Sums a run of cache lines from four places at once, as a kernel reads keys and values.
float read(const float* from, int64_t floats) {
    constexpr int STREAMS = 4;
    const int64_t part = floats / STREAMS;
    v4 sum[STREAMS][4] = {};
    for (int64_t n = 0; n < part; n += 16)
#pragma GCC unroll 4
        for (int s = 0; s < STREAMS; ++s) {
            const float* at = from + s * part + n;
            __builtin_prefetch(at + AHEAD / 4);
#pragma GCC unroll 4
            for (int c = 0; c < 4; ++c) sum[s][c] += *reinterpret_cast<const v4*>(at + 4 * c);
        }
    v4 all{};
    for (auto& stream : sum)
        for (const v4& each : stream) all += each;
    return all[0] + all[1] + all[2] + all[3];
}

struct Limit {
    const char* name;
    bool (*here)();
    Loop loop;
    int64_t work;  // floating-point operations of one round
};

const Limit LIMITS[] = {
#ifdef REGARD_X86
    {"float32 avx512", [] { return !!__builtin_cpu_supports("avx512f"); }, multiply_add_avx512, 24 * 16 * 2},
    {"float32 avx2", [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }, multiply_add_avx2,
     12 * 8 * 2},
#endif
    {"float32 baseline", [] { return true; }, multiply_add, 12 * 4 * 2},
#ifdef REGARD_X86
    {"bfloat16 amx", regard::runs_amx, dot_amx, 4 * 16 * 16 * 32 * 2},
    {"bfloat16 avx512", [] { return !!__builtin_cpu_supports("avx512bf16"); }, dot_avx512, 24 * 16 * 2 * 2},
#endif
    {"read", [] { return true; }, nullptr, 0},
};

class Ceiling {
   public:
    Ceiling(const std::string& name, int threads, int64_t bytes) : threads_(threads) {
        if (threads < 1) throw nb::value_error("threads must be at least 1");
        share_ = bytes / 4 / threads / 64 * 64;
        for (const Limit& each : LIMITS)
            if (name == each.name && each.here()) kind_ = &each;
        if (!kind_) throw nb::value_error("this processor has no such ceiling; ceilings() lists them");
        if (kind_->loop) return;
        if (share_ < 1) throw nb::value_error("bytes must be at least 256 for each thread");
        data_.reset(static_cast<float*>(std::aligned_alloc(64, share_ * threads * 4)));
        if (!data_) throw std::bad_alloc();
        std::memset(data_.get(), 0, share_ * threads * 4);
    }
    // Does the work on every thread; gives how much it was, in floating-point operations or bytes.
    int64_t run(int64_t rounds) {
        nb::gil_scoped_release released;
        float all = 0;
#pragma omp parallel for num_threads(threads_) schedule(static, 1) reduction(+ : all)
        for (int t = 0; t < threads_; ++t) all += kind_->loop ? kind_->loop(rounds) : pass(t, rounds);
        sum_ = all;
        return kind_->loop ? rounds * kind_->work * threads_ : rounds * share_ * threads_ * 4;
    }

   private:
    float pass(int thread, int64_t rounds) const {
        float all = 0;
        for (int64_t r = 0; r < rounds; ++r) all += read(data_.get() + thread * share_, share_);
        return all;
    }
    struct Free {
        void operator()(float* data) const { std::free(data); }
    };
    const Limit* kind_ = nullptr;
    int threads_;
    int64_t share_;  // numbers that a thread reads
    std::unique_ptr<float, Free> data_;
    volatile float sum_ = 0;
};

}  // namespace

namespace regard {

void bind_ceiling(nb::module_& module) {
    module.def("ceilings", [] {
        nb::list names;
        for (const Limit& each : LIMITS)
            if (each.here()) names.append(each.name);
        return names;
    });
    nb::class_<Ceiling>(module, "Ceiling").def(nb::init<const std::string&, int, int64_t>()).def("run", &Ceiling::run);
}

}  // namespace regard
