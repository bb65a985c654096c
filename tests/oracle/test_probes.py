"""The logged metrics against NumPy, from checkpoints and traces of the same steps."""

import h5py
import numpy as np
import pytest

from cli_tools import headscope, write_config, write_tokens

VOCAB, T, BATCH, STEPS = 11, 8, 3, 4
LAYERS, HEADS, D_MODEL, HEAD_DIM = 2, 3, 14, 5


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probes")
    write_tokens(folder / "train.h5", STEPS, BATCH, T, VOCAB, seed=5)
    write_tokens(folder / "held.h5", 2, BATCH, T, VOCAB, seed=6)
    config = write_config(folder / "c.toml", folder / "train.h5", VOCAB, T, folder / "held.h5")
    headscope("run", config, f"model.num_layers={LAYERS}", f"model.num_heads={HEADS}", f"model.d_model={D_MODEL}",
              f"model.head_dim={HEAD_DIM}", "model.d_ff=0", "model.init.embedding_std=1", "optimizer.lr=0.05",
              "train.clip_norm=0.01", f"train.steps={STEPS}", "checkpoint.every=1", "checkpoint.keep=0",
              "log.probes.grad_norm=1", "log.probes.overlap=2", "log.probes.attention_entropy=1",
              "--out", folder / "run")
    return folder / "run"


def blocks(file, group, layer, head):
    """A head's blocks of W_q, W_k, W_v, W_o, each as d_model x d_k."""
    inner = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
    for p in "qkv":
        yield file[f"{group}/blocks.{layer}.attn.W_{p}.weight"][()].astype(np.float64)[inner].T
    yield file[f"{group}/blocks.{layer}.attn.W_o.weight"][()].astype(np.float64)[:, inner]


def test_grad_norm(run, tmp_path):
    with h5py.File(run / "log.h5") as log:
        metric = log["heads/grad_norm"]
        assert metric["step"][()].tolist() == list(range(STEPS))
        logged = metric["value"][()]
        assert [d.decode() for d in metric["projection"][()]] == ["q", "k", "v", "o"]
        assert metric["value"].attrs["invariance"] in ("orthogonal", b"orthogonal")
    assert logged.shape == (STEPS, LAYERS, HEADS, 4)
    for step in range(1, STEPS):  # the batch of each step, through the weights it met
        with h5py.File(run.parent / "train.h5") as data, h5py.File(tmp_path / f"batch{step}.h5", "w") as batch:
            for name in ("inputs", "targets"):
                batch[name] = data[name][step:step + 1]
        out = tmp_path / f"trace{step}.h5"
        headscope("trace", run, "--step", step, "--tokens", tmp_path / f"batch{step}.h5", "-o", out)
        with h5py.File(out) as trace:
            for layer in range(LAYERS):
                for head in range(HEADS):
                    norms = [np.linalg.norm(block) for block in blocks(trace, "gradients", layer, head)]
                    np.testing.assert_allclose(logged[step, layer, head], norms, rtol=1e-5)


def test_overlap(run):
    with h5py.File(run / "log.h5") as log:
        metric = log["heads/overlap"]
        steps, logged = metric["step"][()], metric["value"][()]
        attributes = dict(metric["value"].attrs)
    assert steps.tolist() == [0, 2, 4]  # of the weights, so after the last update too
    assert logged.shape == (3, LAYERS, 4, HEADS, HEADS)
    assert attributes["null_mean"] == pytest.approx(HEAD_DIM / D_MODEL)
    assert attributes["null_std"] == pytest.approx(
        np.sqrt(2) * (D_MODEL - HEAD_DIM) / (D_MODEL * np.sqrt((D_MODEL - 1) * (D_MODEL + 2))))
    assert attributes["invariance"] in ("GL", b"GL")
    for row, step in ((1, 2), (2, 4)):
        with h5py.File(run / "checkpoints" / f"step-{step:08}.h5") as checkpoint:
            for layer in range(LAYERS):
                bases = [[np.linalg.qr(block)[0] for block in blocks(checkpoint, "model", layer, head)]
                         for head in range(HEADS)]
                for p in range(4):
                    for i in range(HEADS):
                        for j in range(HEADS):
                            cosines = np.linalg.svd(bases[i][p].T @ bases[j][p], compute_uv=False)
                            truth = np.mean(cosines ** 2)
                            np.testing.assert_allclose(logged[row, layer, p, i, j], truth, rtol=1e-5, atol=1e-7)


def test_attention_entropy(run, tmp_path):
    with h5py.File(run / "log.h5") as log:
        steps, logged = log["heads/attention_entropy/step"][()], log["heads/attention_entropy/value"][()]
    assert steps.tolist() == list(range(STEPS + 1))
    assert logged.shape == (STEPS + 1, LAYERS, HEADS)
    for step in range(1, STEPS + 1):
        out = tmp_path / f"trace{step}.h5"
        headscope("trace", run, "--step", step, "--tokens", run.parent / "held.h5", "-o", out)
        with h5py.File(out) as trace:
            for layer in range(LAYERS):
                p = trace[f"layers/{layer}/weights"][()].astype(np.float64)  # [batches, B, H, T, T]
                entropy = -np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0), axis=-1)
                np.testing.assert_allclose(logged[step, layer], entropy.mean(axis=(0, 1, 3)), rtol=1e-5, atol=1e-7)
