"""A run that is stopped, killed or damaged and then resumed ends with the bits of one that never was."""

import hashlib
import os
import random
import shutil
import signal
import time

import h5py
import pytest

from cli_tools import (assert_same_runs, headscope, newest_checkpoint, read_datasets, reproducible, start,
                       write_config, write_tokens)
from test_verify import seal_log

VOCAB, T, STEPS = 9, 12, 800
OVERRIDES = ["model.d_model=18", "model.num_heads=3", "model.d_ff=12", "model.dropout=0.1", "optimizer.lr=0.01",
             "schedule.type=cosine", "schedule.warmup_steps=20", "train.clip_norm=1", f"train.steps={STEPS}",
             "checkpoint.every=100", "eval.every=150", "log.every=7", "log.probes.grad_norm=10",
             "log.probes.overlap=25", "log.probes.attention_entropy=50", "log.attention=40", "log.attention_samples=3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    write_tokens(folder / "train.h5", 5, 4, T, VOCAB, seed=7)
    write_tokens(folder / "held.h5", 2, 4, T, VOCAB, seed=8)
    write_config(folder / "c.toml", folder / "train.h5", VOCAB, T, folder / "held.h5")
    return folder


@pytest.fixture(scope="module")
def uninterrupted(folder):
    begin = time.monotonic()
    headscope("run", folder / "c.toml", *OVERRIDES, "--threads", 1, "--out", folder / "whole")
    return folder / "whole", time.monotonic() - begin


def finish(process, signal_number):
    process.send_signal(signal_number)
    return process.wait(timeout=60)


def signalled_while_training(arguments, run, number, checkpoint):
    """The ended process of a run that got the signal after it had written `checkpoint`. A machine that is busy elsewhere
    may let a short run end before the signal is sent: such a try says nothing, and another is made."""
    for _ in range(20):
        process = start("run", *arguments, "--out", run)
        while process.poll() is None and not (run / "checkpoints" / checkpoint).exists():
            time.sleep(0.001)
        finish(process, number)
        if process.returncode != 0:
            return process
        shutil.rmtree(run)
    pytest.fail("twenty runs ended before the signal reached them")


@pytest.mark.parametrize("seed", range(4))
def test_killed_and_resumed(seed, folder, uninterrupted, tmp_path):
    whole, seconds = uninterrupted
    moments = random.Random(seed)
    run = tmp_path / "run"
    process = start("run", folder / "c.toml", *OVERRIDES, "--threads", 2, "--out", run)
    kills = 0
    while kills < 12:
        time.sleep(moments.uniform(0.02, 0.6) * seconds)
        if process.poll() is not None:
            break
        finish(process, signal.SIGKILL)
        kills += 1
        if not (run / "config.toml").exists():  # killed before there was a run
            shutil.rmtree(run, ignore_errors=True)
            process = start("run", folder / "c.toml", *OVERRIDES, "--threads", 2, "--out", run)
        else:
            process = start("resume", run, "--threads", 1 + kills % 3)
    assert process.wait(timeout=300) == 0, process.stderr.read()
    assert_same_runs(whole, run)
    assert not [path for path in run.rglob(".*")], "temporary files left behind"


OPTIMIZERS = {
    "sgd": ["optimizer.type=sgd", "optimizer.momentum=0.9", "schedule.type=linear"],
    "adam": ["optimizer.type=adam"],
    "adamw": ["optimizer.type=adamw", "optimizer.weight_decay=0.1"],
    "rmsprop": ["optimizer.type=rmsprop", "schedule.type=noam"],
    "muon": ["optimizer.type=muon", "optimizer.weight_decay=0.1", "schedule.type=linear", "schedule.final_ratio=0.1"],
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_killed_with_every_optimizer(optimizer, folder, tmp_path):
    overrides = [*OVERRIDES, *OPTIMIZERS[optimizer], "train.steps=400", "checkpoint.every=40", "checkpoint.keep=0"]
    headscope("run", folder / "c.toml", *overrides, "--threads", 1, "--out", tmp_path / "whole")
    run = tmp_path / "run"
    signalled_while_training([folder / "c.toml", *overrides, "--threads", 2], run, signal.SIGKILL, "step-00000120.h5")
    headscope("resume", run, "--threads", 1)
    assert_same_runs(tmp_path / "whole", run)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_by_a_signal(number, folder, uninterrupted, tmp_path):
    whole, _ = uninterrupted
    run = tmp_path / "run"
    process = signalled_while_training([folder / "c.toml", *OVERRIDES, "--threads", 1], run, number, "step-00000100.h5")
    assert process.returncode == 75
    message = process.stderr.read()
    assert "headscope resume" in message and "step" in message
    headscope("resume", run)
    assert_same_runs(whole, run)


def fingerprint(run):
    return {path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
            for path in run.rglob("*") if path.is_file()}


def test_finished_run_is_left_alone(uninterrupted):
    whole, _ = uninterrupted
    before = fingerprint(whole)
    result = headscope("resume", whole)
    assert "finished" in result.stdout
    headscope("resume", whole, "log.every=1")
    assert fingerprint(whole) == before


def test_more_steps(folder, tmp_path):
    overrides = [o for o in OVERRIDES if not o.startswith(("schedule.type", "train.steps", "eval.every"))]
    overrides.append("eval.every=40")
    headscope("run", folder / "c.toml", *overrides, "train.steps=120", "--out", tmp_path / "long")
    headscope("run", folder / "c.toml", *overrides, "train.steps=80", "--out", tmp_path / "short")
    headscope("resume", tmp_path / "short", "train.steps=120")
    assert_same_runs(tmp_path / "long", tmp_path / "short")
    again = tmp_path / "again"  # the stored config is that of the longer run
    headscope("run", tmp_path / "short" / "config.toml", "--out", again)
    assert_same_runs(tmp_path / "long", again)


def test_config_toml_gives_the_same_bits(uninterrupted, tmp_path):
    whole, _ = uninterrupted
    headscope("run", whole / "config.toml", "--out", tmp_path / "again", cwd=tmp_path)
    assert_same_runs(whole, tmp_path / "again")
    assert (whole / "config.toml").read_bytes() == (tmp_path / "again" / "config.toml").read_bytes()


def test_only_some_keys_may_change(uninterrupted):
    whole, _ = uninterrupted
    before = fingerprint(whole)
    for override in ("optimizer.lr=1", "model.d_model=36", "seed=3", "task.seq_len=5", "name=other"):
        result = headscope("resume", whole, override, expect=2)
        assert override.split("=")[0] in result.stderr
    headscope("resume", whole, "train.steps=10", expect=2)
    headscope("resume", whole, "log.evry=10", expect=2)
    assert fingerprint(whole) == before


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == "truncated":
        data = data[: len(data) * 2 // 3]
    elif how == "empty":
        data = data[:0]
    elif how == "header":
        data[3] ^= 1
    else:
        data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


@pytest.fixture(scope="module")
def two_checkpoints(folder):
    run = folder / "two"
    headscope("run", folder / "c.toml", *OVERRIDES, "train.steps=200", "schedule.type=constant", "--out", run)
    assert len(list((run / "checkpoints").iterdir())) == 2
    return run


@pytest.mark.parametrize("how", ["truncated", "bit", "header", "empty"])
def test_damaged_checkpoint(how, two_checkpoints, folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(two_checkpoints, run)
    damage(newest_checkpoint(run), how)
    before = newest_checkpoint(run).read_bytes()

    trace = ["trace", run, "--tokens", folder / "train.h5", "-o", tmp_path / "out.h5"]
    result = headscope(*trace, "--step", 200, expect=74)
    assert "step-00000200.h5" in result.stderr and not (tmp_path / "out.h5").exists()
    assert newest_checkpoint(run).read_bytes() == before
    assert "step-00000200.h5" in headscope(*trace).stderr  # passed over

    result = headscope("resume", run)  # from step 100
    assert "step-00000200.h5" in result.stderr
    assert_same_runs(two_checkpoints, run)


def test_all_checkpoints_damaged(two_checkpoints, folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(two_checkpoints, run)
    for path in (run / "checkpoints").iterdir():
        damage(path, "bit")
    log = (run / "log.h5").read_bytes()
    result = headscope("trace", run, "--tokens", folder / "train.h5", "-o", tmp_path / "out.h5", expect=74)
    assert "step-00000" in result.stderr
    result = headscope("resume", run, expect=74)
    assert "step-00000" in result.stderr
    assert (run / "log.h5").read_bytes() == log


@pytest.mark.parametrize("how", ["bit", "gone"])
def test_damaged_log(how, two_checkpoints, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(two_checkpoints, run)
    if how == "gone":
        os.remove(run / "log.h5")
    else:
        damage(run / "log.h5", how)
    before = fingerprint(run)
    result = headscope("resume", run, "train.steps=300", expect=74)
    assert "log.h5" in result.stderr and f"headscope run {run}/config.toml --out" in result.stderr
    assert fingerprint(run) == before


def test_killed_before_the_first_checkpoint(two_checkpoints, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(two_checkpoints / "config.toml", run)
    headscope("resume", run)
    assert_same_runs(two_checkpoints, run)


def test_on_another_machine(two_checkpoints, tmp_path):
    """It goes on, and says from then on that bits may differ."""
    run = tmp_path / "run"
    shutil.copytree(two_checkpoints, run)
    os.remove(newest_checkpoint(run))
    with h5py.File(run / "log.h5", "r+") as log:
        here = log.attrs["cpu"]
        log.attrs["cpu"] = "an abacus"
    seal_log(run / "log.h5")
    difference = f"cpu was an abacus when the run was trained and is {here} now; bits may differ"
    assert difference in headscope("resume", run).stderr
    assert_same_runs(two_checkpoints, run)
    with h5py.File(run / "log.h5") as log:
        assert difference in [message.decode() for message in log["events/message"]] and log.attrs["cpu"] == here
    replayed = headscope("replay", run, "--out", tmp_path / "replayed")
    assert replayed.stderr.count("bits may differ") == 1 and difference in replayed.stderr
    assert "bits may differ" not in headscope("replay", two_checkpoints, "--out", tmp_path / "other").stderr


def test_temporary_files_of_a_killed_run_are_removed(two_checkpoints, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(two_checkpoints, run)
    os.remove(newest_checkpoint(run))
    (run / ".log.h5.tmp-12345").write_bytes(b"half")
    (run / "checkpoints" / ".step-00000200.h5.tmp-12345").write_bytes(b"half")
    headscope("resume", run)
    assert not list(run.rglob(".*"))


def test_elapsed_goes_on(uninterrupted):
    whole, _ = uninterrupted
    elapsed = read_datasets(whole / "log.h5", "/train")["elapsed"]
    assert (elapsed[1:] > elapsed[:-1]).all()
    assert "train/loss" in reproducible(whole / "log.h5")
