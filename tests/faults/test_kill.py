"""kill -9 at any moment: every tool opens the log that is there, and resume ends with the bits of a run that lived."""

import collections

import random
import shutil
import signal
import subprocess
import time

import h5py
import pytest
import xarray

from cli_tools import assert_same_runs, start
from disk import LONG, RICH, finish, make_config, needs_library, read_trace, side_by_side, temporary_files, tiny

KILLS = 500 if LONG else 40


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return make_config(tmp_path_factory.mktemp("kill"))


@pytest.fixture(scope="module")
def whole(config):
    run = config.parent / "whole"
    assert tiny("run", config, *RICH, "--out", run).returncode == 0
    return run


def read_with_every_tool(run):
    """What a reader finds after the kill: no log, or a whole one."""
    log = run / "log.h5"
    if not log.exists():
        return
    with h5py.File(log) as file:
        rows = len(file["train/step"])
        assert list(file["train/step"]) == list(range(rows))
    with xarray.open_dataset(log, group="heads/grad_norm", engine="h5netcdf") as data:
        assert data["value"].dims == ("step", "layer", "head", "projection")
    dump = subprocess.run(["h5dump", "-H", str(log)], capture_output=True, timeout=60)
    assert dump.returncode == 0, dump.stderr


def go_on(config, run, threads):
    """The command that goes on with what is there: resume, or, without a run, the run itself."""
    if (run / "config.toml").exists():
        return ["resume", run, "--threads", threads]
    shutil.rmtree(run, ignore_errors=True)
    return ["run", config, *RICH, "--out", run, "--threads", threads]


@needs_library
def test_killed_in_every_publish_and_checkpoint(config, whole, tmp_path):
    """Right before every single call that touches the disk; and a second time, in the resume, before a call further on."""
    record = tmp_path / "record"
    tiny("run", config, *RICH, "--out", record / "run", library=True, HEADSCOPE_IO_FOLDER=record,
         HEADSCOPE_IO_TRACE=tmp_path / "trace")
    calls = collections.Counter(name for name, *_ in read_trace(tmp_path / "trace"))
    moments = [(name, number + 1) for name in ("open", "write", "fsync", "rename", "unlink", "mkdir")
               for number in range(calls[name])]
    assert len(moments) > 40

    def check(moment):
        name, number = moment
        folder = tmp_path / f"{name}-{number}"
        run = folder / "run"
        shift = random.Random(number).randint(1, 6)
        for fault in (f"KILL {name} {number}", f"KILL {name} {shift}"):
            command = go_on(config, run, 1 + number % 3)
            result = tiny(*command[:-2], library=True, HEADSCOPE_IO_FOLDER=folder, HEADSCOPE_IO_FAULT=fault)
            assert result.returncode in (-signal.SIGKILL, 0), f"{moment} {fault}: {result.stderr}"
            read_with_every_tool(run)
        finish(run, whole, ["run", config, *RICH])
        shutil.rmtree(folder)

    side_by_side(check, moments)


def test_killed_at_random_moments(config, whole, tmp_path):
    """Wherever it happens to be, by time: in the start, in a step, an evaluation, a probe, a write; on 1, 2 and 3
    threads, several times in a row, and at once after a resume."""
    begin = time.monotonic()
    tiny("run", config, *RICH, "--out", tmp_path / "timed")
    seconds = time.monotonic() - begin
    kills, chains = 0, 0
    moments = random.Random(1)
    while kills < KILLS:
        run, chains = tmp_path / f"run{chains}", chains + 1
        for _ in range(12):
            process = start(*go_on(config, run, 1 + kills % 3))
            # A third of them at once.
            time.sleep(moments.choice([0.3, 1.2, 1.2]) * moments.random() * seconds)
            if process.poll() is not None:
                break
            process.kill()
            process.wait()
            kills += 1
            read_with_every_tool(run)
        process.wait()
        finish(run, whole, ["run", config, *RICH])
        assert not temporary_files(run)
        shutil.rmtree(run)
    assert chains > 1


@needs_library
def test_a_run_that_nobody_killed_is_the_measure(config, whole, tmp_path):
    """The comparison can fail: another seed is another run."""
    tiny("run", config, *RICH, "seed=1", "--out", tmp_path / "other")
    with pytest.raises(AssertionError):
        assert_same_runs(whole, tmp_path / "other")
