"""scripts/headscope.py: gives what h5py reads from the file, with names of axes; several runs side by side."""

import sys

import h5py
import numpy as np
import pytest

from cli_tools import SOURCE, headscope as run_headscope

sys.path.insert(0, str(SOURCE / "scripts"))
import headscope  # noqa: E402

# Distinct sizes: 2 layers, 3 heads, 4 projections.
SHORT = ["model.num_layers=2", "model.num_heads=3", "model.d_model=24", "task.seq_len=12", "task.far=5",
         "train.steps=12", "train.batch_size=6", "eval.every=6", "eval.batches=2", "log.every=3",
         "log.probes.grad_norm=4", "log.probes.attention_entropy=6"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs a-s0, a-s1 and b-s1, which differ in learning rate."""
    folder = tmp_path_factory.mktemp("runs")
    for name, seed, lr in (("a", 0, 1e-3), ("a", 1, 1e-3), ("b", 1, 1e-2)):
        run_headscope("run", SOURCE / "experiments" / "configs" / "lag_mixture.toml", *SHORT, f"seed={seed}",
                      f"optimizer.lr={lr}", "--out", folder / f"{name}-s{seed}")
    return folder


def test_series(folder):
    with headscope.open(folder / "a-s1") as run, h5py.File(folder / "a-s1" / "log.h5") as log:
        assert run.seed == 1 and run.attrs["run_id"] == log.attrs["run_id"]
        assert "seed = 1" in run.config
        assert run.floors() == {name: value[()] for name, value in log["task/floors"].items()} and run.floors()
        loss = run.series("eval/loss")
        assert loss.dims == ("step",) and loss.units == "nat/token" and list(loss.step) == [0, 6, 12]
        assert np.array_equal(loss.values, log["eval/loss"])
        norm = run.series("grad_norm")
        assert norm.dims == ("step", "layer", "head", "projection") and norm.values.shape == (3, 2, 3, 4)
        assert np.array_equal(norm.values, log["heads/grad_norm/value"])
        assert list(norm.coords["projection"]) == ["q", "k", "v", "o"]


def test_not_logged(folder):
    run = headscope.open(folder / "a-s0" / "log.h5")
    for name in ("copying", "eval/nothing", "", "eval/"):
        with pytest.raises(KeyError, match="it has .*eval/loss.*grad_norm"):
            run.series(name)


def test_dataset(folder):
    run = headscope.open(folder / "a-s0")
    data = run.dataset(["eval/loss", "grad_norm"])
    assert list(data.step) == [0, 4, 6, 8, 12]
    assert data["eval_loss"].sel(step=6) == run.series("eval/loss").values[1] and np.isnan(data["eval_loss"].sel(step=4))
    assert data["grad_norm"].sel(step=8, layer=1, head=2, projection="v") == run.series("grad_norm").values[2, 1, 2, 2]
    assert data["grad_norm"].attrs["units"] == "1" and data.attrs["state"] == "finished" and "units" not in data.attrs


def test_runs(folder):
    data = headscope.runs(folder / "*")
    assert data["grad_norm"].dims == ("run", "seed", "step", "layer", "head", "projection")
    assert list(data.run) == ["a", "b"] and list(data.seed) == [0, 1]
    for name, seed in (("a", 0), ("a", 1), ("b", 1)):
        loss = headscope.open(folder / f"{name}-s{seed}").series("train/loss")
        assert np.array_equal(data["train_loss"].sel(run=name, seed=seed, step=loss.step), loss.values)
    assert np.isnan(data["train_loss"].sel(run="b", seed=0)).all()
    with pytest.raises(FileNotFoundError):
        headscope.runs(folder / "c*")


def test_damaged(folder, tmp_path):
    content = bytearray((folder / "a-s0" / "log.h5").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "log.h5").write_bytes(content)
    with pytest.raises(OSError, match="damaged"):
        headscope.open(tmp_path)
