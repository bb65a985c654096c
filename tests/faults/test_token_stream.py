"""Runs on a stream of tokens: stopped, moved, looked back at like any other; wrong streams; what a stream takes of memory."""

import resource
import shutil

import h5py
import numpy as np
import pytest

from cli_tools import assert_same_bits, assert_same_runs, headscope, newest_checkpoint, read_datasets, reproducible
from test_bad_input import refuse

VOCAB, T, STEPS = 9, 8, 60
SMALL = ["model.d_model=8", "model.num_heads=2", "model.d_ff=8", "model.num_layers=1", f"train.steps={STEPS}",
         "train.batch_size=3", "checkpoint.every=20", "checkpoint.keep=0", "eval.every=20", "log.every=1",
         "log.probes.grad_norm=10"]


def write_stream(path, size, dtype=np.uint16, seed=0, vocab_size=VOCAB):
    tokens = np.random.default_rng(seed).integers(0, vocab_size, size).astype(dtype)
    with h5py.File(path, "w") as file:
        file["tokens"] = tokens
    return tokens


def write_config(folder):
    (folder / "c.toml").write_text(
        'name = "stream"\ntask = {type = "tokens", stream = true, path = "train.h5", eval_path = "held.h5", '
        f"vocab_size = {VOCAB}, seq_len = {T}}}\n")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    write_stream(folder / "train.h5", 400, seed=1)  # 49 windows: an epoch ends within a batch
    write_stream(folder / "held.h5", 150, seed=2)
    write_config(folder)
    headscope("run", "c.toml", *SMALL, "--out", "run", cwd=folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_resumed(folder):
    headscope("run", "c.toml", *SMALL, "train.steps=20", "--out", "part", cwd=folder)
    headscope("resume", "part", "train.steps=60", "--threads", 1, cwd=folder)
    one, other = (read_datasets(newest_checkpoint(folder / name), "/model") for name in ("run", "part"))
    assert_same_bits(one, other)


def test_looked_back_at(folder):
    """Replay compares every row and checkpoint with what it computes again."""
    headscope("replay", "run", "--from", 25, "--to", 55, "log.probes.grad_cosine=1", "--out", "early", cwd=folder)
    headscope("fork", "run", "--step", 20, "--out", "fork", cwd=folder)
    assert_same_bits(*(read_datasets(newest_checkpoint(folder / name), "/model") for name in ("run", "fork")))
    (folder / "run" / "checkpoints" / "step-00000040.h5").unlink()
    headscope("fork", "run", "--step", 45, "--out", "late", cwd=folder)
    one, other = (reproducible(folder / name / "log.h5") for name in ("run", "late"))
    assert np.array_equal(one["train/loss"], other["train/loss"])


def test_data_are_known_by_their_tokens(folder):
    with h5py.File(folder / "train.h5") as file:
        tokens = file["tokens"][:]
    with h5py.File(folder / "elsewhere.h5", "w") as file:
        file.create_dataset("tokens", data=tokens.astype(">i8"), chunks=(7,), compression="gzip")
    headscope("run", "c.toml", *SMALL, "task.path=elsewhere.h5", "--out", "other", cwd=folder)
    assert_same_runs(folder / "run", folder / "other")
    headscope("fork", "run", "--step", 20, "--out", "fork", "task.path=elsewhere.h5", cwd=folder)
    tokens[-1] = (tokens[-1] + 1) % VOCAB
    with h5py.File(folder / "elsewhere.h5", "w") as file:
        file["tokens"] = tokens
    assert "SHA-256" in headscope("fork", "run", "--step", 20, "--out", "no", "task.path=elsewhere.h5", cwd=folder,
                                  expect=2).stderr


@pytest.mark.parametrize("tokens,overrides,words", [
    (np.zeros(8, np.uint8), [], ["train.h5: /tokens has 8 tokens", "task.seq_len = 8 needs 9"]),
    (np.arange(20) % 10, [], ["/tokens[9] is 9", "task.vocab_size = 9"]),
    (np.full(20, -1), [], ["/tokens[0] is -1"]),
    (np.full(20, 2**64 - 1, np.uint64), [], ["/tokens[0] is 9223372036854775807 or more"]),
    (np.zeros(20), [], ["/tokens is not of integers"]),
    (np.zeros((2, 20), int), [], ["/tokens is [2, 20]"]),
    (np.zeros(20, int), ["task.stream=false"], ["/inputs is missing", "task.stream = true"]),
    (np.zeros(20, int), ["task.stream=false", "train.batch_size="], ["/inputs is missing", "task.stream = true"])])
def test_wrong_streams(tokens, overrides, words, folder):
    with h5py.File(folder / "train.h5", "w") as file:
        file["tokens"] = tokens
    refuse(folder, "run", "c.toml", *SMALL, *overrides, "--out", "new", says=words)


def test_batches_instead_of_a_stream(folder):
    with h5py.File(folder / "held.h5", "w") as file:
        file["inputs"] = file["targets"] = np.zeros((2, 3, T), int)
    refuse(folder, "run", "c.toml", *SMALL, "--out", "new", says=["held.h5", "/tokens is missing", "leave task.stream out"])


def test_memory(folder):
    """Tokens are kept in as few bytes as they need, and read in pieces: sixty million, which are 480 MB as int64."""
    with h5py.File(folder / "train.h5", "w") as file:
        data = file.create_dataset("tokens", (60_000_000,), np.int64, chunks=(100_000,), compression="gzip",
                                   compression_opts=1, shuffle=True)
        for first in range(0, len(data), 10_000_000):
            data[first:first + 10_000_000] = np.arange(first, first + 10_000_000) % VOCAB
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
    headscope("run", "c.toml", *SMALL, "train.steps=2", "--threads", 1, "--out", "new", cwd=folder, preexec_fn=limit)
