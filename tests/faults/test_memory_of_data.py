"""What data cost before the first step, in memory and time: little more than their own size."""

import os
import subprocess

import numpy as np
import pytest

from cli_tools import command
from disk import SANITIZED

pytestmark = pytest.mark.skipif(SANITIZED, reason="sanitizers take memory and time of their own")

REST = 60 << 20  # of the program without data
TINY = ["model.d_model=8", "model.num_heads=2", "model.d_ff=8", "model.num_layers=1", "train.steps=1", "eval.batches=1"]


def peak(*arguments, cwd):
    """Bytes that the command takes at its most, and seconds of CPU."""
    process = subprocess.Popen(command(arguments), cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, error
    return usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime


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
        memory, seconds = peak(*verb, cwd=tmp_path)
        assert memory < 3 * size + REST, f"{memory / size:.1f} times the text"
        assert tokens == "bpe" or seconds < 10, f"{seconds:.1f} s"  # some 0.8 on a quiet machine
