"""One process at a time trains in a run's folder; what died holds nothing up."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from cli_tools import assert_same_runs, command, headscope, start
from disk import MODEL, TINY, make_config, needs_library, temporary_files, tiny

OVERRIDES = [*MODEL, "train.steps=300", "checkpoint.every=20"]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return make_config(tmp_path_factory.mktemp("lock"))


@pytest.fixture(scope="module")
def whole(config):
    run = config.parent / "whole"
    headscope("run", config, *OVERRIDES, "--threads", 1, "--out", run)
    return run


def stopped_at_a_checkpoint(config, run):
    """A run that holds still (SIGSTOP) somewhere behind its first checkpoint."""
    for _ in range(20):
        process = start("run", config, *OVERRIDES, "--threads", 1, "--out", run)
        while process.poll() is None and not list(run.glob("checkpoints/step-*")):
            time.sleep(0.001)
        process.send_signal(signal.SIGSTOP)
        if process.poll() is None:
            return process
        shutil.rmtree(run)
    pytest.fail("twenty runs ended before they could be stopped")


@contextlib.contextmanager
def open_read_only(folder):
    folder.chmod(0o555)
    try:
        yield
    finally:
        folder.chmod(0o755)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_one_process_at_a_time(config, whole, tmp_path):
    run = tmp_path / "run"
    owner = stopped_at_a_checkpoint(config, run)
    try:
        before = contents(run)
        refused = headscope("resume", run, "train.steps=500", expect=2)
        assert refused.stderr == f"headscope: {run} is in use by process {owner.pid}; wait for it, or stop it\n"
        assert "exists already" in headscope("run", config, *OVERRIDES, "--out", run, expect=2).stderr
        # Readers wait for nobody.
        assert f"{run}\nrunning at step " in headscope("inspect", run).stdout
        assert json.loads(headscope("inspect", run, "--json").stdout)["alive"] is True
        shutil.copytree(run, tmp_path / "copy")
        assert contents(run) == before
    finally:
        owner.kill()
        owner.wait()
    for folder in (run, tmp_path / "copy"):
        told = headscope("inspect", folder).stdout
        assert re.search(rf"{folder}\nstopped at step \d+, seed 0, \S+ of training\n`headscope resume {folder}` goes on\n",
                         told), told
        state = json.loads(headscope("inspect", folder, "--json").stdout)
        assert state["state"] == "running" and state["alive"] is False
    assert re.search(r"run is not finished: stopped at step \d+; `headscope resume",
                     re.sub(r"\s+", " ", headscope("compare", run, whole).stdout))
    assert "log: stopped, rows" in headscope("verify", run).stdout
    with open_read_only(run):
        told = headscope("inspect", run).stdout
        assert "cannot be written to" in told or os.geteuid() == 0, told
    headscope("resume", run)
    assert_same_runs(whole, run)
    assert not temporary_files(run)
    assert json.loads(headscope("inspect", run, "--json").stdout)["alive"] is False


@needs_library
def test_a_folder_that_cannot_be_looked_up(config, tmp_path):
    run = tmp_path / "run"
    owner = stopped_at_a_checkpoint(config, run)
    answers = []
    try:
        for number in range(1, 10):
            refused = tiny("resume", run, library=True, HEADSCOPE_IO_FOLDER=run, HEADSCOPE_IO_FAULT=f"EIO stat {number}")
            assert refused.returncode in (2, 74), refused.stderr
            answers.append(re.sub(r"\d+", "N", refused.stderr.split("is in use by ")[-1]))
    finally:
        owner.kill()
        owner.wait()
    assert {"another process; wait for it, or stop it\n", "process N; wait for it, or stop it\n"} <= set(answers), answers


def test_an_owner_that_cannot_be_seen(config, tmp_path):
    """From a container, for instance, the owner has no process number."""
    contained = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*contained, "true"], capture_output=True).returncode != 0:
        pytest.skip("only root may make a container")
    run = tmp_path / "run"
    owner = stopped_at_a_checkpoint(config, run)
    try:
        refused = subprocess.run([*contained, *command(["resume", run])], capture_output=True, text=True)
        assert refused.returncode == 2
        assert refused.stderr == f"headscope: {run} is in use by another process; wait for it, or stop it\n"
        told = subprocess.run([*contained, *command(["inspect", run])], capture_output=True, text=True).stdout
        assert f"{run}\nrunning at step " in told
    finally:
        owner.kill()
        owner.wait()


def test_of_many_that_resume_one_does(config, whole, tmp_path):
    run = tmp_path / "run"
    owner = stopped_at_a_checkpoint(config, run)
    owner.kill()
    owner.wait()
    processes = [start("resume", run, "--threads", 1) for _ in range(4)]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    codes = sorted(process.returncode for process in processes)
    assert codes[0] == 0 and set(codes) <= {0, 2}, errors  # one that came late finds the run finished
    assert all("is in use by process" in error for error, process in zip(errors, processes) if process.returncode == 2)
    assert_same_runs(whole, run)


@needs_library
def test_file_system_without_locks(config, tmp_path):
    run = tmp_path / "run"
    result = tiny("run", config, *TINY, "--out", run, library=True, HEADSCOPE_IO_FOLDER=tmp_path,
                  HEADSCOPE_IO_FAULT="ENOLCK flock 1")
    assert result.returncode == 0
    assert f"{run} cannot be locked ({os.strerror(__import__('errno').ENOLCK)})" in result.stderr


def test_looking_does_not_stand_in_the_way(config, tmp_path):
    """Whoever asks all the time whether a run is alive keeps nobody from taking its lock."""
    run = tmp_path / "run"
    headscope("run", config, *OVERRIDES, "train.steps=20", "--out", run)
    lookers = [subprocess.Popen(["sh", "-c", f"while :; do '{command([])[0]}' inspect '{run}' >/dev/null; done"])
               for _ in range(2)]
    try:
        for steps in range(21, 41):
            headscope("resume", run, f"train.steps={steps}", "--threads", 1)
    finally:
        for looker in lookers:
            looker.kill()
            looker.wait()
