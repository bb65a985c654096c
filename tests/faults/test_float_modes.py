"""A library that is loaded with the program, compiled with -ffast-math for instance, changes how the processor computes:
the bits of a run stay its own."""

import os
import pathlib
import subprocess

import pytest

from cli_tools import BINARY, assert_same_runs, command, headscope, write_config, write_tokens
from disk import needs_library

LIBRARY = pathlib.Path(BINARY).with_name("libheadscope_float_modes.so")
VOCAB, T = 17, 40
# Weights so small that products of them are denormal numbers.
OVERRIDES = ["model.d_model=60", "model.num_heads=4", "model.head_dim=13", "model.d_ff=130", "model.num_layers=1",
             "model.norm=none", "model.init.embedding_std=1e-37", "optimizer.type=sgd", "train.steps=6", "log.every=1",
             "log.probes.grad_norm=1", "log.probes.overlap=3"]
MODES = {"flush to zero": 0x8000, "denormals are zero": 0x0040, "round down": 0x2000, "round to zero": 0x6000}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modes")
    write_tokens(folder / "train.h5", 4, 10, T, VOCAB, seed=9)
    write_config(folder / "c.toml", folder / "train.h5", VOCAB, T)
    headscope("run", folder / "c.toml", *OVERRIDES, "--threads", 2, "--out", folder / "own")
    return folder


@needs_library
@pytest.mark.parametrize("who", ["process", "threads"])
@pytest.mark.parametrize("mode", MODES)
def test_modes_of_a_preloaded_library(mode, who, folder, tmp_path):
    run = tmp_path / "run"
    environment = {**os.environ, "LD_PRELOAD": str(LIBRARY), "FLOAT_MODES": hex(MODES[mode]), "FLOAT_MODES_OF": who}
    result = subprocess.run(command(["run", folder / "c.toml", *OVERRIDES, "--threads", 2, "--out", run]),
                            env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert_same_runs(folder / "own", run)
