"""Random cases of every op: the tensors and attributes, and PyTorch's idea of the result."""

import numpy as np
import torch

UNARY = {"neg": torch.neg, "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt, "tanh": torch.tanh,
         "sigmoid": torch.sigmoid, "relu": torch.relu, "gelu": torch.nn.functional.gelu,
         "silu": torch.nn.functional.silu}
POSITIVE = {"log", "sqrt", "pow_tensor"}


class Draw:
    """One random case. The method named after the op draws tensors and attributes and returns PyTorch's result.

    With a `size`, a power of two, real numbers are whole multiples of it. Products and sums of them are exact, so that
    the same scores are largest here and there, however large they are."""

    def __init__(self, op, seed, dtype, size=None):
        self.op, self.dtype, self.size = op, dtype, size
        self.random = np.random.default_rng([seed, *op.encode()])
        self.tensors, self.attributes = [], {}

    # --- what cases are made of; each also goes to the runner ---

    def number(self, low, high):
        return int(self.random.integers(low, high + 1))

    def flag(self):
        return bool(self.random.integers(2))

    def shape(self, low=1, high=4):
        return [self.number(1, 6) for _ in range(self.number(low, high))]

    def given(self, values, grad=False):
        tensor = torch.from_numpy(np.array(values))
        if tensor.is_floating_point():
            tensor = tensor.to(getattr(torch, self.dtype))
        self.tensors.append(tensor.requires_grad_(grad))
        return tensor

    def real(self, shape):
        values = self.random.standard_normal(shape) * 1.5
        if self.op in POSITIVE:
            values = np.abs(values) + 0.3
        if self.size is not None:
            values = np.round(values) * self.size
        return self.given(values, grad=True)

    def away_from_zero(self, shape):
        values = self.random.standard_normal(shape)
        return self.given(values + np.copysign(0.3, values), grad=True)

    def booleans(self, shape):
        return self.given(self.random.random(shape) < 0.6)

    def integers(self, shape, low, high):
        return self.given(self.random.integers(low, high, shape))

    def attribute(self, name, value):
        self.attributes[name] = list(value) if isinstance(value, (list, tuple)) else [value]
        return value

    def stretched(self, shape):
        """A shape that broadcasts to this one: some sizes 1, some leading ones left out."""
        kept = [1 if self.random.random() < 0.35 else size for size in shape]
        return kept[self.number(0, len(kept)) if self.flag() else 0:]

    def axis(self, rank):
        return self.attribute("axis", self.number(-rank, rank - 1))

    # --- the ops ---

    def unary(self):
        return UNARY[self.op](self.real(self.shape(0)))

    def binary(self):
        shape = self.shape(0)
        a, b = shape, self.stretched(shape)
        if self.flag():
            a, b = b, a
        if self.flag():  # both stretched
            a = [1 if i % 2 else size for i, size in enumerate(a)]
        left = self.real(a)
        right = self.away_from_zero(b) if self.op == "div" else self.real(b)
        return {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div,
                "pow_tensor": torch.pow}[self.op](left, right)

    add = sub = mul = div = pow_tensor = binary

    def pow(self):
        exponent = self.attribute("exponent", float(self.random.choice([-2, -1, 0, 1, 2, 3, 0.5, 1.7])))
        values = self.random.standard_normal(self.shape(0))
        values = np.abs(values) + 0.3 if exponent % 1 else values + np.copysign(0.3, values)
        return torch.pow(self.given(values, grad=True), exponent)

    def where(self):
        shape = self.shape(0)
        condition = self.booleans(self.stretched(shape))
        return torch.where(condition, self.real(self.stretched(shape)), self.real(self.stretched(shape)))

    def masked_fill(self):
        x = self.real(self.shape(0))
        value = self.attribute("value", self.random.standard_normal())
        return x.masked_fill(self.booleans(self.stretched(list(x.shape))), value)

    def reduction(self):
        x = self.real(self.shape())
        if self.op == "max":
            values = np.round(x.detach().numpy())  # so that there are ties
            self.tensors.clear()
            x = self.given(values, grad=True)
        axes = [int(a) for a in self.random.permutation(x.dim())[:self.number(0, x.dim())]]
        axes = [a - x.dim() if self.flag() else a for a in axes]
        self.attribute("axes", axes)
        keep = self.attribute("keep", self.flag())
        axes = axes or list(range(x.dim()))
        return {"sum": torch.sum, "mean": torch.mean, "max": torch.amax,
                "logsumexp": torch.logsumexp}[self.op](x, axes, keepdim=keep)

    sum = mean = max = logsumexp = reduction

    def reshape(self):
        x = self.real(self.shape())
        sizes = list(self.random.permutation([*x.shape, 1]))
        sizes = [int(size) for size in sizes]
        sizes[self.number(0, len(sizes) - 1)] = -1
        return x.reshape(self.attribute("sizes", sizes))

    def permute(self):
        x = self.real(self.shape())
        return x.permute(self.attribute("order", [int(a) for a in self.random.permutation(x.dim())]))

    def sum_to(self):
        x = self.real(self.shape())
        return x.sum_to_size(self.attribute("sizes", self.stretched(list(x.shape))))

    def broadcast_to(self):
        sizes = self.shape()
        return self.real(self.stretched(sizes)).broadcast_to(self.attribute("sizes", sizes))

    def slice(self):
        x = self.real(self.shape())
        axis = self.axis(x.dim())
        size = x.shape[axis]
        begin = self.number(0, size)
        end = self.number(begin, size)
        step = self.number(1, 3)
        given = [begin - size if begin < size and self.flag() else begin,
                 end - size if end < size and self.flag() else end, step]
        self.attribute("range", given)
        return x.index_select(axis, torch.arange(begin, end, step))

    def concat(self):
        shape = self.shape()
        axis = self.axis(len(shape))
        parts = []
        for _ in range(self.number(1, 4)):
            shape[axis] = self.number(0, 4)
            parts.append(self.real(list(shape)))
        return torch.cat(parts, axis)

    def stack(self):
        shape = self.shape(0)
        axis = self.axis(len(shape) + 1)
        return torch.stack([self.real(shape) for _ in range(self.number(1, 4))], axis)

    def gather(self):
        x = self.real(self.shape())
        axis = self.axis(x.dim())
        shape = [self.number(1, size) for size in x.shape]
        shape[axis] = self.number(1, 7)
        return x.gather(axis, self.integers(shape, 0, x.shape[axis]))

    def matmul(self):
        m, k, n = self.number(1, 7), self.number(1, 7), self.number(1, 7)
        batch = self.shape(0, 2)
        turn_a, turn_b = self.attribute("transpose_a", self.flag()), self.attribute("transpose_b", self.flag())
        a = self.real(self.stretched(batch) + ([k, m] if turn_a else [m, k]))
        b = self.real(self.stretched(batch) + ([n, k] if turn_b else [k, n]))
        return (a.mT if turn_a else a) @ (b.mT if turn_b else b)

    def linear(self):
        inner, outer = self.number(1, 7), self.number(1, 7)
        x, weight = self.real(self.shape(0, 3) + [inner]), self.real([outer, inner])
        return torch.nn.functional.linear(x, weight, self.real([outer]) if self.flag() else None)

    def softmax(self):
        x = self.real(self.shape())
        return {"softmax": torch.softmax, "log_softmax": torch.log_softmax}[self.op](x, self.axis(x.dim()))

    log_softmax = softmax

    def masked_softmax(self):
        x = self.real(self.shape())
        mask = self.booleans(self.stretched(list(x.shape)))
        # A row without a visible element is NaN there and 0 here.
        hidden = ~mask.broadcast_to(x.shape)
        blind = hidden.all(-1, keepdim=True)
        weights = x.masked_fill(hidden & ~blind, -torch.inf).softmax(-1)
        return weights.masked_fill(blind, 0)

    def layer_norm(self):
        x = self.real(self.shape(0, 3) + [self.number(2, 9)])
        eps = self.attribute("eps", float(self.random.choice([1e-5, 1e-3, 0.5])))
        d = x.shape[-1]
        return torch.nn.functional.layer_norm(x, [d], self.real([d]), self.real([d]), eps)

    layer_norm_unfused = layer_norm

    def rms_norm(self):
        x = self.real(self.shape(0, 3) + [self.number(1, 9)])
        eps = self.attribute("eps", float(self.random.choice([1e-5, 1e-3, 0.5])))
        return x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps) * self.real([x.shape[-1]])

    rms_norm_unfused = rms_norm

    def embedding(self):
        weight = self.real([self.number(1, 7), self.number(1, 5)])
        return torch.nn.functional.embedding(self.integers(self.shape(0, 3), 0, weight.shape[0]), weight)

    def cross_entropy(self):
        logits = self.real(self.shape(0, 3) + [self.number(1, 9)])
        targets = self.integers(logits.shape[:-1], -1, logits.shape[-1])
        rows = logits.reshape(-1, logits.shape[-1])
        losses = torch.nn.functional.cross_entropy(rows, targets.reshape(-1), ignore_index=-1, reduction="sum")
        return losses / max(1, int((targets >= 0).sum()))

    def mse(self):
        shape = self.shape(0)
        return torch.nn.functional.mse_loss(self.real(shape), self.real(shape))

    def rotary(self):
        heads, half = self.attribute("heads", self.number(1, 4)), self.number(1, 4)
        base = self.attribute("base", float(self.random.choice([10000, 100, 3])))
        x = self.real([self.number(1, 4), self.number(1, 9), heads * 2 * half])
        # As a turn of complex numbers.
        planes = x.reshape(*x.shape[:2], heads, 2, half)
        speeds = base ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.arange(x.shape[1], dtype=torch.float64)[:, None] * speeds
        turn = torch.polar(torch.ones_like(angles), angles)[:, None]
        turned = torch.complex(planes[..., 0, :].double(), planes[..., 1, :].double()) * turn
        return torch.stack([turned.real, turned.imag], -2).reshape(x.shape).to(x.dtype)

    def seen(self, batch, heads, queries, keys):
        """Draws a mask: causal, padding, a tensor with axes to broadcast, any of them together. [B, H, Tq, Tk]"""
        seen = torch.ones(batch, heads, queries, keys, dtype=torch.bool)
        if self.attribute("causal", self.flag()):
            seen = seen.tril()
        if self.attribute("padding", self.flag()):
            lengths = torch.from_numpy(self.random.integers(0, keys + 1, batch))  # 0: nothing but padding
            seen = seen & self.given(torch.arange(keys) < lengths[:, None])[:, None, None]
        if self.attribute("visible", self.flag()):
            shape = [1 if self.flag() else size for size in (batch, heads, queries)]
            seen = seen & self.booleans(shape + [keys])
        return seen

    def attention(self):
        batch, heads = self.number(1, 3), self.attribute("heads", self.number(1, 4))
        queries, keys = self.number(1, 7), self.number(1, 7)
        key_dim, value_dim = self.number(1, 5), self.number(1, 5)
        q, k, v = (self.real([batch, length, heads * width]) for length, width in
                   ((queries, key_dim), (keys, key_dim), (keys, value_dim)))
        q, k, v = (x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for x in (q, k, v))
        seen = self.seen(batch, heads, queries, keys)
        blind = ~seen.any(-1, keepdim=True)
        # Beside large scores alibi is lost in rounding, and e^x of large negative features is 0.
        kind = self.attribute("kind", self.number(0, 2) if self.size is None else 0)
        if kind == 0:
            scores = q @ k.mT / key_dim ** 0.5
            if self.attribute("alibi", self.flag() and self.size is None):
                slopes = (2.0 ** (-8 * torch.arange(1, heads + 1, dtype=torch.float64) / heads)).to(q.dtype)
                distances = (torch.arange(queries)[:, None] - torch.arange(keys)).abs()
                scores = scores - slopes[:, None, None] * distances
            weights = scores.masked_fill(~seen & ~blind, -torch.inf).softmax(-1).masked_fill(blind, 0)
        else:
            scores = (torch.nn.functional.elu(q) + 1) @ (torch.nn.functional.elu(k) + 1).mT if kind == 1 else 1
            scores = scores * seen.to(q.dtype)
            weights = scores / (scores.sum(-1, keepdim=True) + blind)
        output = (weights @ v).transpose(1, 2)
        return torch.cat([output.reshape(-1), weights.reshape(-1)])

    attention_unfused = attention

    # --- asking the runner ---

    def question(self, output_gradient):
        lines = [f"case {self.op}"]
        for name, values in self.attributes.items():
            lines.append(f"attribute {name} {words(values)}")
        for tensor in self.tensors:
            dtype = str(tensor.dtype).removeprefix("torch.")
            lines.append(f"tensor {dtype} {int(tensor.requires_grad)} {tensor.dim()} "
                         f"{' '.join(map(str, tensor.shape))} {words(tensor.detach().reshape(-1).tolist())}")
        lines.append(f"run {words(output_gradient.reshape(-1).tolist())}")
        return "\n".join(lines) + "\n"


def words(values):
    return " ".join(float(value).hex() for value in values)


OPS = [*UNARY, "add", "sub", "mul", "div", "pow", "pow_tensor", "where", "masked_fill", "sum", "mean", "max",
       "logsumexp", "reshape", "permute", "sum_to", "broadcast_to", "slice", "concat", "stack", "gather", "matmul",
       "linear", "softmax", "log_softmax", "masked_softmax", "layer_norm", "layer_norm_unfused", "rms_norm",
       "rms_norm_unfused", "embedding", "cross_entropy", "mse", "rotary", "attention", "attention_unfused"]
