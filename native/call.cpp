// A call that is prepared: a problem of which all is settled but the tensors, which each call brings anew.
#include "call.hpp"

#include <string>
#include <utility>

#include "isa.hpp"
#include "pages.hpp"
#include "tensor.hpp"
#include "ticket.hpp"

namespace nb = nanobind;

namespace {

using regard::Array;
using regard::Described;

// Any number of leading axes as one, where strides allow: a stride of 0 where all are 1.
bool one_axis(const Described& tensor, int32_t axes, int64_t& count, int64_t& stride) {
    count = 1, stride = 0;
    for (int32_t axis = axes - 1; axis >= 0; --axis) {
        if (tensor.shape[axis] == 1) continue;
        if (count == 1)
            stride = tensor.strides[axis];
        else if (tensor.strides[axis] != stride * count)
            return false;
        count *= tensor.shape[axis];
    }
    return true;
}

// `[..., heads, rows, columns]`, a missing head axis being one head, one batch entry serving all; false where it is not.
bool place(const Described& tensor, int64_t batch, int64_t heads, int64_t rows, int64_t columns, Array& array) {
    const int32_t last = tensor.ndim;
    if (last < 2 || tensor.shape[last - 1] != columns || tensor.shape[last - 2] != rows) return false;
    if ((last > 2 ? tensor.shape[last - 3] : 1) != heads) return false;
    int64_t count;
    if (!one_axis(tensor, last - 3, count, array.batch) || (count != 1 && count != batch)) return false;
    array.data = tensor.begin();
    array.head = last > 2 ? tensor.strides[last - 3] : 0;
    array.row = tensor.strides[last - 2], array.column = tensor.strides[last - 1];
    return true;
}

// Exactly as many batch entries as the problem has, for what is written to.
bool place_all(const Described& tensor, int64_t batch, int64_t heads, int64_t rows, int64_t columns, Array& array) {
    return tensor.numel() == batch * heads * rows * columns && place(tensor, batch, heads, rows, columns, array);
}

class Inputs : public regard::Reader {
   public:
    Inputs(nb::capsule table, nb::type_object tensor, nb::type_object parameter)
        : regard::Reader(checked(table), reinterpret_cast<PyTypeObject*>(tensor.ptr()),
                         reinterpret_cast<PyTypeObject*>(parameter.ptr())),
          is_neg_(PyUnicode_InternFromString("is_neg")) {}

    // Types and shapes of query, key and value as bytes to look a call up by; None where one of them is no plain tensor.
    nb::object sizes(nb::handle query, nb::handle key, nb::handle value) const {
        int64_t said[3 * 7];
        int count = 0;
        for (nb::handle each : {query, key, value}) {
            Described tensor;
            if (!read(each.ptr(), tensor) || tensor.ndim > 5 || negative(each.ptr())) return nb::none();
            said[count++] = int64_t{tensor.type.code} << 16 | int64_t{tensor.type.bits} << 8 | tensor.ndim;
            for (int32_t axis = 0; axis < tensor.ndim; ++axis) said[count++] = tensor.shape[axis];
        }
        return nb::bytes(reinterpret_cast<const char*>(said), count * sizeof(int64_t));
    }

   private:
    static const regard::Exchange* checked(const nb::capsule& table) {
        const auto* exchange = static_cast<const regard::Exchange*>(table.data());
        if (exchange->major != 1 || !exchange->describe) throw nb::value_error("another version of the exchange");
        return exchange;
    }
    // A lazy minus sign, which the numbers in memory don't have.
    bool negative(PyObject* tensor) const {
        return nb::steal(PyObject_CallMethodNoArgs(tensor, is_neg_)).ptr() != Py_False;
    }
    PyObject* is_neg_;  // as long as the process
};

class Call {
   public:
    // `number` and `sum` are tensors of the inputs' type and of the sums' type.
    Call(const Inputs& reader, const char* isa, const nb::bytes& ticket, const nb::bytes& forms, nb::handle number,
         nb::handle sum)
        : reader_(reader), kernels_(regard::kernels(isa)), problem_(regard::unpacked(ticket, forms)), forms_(forms) {
        if (!kernels_) throw nb::value_error("this processor has no such instruction set");
        Described one, other;
        if (!reader.read(number.ptr(), one) || !reader.read(sum.ptr(), other))
            throw nb::value_error("number and sum must be plain tensors");
        type_ = one.type, sum_type_ = other.type;
    }

    // out, and lse with its rest `[2, batch, heads, queries]` where it is wanted; false where a tensor does not fit.
    bool forward(nb::handle query, nb::handle key, nb::handle value, nb::handle out, nb::handle lse, int64_t threads) const {
        regard::Problem problem = problem_;
        if (!inputs(problem, query, key, value, out, lse.is_none() ? place : place_all)) return false;
        if (!lse.is_none() && !kept_sums(problem, lse)) return false;
        regard::ask_pages_forward(problem);
        return run(kernels_->forward, problem, threads);
    }

    // The gradients of query, key and value, each as large as its tensor; false where a tensor does not fit, or
    // where hidden pairs may have poisoned them.
    bool backward(nb::handle query, nb::handle key, nb::handle value, nb::handle out, nb::handle lse, nb::handle out_grad,
                  nb::handle query_grad, nb::handle key_grad, nb::handle value_grad, int64_t threads) const {
        regard::Problem problem = problem_;
        auto& p = problem;
        const bool fit = inputs(p, query, key, value, out, place_all) && kept_sums(p, lse) &&
                         written(out_grad, p, p.heads, p.queries, p.value_dim, p.out_grad) &&
                         written(query_grad, p, p.heads, p.queries, p.dim, p.query_grad) &&
                         written(key_grad, p, p.kv_heads, p.keys, p.dim, p.key_grad) &&
                         written(value_grad, p, p.kv_heads, p.keys, p.value_dim, p.value_grad);
        if (!fit) return false;
        regard::ask_pages_backward(problem);
        return run(kernels_->backward, problem, threads);
    }

   private:
    bool inputs(regard::Problem& p, nb::handle query, nb::handle key, nb::handle value, nb::handle out,
                decltype(place)& placed) const {
        Described q, k, v;
        return read(query, q) && placed(q, p.batch, p.heads, p.queries, p.dim, p.query) &&
               read(key, k) && placed(k, p.batch, p.kv_heads, p.keys, p.dim, p.key) &&
               read(value, v) && placed(v, p.batch, p.kv_heads, p.keys, p.value_dim, p.value) &&
               written(out, p, p.heads, p.queries, p.value_dim, p.out);
    }
    bool read(nb::handle object, Described& tensor) const {
        return reader_.read(object.ptr(), tensor) && tensor.type == type_;
    }
    bool written(nb::handle object, const regard::Problem& p, int64_t heads, int64_t rows, int64_t columns, Array& array) const {
        Described tensor;
        return read(object, tensor) && place_all(tensor, p.batch, heads, rows, columns, array);
    }
    // `[2, batch, heads, queries]`, contiguous.
    bool kept_sums(regard::Problem& problem, nb::handle lse) const {
        Described tensor;
        int64_t count, stride;
        if (!reader_.read(lse.ptr(), tensor) || !(tensor.type == sum_type_)) return false;
        if (!one_axis(tensor, tensor.ndim, count, stride) || stride != 1) return false;
        if (count != 2 * problem.batch * problem.heads * problem.queries) return false;
        sums(problem, tensor.begin(), tensor.type.bits / 8);
        return true;
    }
    static void sums(regard::Problem& p, void* memory, int64_t bytes) {
        const int64_t rows = p.batch * p.heads * p.queries;
        const regard::Kind kind = p.query.kind == regard::Kind::float64 ? regard::Kind::float64 : regard::Kind::float32;
        p.lse = Array{memory, p.heads * p.queries, p.queries, 1, 0, kind};
        p.rest = p.lse;
        p.rest.data = static_cast<char*>(memory) + rows * bytes;
    }
    static bool run(const regard::Kernel<>& kernel, regard::Problem& problem, int64_t threads) {
        problem.threads = threads;
        nb::gil_scoped_release released;
        return kernel(problem);
    }

    const Inputs& reader_;
    const regard::Kernels* kernels_;
    const regard::Problem problem_;
    const nb::bytes forms_;  // problem_ points into it
    regard::Type type_, sum_type_;
};

}  // namespace

void regard::bind_call(nb::module_& m) {
    nb::class_<Inputs>(m, "Inputs")
        .def(nb::init<nb::capsule, nb::type_object, nb::type_object>())
        .def("sizes", &Inputs::sizes, nb::arg().none(), nb::arg().none(), nb::arg().none());
    nb::class_<Call>(m, "Call")
        .def(nb::init<const Inputs&, const char*, const nb::bytes&, const nb::bytes&, nb::handle, nb::handle>(), nb::keep_alive<1, 2>())
        .def("forward", &Call::forward, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg())
        .def("backward", &Call::backward);
}
