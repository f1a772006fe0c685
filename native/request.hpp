// What is asked about the weights of a problem: outputs are null where they are not wanted, [batch, heads, ·] without
// gaps, of the accumulation type where they are void. Mirrored in src/regard/engines/native/request.py.
#pragma once
#include <cstdint>

namespace regard {

enum class Pass : int64_t { rows, sums, weights, entries };

// A cut of queries and keys into classes; whoever is in none has class −1.
struct Grouping {
    const int64_t* query_class;  // [queries] a batch entry; null where only `rows` is wanted
    const int64_t* key_class;    // [keys] a batch entry
    int64_t query_step, key_step;  // from one batch entry to the next, 0 where they share the classes
    int64_t query_classes, key_classes;
    void* rows;      // [·, queries, key_classes]: Σ_{j ∈ b} P_ij
    void* sum;       // [·, query_classes, key_classes]: Σ_{i ∈ a, j ∈ b} P_ij
    void* greatest;  // the same of max
    int64_t* pairs;  // the same: how many visible pairs there are
};

struct Request {
    Pass pass;
    // Pass::rows, whose lse and rest are results; Pass::sums, whose are given, takes them where entropy is asked for.
    void* entropy;   // Σ_j P_ij (lse_i − s_ij)
    void* square;    // Σ_j P_ij²
    void* distance;  // Σ_j P_ij |i − j|
    void* local;     // Σ_{|i − j| ≤ reach} P_ij
    int64_t reach, top;
    void* top_weight;  // [·, queries, top]
    int64_t* top_key;  // the same; −1 where a row sees fewer keys
    // Pass::sums: over the pairs of these heads, rows and keys, with the problem's lse and rest.
    const int64_t* heads;
    int64_t head_count, first_query, end_query, first_key, end_key;
    void* received;    // [·, keys]: Σ_i P_ij
    int64_t* visible;  // [·, keys]: how many queries see the key
    void* distances;   // [·, queries + keys − 1]: Σ of P_ij by j − i, from −(queries − 1) up, in local positions
    const Grouping* groupings;
    int64_t grouping_count;
    // Pass::weights: `chosen` rows, ascending. Pass::entries: `chosen` pairs (i, j), of weight 0 where j is −1, of every
    // batch entry, `chosen_step` numbers from one to the next, 0 where they share the pairs.
    const int64_t* chosen;
    int64_t chosen_count, chosen_step;
    void* weights;  // [·, chosen, keys], zeros to begin with; [·, chosen]
};

}  // namespace regard
