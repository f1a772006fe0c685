// Deterministic numbers, and tensors of any kind and stride whose memory is as long as they are.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include "../problem.hpp"

namespace driver {

using regard::Array;
using regard::Kind;

// SplitMix64 of Steele, Lea and Flood 2014.
class Random {
   public:
    explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u) {}
    uint64_t word() {
        uint64_t x = state_ += 0x9E3779B97F4A7C15u;
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
        return x ^ (x >> 31);
    }
    int64_t below(int64_t count) { return static_cast<int64_t>(word() % static_cast<uint64_t>(count)); }
    int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
    bool chance(double share) { return unit() < share; }
    double unit() { return static_cast<double>(word() >> 11) * 0x1p-53; }
    double number() { return 2 * unit() - 1; }  // in [−1, 1)

   private:
    uint64_t state_;
};

inline double from_half(uint16_t bits) {
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const double size = exponent == 31 ? (mantissa ? NAN : INFINITY)
                                       : exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24);
    return bits & 0x8000 ? -size : size;
}

inline double from_bfloat16(uint16_t bits) {
    const uint32_t wide = uint32_t{bits} << 16;
    float number;
    std::memcpy(&number, &wide, 4);
    return number;
}

// The nearest number of half precision: `digits` bits after the first, smallest exponent `least`.
inline double rounded(double x, int digits, int least) {
    if (x == 0 || !std::isfinite(x)) return x;
    const double unit = std::ldexp(1.0, std::max(std::ilogb(x), least) - digits);
    return std::nearbyint(x / unit) * unit;
}

inline uint16_t to_half(double x) {
    const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
    x = std::fabs(rounded(x, 10, -14));
    if (std::isnan(x)) return 0x7E00;
    if (x > 65504) return sign | 0x7C00;
    const int exponent = x < 0x1p-14 ? -15 : std::ilogb(x);
    return static_cast<uint16_t>(sign + ((exponent + 15) << 10) +
                                 static_cast<int>(exponent < -14 ? x * 0x1p24 : (std::ldexp(x, -exponent) - 1) * 1024));
}

inline uint16_t to_bfloat16(double x) {
    const float number = static_cast<float>(rounded(x, 7, -126));
    uint32_t bits;
    std::memcpy(&bits, &number, 4);
    return static_cast<uint16_t>(bits >> 16 | (std::isnan(x) ? 0x40 : 0));
}

inline int64_t bytes_of(Kind kind) { return kind == Kind::float64 ? 8 : kind == Kind::float32 ? 4 : 2; }

// Half a unit in the last place of 1.
inline double epsilon(Kind kind) {
    return kind == Kind::float64 ? 0x1p-53 : kind == Kind::float32 ? 0x1p-24 : kind == Kind::float16 ? 0x1p-11 : 0x1p-8;
}

inline double read(const Array& a, int64_t b, int64_t h, int64_t r, int64_t c) {
    const int64_t at = a.offset(b, h, r) + c * a.column;
    if (a.kind == Kind::float64) return static_cast<const double*>(a.data)[at];
    if (a.kind == Kind::float32) return static_cast<const float*>(a.data)[at];
    const uint16_t bits = static_cast<const uint16_t*>(a.data)[at];
    return a.kind == Kind::float16 ? from_half(bits) : from_bfloat16(bits);
}

inline void write(const Array& a, int64_t b, int64_t h, int64_t r, int64_t c, double x) {
    const int64_t at = a.offset(b, h, r) + c * a.column;
    if (a.kind == Kind::float64)
        static_cast<double*>(a.data)[at] = x;
    else if (a.kind == Kind::float32)
        static_cast<float*>(a.data)[at] = static_cast<float>(x);
    else
        static_cast<uint16_t*>(a.data)[at] = a.kind == Kind::float16 ? to_half(x) : to_bfloat16(x);
}

// The memory of a tensor. All bytes begin as 0xFF, a NaN of every kind: what lies between and around the numbers must
// stay so. `guard` bytes stand before and after it; with none, an address sanitizer sees every step outside.
class Tensor {
   public:
    Array array{};
    int64_t size[4];

    // `odd`: axes in any order in memory, with gaps. A broadcast axis has one entry and stride 0.
    Tensor(Random& random, Kind kind, const int64_t (&sizes)[4], const bool (&broadcast)[4], bool odd, int64_t guard)
        : guard_(guard) {
        int order[4] = {3, 2, 1, 0};
        for (int n = 3; odd && n > 0; --n) std::swap(order[n], order[random.below(n + 1)]);
        int64_t strides[4], next = odd && random.chance(0.3) ? 2 : 1, last = 0;
        for (int axis : order) {
            size[axis] = broadcast[axis] ? 1 : sizes[axis];
            strides[axis] = broadcast[axis] ? 0 : next;
            last += (size[axis] - 1) * strides[axis];
            next = next * size[axis] + (odd ? random.below(4) : 0);
        }
        array = {nullptr, strides[0], strides[1], strides[2], strides[3], kind};
        bytes_ = (last + 1) * bytes_of(kind);
        memory_.reset(static_cast<unsigned char*>(std::malloc(static_cast<size_t>(bytes_ + 2 * guard_))));
        std::memset(memory_.get(), 0xFF, static_cast<size_t>(bytes_ + 2 * guard_));
        array.data = memory_.get() + guard_;
    }

    template <class Each>
    void each(const Each& at) const {
        for (int64_t b = 0; b < size[0]; ++b)
            for (int64_t h = 0; h < size[1]; ++h)
                for (int64_t r = 0; r < size[2]; ++r)
                    for (int64_t c = 0; c < size[3]; ++c) at(b, h, r, c);
    }

    // Whether all that is no number of the tensor is as it was. Looks only once: the numbers are gone after it.
    bool intact() {
        each([&](int64_t b, int64_t h, int64_t r, int64_t c) {
            std::memset(memory_.get() + guard_ + (array.offset(b, h, r) + c * array.column) * bytes_of(array.kind), 0xFF,
                        static_cast<size_t>(bytes_of(array.kind)));
        });
        const unsigned char* begin = memory_.get();
        return std::all_of(begin, begin + bytes_ + 2 * guard_, [](unsigned char x) { return x == 0xFF; });
    }

   private:
    struct Free {
        void operator()(unsigned char* memory) const { std::free(memory); }
    };
    int64_t guard_, bytes_ = 0;
    std::unique_ptr<unsigned char[], Free> memory_;
};

}  // namespace driver
