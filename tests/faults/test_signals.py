"""SIGINT, SIGTERM and SIGHUP at any moment: a quick end that can be resumed to the same bits."""

import random
import shutil
import signal
import time

import pytest

from cli_tools import assert_same_runs, headscope, start
from disk import MODEL, finish, make_config

OVERRIDES = [*MODEL, "train.steps=400", "checkpoint.every=100"]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return make_config(tmp_path_factory.mktemp("signals"))


@pytest.fixture(scope="module")
def whole(config):
    begin = time.monotonic()
    headscope("run", config, *OVERRIDES, "--threads", 1, "--out", config.parent / "whole")
    return config.parent / "whole", time.monotonic() - begin


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_any_moment(number, config, whole, tmp_path):
    whole, seconds = whole
    moments, run, codes = random.Random(number), tmp_path / "run", []
    while codes.count(75) < 4:
        assert len(codes) < 60, codes
        process = start("run", config, *OVERRIDES, "--threads", 1, "--out", run)
        time.sleep(moments.random() * seconds)
        process.send_signal(number)
        sent = time.monotonic()
        error = process.communicate(timeout=60)[1]
        assert time.monotonic() - sent < 5, error  # milliseconds, but for a busy machine
        codes.append(process.returncode)
        # 0: it came too late; the signal itself: before there was anything to save
        assert process.returncode in (0, 75) or (process.returncode == -number and not (run / "log.h5").exists()), error
        assert process.returncode != 75 or "headscope resume" in error
        finish(run, whole, ["run", config, *OVERRIDES])
        shutil.rmtree(run)


def test_twice(config, whole, tmp_path):
    """The second signal does not wait for the step to end."""
    run = tmp_path / "run"
    for pause in (0, 0.0005, 0.001, 0.002):
        process = start("run", config, *OVERRIDES, "--threads", 1, "--out", run)
        while process.poll() is None and not (run / "log.h5").exists():
            time.sleep(0.001)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(pause)
        assert process.wait(timeout=60) in (0, 75, -signal.SIGINT)
        finish(run, whole[0], ["run", config, *OVERRIDES])
        shutil.rmtree(run)


@pytest.mark.parametrize("what", [["eval.batches=100000", "eval.every=3"],
                                  ["eval.batches=20000", "eval.every=1000", "log.probes.importance=3"]])
def test_in_a_long_evaluation_or_probe(what, tmp_path):
    """It ends with the batch at hand, the weights are saved, and the rows of the step are made anew."""
    config = tmp_path / "c.toml"
    config.write_text('name = "long"\n[task]\ntype = "lag_mixture"\nvocab_size = 7\nseq_len = 14\n')
    overrides = [*MODEL, "train.steps=6", "train.batch_size=2", *what]
    short = ["eval.batches=3" if "batches" in key else key for key in overrides]
    run, whole = tmp_path / "run", tmp_path / "whole"
    headscope("run", config, *overrides[:-len(what)], *short[-len(what):], "--out", whole)
    process = start("run", config, *short, "train.steps=2", "--threads", 1, "--out", run)
    assert process.wait(timeout=60) == 0
    shutil.copytree(run, tmp_path / "two")
    for _ in range(10):  # until the signal comes in the passes of step 3, and not before them on a busy machine
        published = (run / "log.h5").stat().st_mtime_ns
        process = start("resume", run, "train.steps=6", *what, "--threads", 1)
        while process.poll() is None and (run / "log.h5").stat().st_mtime_ns == published:
            time.sleep(0.001)
        time.sleep(0.3)  # more than the steps take, far less than the passes
        process.send_signal(signal.SIGTERM)
        sent = time.monotonic()
        error = process.communicate(timeout=60)[1]
        assert process.returncode == 75, error
        assert time.monotonic() - sent < 3, "the pass at hand and two seconds"
        if "step 3" in error:
            break
        shutil.rmtree(run)
        shutil.copytree(tmp_path / "two", run)
    assert "step 3" in error, error
    headscope("resume", run, *short[-len(what):])
    assert_same_runs(whole, run)


def test_in_the_evaluation_of_the_last_step(tmp_path):
    """The rows of the last step are still to be made, so the run must not pass for finished."""
    config = tmp_path / "c.toml"
    config.write_text('name = "long"\n[task]\ntype = "lag_mixture"\nvocab_size = 7\nseq_len = 14\n')
    overrides = [*MODEL, "train.steps=4", "train.batch_size=2", "eval.every=1000", "checkpoint.every=2"]
    run, whole = tmp_path / "run", tmp_path / "whole"
    headscope("run", config, *overrides, "eval.batches=3", "--out", whole)
    headscope("run", config, *overrides, "eval.batches=3", "train.steps=2", "schedule.type=constant", "--out", run)
    for _ in range(10):
        published = (run / "log.h5").stat().st_mtime_ns
        process = start("resume", run, "train.steps=4", "eval.batches=100000", "--threads", 1)
        while process.poll() is None and (run / "log.h5").stat().st_mtime_ns == published:
            time.sleep(0.001)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        error = process.communicate(timeout=60)[1]
        assert process.returncode == 75, error
        if "step 4" in error:
            break
    assert "step 4" in error, error
    headscope("resume", run, "eval.batches=3")
    assert_same_runs(whole, run)
