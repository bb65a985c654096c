"""The batches of a stream of tokens against a computation of our own: Philox, the shuffle and the windows from their
descriptions (autograd/random.h, experiments/tasks/shuffle.h, stream_task.h, windows.h)."""

import hashlib
import math
import pathlib
import struct
import subprocess

import h5py
import numpy as np
import pytest

from cli_tools import BINARY, assert_same_bits, headscope, newest_checkpoint, read_datasets

BATCH_WRITER = pathlib.Path(BINARY).parent / "headscope_batch_writer"
MASK = 2**32 - 1


def philox(counter, key):
    """Philox4x32-10 of Salmon et al. 2011."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(second >> 32) ^ c[1] ^ k[0], second & MASK, (first >> 32) ^ c[3] ^ k[1], first & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


def words(number):
    return [number & MASK, number >> 32]


class Random:
    """Numbers of one (seed, stream, step)."""

    def __init__(self, seed, stream, step):
        name = 0xCBF29CE484222325  # FNV-1a
        for byte in stream.encode():
            name = (name ^ byte) * 0x100000001B3 % 2**64
        self.key = philox(words(seed) + words(name), [0, 0])[:2]
        self.step = step

    def below(self, bound, index):
        low, high, *_ = philox(words(index) + words(self.step), self.key)
        return (high << 32 | low) * bound >> 64


def shuffled(seed, epoch, count):
    """The order of 0 .. count-1 in an epoch."""
    random = Random(seed, "tokens.train", epoch)
    a = math.isqrt(count - 1) + 1
    b = -(-count // a)
    order = []
    for place in range(count):
        number = place
        while True:
            right, left = divmod(number, a)
            for turn in range(24 if count < 4096 else 8):
                left, right = right, (left + random.below(side := (a, b)[turn % 2], 24 * right + turn)) % side
            number = a * right + left
            if number < count:
                break
        order.append(number)
    return order


def windows_of(tokens, starts, T):
    return [tokens[start:start + T] for start in starts], [tokens[start + 1:start + 1 + T] for start in starts]


def training_batches(tokens, T, batch_size, steps, seed):
    count = (len(tokens) - 1) // T
    orders = [shuffled(seed, epoch, count) for epoch in range(steps * batch_size // count + 1)]
    starts = [orders[number // count][number % count] * T for number in range(steps * batch_size)]
    shape = (steps, batch_size, T)
    return [np.reshape(side, shape) for side in windows_of(tokens, starts, T)]


def evaluation_batches(tokens, T, batch_size):
    count = (len(tokens) - 1) // T
    stride = max(1, int(0.6180339887 * count))
    while math.gcd(stride, count) != 1:
        stride += 1
    batches = count // batch_size
    starts = [number * stride % count * T for number in range(batches * batch_size)]
    return [np.reshape(side, (batches, batch_size, T)) for side in windows_of(tokens, starts, T)]


def write_stream(path, size, vocab_size, dtype, seed=0):
    tokens = np.random.default_rng(seed).integers(0, vocab_size, size)
    with h5py.File(path, "w") as file:
        file.create_dataset("tokens", data=tokens.astype(dtype), chunks=(min(97, size),), compression="gzip")
    return tokens


def write_config(folder, T, vocab_size, batch_size, seed=0):
    (folder / "c.toml").write_text(
        f'name = "stream"\nseed = {seed}\ntrain.batch_size = {batch_size}\neval.batches = 1000\n[task]\ntype = "tokens"\n'
        f'stream = true\npath = "{folder}/train.h5"\neval_path = "{folder}/held.h5"\nvocab_size = {vocab_size}\n'
        f"seq_len = {T}\n")


def written(folder, what):
    subprocess.run([BATCH_WRITER, folder / "c.toml", str(what), folder / "out.h5"], check=True, timeout=120)
    with h5py.File(folder / "out.h5") as file:
        return file["inputs"][:], file["targets"][:]


@pytest.mark.parametrize("size,T,batch_size,steps,seed", [
    (38, 5, 2, 20, 0),        # seven windows, several epochs, batches across their borders
    (500, 3, 7, 60, 11),
    (9, 4, 5, 6, 2),          # two windows: every batch holds each more than once
    (7, 6, 3, 4, 2),          # a single one
    (8300, 2, 16, 300, 123456789012)])  # a long one: 8 rounds
def test_batches(size, T, batch_size, steps, seed, tmp_path):
    train = write_stream(tmp_path / "train.h5", size, 300, ">i4", seed=1)
    held = write_stream(tmp_path / "held.h5", T * batch_size * 3 + T + 1, 300, "<u2", seed=2)
    write_config(tmp_path, T, 300, batch_size, seed)
    for ours, truth in zip(written(tmp_path, steps), training_batches(train, T, batch_size, steps, seed)):
        assert np.array_equal(ours, truth)
    for ours, truth in zip(written(tmp_path, "eval"), evaluation_batches(held, T, batch_size)):
        assert np.array_equal(ours, truth)


def digest(tokens):
    return hashlib.sha256(struct.pack("<q", len(tokens)) + tokens.astype("<u4").tobytes()).hexdigest()


def test_a_run_is_that_of_its_batches(tmp_path):
    """Task `tokens` with a file of those very batches, to the bit."""
    T, vocab_size, batch_size, steps = 6, 11, 4, 15
    train = write_stream(tmp_path / "train.h5", 100, vocab_size, "u1", seed=3)
    held = write_stream(tmp_path / "held.h5", 60, vocab_size, "i8", seed=4)
    write_config(tmp_path, T, vocab_size, batch_size, seed=5)
    small = ["model.d_model=8", "model.num_heads=2", "model.d_ff=8", "model.num_layers=1", f"train.steps={steps}",
             "eval.every=5", "eval.batches=2", "log.probes.grad_norm=1", "log.probes.attention_entropy=5"]
    headscope("run", tmp_path / "c.toml", *small, "--out", tmp_path / "stream")

    for name, (inputs, targets) in (("train", training_batches(train, T, batch_size, steps, 5)),
                                    ("held", evaluation_batches(held, T, batch_size))):
        with h5py.File(tmp_path / f"{name}_batches.h5", "w") as file:
            file["inputs"] = inputs
            file["targets"] = targets
    headscope("run", tmp_path / "c.toml", *small, "task.stream=false", f"task.path={tmp_path}/train_batches.h5",
              f"task.eval_path={tmp_path}/held_batches.h5", "--out", tmp_path / "batches")
    for group in ("train", "eval", "heads"):
        one, other = (read_datasets(tmp_path / name / "log.h5", group) for name in ("stream", "batches"))
        one.pop("elapsed", None), other.pop("elapsed", None)
        assert_same_bits(one, other, group)
    assert_same_bits(*(read_datasets(newest_checkpoint(tmp_path / name), "/model") for name in ("stream", "batches")))

    with h5py.File(tmp_path / "stream" / "log.h5") as log:
        both = digest(train) + digest(held)
        assert log.attrs["data_sha256"] == hashlib.sha256(both.encode()).hexdigest()
