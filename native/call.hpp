// The classes of prepared calls, for the module.
#pragma once
#include <nanobind/nanobind.h>

namespace regard {

void bind_call(nanobind::module_& m);

}  // namespace regard
