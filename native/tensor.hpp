// PyTorch's tensors, read without its headers: through the function table of the DLPack C exchange API (DLPack 1.3,
// `torch.Tensor.__dlpack_c_exchange_api__`, PyTorch 2.10 and later). A description lives as long as its tensor.
#pragma once
#include <Python.h>

#include <cstdint>

namespace regard {

struct Type {  // DLDataType
    uint8_t code, bits;
    uint16_t lanes;

    bool operator==(const Type& other) const { return code == other.code && bits == other.bits && lanes == other.lanes; }
};

struct Described {  // DLTensor
    void* data;
    int32_t device_type, device_id, ndim;
    Type type;
    const int64_t* shape;
    const int64_t* strides;
    uint64_t byte_offset;

    void* begin() const { return static_cast<char*>(data) + byte_offset; }
    int64_t numel() const {
        int64_t count = 1;
        for (int32_t axis = 0; axis < ndim; ++axis) count *= shape[axis];
        return count;
    }
};

struct Exchange {  // DLPackExchangeAPI
    uint32_t major, minor;
    Exchange* older;
    void *allocate, *from_object, *to_object;
    int (*describe)(void* object, Described* out);
    void* stream;
};

constexpr int32_t CPU = 1;

// Describes what is exactly a Tensor or a Parameter with numbers of its own in this processor's memory; nothing else.
class Reader {
   public:
    Reader(const Exchange* exchange, PyTypeObject* tensor, PyTypeObject* parameter)
        : exchange_(exchange), tensor_(tensor), parameter_(parameter) {}

    bool read(PyObject* object, Described& found) const {
        if (Py_TYPE(object) != tensor_ && Py_TYPE(object) != parameter_) return false;
        if (exchange_->describe(object, &found)) {  // nested, sparse, wrapped by a transform: no memory to point at
            PyErr_Clear();
            return false;
        }
        return found.device_type == CPU && (found.data || !found.numel());
    }

   private:
    const Exchange* exchange_;
    PyTypeObject *tensor_, *parameter_;
};

}  // namespace regard
