// The kernels for one type of numbers, real; word is the integer of its size.
constexpr int LANES = REGARD_BYTES / sizeof(real);

#include "simd.hpp"
#include "micro.hpp"
#include "tiles.hpp"
#include "words.hpp"
#include "seen.hpp"
#include "bias.hpp"
#include "scores.hpp"
#include "forward.hpp"
#include "backward.hpp"
#include "statistics.hpp"
