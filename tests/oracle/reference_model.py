"""The model that headscope trains, written independently in PyTorch, and what a run left for it to read."""

import math
import tomllib

import h5py
import torch
import torch.nn.functional as F

ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu, "silu": F.silu}


def read_config(run):
    return tomllib.loads((run / "config.toml").read_text())


def load_parameters(checkpoint):
    """Weights by name, in f64, ready for backward."""
    parameters = {}
    with h5py.File(checkpoint, "r") as file:
        for name, values in file["model"].items():
            parameters[name] = torch.tensor(values[()], dtype=torch.float64, requires_grad=True)
    return parameters


def sinusoids(length, width):
    position = torch.arange(length, dtype=torch.float64)[:, None]
    even = torch.arange(0, width, 2, dtype=torch.float64)
    angle = position / 10000 ** (even / width)
    table = torch.zeros(length, width, dtype=torch.float64)
    table[:, 0::2] = torch.sin(angle)
    table[:, 1::2] = torch.cos(angle)[:, : width // 2]
    return table


def rotated(x):
    """x [B, H, T, d]: columns i and i + d/2 turn as a plane, as complex numbers."""
    half = x.shape[-1] // 2
    speed = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(x.shape[-2], dtype=torch.float64)[:, None] * speed
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([turned.real, turned.imag], -1)


def rms_normalised(x):
    return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()


def alibi(heads, length):
    """[H, T, T]"""
    slopes = torch.tensor([2 ** (-8 * (h + 1) / heads) for h in range(heads)], dtype=torch.float64)
    position = torch.arange(length)
    return -slopes[:, None, None] * (position[:, None] - position[None, :]).abs()


class ReferenceModel:
    """Functions of a dictionary of parameters; `config` is the run's resolved [model] table."""

    def __init__(self, parameters, config):
        self.p = parameters
        self.config = config
        self.records = []

    def linear(self, x, name):
        return F.linear(x, self.p[name + ".weight"], self.p.get(name + ".bias"))

    def normed(self, x, name):
        if self.config["norm_type"] == "rms":
            return rms_normalised(x) * self.p[name + ".weight"]
        return F.layer_norm(x, x.shape[-1:], self.p[name + ".weight"], self.p[name + ".bias"], 1e-5)

    def attention(self, x, name):
        heads, groups = self.config["num_heads"], self.config["kv_heads"]
        B, T, _ = x.shape
        q, k, v = (self.linear(x, f"{name}.W_{p}").view(B, T, heads if p == "q" else groups, -1).transpose(1, 2)
                   for p in "qkv")
        if self.config["qk_norm"]:
            q, k = rms_normalised(q), rms_normalised(k)
        if self.config["position"] == "rotary":
            q, k = rotated(q), rotated(k)
        group_of_head = [h * groups // heads for h in range(heads)]
        k, v = k[:, group_of_head], v[:, group_of_head]
        hidden = torch.ones(T, T).triu(1).bool() if self.config["causal"] else torch.zeros(T, T).bool()
        if self.config["window"] > 0:
            hidden = hidden | torch.ones(T, T).tril(-self.config["window"]).bool()
        weights = self.weights(q, k, hidden)
        out = weights @ v
        self.records.append({"q": q, "k": k, "v": v, "weights": weights, "head_out": out})
        return self.linear(out.transpose(1, 2).reshape(B, T, -1), f"{name}.W_o")

    def weights(self, q, k, hidden):
        """[B, H, T, T]; `hidden` is true where a query must not look."""
        if self.config["attention"] in ("softmax", "sigmoid"):
            scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
            if self.config["position"] == "alibi":
                scores = scores + alibi(q.shape[1], q.shape[2])
            if self.config["attention"] == "sigmoid":
                visible = (~hidden).sum(-1, keepdim=True)
                return torch.sigmoid(scores - visible.log()).masked_fill(hidden, 0)
            return scores.masked_fill(hidden, -math.inf).softmax(-1)
        if self.config["attention"] == "linear":
            similarity = (F.elu(q) + 1) @ (F.elu(k) + 1).transpose(-1, -2)
        else:
            similarity = torch.ones(*q.shape[:-1], q.shape[-2], dtype=torch.float64)
        similarity = similarity.masked_fill(hidden, 0)
        return similarity / similarity.sum(-1, keepdim=True)

    def feed_forward(self, x, name):
        if self.config["ffn"] == "swiglu":
            return self.linear(F.silu(self.linear(x, name + ".gate")) * self.linear(x, name + ".up"), name + ".down")
        hidden = ACTIVATIONS[self.config["activation"]](self.linear(x, name + ".linear1"))
        return self.linear(hidden, name + ".linear2")

    def block(self, x, name):
        branches = [("norm1", self.attention, "attn")]
        if self.config["d_ff"] > 0:
            branches.append(("norm2", self.feed_forward, "ffn"))
        for norm, branch, child in branches:
            if self.config["norm"] == "pre":
                x = x + branch(self.normed(x, f"{name}.{norm}"), f"{name}.{child}")
            elif self.config["norm"] == "post":
                x = self.normed(x + branch(x, f"{name}.{child}"), f"{name}.{norm}")
            else:
                x = x + branch(x, f"{name}.{child}")
        return x

    def logits(self, tokens):
        self.records = []
        T = tokens.shape[1]
        x = self.p["embedding.weight"][tokens]
        if self.config["position"] == "learned":
            x = x + self.p["position.weight"][:T]
        elif self.config["position"] == "sinusoidal":
            x = x + sinusoids(T, x.shape[-1])
        for layer in range(self.config["num_layers"]):
            x = self.block(x, f"blocks.{layer}")
        if self.config["norm"] == "pre":
            x = self.normed(x, "norm")
        head = "embedding.weight" if self.config["tie_embeddings"] else "head.weight"
        return x @ self.p[head].T


def loss_of(logits, targets):
    """Mean over scored targets; 0 when there is none."""
    scored = targets >= 0
    if not scored.any():
        return logits.sum() * 0
    return F.cross_entropy(logits[scored], targets[scored])
