"""Permissions that are pulled, before and under a verb, as a user whom they bind: what may not be seen is not taken for
missing, and with the permissions back all goes on."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import pytest

from cli_tools import BINARY, assert_same_runs, command
from disk import MODEL, make_config

OVERRIDES = [*MODEL, "train.steps=6", "checkpoint.keep=0"]
# Root may do all, so that the binary runs as another user then, in a folder of that user.
USER = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


@pytest.fixture(scope="module")
def home():
    """A folder with a binary and a config in it that USER can get to."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        home = pathlib.Path(name)
        shutil.copy(BINARY, home / "headscope")
        make_config(home)
        if USER:
            shutil.chown(home, USER["user"], USER["group"])
        home.chmod(0o755)
        yield home


def run_as_user(home, *arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([home / "headscope", *command(arguments)[1:]], cwd=home, env=environment, capture_output=True,
                          text=True, timeout=120, **USER)


@pytest.fixture(scope="module")
def whole(home):
    result = run_as_user(home, "run", "c.toml", *OVERRIDES, "--out", "whole")
    assert result.returncode == 0, result.stderr
    return home / "whole"


@pytest.fixture
def cut(home, whole):
    """A run that lacks its newest checkpoint, as after a kill."""
    run = home / "cut"
    shutil.copytree(whole, run)
    (run / "checkpoints/step-00000006.h5").unlink()
    if USER:
        for path in [run, *run.rglob("*")]:
            shutil.chown(path, USER["user"], USER["group"])
    yield run
    shutil.rmtree(run)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_denied(result, *codes):
    text = result.stderr + result.stdout
    assert result.returncode in codes, text
    assert "Permission denied" in text and "cut" in text and "unexpected" not in text, text


# Closed to everything; readable, but for its list alone; writable, but not to be listed; not writable.
@pytest.mark.parametrize("mode", [0o000, 0o400, 0o300, 0o500])
@pytest.mark.parametrize("what", [".", "checkpoints"])
def test_a_folder_is_closed(home, whole, cut, what, mode):
    before = contents(cut)
    (cut / what).chmod(mode)
    resumed, verified, inspected = (run_as_user(home, verb, "cut") for verb in ("resume", "verify", "inspect"))
    (cut / what).chmod(0o755)

    assert_denied(resumed, 74)
    if mode != 0o500:
        assert_denied(verified, 1, 74)
    # It reads the log, and the names of the checkpoints.
    if mode in ((0o000, 0o400) if what == "." else (0o000, 0o300)):
        assert_denied(inspected, 74)
    else:
        assert inspected.returncode == 0, inspected.stderr
    after = contents(cut)
    assert after.keys() == before.keys()
    assert all(after[path] == before[path] for path in before if path.name != "log.h5")  # rows that lead to step 6

    assert run_as_user(home, "resume", "cut").returncode == 0
    assert_same_runs(whole, cut)


@pytest.mark.parametrize("file", ["config.toml", "log.h5", "checkpoints/step-00000002.h5", "checkpoints/step-00000004.h5"])
def test_a_file_is_closed(home, whole, cut, file):
    (cut / file).chmod(0)
    verified = run_as_user(home, "verify", "cut")
    resumed = run_as_user(home, "resume", "cut")
    (cut / file).chmod(0o644)

    assert_denied(verified, 1)
    if file.startswith("checkpoints"):  # goes on from another one
        assert resumed.returncode == 0, resumed.stderr
    else:
        assert_denied(resumed, 74)
        assert run_as_user(home, "resume", "cut").returncode == 0
    assert_same_runs(whole, cut)


def test_a_new_run_where_nothing_may_be_made(home):
    closed = home / "closed"
    closed.mkdir(mode=0o555)
    result = run_as_user(home, "run", "c.toml", *OVERRIDES, "--out", "closed/cut")
    assert_denied(result, 74)
    assert not list(closed.iterdir())


def test_pulled_while_it_trains(home):
    """The checkpoints that are there stay, and with the permissions back the run goes on from them."""
    overrides = [*MODEL, "train.steps=100000", "checkpoint.every=500", "eval.every=100000", "log.every=1000"]
    arguments = command(["run", "c.toml", *overrides, "--out", "pulled-cut"])[1:]
    process = subprocess.Popen([home / "headscope", *arguments], cwd=home, stderr=subprocess.PIPE, text=True, **USER)
    run = home / "pulled-cut"
    while not list(run.glob("checkpoints/step-*")):
        assert process.poll() is None
        time.sleep(0.01)
    (run / "checkpoints").chmod(0o555)
    assert process.wait() == 74
    assert "Permission denied" in process.stderr.read()
    (run / "checkpoints").chmod(0o755)
    assert list(run.glob("checkpoints/step-*"))
    verified = run_as_user(home, "verify", "pulled-cut")
    assert verified.returncode == 0, verified.stdout
    newest = int(max(run.glob("checkpoints/step-*")).stem[5:])
    resumed = run_as_user(home, "resume", "pulled-cut", f"train.steps={newest + 10}")
    assert resumed.returncode == 0 and f"from step {newest}" in resumed.stdout, resumed.stderr
