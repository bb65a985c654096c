"""What heads do, as logged, against NumPy from the trace of the same weights on the same tokens."""

import json

import h5py
import numpy as np
import pytest

from cli_tools import headscope, write_config, write_tokens

ON_EVALUATION = ["attention_entropy", "attention_entropy_normalized", "attention_distance", "confidence", "sink",
                 "lag_profile", "output_norm", "output_cka", "output_cka_null"]
NAMED_FROM = ["previous_token", "duplicate_token", "prefix_matching", "attention_entropy_normalized",
              "attention_distance", "sink"]

# vocab, T, batch, layers, heads, d_model, head_dim, and what else differs from the defaults
SHAPES = {
    "head_dim != d_model / H": (11, 8, 3, 2, 3, 14, 5, []),
    "heads wider than the model": (7, 9, 2, 1, 2, 6, 10, ["model.position=rotary", "model.tie_embeddings=true"]),
    "not causal": (13, 6, 4, 3, 4, 12, 2, ["model.causal=false", "model.attention_bias=false"]),
    "f64, alibi, post-norm": (5, 7, 3, 2, 2, 9, 3, ["train.dtype=float64", "model.position=alibi",
                                                   "model.norm=post"]),
}


class Run:
    """A run with every metric of this file, and the trace of its last weights on its evaluation tokens."""

    def __init__(self, folder, shape):
        self.vocab, self.T, batch, self.layers, self.heads, d_model, self.head_dim, more = shape
        self.causal = "model.causal=false" not in more
        self.tied = "model.tie_embeddings=true" in more
        self.tolerance = dict(rtol=1e-9, atol=1e-11) if "train.dtype=float64" in more else dict(rtol=2e-5, atol=2e-6)
        write_tokens(folder / "train.h5", 4, batch, self.T, self.vocab, seed=5)
        write_tokens(folder / "held.h5", 2, batch, self.T, self.vocab, seed=6)
        config = write_config(folder / "c.toml", folder / "train.h5", self.vocab, self.T, folder / "held.h5")
        probes = ON_EVALUATION + NAMED_FROM + ["copying", "role"]
        self.folder = folder / "run"
        headscope("run", config, f"model.num_layers={self.layers}", f"model.num_heads={self.heads}",
                  f"model.d_model={d_model}", f"model.head_dim={self.head_dim}", "model.d_ff=0",
                  "model.init.embedding_std=2", "optimizer.lr=0.1", "train.steps=4", "checkpoint.every=4", *more,
                  *[f"log.probes.{name}=2" for name in sorted(set(probes))], "--out", self.folder)
        headscope("trace", self.folder, "--tokens", folder / "held.h5", "-o", folder / "trace.h5")
        with h5py.File(self.folder / "log.h5") as log:
            for name in probes:
                assert log[f"heads/{name}/step"][()].tolist() == [0, 2, 4]
            self.logged = {name: log[f"heads/{name}/value"][-1].astype(float) for name in probes}
        self.weights, self.head_out = [], []
        with h5py.File(folder / "trace.h5") as trace:
            for layer in range(self.layers):
                p = trace[f"layers/{layer}/weights"][()].astype(float)  # [batches, B, H, T, T]
                self.weights.append(p.reshape(-1, *p.shape[2:]))
                o = trace[f"layers/{layer}/head_out"][()].astype(float)
                self.head_out.append(o.reshape(-1, *o.shape[2:]))
        with h5py.File(sorted((self.folder / "checkpoints").glob("step-*4.h5"))[-1]) as checkpoint:
            model = {}
            checkpoint["model"].visititems(
                lambda name, item: model.update({name: item[()].astype(float)}) if hasattr(item, "dtype") else None)
        self.model = model

    def W(self, p, layer, head):
        """W_p^h as d_model x d_k; W_o^h as d_k x d_model."""
        weight = self.model[f"blocks.{layer}.attn.W_{p}.weight"]
        inner = slice(head * self.head_dim, (head + 1) * self.head_dim)
        return weight[:, inner].T if p == "o" else weight[inner].T

    def results(self, layer):
        """The heads' own parts of the attention's output, [H, rows, d_model]."""
        o = self.head_out[layer]
        return [o[:, h].reshape(-1, self.head_dim) @ self.W("o", layer, h) for h in range(self.heads)]

    def check(self, name, expected, **tolerance):
        np.testing.assert_allclose(self.logged[name], expected, err_msg=name, **{**self.tolerance, **tolerance})


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES.keys())
def run(request, tmp_path_factory):
    return Run(tmp_path_factory.mktemp("heads"), request.param)


def test_attention(run):
    p = np.stack(run.weights)  # [L, N, H, T, T]
    q, k = np.arange(run.T)[:, None], np.arange(run.T)[None, :]
    rows = -np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0), axis=-1)  # [L, N, H, T]
    run.check("attention_entropy", rows.mean(axis=(1, 3)))
    visible = np.arange(1, run.T + 1) if run.causal else np.full(run.T, run.T)
    several = visible > 1
    run.check("attention_entropy_normalized", (rows[..., several] / np.log(visible[several])).mean(axis=(1, 3)))
    run.check("attention_distance", (p * (q - k)).sum(axis=-1).mean(axis=(1, 3)))
    run.check("confidence", p.max(axis=-1).mean(axis=(1, 3)))
    run.check("sink", p[..., 0].mean(axis=(1, 3)))
    profile = [np.diagonal(p, offset=-lag, axis1=3, axis2=4).mean(axis=(1, 3)) for lag in range(run.T)]
    run.check("lag_profile", np.stack(profile, axis=-1))
    if run.causal:
        assert np.all(p[..., k > q] == 0)


def test_copying(run):
    W_E = run.model["embedding.weight"]
    W_U = W_E.T if run.tied else run.model["head.weight"].T
    expected = np.empty((run.layers, run.heads))
    for layer in range(run.layers):
        for head in range(run.heads):
            values = np.linalg.eigvals(W_E @ run.W("v", layer, head) @ run.W("o", layer, head) @ W_U)  # V x V
            expected[layer, head] = values.real.sum() / np.abs(values).sum()
    run.check("copying", expected, rtol=1e-5, atol=1e-5)  # more eigenvalues than the rank are only nearly 0


def cka(a, b):
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return np.sum((a.T @ b) ** 2) / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))


def test_output(run):
    norms = [[np.linalg.norm(y, axis=1).mean() for y in run.results(layer)] for layer in range(run.layers)]
    run.check("output_norm", norms)
    run.check("output_cka", [[[cka(a, b) for b in run.results(layer)] for a in run.results(layer)]
                             for layer in range(run.layers)])


def test_output_cka_null_is_the_mean_over_shuffled_rows(run):
    random = np.random.default_rng(1)
    for layer in range(run.layers):
        results = run.results(layer)
        for i in range(run.heads):
            for j in range(run.heads):
                draws = [cka(results[i], random.permutation(results[j])) for _ in range(400)]
                error = np.std(draws) / np.sqrt(len(draws))
                assert abs(np.mean(draws) - run.logged["output_cka_null"][layer, i, j]) <= 4.5 * error


def rule(run, layer, head):
    """The table of roles.cpp, written out once more."""
    previous, duplicate, prefix, spread, distance, sink = [run.logged[name][layer, head] for name in NAMED_FROM]
    far = distance / ((run.T - 1) / 4) if run.causal else np.nan
    if prefix >= 0.5:
        return "induction"
    if duplicate >= 0.5:
        return "duplicate-token"
    if previous >= 0.5:
        return "previous-token" if layer + 1 < run.layers else "local"
    if spread >= 0.9:
        return "uniform"
    if sink >= 0.5:
        return "sink"
    if far <= 0.25:
        return "local"
    if far >= 0.5 and spread <= 0.3:
        return "long-range"
    places = sorted([sink, *run.logged["lag_profile"][layer, head][:(run.T + 1) // 2]])
    if places[-2] >= 0.25 and spread <= 0.8:
        return "mixed"
    return "unclear"


def test_roles(run):
    with h5py.File(run.folder / "log.h5") as log:
        labels = log["heads/role/value"].attrs["value_labels"]
    labels = (labels.decode() if isinstance(labels, bytes) else labels).split(", ")
    inspected = {(row["layer"], row["head"]): row
                 for row in json.loads(headscope("inspect", run.folder, "--json").stdout)["heads"]}
    for layer in range(run.layers):
        for head in range(run.heads):
            expected = rule(run, layer, head)
            assert labels[int(run.logged["role"][layer, head])] == expected
            assert inspected[layer, head]["role"] == expected
            for name in NAMED_FROM:
                assert inspected[layer, head][name] == pytest.approx(run.logged[name][layer, head])
