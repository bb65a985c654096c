"""Several processes with one folder: each run's files are its own, whatever is moved, removed or put in its place."""

import shutil
import signal
import time

import h5py
import pytest

from cli_tools import assert_same_bits, assert_same_runs, headscope, reproducible, start
from disk import MODEL, RICH, make_config, needs_library, read_trace, temporary_files, tiny

OVERRIDES = [*MODEL, "train.steps=4000", "checkpoint.every=50", "checkpoint.keep=0", "eval.every=1000"]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return make_config(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def whole(config):
    run = config.parent / "whole"
    headscope("run", config, *OVERRIDES, "train.steps=400", "--threads", 1, "--out", run)
    return run


def begun(config, run, *more):
    """A run that has a checkpoint and is far from its end."""
    process = start("run", config, *OVERRIDES, *more, "--threads", 1, "--out", run)
    while not list(run.glob("checkpoints/step-*")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)
    return process


def end_of(process):
    error = process.communicate(timeout=120)[1]
    return process.returncode, error


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("another", [False, True])
def test_a_run_that_is_moved(config, whole, tmp_path, another):
    """It stops, says where it is now, and writes nothing into what has taken its place."""
    run, moved = tmp_path / "run", tmp_path / "moved"
    process = begun(config, run)
    run.rename(moved)
    if another:
        headscope("run", config, *OVERRIDES, "optimizer.lr=0.003", "train.steps=100", "--out", run)
        before = contents(run)
    code, error = end_of(process)
    assert code == 74
    assert f"{run}: the folder was moved to {moved} while it was written to" in error, error
    assert f"`headscope resume {moved}` goes on" in error, error
    if another:
        assert contents(run) == before
        headscope("verify", run)
    else:
        assert not run.exists()
    assert not temporary_files(moved)
    done = max(int(path.stem[5:]) for path in moved.glob("checkpoints/step-*"))
    if done <= 400:
        headscope("resume", moved, "train.steps=400", "--threads", 1)
        assert_same_runs(whole, moved)
    else:
        headscope("verify", moved)


def test_a_run_that_is_removed(config, tmp_path):
    run = tmp_path / "run"
    process = begun(config, run)
    shutil.rmtree(run, ignore_errors=True)
    shutil.rmtree(run, ignore_errors=True)  # a file may have been made meanwhile
    headscope("run", config, *OVERRIDES, "train.steps=100", "--out", run)
    before = contents(run)
    code, error = end_of(process)
    assert code == 74 and "removed or replaced" in error, error
    assert contents(run) == before


def test_a_checkpoints_folder_that_is_swapped(config, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    other.mkdir()
    (other / "step-00000050.h5").write_text("of another")
    (other / ".notes.tmp-1").write_text("of another")
    process = begun(config, run)
    (run / "checkpoints").rename(run / "before")
    (run / "checkpoints").symlink_to(other)
    code, error = end_of(process)
    assert code == 74 and "checkpoints: is a link, and nothing is written through one" in error, error
    refused = headscope("resume", run, expect=74)
    assert "checkpoints: is a link" in refused.stderr
    assert {path.name: path.read_text() for path in other.iterdir()} == {
        "step-00000050.h5": "of another", ".notes.tmp-1": "of another"}


def test_ablations_at_once(config, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    steps = [50, 100, 150, 200, 250, 300]
    for step in steps:
        headscope("ablate", whole, "--step", step, "--out", tmp_path / "one.h5")
    processes = [start("ablate", tmp_path / "run", "--step", step, "--threads", 1) for step in steps]
    for process in processes:
        assert end_of(process)[0] == 0
    with h5py.File(tmp_path / "run" / "ablation.h5") as file:
        assert file["step"][()].tolist() == steps
    assert (tmp_path / "run" / "ablation.h5").read_bytes() == (tmp_path / "one.h5").read_bytes()
    assert not temporary_files(tmp_path / "run")


KILLED = [("replay", ["log.every=1"]), ("fork", ["--step", "4", "optimizer.lr=0.003", "train.steps=6"])]


@needs_library
@pytest.mark.parametrize("verb, arguments", KILLED)
def test_a_killed_verb_begins_again(config, tmp_path, verb, arguments):
    """Killed before any of its calls that change the disk, a fork is a run that goes on, or it is made anew, like a
    replay: nobody is sent to a `resume` that cannot be."""
    run = tmp_path / "run"
    assert tiny("run", config, *RICH, "--out", run).returncode == 0
    before = contents(run)
    whole, trace = tmp_path / "whole", tmp_path / "trace"
    record = tmp_path / "record"
    record.mkdir()
    assert tiny(verb, run, *arguments, "--out", whole).returncode == 0
    tiny(verb, run, *arguments, "--out", record / "new", library=True, HEADSCOPE_IO_FOLDER=record,
         HEADSCOPE_IO_TRACE=trace)
    calls = [call[0] for call in read_trace(trace)]
    again = 0
    for call in ("open", "write", "fsync", "rename", "unlink", "mkdir"):
        for number in range(1, calls.count(call) + 1):
            folder = tmp_path / f"{call}-{number}"
            folder.mkdir()
            out = folder / "new"
            killed = tiny(verb, run, *arguments, "--out", out, library=True, HEADSCOPE_IO_FOLDER=folder,
                          HEADSCOPE_IO_FAULT=f"KILL {call} {number}")
            assert killed.returncode == -signal.SIGKILL
            if (out / "log.h5").exists() and verb == "fork":
                assert tiny("resume", out).returncode == 0
            elif not (out / "log.h5").exists():
                again += 1
                refused = tiny("resume", out)
                assert refused.returncode in (2, 74)
                if out.exists() and not list(out.iterdir()):  # anybody's
                    out.rmdir()
                result = tiny(verb, run, *arguments, "--out", out)
                assert result.returncode == 0, result.stderr
            if verb == "fork":
                assert_same_runs(whole, out)
            assert_same_bits(reproducible(whole / "log.h5"), reproducible(out / "log.h5"))
            assert not temporary_files(out)
            assert tiny("verify", out).returncode == 0
    assert again > 5
    assert contents(run) == before


def test_a_replay_is_there_when_it_agrees(config, whole, tmp_path):
    """Until its rows have been compared it has no log.h5."""
    out = tmp_path / "replayed"
    process = start("replay", whole, "log.every=1", "--threads", 1, "--out", out)
    while not (out / "unfinished.h5").exists() or (out / "unfinished.h5").stat().st_size == 0:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "log.h5").exists()
    headscope("replay", whole, "log.every=1", "--out", out)
    assert [path.name for path in out.iterdir()] == ["log.h5"]


def test_nothing_is_made_inside_a_run(whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    before = contents(run)
    for folder, verb, arguments in [(run, "replay", ["."]), (run / "checkpoints", "fork", ["..", "--step", 50]),
                                    (run, "replay", [".", "--out", "inside"]),
                                    (run, "fork", ["../run", "--step", 50, "--out", "checkpoints/new/inside"])]:
        refused = headscope(verb, *arguments, cwd=folder, expect=2)
        assert "--out" in refused.stderr, refused.stderr
    assert contents(run) == before
    headscope("replay", ".", "--from", 3, "--to", 5, "--out", "../beside", cwd=run)
    assert (tmp_path / "beside" / "log.h5").exists()
