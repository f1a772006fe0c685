// What this processor can do at most: arithmetic in registers alone, and reading memory. For `regard bench` only.
#pragma once
#include <nanobind/nanobind.h>

namespace regard {

// Adds to the module `ceilings()`, the names that this processor has, and `Ceiling(name, threads, bytes)`, which
// reads so many bytes in turn where it reads.
void bind_ceiling(nanobind::module_& module);

}  // namespace regard
