// The door from Python: a problem comes as the bytes of its struct, tensors as addresses that Python keeps alive.
#include <nanobind/nanobind.h>

#include "call.hpp"
#include "ceiling.hpp"
#include "isa.hpp"
#include "ticket.hpp"

namespace nb = nanobind;

namespace {

class Engine {
   public:
    explicit Engine(const char* isa) : kernels_(regard::kernels(isa)) {
        if (!kernels_) throw nb::value_error("this processor has no such instruction set");
    }
    const char* name() const { return kernels_->name; }
    bool forward(const nb::bytes& ticket, const nb::bytes& forms) const { return run(kernels_->forward, ticket, forms); }
    bool backward(const nb::bytes& ticket, const nb::bytes& forms) const { return run(kernels_->backward, ticket, forms); }

   private:
    static bool run(const regard::Kernel& kernel, const nb::bytes& ticket, const nb::bytes& forms) {
        const regard::Problem problem = regard::unpacked(ticket, forms);
        nb::gil_scoped_release released;
        return kernel(problem);
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
        .def("backward", &Engine::backward);
    regard::bind_call(m);
}
