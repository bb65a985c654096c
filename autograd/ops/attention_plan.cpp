#include "autograd/ops/attention_plan.h"

#include "autograd/error.h"

namespace headscope {

AttentionPlan plan_attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
    const auto complain = [&](const std::string& what) {
        throw Error("attention: " + what + "; q is " + q.shape().str() + ", k is " + k.shape().str() + ", v is " +
                    v.shape().str() + ", num_heads is " + std::to_string(options.num_heads));
    };
    if (q.rank() != 3 || k.rank() != 3 || v.rank() != 3) complain("q, k and v must be [B, T, H*d]");
    if (q.dtype() != k.dtype() || q.dtype() != v.dtype()) complain("the dtypes of q, k and v differ");
    const std::int64_t heads = options.num_heads;
    if (heads < 1 || q.size(2) % heads != 0 || v.size(2) % heads != 0 || q.size(2) == 0 || v.size(2) == 0)
        complain("the number of heads does not divide the last axis");
    if (k.size(2) != q.size(2)) complain("q and k must have the same width");
    if (k.size(0) != q.size(0) || v.size(0) != q.size(0)) complain("the batch sizes differ");
    if (k.size(1) != v.size(1)) complain("k and v must have the same length");
    if (!(options.dropout >= 0 && options.dropout < 1)) complain("dropout must be in [0, 1)");
    if (options.dropout > 0 && options.random == nullptr) complain("dropout needs a random stream");
    if (options.alibi && options.kind != AttentionKind::softmax)
        complain("alibi is added to the scores of a softmax; linear and uniform attention have none");
    const std::int64_t all_slopes = options.alibi_heads > 0 ? options.alibi_heads : heads;
    if (options.alibi_first < 0 || options.alibi_first + heads > all_slopes)
        complain("alibi_first is " + std::to_string(options.alibi_first) + " of " + std::to_string(all_slopes) +
                 " heads");
    options.mask.check(q.size(0), heads, q.size(1), k.size(1));

    const Tensor& visible = options.mask.tensor();
    AttentionPlan plan{.batch = q.size(0),
                       .heads = heads,
                       .queries = q.size(1),
                       .keys = k.size(1),
                       .key_dim = q.size(2) / heads,
                       .value_dim = v.size(2) / heads,
                       .kind = options.kind,
                       .causal = options.mask.is_causal(),
                       .alibi = options.alibi,
                       .masked = visible.defined(),
                       .mask_strides = {0, 0, 0},
                       .first_slope = options.alibi_first,
                       .all_slopes = all_slopes,
                       .dropout = options.dropout,
                       .random = options.random != nullptr ? *options.random : RandomStream(0, "")};
    if (visible.defined()) {
        const Shape& s = visible.shape();
        plan.mask_strides[0] = s[0] == 1 ? 0 : s[1] * s[2] * s[3];
        plan.mask_strides[1] = s[1] == 1 ? 0 : s[2] * s[3];
        plan.mask_strides[2] = s[2] == 1 ? 0 : s[3];
    }
    return plan;
}

}  // namespace headscope
