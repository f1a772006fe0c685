// Few queries of many heads that share their keys: the queries of a group become the rows of one head, which fill blocks
// of 64 that each of its heads would leave half empty. For rules in which no number goes by head but the sink.

// Whether the rows of a group fill fewer blocks together.
static bool packs(const Problem& p) {
    return !p.bias && !p.dropout && p.queries < BLOCK && (p.queries * p.group() + BLOCK - 1) / BLOCK < p.group();
}

static bool one_form(const Problem& p, int64_t kv_head) {
    const int64_t batch = kv_head / p.kv_heads, first = kv_head % p.kv_heads * p.group();
    for (int64_t g = 1; g < p.group(); ++g)
        if (p.form(batch, first + g) != p.form(batch, first)) return false;
    return true;
}

// A form `times` under itself.
struct Repeated {
    List<int64_t> offsets, low, high;
    List<uint8_t> words;
    Form form{};

    Repeated(const Form& of, int64_t rows, int64_t times) {
        const int64_t first = of.offsets ? of.offsets[0] : 0, ranges = of.offsets ? of.offsets[rows] - first : 0;
        for (int64_t n = 0; n < times; ++n) {
            for (int64_t i = 0; of.offsets && i < rows; ++i) offsets.push_back(n * ranges + of.offsets[i] - first);
            low.insert(low.end(), of.low + first, of.low + first + ranges);
            high.insert(high.end(), of.high + first, of.high + first + ranges);
            if (!of.offsets) words.insert(words.end(), of.words, of.words + rows * of.stride);
        }
        offsets.push_back(times * ranges);
        form = {of.offsets ? offsets.data() : nullptr, low.data(), high.data(), words.data(), of.stride};
    }
};

// The problem with one head in place of a group, on copies of the queries; its results in the type of the sums.
class Packed {
   public:
    explicit Packed(const Problem& p)
        : view(p), p_(p), rows_(p.group() * p.queries), size_(bytes_of(p.query.kind)),
          query_(p.batch * p.kv_heads * rows_ * p.dim * size_), out_(p.batch * p.kv_heads * rows_ * p.value_dim),
          lse_(p.batch * p.kv_heads * rows_), rest_(lse_.size()) {
        const Kind wide = SINGLE ? Kind::float32 : Kind::float64;
        view.heads = p.kv_heads, view.queries = rows_, view.sink = {};
        view.query = array(query_.data(), p.dim, p.query.kind), view.out = array(out_.data(), p.value_dim, wide);
        view.lse = array(lse_.data(), 1, wide), view.rest = array(rest_.data(), 1, wide);
        for (int64_t n = 0; n < p.form_count; ++n)
            forms_.push_back(std::make_unique<Repeated>(p.forms[n], p.queries, p.group()));
        for (const auto& each : forms_) all_.push_back(each->form);
        for (int64_t n = 0; p.forms && n < p.batch * p.kv_heads; ++n)
            form_of_.push_back(p.form(n / p.kv_heads, n % p.kv_heads * p.group()) - p.forms);
        view.forms = p.forms ? all_.data() : nullptr;
        view.form_of = form_of_.data(), view.form_batch = p.kv_heads, view.form_head = 1;
    }
    Packed(const Packed&) = delete;
    Packed& operator=(const Packed&) = delete;

    // Row n of all: of batch entry n / queries / heads, and so on.
    void copy_query(int64_t n) {
        const Array& from = p_.query;
        const char* row = static_cast<const char*>(from.data) + from.offset(batch(n), head(n), n % p_.queries) * size_;
        char* to = &query_[n * p_.dim * size_];
        for (int64_t c = 0; c < p_.dim; ++c) memcpy(to + c * size_, row + c * from.column * size_, size_);
    }
    void write(int64_t n) const {
        const int64_t b = batch(n), h = head(n), i = n % p_.queries;
        double lse = double{lse_[n]} + double{rest_[n]}, share = 1;
        if (p_.sink && lse != -INFINITE) {
            const double sink = *p_.sink.at<const real>(0, h, 0);
            share = 1 / (1 + std::exp(sink - lse));
            lse = std::max(lse, sink) + std::log1p(std::exp(-std::fabs(lse - sink)));
        }
        if (p_.lse) *p_.lse.at<real>(b, h, i) = static_cast<real>(lse);
        const real near = static_cast<real>(lse);
        if (p_.rest) *p_.rest.at<real>(b, h, i) = lse == -INFINITE ? 0 : static_cast<real>(lse - near);
        const real* sum = &out_[n * p_.value_dim];
        write_row(p_.out, b, h, i, 0, p_.value_dim, [&](int64_t c) { return sum[c] * static_cast<real>(share); });
    }

    Problem view;

   private:
    Array array(void* data, int64_t columns, Kind kind) const {
        return {data, p_.kv_heads * rows_ * columns, rows_ * columns, columns, 1, kind};
    }
    int64_t batch(int64_t n) const { return n / p_.queries / p_.heads; }
    int64_t head(int64_t n) const { return n / p_.queries % p_.heads; }

    const Problem& p_;
    const int64_t rows_, size_;
    List<char> query_;
    List<real> out_, lse_, rest_;
    List<std::unique_ptr<Repeated>> forms_;
    List<Form> all_;
    List<int64_t> form_of_;
};

// Runs the key heads whose groups see one form, unless they go by rows; the choice for those that are left.
template <class Run>
static Choice packed_forward(const Problem& p, const Choice& choice, const Run& run) {
    const int64_t kv_heads = p.batch * p.kv_heads, rows = p.group() * p.queries;
    List<char> done(kv_heads), others(kv_heads);
    for (int64_t n = 0; n < kv_heads; ++n) {
        const bool packed = !choice.by_rows(n) && one_form(p, n);
        done[n] = packed || choice.by_rows(n), others[n] = !packed;
    }
    Packed packed(p);
    const auto each_row = [&](const auto& each) {
        parallel(p.threads, [&](Team& team) {
            team.even(kv_heads * rows, [&](int64_t n) {
                if (!others[n / rows]) each(n);
            });
            return true;
        });
    };
    each_row([&](int64_t n) { packed.copy_query(n); });
    run(packed.view, Choice(others));
    each_row([&](int64_t n) { packed.write(n); });
    return Choice(done);
}
