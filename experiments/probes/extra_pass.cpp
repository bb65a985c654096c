#include "experiments/probes/extra_pass.h"

#include "autograd/graph.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/profile.h"
#include "autograd/random.h"

namespace headscope::experiments {

namespace {

/// Takes the gradients away and gives them back.
class Aside {
public:
    explicit Aside(nn::Transformer& model) : model_(model), was_training_(model.is_training()) {
        for (const nn::Parameter& parameter : model.named_parameters()) leaves_.push_back(parameter.tensor);
        for (const Tensor& leaf : model.guest_leaves()) leaves_.push_back(leaf);
        for (Tensor& leaf : leaves_) {
            gradients_.push_back(leaf.grad());
            leaf.set_grad({});
        }
    }
    ~Aside() {
        for (std::size_t i = 0; i < leaves_.size(); ++i) leaves_[i].set_grad(gradients_[i]);
        model_.train(was_training_);
    }
    Aside(const Aside&) = delete;
    Aside& operator=(const Aside&) = delete;

private:
    nn::Transformer& model_;
    bool was_training_;
    std::vector<Tensor> leaves_, gradients_;
};

}  // namespace

void with_own_gradients(nn::Transformer& model, const std::function<void()>& body) {
    const Profile::Silence silence;
    const Aside aside(model);
    body();
}

std::vector<Tensor> gradients_of(const ProbeContext& context, const Tensor& inputs, const Tensor& targets,
                                 double weight, std::int64_t part) {
    std::vector<Tensor> gradients;
    with_own_gradients(context.model, [&] {
        const RandomScope random(static_cast<std::uint64_t>(context.seed),
                                 static_cast<std::uint64_t>(context.step * context.micro_batches + part));
        context.model.train();
        const Tensor mean = cross_entropy(context.model.forward(inputs), targets);
        backward(mean, {.gradient = Tensor::full({}, weight, mean.dtype())});
        for (const nn::Parameter& parameter : context.model.named_parameters()) {
            const Tensor& gradient = parameter.tensor.grad();
            gradients.push_back(gradient.defined() ? gradient
                                                   : Tensor::zeros(parameter.tensor.shape(), parameter.tensor.dtype()));
        }
    });
    return gradients;
}

}  // namespace headscope::experiments
