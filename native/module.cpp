// The door from Python: a problem comes as the bytes of its struct, tensors as addresses that Python keeps alive.
#include <nanobind/nanobind.h>

#include <cstring>

#include "call.hpp"
#include "ceiling.hpp"
#include "isa.hpp"
#include "pages.hpp"
#include "ticket.hpp"

namespace nb = nanobind;

namespace {

regard::Request asked(const nb::bytes& request, const nb::bytes& groupings) {
    if (request.size() != sizeof(regard::Request)) throw nb::value_error("the request is not a native Request");
    regard::Request asked;
    std::memcpy(&asked, request.c_str(), sizeof asked);
    asked.grouping_count = static_cast<int64_t>(groupings.size() / sizeof(regard::Grouping));
    asked.groupings = reinterpret_cast<const regard::Grouping*>(groupings.c_str());
    return asked;
}

class Engine {
   public:
    explicit Engine(const char* isa) : kernels_(regard::kernels(isa)) {
        if (!kernels_) throw nb::value_error("this processor has no such instruction set");
    }
    const char* name() const { return kernels_->name; }
    bool forward(const nb::bytes& ticket, const nb::bytes& forms) const {
        return run(kernels_->forward, ticket, forms, regard::ask_pages_forward);
    }
    bool backward(const nb::bytes& ticket, const nb::bytes& forms) const {
        return run(kernels_->backward, ticket, forms, regard::ask_pages_backward);
    }

    bool statistics(const nb::bytes& ticket, const nb::bytes& forms, const nb::bytes& request, const nb::bytes& groupings) const {
        const auto nothing = [](const regard::Problem&) {};
        return run(kernels_->statistics, ticket, forms, nothing, asked(request, groupings));
    }

   private:
    template <class Before, class... Asked>
    static bool run(const regard::Kernel<Asked...>& kernel, const nb::bytes& ticket, const nb::bytes& forms,
                    const Before& before, const Asked&... asked) {
        const regard::Problem problem = regard::unpacked(ticket, forms);
        nb::gil_scoped_release released;
        before(problem);
        return kernel(problem, asked...);
    }
    const regard::Kernels* kernels_;
};

}  // namespace

NB_MODULE(_native, m) {
    nb::set_leak_warnings(false);  // the engine lives as long as the process
    regard::bind_ceiling(m);
    nb::class_<Engine>(m, "Engine")
        .def(nb::init<const char*>())
        .def_prop_ro("name", &Engine::name)
        .def("forward", &Engine::forward)
        .def("backward", &Engine::backward)
        .def("statistics", &Engine::statistics);
    regard::bind_call(m);
}
