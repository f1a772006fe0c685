// A problem comes from Python as the bytes of its struct, its forms likewise, tensors as addresses that Python keeps alive.
#pragma once
#include <nanobind/nanobind.h>

#include <cstring>

#include "problem.hpp"

namespace regard {

inline Problem unpacked(const nanobind::bytes& ticket, const nanobind::bytes& forms) {
    if (ticket.size() != sizeof(Problem)) throw nanobind::value_error("the ticket is not a native Problem");
    Problem problem;
    std::memcpy(&problem, ticket.c_str(), sizeof problem);
    problem.form_count = static_cast<int64_t>(forms.size() / sizeof(Form));
    problem.forms = problem.form_count ? reinterpret_cast<const Form*>(forms.c_str()) : nullptr;
    return problem;
}

}  // namespace regard
