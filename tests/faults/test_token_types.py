"""Tokens of any integer type are the same tokens: the same run and the same trace, to the bit."""

import h5py
import numpy as np
import pytest

from cli_tools import assert_same_bits, assert_same_runs, headscope, read_datasets, write_config, write_tokens

VOCAB, T = 9, 6
SMALL = ["model.d_model=8", "model.num_heads=2", "model.d_ff=8", "model.num_layers=1", "train.steps=4", "eval.every=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("types")
    write_tokens(folder / "train.h5", 3, 2, T, VOCAB, seed=5)
    write_tokens(folder / "held.h5", 2, 2, T, VOCAB, seed=6)
    write_config(folder / "c.toml", folder / "train.h5", VOCAB, T, folder / "held.h5")
    headscope("run", folder / "c.toml", *SMALL, "--out", folder / "int64")
    headscope("trace", folder / "int64", "--tokens", folder / "held.h5", "-o", folder / "int64.h5")
    return folder


def retyped(source, target, inputs, targets):
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        new.create_dataset("inputs", data=old["inputs"][:].astype(inputs), chunks=(1, 1, T), compression="gzip")
        new["targets"] = old["targets"][:].astype(targets)
    return target


@pytest.mark.parametrize("inputs,targets", [("u1", "i1"), ("<u2", ">i2"), (">u4", "<i4"), (">i8", ">i8"), ("<u8", "i1")])
def test_same_bits(inputs, targets, folder, tmp_path):
    train = retyped(folder / "train.h5", tmp_path / "train.h5", inputs, targets)
    held = retyped(folder / "held.h5", tmp_path / "held.h5", inputs, targets)
    headscope("run", folder / "c.toml", *SMALL, f"task.path={train}", f"task.eval_path={held}", "--out", tmp_path / "run")
    assert_same_runs(folder / "int64", tmp_path / "run")
    with h5py.File(folder / "int64" / "log.h5") as one, h5py.File(tmp_path / "run" / "log.h5") as other:
        assert one.attrs["data_sha256"] == other.attrs["data_sha256"]
    headscope("trace", tmp_path / "run", "--tokens", held, "-o", tmp_path / "out.h5")
    assert_same_bits(read_datasets(folder / "int64.h5"), read_datasets(tmp_path / "out.h5"))
    headscope("resume", folder / "int64", f"task.path={train}", f"task.eval_path={held}")  # the run's own data


@pytest.mark.parametrize("type_name", ["u8", "f4"])
def test_trace_refuses_what_is_no_token(type_name, folder, tmp_path):
    values = np.full((1, 2, T), 2).astype(type_name)
    values[0, 1, 2] = 2**63 if type_name == "u8" else 2
    with h5py.File(tmp_path / "wild.h5", "w") as file:
        file["inputs"] = values
        file["targets"] = np.full((1, 2, T), 2)
    message = headscope("trace", folder / "int64", "--tokens", tmp_path / "wild.h5", "-o", tmp_path / "out.h5",
                        expect=2).stderr
    assert ("/inputs[0, 1, 2] is 9223372036854775807 or more" if type_name == "u8" else "not of integers") in message
    assert not (tmp_path / "out.h5").exists()
