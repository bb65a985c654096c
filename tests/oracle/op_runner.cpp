// Runs ops for tests/oracle/test_ops.py, which holds them against PyTorch.
//
// Standard input is a series of cases; a case is lines of words:
//   case OP
//   attribute NAME NUMBER... any number of these
//   tensor DTYPE REQUIRES_GRAD RANK SIZE... VALUE...     REQUIRES_GRAD is 0 or 1
//   run GRADIENT_VALUE...    dL/d(output), one number per element of the output
// Numbers are C99 hexadecimal floating point, so that nothing is lost. The answer to a case is lines of the same kind:
//   output RANK SIZE... VALUE...
//   gradient VALUE...        one line per tensor that requires a gradient; "gradient" alone when it got none
//   end
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "autograd/graph.h"
#include "autograd/ops.h"

namespace headscope {
namespace {

struct Case {
    std::string op;
    std::map<std::string, std::vector<double>> attributes;
    std::vector<Tensor> tensors;

    const Tensor& operator[](std::size_t i) const { return tensors.at(i); }
    double number(const std::string& name) const { return attributes.at(name).at(0); }
    int whole(const std::string& name) const { return static_cast<int>(number(name)); }
    std::vector<int> axes(const std::string& name) const {
        std::vector<int> result;
        for (const double value : attributes.at(name)) result.push_back(static_cast<int>(value));
        return result;
    }
    std::vector<std::int64_t> sizes(const std::string& name) const {
        std::vector<std::int64_t> result;
        for (const double value : attributes.at(name)) result.push_back(static_cast<std::int64_t>(value));
        return result;
    }
};

using Op = std::function<Tensor(const Case&)>;

/// The output and then the weights, in one row.
Tensor run_attention(const Case& c,
                     AttentionResult (*attend)(const Tensor&, const Tensor&, const Tensor&, const AttentionOptions&)) {
    AttentionOptions options{.num_heads = c.whole("heads"), .need_weights = true};
    options.kind = static_cast<AttentionKind>(c.whole("kind"));
    options.alibi = c.attributes.contains("alibi") && c.whole("alibi") != 0;
    std::size_t next = 3;
    if (c.whole("causal") != 0) options.mask = options.mask & Mask::causal();
    if (c.whole("padding") != 0) options.mask = options.mask & Mask::padding(c[next++]);
    if (c.whole("visible") != 0) options.mask = options.mask & Mask::visible(c[next++]);
    const AttentionResult result = attend(c[0], c[1], c[2], options);
    return concat({reshape(result.output, {-1}), reshape(result.weights, {-1})}, 0);
}

const std::map<std::string, Op>& ops() {
    static const std::map<std::string, Op> table{
        {"add", [](const Case& c) { return add(c[0], c[1]); }},
        {"sub", [](const Case& c) { return sub(c[0], c[1]); }},
        {"mul", [](const Case& c) { return mul(c[0], c[1]); }},
        {"div", [](const Case& c) { return div(c[0], c[1]); }},
        {"neg", [](const Case& c) { return neg(c[0]); }},
        {"exp", [](const Case& c) { return exp(c[0]); }},
        {"log", [](const Case& c) { return log(c[0]); }},
        {"sqrt", [](const Case& c) { return sqrt(c[0]); }},
        {"tanh", [](const Case& c) { return tanh(c[0]); }},
        {"sigmoid", [](const Case& c) { return sigmoid(c[0]); }},
        {"relu", [](const Case& c) { return relu(c[0]); }},
        {"gelu", [](const Case& c) { return gelu(c[0]); }},
        {"silu", [](const Case& c) { return silu(c[0]); }},
        {"pow", [](const Case& c) { return pow(c[0], c.number("exponent")); }},
        {"pow_tensor", [](const Case& c) { return pow(c[0], c[1]); }},
        {"where", [](const Case& c) { return where(c[0], c[1], c[2]); }},
        {"masked_fill", [](const Case& c) { return masked_fill(c[0], c[1], c.number("value")); }},
        {"sum", [](const Case& c) { return sum(c[0], c.axes("axes"), c.whole("keep") != 0); }},
        {"mean", [](const Case& c) { return mean(c[0], c.axes("axes"), c.whole("keep") != 0); }},
        {"max", [](const Case& c) { return max(c[0], c.axes("axes"), c.whole("keep") != 0); }},
        {"logsumexp", [](const Case& c) { return logsumexp(c[0], c.axes("axes"), c.whole("keep") != 0); }},
        {"reshape", [](const Case& c) { return reshape(c[0], c.sizes("sizes")); }},
        {"permute", [](const Case& c) { return permute(c[0], c.axes("order")); }},
        {"sum_to", [](const Case& c) { return sum_to(c[0], Shape(c.sizes("sizes"))); }},
        {"broadcast_to", [](const Case& c) { return broadcast_to(c[0], Shape(c.sizes("sizes"))); }},
        {"slice",
         [](const Case& c) {
             const std::vector<std::int64_t> range = c.sizes("range");
             return slice(c[0], c.whole("axis"), range.at(0), range.at(1), range.at(2));
         }},
        {"concat", [](const Case& c) { return concat(c.tensors, c.whole("axis")); }},
        {"stack", [](const Case& c) { return stack(c.tensors, c.whole("axis")); }},
        {"gather", [](const Case& c) { return gather(c[0], c.whole("axis"), c[1]); }},
        {"matmul",
         [](const Case& c) { return matmul(c[0], c[1], c.whole("transpose_a") != 0, c.whole("transpose_b") != 0); }},
        {"linear", [](const Case& c) { return c.tensors.size() > 2 ? linear(c[0], c[1], c[2]) : linear(c[0], c[1]); }},
        {"softmax", [](const Case& c) { return softmax(c[0], c.whole("axis")); }},
        {"log_softmax", [](const Case& c) { return log_softmax(c[0], c.whole("axis")); }},
        {"masked_softmax", [](const Case& c) { return masked_softmax(c[0], c[1]); }},
        {"layer_norm", [](const Case& c) { return layer_norm(c[0], c[1], c[2], c.number("eps")); }},
        {"layer_norm_unfused", [](const Case& c) { return layer_norm_unfused(c[0], c[1], c[2], c.number("eps")); }},
        {"rms_norm", [](const Case& c) { return rms_norm(c[0], c[1], c.number("eps")); }},
        {"rms_norm_unfused", [](const Case& c) { return rms_norm_unfused(c[0], c[1], c.number("eps")); }},
        {"embedding", [](const Case& c) { return embedding(c[0], c[1]); }},
        {"cross_entropy", [](const Case& c) { return cross_entropy(c[0], c[1]); }},
        {"mse", [](const Case& c) { return mse(c[0], c[1]); }},
        {"rotary", [](const Case& c) { return rotary(c[0], c.whole("heads"), c.number("base")); }},
        {"attention", [](const Case& c) { return run_attention(c, attention); }},
        {"attention_unfused", [](const Case& c) { return run_attention(c, attention_unfused); }},
    };
    return table;
}

/// The next word as a number; std::stream extraction does not read hexadecimal ones.
double read_number(std::istream& in) {
    std::string word;
    in >> word;
    return std::strtod(word.c_str(), nullptr);
}

Tensor read_values(std::istream& in, const Shape& shape, DType dtype) {
    std::vector<double> values;
    for (std::int64_t i = 0; i < shape.numel(); ++i) values.push_back(read_number(in));
    return Tensor::from<double>(shape, values).to(dtype);
}

Tensor read_tensor(std::istream& in) {
    std::string type;
    bool requires_grad = false;
    int rank = 0;
    in >> type >> requires_grad >> rank;
    std::vector<std::int64_t> sizes(static_cast<std::size_t>(rank));
    for (std::int64_t& size : sizes) in >> size;
    for (const DType dtype : {DType::f32, DType::f64, DType::i64, DType::boolean})
        if (name_of(dtype) == type) return read_values(in, Shape(sizes), dtype).set_requires_grad(requires_grad);
    throw Error("op_runner: there is no dtype " + type);
}

void print_values(const Tensor& tensor) {
    if (tensor.defined()) {
        const Tensor wide = tensor.to(DType::f64);
        for (const double value : wide.values<double>()) std::printf(" %a", value);
    }
    std::printf("\n");
}

void answer(const Case& c, std::istream& gradient_values) {
    const Tensor output = ops().at(c.op)(c);
    if (output.requires_grad())
        backward(output, {.gradient = read_values(gradient_values, output.shape(), output.dtype())});
    std::printf("output %d", output.rank());
    for (const std::int64_t size : output.shape()) std::printf(" %lld", static_cast<long long>(size));
    print_values(output);
    for (const Tensor& tensor : c.tensors) {
        if (!tensor.requires_grad()) continue;
        std::printf("gradient");
        print_values(tensor.grad());
    }
    std::printf("end\n");
}

void serve(std::istream& in) {
    Case current;
    std::string line;
    while (std::getline(in, line)) {
        std::istringstream words(line);
        std::string kind;
        words >> kind;
        if (kind == "case") {
            current = {};
            words >> current.op;
        } else if (kind == "attribute") {
            std::string name;
            words >> name;
            std::vector<double>& values = current.attributes[name];
            for (std::string word; words >> word;) values.push_back(std::strtod(word.c_str(), nullptr));
        } else if (kind == "tensor") {
            current.tensors.push_back(read_tensor(words));
        } else if (kind == "run") {
            answer(current, words);
        } else {
            throw Error("op_runner: a line begins with `" + kind + "`");
        }
    }
}

}  // namespace
}  // namespace headscope

int main() {
    try {
        headscope::serve(std::cin);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
