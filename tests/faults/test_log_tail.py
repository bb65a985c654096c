"""Rows between two publishes of a log: they are in its tail, readers see them, a run goes on only from where they
reach, and what saving takes does not grow with the log."""

import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from cli_tools import SOURCE, assert_same_runs, headscope, newest_checkpoint, reproducible, start
from disk import RICH, make_config, needs_library, read_trace, tiny

sys.path.append(str(SOURCE / "scripts"))
import headscope as logs  # noqa: E402


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return make_config(tmp_path_factory.mktemp("tail"))


@pytest.fixture(scope="module")
def whole(config):
    run = config.parent / "whole"
    assert tiny("run", config, *RICH, "--out", run).returncode == 0
    return run


@pytest.fixture
def killed(config, tmp_path):
    """Killed right before the last publish."""
    trace = tmp_path / "trace"
    run = tmp_path / "disk" / "run"
    result = tiny("run", config, *RICH, "--out", run, library=True, HEADSCOPE_IO_FOLDER=tmp_path / "disk",
                  HEADSCOPE_IO_TRACE=trace)
    assert result.returncode == 0, result.stderr
    names = [fields[1] for name, *fields in read_trace(trace) if name == "rename"]
    number = max(i for i, name in enumerate(names) if name.endswith("/log.h5"))  # of the final publish, from 0
    shutil.rmtree(run)
    result = tiny("run", config, *RICH, "--out", run, library=True, HEADSCOPE_IO_FOLDER=tmp_path / "disk",
                  HEADSCOPE_IO_FAULT=f"KILL rename {number + 1}")
    assert result.returncode == -signal.SIGKILL
    return run


@needs_library
def test_readers_see_both(killed, whole):
    saved = newest_checkpoint(killed)
    step = int(saved.stem.split("-")[1])
    assert step >= 6 and (killed / "log.h5.tail").exists()
    assert len(reproducible(killed / "log.h5")["train/step"]) == 0, "the log itself is as it was at the start"
    with logs.open(killed) as run, logs.open(whole) as truth:
        assert run.attrs["complete_until"] == step
        for name in ("train/loss", "grad_norm", "eval/loss", "parameters/norm"):
            found, expected = run.series(name), truth.series(name)
            rows = np.searchsorted(expected.step, step if name != "eval/loss" else step + 1)
            assert rows > 0 and list(found.step) == list(expected.step[:rows]), name
            assert found.values.tobytes() == expected.values[:rows].tobytes(), name
    assert f"stopped at step {step}" in headscope("inspect", killed).stdout
    shown = json.loads(headscope("inspect", killed, "--json").stdout)
    assert shown["train"]["loss"] == reproducible(whole / "log.h5")["train/loss"][step - 1]
    table = headscope("verify", killed).stdout
    assert "log.h5.tail" in table and "blocks of rows newer than log.h5" in table
    tiny("resume", killed)
    assert_same_runs(whole, killed)
    assert not (killed / "log.h5.tail").exists()


@needs_library
def test_rows_that_were_lost_are_trained_again(killed, whole, config, tmp_path):
    """A tail cut short: the newest checkpoint that the rows reach is where the run goes on."""
    tail = killed / "log.h5.tail"
    content = tail.read_bytes()
    tail.write_bytes(content[:-7])
    report = headscope("verify", killed, expect=1).stdout
    assert "its rows end before step" in report and "no whole block" in report
    result = tiny("resume", killed)
    assert result.returncode == 0 and "the log lacks rows before it" in result.stderr, result.stderr
    assert_same_runs(whole, killed)


@needs_library
def test_a_log_older_than_every_checkpoint(killed, whole):
    """As from a backup. Nothing is changed, and the message says what to do."""
    (killed / "log.h5.tail").unlink()
    before = {path: path.read_bytes() for path in killed.rglob("*") if path.is_file()}
    result = tiny("resume", killed)
    assert result.returncode == 74
    assert "it ends before step 0" in result.stderr and "to start from step 0 again" in result.stderr
    assert {path: path.read_bytes() for path in killed.rglob("*") if path.is_file()} == before
    shutil.rmtree(killed / "checkpoints")
    assert tiny("resume", killed).returncode == 0
    assert_same_runs(whole, killed)


def test_a_finished_run_with_the_log_of_a_backup(config, whole, tmp_path):
    """`resume` used to find nothing to do."""
    run = tmp_path / "run"
    assert tiny("run", config, *RICH, "train.steps=6", "checkpoint.keep=0", "--out", run).returncode == 0
    backup = (run / "log.h5").read_bytes()
    steps = [override for override in RICH if override.startswith("train.steps")]
    assert tiny("resume", run, *steps).returncode == 0
    (run / "log.h5").write_bytes(backup)
    assert "its rows end before step 6, and the newest checkpoint is of step 9" in headscope(
        "verify", run, expect=1).stdout
    result = tiny("resume", run)
    assert result.returncode == 0 and "the log lacks rows" in result.stderr
    assert_same_runs(whole, run)


@pytest.mark.parametrize("options", [["-L"], ["-S", "PAGE"], ["-S", "FSM_AGGR", "-P", "1"], ["-f", "GZIP=9"],
                                     ["-l", "CONTI"]])
def test_a_log_that_another_tool_rewrote(options, config, whole, tmp_path):
    """Newest format, paged space, other filters, no chunks: the run goes on to the same bits, or nothing is changed."""
    run = tmp_path / "run"
    assert tiny("run", config, *RICH, "train.steps=6", "--out", run).returncode == 0
    subprocess.run(["h5repack", *options, run / "log.h5", tmp_path / "other"], check=True, capture_output=True)
    shutil.move(tmp_path / "other", run / "log.h5")
    before = (run / "log.h5").read_bytes()
    shutil.copytree(run, tmp_path / "run-2")
    steps = [override for override in RICH if override.startswith("train.steps")]
    result = tiny("resume", run, *steps)
    if options == ["-l", "CONTI"]:  # its datasets cannot grow
        assert result.returncode == 74 and "log.h5" in result.stderr
        assert (run / "log.h5").read_bytes() == before
        return
    assert result.returncode == 0, result.stderr
    assert_same_runs(whole, run)
    headscope("verify", run)
    assert subprocess.run(["h5dump", run / "log.h5"], capture_output=True).returncode == 0
    result = tiny("fork", tmp_path / "run-2", "--step", 4, *steps, "--out", tmp_path / "fork")
    assert result.returncode == 0, result.stderr
    headscope("verify", tmp_path / "fork")


@needs_library
def test_what_is_written_grows_with_the_rows(config, tmp_path):
    """Bytes written for rows and checkpoints, per row: four times the rows, the same bytes."""
    def bytes_per_row(steps):
        folder = tmp_path / str(steps)
        result = tiny("run", config, *RICH, f"train.steps={steps}", "checkpoint.every=20", "eval.patience=0", "--out",
                      folder / "run", library=True, HEADSCOPE_IO_FOLDER=folder, HEADSCOPE_IO_TRACE=f"{folder}.trace")
        assert result.returncode == 0, result.stderr
        return sum(len(fields[1]) for name, *fields in read_trace(pathlib.Path(f"{folder}.trace"))
                   if name == "write") / steps

    few, many = bytes_per_row(2000), bytes_per_row(8000)
    assert many <= 1.1 * few, (few, many)


def test_a_live_log_is_never_seen_with_a_gap(config, tmp_path):
    """While the run saves and publishes, whoever reads sees rows without a gap, and never fewer than before."""
    run = tmp_path / "run"
    process = start("run", config, *RICH, "train.steps=1000000", "checkpoint.every=25", "eval.patience=0", "--threads",
                    1, "--out", run)
    try:
        until, deadline = time.monotonic() + 5, time.monotonic() + 100
        rows, reads, publications = 0, 0, set()
        while time.monotonic() < until or (len(publications) < 2 and time.monotonic() < deadline):
            assert process.poll() is None, process.stderr.read()
            if not (run / "log.h5").exists():
                continue
            with logs.open(run) as log:
                steps = log.steps("train/loss")
                publications.add(int(log.attrs["publication"]))
            assert list(steps) == list(range(len(steps))) and len(steps) >= rows
            rows, reads = len(steps), reads + 1
            if reads % 5 == 0:
                table = headscope("verify", run)
                assert "log.h5" in table.stdout
        assert rows > 100 and len(publications) > 1
    finally:
        process.kill()
        process.wait()
