"""NaN and infinity end a run with exit 70, and the message says where they began and what is left."""

import re
import shutil

import h5py
import numpy as np
import pytest

from cli_tools import headscope, reseal, start, write_config, write_tokens

VOCAB, T = 9, 12
OVERRIDES = ["model.d_model=18", "model.num_heads=3", "model.d_ff=12", "optimizer.type=sgd", "optimizer.lr=0.1",
             "train.steps=20", "checkpoint.every=5", "log.every=1", "eval.every=100"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nan")
    write_tokens(folder / "train.h5", 5, 4, T, VOCAB, seed=7)
    write_config(folder / "c.toml", folder / "train.h5", VOCAB, T)
    headscope("run", folder / "c.toml", *OVERRIDES, "train.steps=10", "--out", folder / "ten")
    return folder


@pytest.mark.parametrize("lr", ["1e6", "1e30"])
def test_divergence(lr, folder, tmp_path):
    run = tmp_path / "run"
    message = headscope("run", folder / "c.toml", *OVERRIDES, f"optimizer.lr={lr}", "model.norm=none",
                        "checkpoint.every=1", "--out", run, expect=70).stderr
    found = re.search(r"step (\d+): .*first, .* of `(\w+)`.* \[.*\] is not finite: (nan|-?inf) at \[.*\].*step (\d+)$",
                      message.strip().splitlines()[-1])
    assert found, message
    step, good = int(found[1]), int(found[4])
    assert good <= step
    with h5py.File(run / "log.h5") as file:
        assert file.attrs["state"] == "failed" and b"NaN" in file["events/kind"][()]
        assert np.isfinite(file["train/loss"][()]).all() and len(file["train/loss"]) == step
    headscope("trace", run, "--step", good, "--tokens", folder / "train.h5", "-o", tmp_path / "out.h5")
    again = headscope("resume", run, expect=70).stderr
    assert f"step {step}:" in again
    assert f"step {step}:" in headscope("replay", run, "--from", 0, "--to", step, "--out", tmp_path / "w",
                                        expect=70).stderr


# What holds a NaN in the checkpoint that is resumed, and the op that meets it first.
@pytest.mark.parametrize("dataset", ["model/embedding.weight", "model/blocks.1.attn.W_k.weight",
                                     "model/blocks.0.norm2.bias", "model/head.weight"])
def test_nan_in_a_weight(dataset, folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder / "ten", run)

    def plant(file):
        values = file[dataset][()]
        values.reshape(-1)[7] = np.nan
        file[dataset][...] = values

    reseal(run / "checkpoints" / "step-00000010.h5", plant)
    message = headscope("resume", run, "train.steps=20", expect=70).stderr
    at = [7 // 18, 7 % 18] if "norm" not in dataset else [7]
    assert f"step 10: {dataset[6:]} [" in message and f"is not finite: nan at {at}, since update 9 (sgd)" in message, message


def test_infinite_update_is_met_at_the_step_after(folder, tmp_path):
    """SGD with a rate beyond float32 makes every weight infinite in one update."""
    message = headscope("run", folder / "c.toml", *OVERRIDES, "optimizer.lr=1e300", "--out", tmp_path / "run",
                        expect=70).stderr
    assert re.search(r"step 1: \S+ \[.*\] is not finite: (nan|-?inf) at \[.*\], since update 0 \(sgd\)", message), message
    assert "has no checkpoint yet" in message


def test_the_last_update_is_looked_at_too(folder, tmp_path):
    message = headscope("run", folder / "c.toml", *OVERRIDES, "optimizer.lr=1e300", "train.steps=1", "--out",
                        tmp_path / "run", expect=70).stderr
    assert "step 1:" in message
    assert not list((tmp_path / "run").glob("checkpoints/step-*.h5"))


def test_nan_while_another_process_reads(folder, tmp_path):
    run = tmp_path / "run"
    process = start("run", folder / "c.toml", *OVERRIDES, "optimizer.lr=1e30", "model.norm=none", "--out", run)
    assert process.wait(timeout=60) == 70
    headscope("inspect", run)
