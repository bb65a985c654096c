"""The metrics of weights against NumPy, from checkpoints, by another route: explicit d x d matrices and full SVDs."""

import itertools

import h5py
import numpy as np
import pytest

from cli_tools import headscope, write_config, write_tokens

VOCAB, T, BATCH, STEPS = 11, 8, 3, 2
PROBES = ["overlap", "orthogonality", "principal_angles", "overlap_top", "gram_overlap", "weight_cosine",
          "circuit_cosine", "composition", "stable_rank", "effective_rank"]
# layers, heads, d_model, head_dim: head_dim is nowhere d_model / heads
SHAPES = [(2, 3, 14, 5), (3, 2, 24, 9), (2, 4, 6, 8), (3, 3, 10, 1), (2, 1, 12, 7)]


@pytest.fixture(scope="module", params=[(shape, dtype) for shape in SHAPES for dtype in ("float64", "float32")],
                ids=lambda p: "L{}-H{}-d{}-k{}".format(*p[0]) + "-" + p[1])
def run(request, tmp_path_factory):
    """Logged values and the heads' matrices of the same steps: metric -> [rows, ...], step -> layer -> head -> W."""
    (layers, heads, d_model, head_dim), dtype = request.param
    folder = tmp_path_factory.mktemp("weights")
    write_tokens(folder / "train.h5", STEPS, BATCH, T, VOCAB, seed=5)
    config = write_config(folder / "c.toml", folder / "train.h5", VOCAB, T)
    headscope("run", config, f"model.num_layers={layers}", f"model.num_heads={heads}", f"model.d_model={d_model}",
              f"model.head_dim={head_dim}", "model.d_ff=0", "optimizer.lr=0.05", f"train.steps={STEPS}",
              f"train.dtype={dtype}", "checkpoint.every=1", "checkpoint.keep=0",
              *(f"log.probes.{probe}=1" for probe in PROBES), "--out", folder / "run")
    return Run(folder / "run", layers, heads, d_model, head_dim, 1e-9 if dtype == "float64" else 2e-5)


class Run:
    def __init__(self, folder, layers, heads, d_model, head_dim, tolerance):
        self.layers, self.heads, self.d, self.k = layers, heads, d_model, head_dim
        self.tolerance = tolerance
        with h5py.File(folder / "log.h5") as log:
            self.logged = {probe: log[f"heads/{probe}/value"][()] for probe in PROBES}
            self.attributes = {probe: dict(log[f"heads/{probe}/value"].attrs) for probe in PROBES}
            assert log["heads/overlap/step"][()].tolist() == [0, 1, 2]
            self.input = [label.decode() for label in log["heads/composition/input"][()]]
        self.weights = {}
        for step in (1, 2):
            with h5py.File(folder / "checkpoints" / f"step-{step:08}.h5") as file:
                self.weights[step] = [[self.head(file, layer, head) for head in range(heads)]
                                      for layer in range(layers)]

    def head(self, file, layer, head):
        """W_q, W_k, W_v, W_o of one head, each d_model x d_k."""
        inner = slice(head * self.k, (head + 1) * self.k)
        read = [file[f"model/blocks.{layer}.attn.W_{p}.weight"][()].astype(np.float64) for p in "qkvo"]
        return [W[inner].T for W in read[:3]] + [read[3][:, inner]]

    def expect(self, probe, value, atol=None):
        """value(step, index) is what must be at every index of the metric."""
        logged = self.logged[probe]
        assert logged.shape[0] == 3
        for step in (1, 2):
            for index in np.ndindex(*logged.shape[1:]):
                np.testing.assert_allclose(logged[(step, *index)], value(self.weights[step], *index),
                                           rtol=self.tolerance, atol=self.tolerance if atol is None else atol,
                                           err_msg=f"{probe} step {step} index {index}")

    def expect_null(self, probe, draw, count, draws=1000):
        """Mean and standard deviation of draw(`count` random d x d_k matrices) are what the log says."""
        random = np.random.default_rng(7)
        values = [draw(*random.normal(size=(count, self.d, self.k))) for _ in range(draws)]
        log = self.attributes[probe]
        assert log["null_draws"] >= 1000
        spread = np.std(values)
        fourth = np.mean((values - np.mean(values)) ** 4)
        mean_error = spread / np.sqrt(draws)
        std_error = np.sqrt(max(fourth - spread ** 4, 0) / draws) / (2 * spread) if spread > 1e-7 else 0
        assert np.mean(values) == pytest.approx(
            log["null_mean"], rel=0, abs=4.5 * np.hypot(mean_error, log["null_mean_error"]) + 1e-9)
        assert spread == pytest.approx(
            log["null_std"], rel=0, abs=4.5 * np.hypot(std_error, log["null_std_error"]) + 1e-7)


def projector(W):
    return W @ np.linalg.pinv(W)


def overlap(A, B):
    return np.trace(projector(A) @ projector(B)) / min(A.shape)


def cosine(A, B):
    return np.sum(A * B) / (np.linalg.norm(A) * np.linalg.norm(B))


def circuits(head):
    """QK, OV, d x d."""
    W_q, W_k, W_v, W_o = head
    return W_q @ W_k.T, W_v @ W_o.T


def test_overlap(run):
    assert run.logged["overlap"].shape[1:] == (run.layers, 4, run.heads, run.heads)
    run.expect("overlap", lambda w, l, p, i, j: overlap(w[l][i][p], w[l][j][p]))


def test_orthogonality(run):
    assert run.logged["orthogonality"].shape[1:] == (run.layers, 4, 2)
    d, k, pairs = run.d, run.k, run.heads * (run.heads - 1) / 2
    if run.heads == 1:
        assert np.isnan(run.logged["orthogonality"]).all()
        return
    std = np.sqrt(2) * (d - k) / (d * np.sqrt((d - 1) * (d + 2))) / np.sqrt(pairs) if k < d else 0
    assert run.attributes["orthogonality"]["null_mean"] == pytest.approx(min(k, d) / d)
    assert run.attributes["orthogonality"]["null_std"] == pytest.approx(std)

    def mean(w, l, p):
        return np.mean([overlap(w[l][i][p], w[l][j][p]) for i, j in itertools.permutations(range(run.heads), 2)])

    def value(w, l, p, statistic):
        if statistic == 0:
            return mean(w, l, p)
        return (mean(w, l, p) - k / d) / std if std > 0 else np.nan

    run.expect("orthogonality", value, atol=run.tolerance * 100)


def test_principal_angles(run):
    most = min(run.k, run.d)
    assert run.logged["principal_angles"].shape[1:] == (run.layers, 4, run.heads, run.heads, most)

    def value(w, l, p, i, j, m):
        U_i, U_j = (np.linalg.svd(w[l][h][p], full_matrices=False)[0] for h in (i, j))
        # From sines, which tell small angles apart.
        sines = np.linalg.svd(U_j - U_i @ (U_i.T @ U_j), compute_uv=False)[::-1]
        cosines = np.linalg.svd(U_i.T @ U_j, compute_uv=False)
        return np.arctan2(sines[m], cosines[m])

    run.expect("principal_angles", value, atol=max(run.tolerance, 1e-7))


def test_overlap_top(run):
    r = min(4, run.k, run.d)

    def value(w, l, p, i, j):
        U_i, U_j = (np.linalg.svd(w[l][h][p])[0][:, :r] for h in (i, j))
        return np.sum((U_i.T @ U_j) ** 2) / r

    run.expect("overlap_top", value)
    assert run.attributes["overlap_top"]["null_mean"] == pytest.approx(r / run.d)


def test_gram_overlap(run):
    run.expect("gram_overlap", lambda w, l, p, i, j: cosine(w[l][i][p] @ w[l][i][p].T, w[l][j][p] @ w[l][j][p].T))
    run.expect_null("gram_overlap", lambda A, B: cosine(A @ A.T, B @ B.T), 2)


def test_weight_cosine(run):
    run.expect("weight_cosine", lambda w, l, p, i, j: cosine(w[l][i][p], w[l][j][p]))
    assert run.attributes["weight_cosine"]["null_std"] == pytest.approx(1 / np.sqrt(run.d * run.k))


def test_circuit_cosine(run):
    assert run.logged["circuit_cosine"].shape[1:] == (run.layers, 2, run.heads, run.heads)
    run.expect("circuit_cosine", lambda w, l, c, i, j: cosine(circuits(w[l][i])[c], circuits(w[l][j])[c]))


def test_composition(run):
    assert run.logged["composition"].shape[1:] == (run.layers, run.heads, run.layers, run.heads, 3)
    assert run.input == ["q", "k", "v"]

    def value(w, l, h, later, g, c):
        if later <= l:
            return np.nan
        A = circuits(w[l][h])[1]
        QK, OV = circuits(w[later][g])
        B = (QK, QK.T, OV)[c]
        return np.linalg.norm(A @ B) / (np.linalg.norm(A) * np.linalg.norm(B))

    run.expect("composition", value)

    def draw(V, O, Q, K):
        A, B = V @ O.T, Q @ K.T
        return np.linalg.norm(A @ B) / (np.linalg.norm(A) * np.linalg.norm(B))

    run.expect_null("composition", draw, 4)


def test_ranks(run):
    def stable(M):
        return np.linalg.norm(M) ** 2 / np.linalg.norm(M, 2) ** 2

    def effective(M):
        s = np.linalg.svd(M, compute_uv=False)[:min(run.k, run.d)]
        p = s / s.sum()
        return np.exp(-np.sum(p * np.log(p)))

    for probe, rank in (("stable_rank", stable), ("effective_rank", effective)):
        run.expect(probe, lambda w, l, h, c: rank(circuits(w[l][h])[c]), atol=max(run.tolerance, 1e-7))
        run.expect_null(probe, lambda A, B: rank(A @ B.T), 2)
