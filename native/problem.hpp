// What the kernels see: arrays, strides, key ranges, bits, tables; no tensor, no Python class. The layouts are mirrored
// field by field in src/regard/engines/native/ticket.py.
#pragma once
#include <cstdint>

namespace regard {

enum class Kind : int64_t { float32, float64, bfloat16, float16 };

// A tensor [batch, heads, rows, columns]: its address, strides in elements (0 where it is broadcast), and its numbers.
struct Array {
    void* data;
    int64_t batch, head, row, column;
    Kind kind;

    explicit operator bool() const { return data; }
    int64_t offset(int64_t b, int64_t h, int64_t r) const { return b * batch + h * head + r * row; }
    template <class Number>
    Number* at(int64_t b, int64_t h, int64_t r) const {
        return static_cast<Number*>(data) + offset(b, h, r);
    }
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

enum class Normalize : int64_t { softmax, sigmoid };

// What else moves a score; arrays of the accumulation type, null where there is none.
struct Bias {
    Array table;        // [heads, distances]: the distance (j − i) + table_zero in absolute positions; 64 entries of room
    Array table_back;   // before and after it. The same from the last distance to the first.
    int64_t table_size, table_zero;
    Array keys;         // [batch, heads, 1, keys]
    Array pairs;        // [batch, heads, queries, keys]
    Array edges;        // [batch, heads, 1, edges], in the order of edge_key
    const int64_t* edge_offsets;  // [targets + 1], by absolute query
    const int64_t* edge_key;      // absolute key of each edge
    int64_t targets;

    explicit operator bool() const { return table.data || keys.data || pairs.data || edges.data; }
};

struct Problem {
    int64_t batch, heads, kv_heads, queries, keys, dim, value_dim, threads;
    Array query, key, value;
    const Form* forms;        // null: every pair is visible
    const int64_t* form_of;   // which form batch entry b, head h uses: [b · form_batch + h · form_head]
    int64_t form_batch, form_head, form_count;
    const int64_t* query_start;  // absolute position of the first query of batch entry b: [b · query_start_step]
    const int64_t* key_start;
    int64_t query_start_step, key_start_step;
    double scale, cap;        // cap 0: none
    Normalize normalize;
    Array sink;               // [heads], in the denominator of `out`; null: none
    double dropout;
    uint64_t seed;
    Bias bias;
    Array out, lse, rest;     // lse + rest: the natural log-sum-exp to twice the precision, the sink's share included
    Array out_grad, lse_grad; // lse_grad may be null
    Array query_grad, key_grad, value_grad;
    Array sink_grad;          // [batch, heads, queries]: each row's part of it
    Bias bias_grad;           // table: [heads, table_size]; keys, pairs and edges to be added to

    int64_t group() const { return heads / kv_heads; }
    const Form* form(int64_t b, int64_t h) const {
        return forms ? forms + form_of[b * form_batch + h * form_head] : nullptr;
    }
    int64_t first_query(int64_t b) const { return query_start[b * query_start_step]; }
    int64_t first_key(int64_t b) const { return key_start[b * key_start_step]; }
    // Whether products become scores by more than the scale.
    bool moved() const { return cap != 0 || bias || scale == 0 || normalize != Normalize::softmax; }
};

}  // namespace regard
