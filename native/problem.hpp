// What the kernels see: arrays, strides, key ranges; no tensor, no Python class. The layouts are mirrored field by field
// in src/regard/engines/native/ticket.py.
#pragma once
#include <cstdint>

namespace regard {

// A tensor [batch, heads, rows, columns] of floats: its address, and strides in elements.
struct Array {
    float* data;
    int64_t batch, head, row, column;

    float* at(int64_t b, int64_t h, int64_t r) const { return data + b * batch + h * head + r * row; }
};

// The visible pairs of all rows: half-open key ranges, sorted and disjoint within a row; or, where offsets is null, bits,
// the highest of a byte first, `stride` bytes a row.
struct Form {
    const int64_t* offsets;  // [rows + 1]
    const int64_t* low;
    const int64_t* high;
    const uint8_t* words;
    int64_t stride;
};

struct Problem {
    int64_t batch, heads, kv_heads, queries, keys, dim, value_dim, threads;
    Array query, key, value;
    const Form* forms;        // null: every pair is visible
    const int64_t* form_of;   // which form batch entry b, head h uses: [b · form_batch + h · form_head]
    int64_t form_batch, form_head, form_count;
    double scale;
    Array out, lse, rest;     // lse + rest: the natural log-sum-exp to twice float's precision; no columns
    Array out_grad, lse_grad; // lse_grad.data may be null
    Array query_grad, key_grad, value_grad;

    int64_t group() const { return heads / kv_heads; }
    const Form* form(int64_t b, int64_t h) const {
        return forms ? forms + form_of[b * form_batch + h * form_head] : nullptr;
    }
};

}  // namespace regard
