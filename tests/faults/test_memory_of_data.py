"""What data cost before the first step, in memory and time: little more than their own size."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from cli_tools import command, write_config
from disk import SANITIZED

pytestmark = pytest.mark.skipif(SANITIZED, reason="sanitizers take memory and time of their own")

REST = 60 << 20  # of the program without data
TINY = ["model.d_model=8", "model.num_heads=2", "model.d_ff=8", "model.num_layers=1", "train.steps=1", "eval.batches=1"]


# The highest memory of a process counts what it was forked from, so a small one starts the command.
MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime)
"""


def peak(*arguments, cwd, code=0):
    """Bytes that the command takes at its most, seconds of CPU, and what it says of errors."""
    result = subprocess.run([sys.executable, "-c", MEASURE, *command(arguments)], cwd=cwd, capture_output=True, text=True,
                            timeout=300)
    ended, memory, seconds = result.stdout.split()
    assert int(ended) == code, result.stderr
    return int(memory), float(seconds), result.stderr


@pytest.mark.parametrize("tokens", ["characters", "bpe"])
@pytest.mark.parametrize("letters", ["abcdefgh ijkl\n", "天地玄黄宇宙洪荒 日月盈昃辰宿列张\n"], ids=["ascii", "chinese"])
def test_a_large_text(letters, tokens, tmp_path):
    size = 100 << 20
    chosen = np.random.default_rng(5).integers(0, len(letters), 1 << 16)
    part = "".join(letters[number] for number in chosen).encode()
    (tmp_path / "text.txt").write_bytes(part * (size // len(part)))
    (tmp_path / "t.toml").write_text('name = "t"\n[task]\ntype = "text"\npath = "text.txt"\nseq_len = 8\n'
                                     f'tokens = "{tokens}"\nbpe_vocab = 60\n')
    for verb in (["check", "t.toml"], ["run", "t.toml", *TINY, "--out", "run"]):
        memory, seconds, _ = peak(*verb, cwd=tmp_path)
        assert memory < 3 * size + REST, f"{memory / size:.1f} times the text"
        assert tokens == "bpe" or seconds < 10, f"{seconds:.1f} s"  # some 0.8 on a quiet machine


def test_tokens_that_expand(tmp_path):
    """Three megabytes of compressed zeros that stand for three gigabytes."""
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        for name in ("inputs", "targets"):
            data = file.create_dataset(name, (120_000, 32, 48), np.int64, chunks=(1000, 32, 48), compression="gzip")
            for begin in range(0, 120_000, 1000):
                data[begin:begin + 1000] = 0
    write_config(tmp_path / "c.toml", tmp_path / "bomb.h5", 7, 48)
    memory, seconds, error = peak("check", "c.toml", cwd=tmp_path, code=2)
    assert "bomb.h5" in error and "more than 100 times is refused" in error, error
    assert memory < REST and seconds < 2


def test_tokens_that_are_compressed_well(tmp_path):
    with h5py.File(tmp_path / "good.h5", "w") as file:
        random = np.random.default_rng(1).integers(0, 2, (400, 32, 48))
        for name in ("inputs", "targets"):
            file.create_dataset(name, data=random, chunks=(20, 32, 48), compression="gzip", shuffle=True)
    assert 8 * 2 * random.size > 30 * (tmp_path / "good.h5").stat().st_size
    write_config(tmp_path / "c.toml", tmp_path / "good.h5", 2, 48)
    peak("check", "c.toml", cwd=tmp_path)
