"""Every call that writes to disk fails once, in every way: a clear message, nothing broken, nothing lost."""

import collections
import os
import shutil

import h5py
import pytest

from cli_tools import assert_same_runs, newest_checkpoint
from disk import TINY, finish, make_config, needs_library, read_trace, side_by_side, temporary_files, tiny

pytestmark = needs_library

# Each fault and the calls that can meet with it.
FAILING = {
    "ENOSPC": ["open", "write", "fsync", "close", "rename", "mkdir"],
    "EIO": ["open", "write", "fsync", "close", "rename", "unlink", "mkdir"],
    "EACCES": ["open", "rename", "unlink", "mkdir"],
    "EDQUOT": ["write"],
    "EPERM": ["unlink", "rename"],
    "EROFS": ["open", "mkdir"],
}
# ENOENT: somebody else took the old checkpoint away.
HARMLESS = {"EINTR": ["open", "write", "fsync", "close"], "SHORT": ["write"], "ENOENT": ["unlink"]}
CLOSED_IN_VAIN = set()  # numbers of calls of close that may fail


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return make_config(tmp_path_factory.mktemp("io"))


@pytest.fixture(scope="module")
def whole(config):
    """An undisturbed run."""
    run = config.parent / "whole" / "new" / "run"
    result = tiny("run", config, *TINY, "--out", run, library=True, HEADSCOPE_IO_FOLDER=config.parent / "whole",
                  HEADSCOPE_IO_TRACE=config.parent / "trace")
    assert result.returncode == 0, result.stderr
    return run


@pytest.fixture(scope="module")
def counts(config, whole):
    """How often the undisturbed run does each call."""
    calls, written = collections.Counter(), {}
    for name, *fields in read_trace(config.parent / "trace"):
        if name == "open":
            written[fields[0]] = fields[1]
        if name == "close" and fields[0] not in written:  # of a folder: its answer means nothing
            continue
        calls[name] += 1
        if name == "close" and written.pop(fields[0]).endswith(".tail"):  # its rows are in the log when it is closed
            CLOSED_IN_VAIN.add(calls[name])
    assert all(calls[name] > 0 for names in FAILING.values() for name in names), calls
    return calls


def cases(faults, counts):
    return [(fault, call, number + 1) for fault, calls in faults.items() for call in calls
            for number in range(counts[call])]


def disturbed(config, folder, case):
    return tiny("run", config, *TINY, "--out", folder / "new" / "run", library=True, HEADSCOPE_IO_FOLDER=folder,
                HEADSCOPE_IO_FAULT=" ".join(map(str, case)))


def folder_of(tmp_path, case):
    return tmp_path / "-".join(map(str, case))


def test_every_call_fails(config, whole, counts, tmp_path):
    def check(case):
        folder = folder_of(tmp_path, case)
        result = disturbed(config, folder, case)
        context = f"{case}: exit {result.returncode}: {result.stderr}"
        if case[1] == "close" and case[2] in CLOSED_IN_VAIN and case[0] != "ENOSPC":  # after which the disk stays full
            assert result.returncode == 0, context
            assert_same_runs(whole, folder / "new" / "run")
            return
        assert result.returncode == 74, context
        last = result.stderr.splitlines()[-1]
        assert last.startswith(f"headscope: {folder}"), context
        assert os.strerror(getattr(__import__("errno"), case[0])) in last, context
        assert ("free some space" in last) == (case[0] in ("ENOSPC", "EDQUOT")), context
        assert not temporary_files(folder), context

        run = folder / "new" / "run"
        assert run.exists() == (run / "log.h5").exists(), context  # what cannot be resumed is not in the way
        if (run / "log.h5").exists():
            with h5py.File(run / "log.h5") as log:
                assert "train/loss" in log, context
        if list(run.glob("checkpoints/step-*")):
            with h5py.File(newest_checkpoint(run)) as checkpoint:
                assert "trainer" in checkpoint, context
        try:
            finish(run, whole, ["run", config, *TINY])
        except AssertionError as error:
            raise AssertionError(context) from error
        shutil.rmtree(folder)

    side_by_side(check, cases(FAILING, counts))


def test_every_call_is_interrupted(config, whole, counts, tmp_path):
    def check(case):
        folder = folder_of(tmp_path, case)
        result = disturbed(config, folder, case)
        assert result.returncode == 0, f"{case}: {result.stderr}"
        assert_same_runs(whole, folder / "new" / "run")
        assert not temporary_files(folder), case
        shutil.rmtree(folder)

    side_by_side(check, cases(HARMLESS, counts))


def test_a_disk_that_cannot_sync_folders(config, whole, tmp_path):
    """Some file systems answer EINVAL; of a file that is an error."""
    folders, kinds = set(), []
    for name, *fields in read_trace(config.parent / "trace"):
        if name in ("open", "folder"):
            (folders.add if name == "folder" else folders.discard)(fields[0])
        if name == "fsync":
            kinds.append(fields[0] in folders)
    assert any(kinds) and not all(kinds)

    def check(number):
        case = ("EINVAL", "fsync", number)
        result = disturbed(config, folder_of(tmp_path, case), case)
        assert result.returncode == (0 if kinds[number - 1] else 74), f"{case}: {result.stderr}"

    side_by_side(check, range(1, len(kinds) + 1))


def test_a_wrong_bit_reaches_the_disk(config, whole, counts, tmp_path):
    """Nobody says so, but a checkpoint is read back before older ones go; what else is wrong is seen when it is used. The
    right bits come out, or a refusal that names the file; never another run."""
    named = []

    def check(number):
        folder = tmp_path / str(number)
        run = folder / "new" / "run"
        result = disturbed(config, folder, ("ROT", "write", number))
        context = f"write {number}: exit {result.returncode}: {result.stderr}"
        if result.returncode == 74 and "reads back other than it was written" in result.stderr:
            named.append(number)
        else:  # 74: the log that was published last cannot be shown
            assert result.returncode == 0 or (result.returncode == 74 and "log.h5: damaged" in result.stderr), context
        result = tiny("resume", run)
        if result.returncode == 0:
            assert_same_runs_where_whole(whole, run)
        else:
            assert result.returncode in (2, 74) and str(run) in result.stderr, result.stderr
        shutil.rmtree(folder)

    side_by_side(check, range(1, counts["write"] + 1))
    assert len(named) >= len(list(whole.glob("checkpoints/*.h5")))


def assert_same_runs_where_whole(whole, run):
    """A log that was published wrong and not again since is refused by whoever opens it."""
    result = tiny("inspect", run)
    if result.returncode == 74:
        assert "damaged" in result.stderr
        return
    assert_same_runs(whole, run)
