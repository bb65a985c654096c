"""What the tests of storage share: runs of a tiny model on a disk that fails on demand and is recorded."""

import concurrent.futures
import os
import pathlib
import shutil
import subprocess

import pytest

from cli_tools import BINARY, assert_same_bits, assert_same_runs, command, read_datasets, write_config, write_tokens

LONG = os.environ.get("HEADSCOPE_LONG") == "1"
LIBRARY = pathlib.Path(BINARY).with_name("libheadscope_io_faults.so")
SANITIZED = any(name in pathlib.Path(BINARY).read_bytes() for name in (b"__asan_init", b"__tsan_init"))
needs_library = pytest.mark.skipif(SANITIZED, reason="sanitizers want to be the first library themselves")

VOCAB, T = 7, 5
MODEL = ["model.d_model=6", "model.num_heads=3", "model.num_layers=1", "model.d_ff=5", "model.dropout=0.1",
         "checkpoint.every=2", "eval.every=3", "log.every=1", "log.probes.grad_norm=2", "train.clip_norm=1"]
RICH = [*MODEL, "train.steps=9", "checkpoint.keep=2", "checkpoint.best=true", "eval.patience=7"]
TINY = RICH if LONG else [*MODEL, "train.steps=4", "checkpoint.keep=1"]


def make_config(folder):
    write_tokens(folder / "train.h5", 3, 2, T, VOCAB, seed=21)
    write_tokens(folder / "held.h5", 2, 2, T, VOCAB, seed=22)
    return write_config(folder / "c.toml", folder / "train.h5", VOCAB, T, folder / "held.h5")


def tiny(*arguments, library=False, **environment):
    """Runs the binary, on one thread; with `library` on the disk that the HEADSCOPE_IO_... variables describe."""
    if library:
        environment["LD_PRELOAD"] = str(LIBRARY)
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in environment.items()}}
    return subprocess.run(command(arguments), env=variables, capture_output=True, text=True, timeout=120)


def finish(run, whole, begin, overrides=()):
    """Goes on with what is in the folder, with these overrides, if that is a run; else starts anew, by the command
    `begin`, over what is left of a fork. The end must have the bits of `whole`."""
    unfinished = (run / "unfinished.h5").exists()
    if (run / "config.toml").exists() and not unfinished:
        result = tiny("resume", run, *overrides)
    else:
        if not unfinished:
            shutil.rmtree(run, ignore_errors=True)
        result = tiny(*begin, "--out", run)
    assert result.returncode == 0, result.stderr
    assert_same_runs(whole, run)
    best = "checkpoints/best.h5"
    if (whole / best).exists():
        assert_same_bits(read_datasets(whole / best, "/model"), read_datasets(run / best, "/model"), best)
    assert not temporary_files(run)


def temporary_files(folder):
    return [path for path in folder.rglob(".*")]


def read_trace(path):
    """Calls as lists of fields, the first of them the name; the last of a write is its bytes."""
    text, calls, at = path.read_bytes(), [], 0
    while at < len(text):
        end = text.index(b"\n", at)
        fields = text[at:end].decode().split("\t")
        at = end + 1
        if fields[0] == "write":
            size = int(fields[2])
            fields[2] = text[at:at + size]
            at += size
        calls.append(fields)
    return calls


def side_by_side(check, cases):
    """check(case) of all cases, on twice as many threads as there are cores (much of the time goes into fsync); the
    first failure is raised."""
    with concurrent.futures.ThreadPoolExecutor(2 * len(os.sched_getaffinity(0))) as pool:
        for future in [pool.submit(check, case) for case in cases]:
            future.result()
