// The door from Python: a problem comes as the bytes of its struct, tensors as addresses that Python keeps alive.
#include <nanobind/nanobind.h>

#include <cstring>

#include "ceiling.hpp"
#include "isa.hpp"

namespace nb = nanobind;

namespace {

regard::Problem unpacked(const nb::bytes& ticket, const nb::bytes& forms) {
    if (ticket.size() != sizeof(regard::Problem)) throw nb::value_error("the ticket is not a native Problem");
    regard::Problem problem;
    std::memcpy(&problem, ticket.c_str(), sizeof problem);
    problem.form_count = static_cast<int64_t>(forms.size() / sizeof(regard::Form));
    problem.forms = problem.form_count ? reinterpret_cast<const regard::Form*>(forms.c_str()) : nullptr;
    return problem;
}

class Engine {
   public:
    explicit Engine(const char* isa) : kernels_(regard::kernels(isa)) {
        if (!kernels_) throw nb::value_error("this processor has no such instruction set");
    }
    const char* name() const { return kernels_->name; }
    void forward(const nb::bytes& ticket, const nb::bytes& forms) const { run(kernels_->forward, ticket, forms); }
    void backward(const nb::bytes& ticket, const nb::bytes& forms) const { run(kernels_->backward, ticket, forms); }

   private:
    static void run(void (*kernel)(const regard::Problem&), const nb::bytes& ticket, const nb::bytes& forms) {
        const regard::Problem problem = unpacked(ticket, forms);
        nb::gil_scoped_release released;
        kernel(problem);
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
}
