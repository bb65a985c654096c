"""Limits on threads and memory: fewer threads and the same bits, or one clear line, and no half-made run."""

import os
import pathlib
import resource
import subprocess
import tempfile

import pytest

from cli_tools import SOURCE, assert_same_runs, command, headscope
from disk import SANITIZED

CONFIG = SOURCE / "experiments" / "configs" / "dyck.toml"
SHORT = ["train.steps=2", "eval.batches=1", "log.every=1"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = tmp_path_factory.mktemp("limits") / "whole"
    headscope("run", CONFIG, *SHORT, "--threads", 1, "--out", run)
    return run


def limited(kind, size, user=None):
    def limit():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(kind, (size, size))
        if user is not None:  # the number of processes does not bind root
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
    return limit


def run(folder, threads=4, preexec_fn=None, **environment):
    return subprocess.run(command(["run", CONFIG, *SHORT, "--threads", threads, "--out", folder / "run"]), text=True,
                          env={**os.environ, **environment}, capture_output=True, timeout=120, preexec_fn=preexec_fn)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user without other processes")
@pytest.mark.parametrize("most", range(7))
def test_few_processes(most, whole):
    """What a user may have besides the first thread is the limit less one."""
    with tempfile.TemporaryDirectory() as name:  # pytest closes its own folders to other users whenever it starts
        folder = pathlib.Path(name)
        folder.chmod(0o777)
        result = run(folder, preexec_fn=limited(resource.RLIMIT_NPROC, most, user=54321))
        assert result.returncode == 0, result.stderr
        possible = min(max(most, 1), 4)
        says = f"{possible} of 4 threads can be had"
        assert (says in result.stderr) == (possible < 4), result.stderr
        assert_same_runs(whole, folder / "run")


@pytest.mark.skipif(SANITIZED, reason="sanitizers map more than that")
@pytest.mark.parametrize("environment", [{"OMP_STACKSIZE": "100g"}, {"OMP_STACKSIZE": "900000 M"}, {"GOMP_STACKSIZE": "104857600"}])
def test_stacks_that_do_not_fit(environment, whole, tmp_path):
    result = run(tmp_path, preexec_fn=limited(resource.RLIMIT_AS, 4 << 30), **environment)
    assert result.returncode == 0 and "1 of 4 threads can be had" in result.stderr, result.stderr
    assert_same_runs(whole, tmp_path / "run")


@pytest.mark.parametrize("environment", [{"GOMP_CPU_AFFINITY": "0-1000"},
                                         {"OMP_PLACES": "{0},{1000}"}, {"GOMP_CPU_AFFINITY": "500-510"}, {"OMP_NUM_THREADS": "100000"}, {"OMP_NUM_THREADS": "0"},
                                         {"OMP_NUM_THREADS": "abc"}, {"OMP_THREAD_LIMIT": "1"}, {"OMP_STACKSIZE": "-5"},
                                         {"OMP_STACKSIZE": "1"}, {"OMP_STACKSIZE": ""}, {"OMP_PLACES": "x"}])
def test_strange_settings_of_openmp(environment, whole, tmp_path):
    result = run(tmp_path, **environment)
    assert result.returncode == 0, result.stderr
    assert_same_runs(whole, tmp_path / "run")


@pytest.mark.skipif(SANITIZED, reason="sanitizers map more than that")
@pytest.mark.parametrize("kind", [resource.RLIMIT_AS, resource.RLIMIT_DATA])
def test_little_memory(kind, whole, tmp_path):
    """Whatever the limit, the run is as ever or ends with a line, and never by a signal."""
    ended = 0
    for megabytes in (*range(34, 130, 3), 150, 200, 300):
        folder = tmp_path / str(megabytes)
        folder.mkdir()
        result = run(folder, threads=1, preexec_fn=limited(kind, megabytes << 20))
        context = (megabytes, result.returncode, result.stderr)
        if result.returncode == 0:
            assert_same_runs(whole, folder / "run")
            continue
        if result.returncode == 127 or "error while loading shared libraries" in result.stderr:
            continue  # the program did not begin
        ended += 1
        line = result.stderr.splitlines()[-1]
        assert result.returncode in (2, 74) and line.startswith("headscope: ") and "memory" in line, context
        if (folder / "run").exists():  # it ran out later, and goes on with more
            headscope("resume", folder / "run")
            assert_same_runs(whole, folder / "run")
    assert ended > 0


@pytest.mark.skipif(SANITIZED, reason="sanitizers map more than that")
def test_a_model_that_does_not_fit_into_the_limit(tmp_path):
    large = ["model.d_model=2048", "model.num_heads=8", "model.d_ff=8192", "model.num_layers=12"]
    result = subprocess.run(command(["run", CONFIG, *SHORT, *large, "--out", tmp_path / "run"]), capture_output=True, text=True,
                            timeout=60, preexec_fn=limited(resource.RLIMIT_AS, 2 << 30))
    assert result.returncode == 2 and "is available" in result.stderr, result.stderr
    assert not (tmp_path / "run").exists()
