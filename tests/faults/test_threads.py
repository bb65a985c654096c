"""The same bits for any number of threads, with probes on or off, and for cloned heads for ever."""

import os
import subprocess

import h5py
import numpy as np
import pytest

from cli_tools import (assert_same_bits, assert_same_runs, command, headscope, newest_checkpoint, read_datasets, reproducible,
                       write_config, write_tokens)

VOCAB, T = 17, 40
# Odd sizes, wide enough for several chunks everywhere.
OVERRIDES = ["model.d_model=60", "model.num_heads=4", "model.head_dim=13", "model.d_ff=130", "model.dropout=0.1",
             "train.steps=30", "log.every=1", "eval.every=10", "optimizer.type=adamw", "optimizer.weight_decay=0.1",
             "train.clip_norm=0.5", "checkpoint.every=20"]
PROBES = ["log.probes.grad_norm=1", "log.probes.overlap=3", "log.probes.attention_entropy=10"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("threads")
    write_tokens(folder / "train.h5", 4, 10, T, VOCAB, seed=9)
    write_tokens(folder / "held.h5", 2, 10, T, VOCAB, seed=10)
    config = write_config(folder / "c.toml", folder / "train.h5", VOCAB, T, folder / "held.h5")
    headscope("run", config, *OVERRIDES, *PROBES, "--threads", 1, "--out", folder / "one")
    return folder


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_threads(threads, folder, tmp_path):
    headscope("run", folder / "c.toml", *OVERRIDES, *PROBES, "--threads", threads, "--out", tmp_path / "run")
    assert_same_runs(folder / "one", tmp_path / "run")


# How memory is laid out and what it holds before it is written to: none of it may reach a result.
LAYOUTS = {
    "plain": ([], {}),
    "fixed addresses": (["setarch", "-R"], {}),
    "filled memory": ([], {"MALLOC_PERTURB_": "165"}),
    "large environment": ([], {"PADDING": "x" * 100_003}),
    "no large malloc": ([], {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=4096:glibc.malloc.arena_max=1"}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("threads", [1, 2, 4, 6, 7, 8])
def test_memory_layout(threads, layout, folder, tmp_path):
    prefix, variables = LAYOUTS[layout]
    if prefix and subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        pytest.skip(f"{' '.join(prefix)} is not permitted here")
    run = tmp_path / "run"
    arguments = command(["run", folder / "c.toml", *OVERRIDES, *PROBES, "--threads", threads, "--out", run])
    subprocess.run([*prefix, *arguments], env={**os.environ, **variables}, check=True, capture_output=True, timeout=300)
    assert_same_runs(folder / "one", run)


@pytest.mark.parametrize("kind", [["model.attention=linear"], ["model.attention=uniform"], ["model.position=alibi"],
                                  ["model.position=rotary", "model.head_dim=14"],
                                  ["model.position=rotary", "model.head_dim=14", "model.attention=linear"]])
def test_threads_of_every_kind_of_attention(kind, folder, tmp_path):
    for threads in (1, 2, 3):
        headscope("run", folder / "c.toml", *OVERRIDES, *PROBES, *kind, "train.steps=8", "--threads", threads,
                  "--out", tmp_path / f"run{threads}")
    assert_same_runs(tmp_path / "run1", tmp_path / "run2")
    assert_same_runs(tmp_path / "run1", tmp_path / "run3")


@pytest.mark.parametrize("threads", [1, 3])
def test_probes_change_nothing(threads, folder, tmp_path):
    run = tmp_path / "run"
    headscope("run", folder / "c.toml", *OVERRIDES, "log.every=3", "--threads", threads, "--out", run)
    for group in ("/model", "/optimizer"):
        assert_same_bits(read_datasets(newest_checkpoint(folder / "one"), group),
                         read_datasets(newest_checkpoint(run), group), group)
    bare, full = reproducible(run / "log.h5"), reproducible(folder / "one" / "log.h5")
    assert not [name for name in bare if name.startswith("heads/")]
    for name in ("train/loss", "train/grad_norm"):
        assert bare[name].tobytes() == full[name][::3].tobytes(), name
    assert bare["eval/loss"].tobytes() == full["eval/loss"].tobytes()


def test_every_probe_at_every_step_changes_nothing(folder, tmp_path):
    names = [line.split()[0] for line in headscope("list", "probes").stdout.splitlines()]
    assert {"grad_norm", "overlap", "attention_entropy"} <= set(names)
    probes = [f"log.probes.{name}=1" for name in names]
    steps = ["train.steps=6", "checkpoint.every=4", "eval.every=2", "train.accumulate=2"]
    for threads in (1, 2, 3):
        for kind, extra in (("bare", []), ("probed", probes)):
            headscope("run", folder / "c.toml", *OVERRIDES, *steps, *extra, "--threads", threads, "--out",
                      tmp_path / f"{kind}{threads}")
    assert_same_runs(tmp_path / "probed1", tmp_path / "probed2")
    assert_same_runs(tmp_path / "probed1", tmp_path / "probed3")
    for threads in (1, 2, 3):
        bare, probed = tmp_path / f"bare{threads}", tmp_path / f"probed{threads}"
        for group in ("/model", "/optimizer"):
            assert_same_bits(read_datasets(newest_checkpoint(bare), group),
                             read_datasets(newest_checkpoint(probed), group), group)
        log = reproducible(probed / "log.h5")
        assert {name.split("/")[1] for name in log if name.startswith("heads/")} == set(names)
        others = {name: values for name, values in log.items() if not name.startswith("heads/")}
        assert_same_bits(reproducible(bare / "log.h5"), others, "log")


def test_traces(folder, tmp_path):
    for threads in ("1", "2", "3"):
        headscope("trace", folder / "one", "--tokens", folder / "held.h5", "-o", tmp_path / f"{threads}.h5",
                  env={"OMP_NUM_THREADS": threads, "PATH": "/usr/bin"})
    truth = read_datasets(tmp_path / "1.h5")
    assert_same_bits(truth, read_datasets(tmp_path / "2.h5"), "trace")
    assert_same_bits(truth, read_datasets(tmp_path / "3.h5"), "trace")


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_cloned_heads_stay_clones(threads, folder, tmp_path):
    heads, head_dim = 3, 13
    run = tmp_path / "run"
    headscope("run", folder / "c.toml", "model.d_model=50", f"model.num_heads={heads}", f"model.head_dim={head_dim}",
              "model.init.clone_heads=[\"q\", \"k\", \"v\", \"o\"]", "model.init.scheme=pytorch", "model.d_ff=30",
              "optimizer.lr=0.01", "train.steps=200", "eval.every=1000", "log.probes.overlap=100",
              "log.probes.grad_norm=50", "--threads", threads, "--out", run)
    moved = False
    with h5py.File(newest_checkpoint(run)) as checkpoint:
        for layer in range(2):
            for p in "qkvo":
                weight = checkpoint[f"model/blocks.{layer}.attn.W_{p}.weight"][()]
                blocks = np.split(weight if p != "o" else weight.T, heads)
                for block in blocks[1:]:
                    assert block.tobytes() == blocks[0].tobytes(), f"layer {layer} W_{p}"
                if p != "o":
                    biases = np.split(checkpoint[f"model/blocks.{layer}.attn.W_{p}.bias"][()], heads)
                    for bias in biases[1:]:
                        assert bias.tobytes() == biases[0].tobytes(), f"layer {layer} W_{p} bias"
                moved = moved or np.abs(blocks[0]).max() > 1 / np.sqrt(50)  # beyond where U(+-1/sqrt(in)) starts
    assert moved
    with h5py.File(run / "log.h5") as log:
        norms = log["heads/grad_norm/value"][()]  # [rows, L, H, 4]
        assert (norms == norms[:, :, :1]).all() and (norms > 0).all()
        np.testing.assert_allclose(log["heads/overlap/value"][()], 1, rtol=1e-6)
