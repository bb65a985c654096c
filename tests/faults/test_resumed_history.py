"""A run that was resumed with other settings: what held at which step is kept, and looking back goes by it."""

import re
import shutil

import h5py
import pytest

from cli_tools import assert_same_bits, assert_same_runs, headscope, newest_checkpoint, reproducible, write_config, write_tokens
from test_replay import OVERRIDES, T, VOCAB, fingerprint, rows

FIRST, STEPS = 24, 40
CHANGES = [f"train.steps={STEPS}", "eval.every=5", "eval.batches=1", "log.every=3", "log.probes.overlap=4",
           "log.probes.grad_norm=", "checkpoint.every=7"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("history")
    write_tokens(folder / "train.h5", 5, 4, T, VOCAB, seed=7)
    write_tokens(folder / "held.h5", 3, 4, T, VOCAB, seed=8)
    write_config(folder / "c.toml", folder / "train.h5", VOCAB, T, folder / "held.h5")
    headscope("run", folder / "c.toml", *OVERRIDES, "--out", folder / "first")
    shutil.copytree(folder / "first", folder / "run")
    (folder / "said").write_text(headscope("resume", folder / "run", *CHANGES).stderr)
    return folder


def history(run):
    with h5py.File(run / "log.h5") as log:
        return log["config/history"].asstr()[()] if "config/history" in log else ""


def events(run):
    with h5py.File(run / "log.h5") as log:
        return [f"{step} {kind}: {message}" for step, kind, message in
                zip(log["events/step"], log["events/kind"].asstr(), log["events/message"].asstr())]


def change_log(run, change):
    """As another program would have left it: without a checksum."""
    path = run / "log.h5"
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"\nheadscope log sha256")])
    with h5py.File(path, "r+") as file:
        change(file)


def test_both_rates_are_said(folder):
    said = (folder / "said").read_text()
    sentence = re.search(r'schedule.type = "cosine" depends on train.steps: the learning rate of step 24 is (\S+) with '
                         r"train.steps = 40 and would be (\S+) with 24\n", said)
    assert sentence, said
    with h5py.File(folder / "run" / "log.h5") as log:
        rate = dict(zip(log["train/step"], log["train/lr"]))[24]
    assert float(sentence[1]) == pytest.approx(rate, rel=1e-5) and float(sentence[2]) < 1e-6
    assert any(event.startswith("24 resume: schedule.type") for event in events(folder / "run"))
    assert ("24 resume: from step 24, with checkpoint.every = 7 (was 10), eval.batches = 1 (was 8), eval.every = 5 "
            "(was 8), log.every = 3 (was 2), log.probes.grad_norm = not set (was 3), log.probes.overlap = 4 (was not "
            "set), train.steps = 40 (was 24)") in events(folder / "run")


def test_a_schedule_that_does_not_depend_on_it(folder, tmp_path):
    headscope("run", folder / "c.toml", *OVERRIDES, "schedule.type=constant", "--out", tmp_path / "run")
    assert "depends on train.steps" not in headscope("resume", tmp_path / "run", "train.steps=30").stderr
    assert "train.steps = 30 (was 24)" in "".join(events(tmp_path / "run"))


def test_nothing_is_kept_of_what_never_changed(folder, tmp_path):
    assert history(folder / "first") == ""
    assert history(folder / "run").count("[[from]]") == 2 and '"train.steps=24"' in history(folder / "run")
    # Once more without a change, and once more with one.
    shutil.copytree(folder / "run", tmp_path / "run")
    headscope("resume", tmp_path / "run")
    assert history(tmp_path / "run") == history(folder / "run")
    headscope("resume", tmp_path / "run", "train.steps=44")
    assert history(tmp_path / "run").count("[[from]]") == 3
    headscope("replay", tmp_path / "run", "--out", tmp_path / "all")


@pytest.mark.parametrize("first,last", [(0, STEPS), (0, 23), (3, 24), (24, 24), (22, 27), (24, STEPS), (30, 33)])
def test_replay(folder, tmp_path, first, last):
    before = fingerprint(folder / "run")
    headscope("replay", folder / "run", "--from", first, "--to", last, "--out", tmp_path / "w", "--threads", 1 + last % 3)
    mine, own = rows(tmp_path / "w" / "log.h5", -1, STEPS + 1), rows(folder / "run" / "log.h5", first, last)
    assert_same_bits(own, {name: value for name, value in mine.items() if name in own})
    assert not [name for name, value in mine.items() if name not in own and len(value)]
    assert fingerprint(folder / "run") == before


def test_replay_may_log_more(folder, tmp_path):
    headscope("replay", folder / "run", "--from", 20, "--to", 30, "eval.every=1", "log.every=1", "log.probes.role=1",
              "--out", tmp_path / "w")
    with h5py.File(tmp_path / "w" / "log.h5") as log:
        assert list(log["eval/step"]) == list(log["train/step"]) == list(log["heads/role/step"]) == list(range(20, 31))


@pytest.mark.parametrize("step", [0, 11, 23, 24, 25, 39])
def test_fork_with_nothing_changed(folder, tmp_path, step):
    fork = tmp_path / "fork"
    headscope("fork", folder / "run", "--step", step, "--out", fork)
    assert_same_runs(folder / "run", fork)
    headscope("replay", fork, "--out", tmp_path / "w")
    if step > 24:
        assert history(fork) == history(folder / "run")
    # It can be lost up to its first checkpoint, and goes on as planned.
    for path in (fork / "checkpoints").glob("step-*.h5"):
        path.unlink()
    headscope("resume", fork)
    assert_same_bits(reproducible(folder / "run" / "log.h5"), reproducible(fork / "log.h5"))


def test_fork_with_a_change(folder, tmp_path):
    said = headscope("fork", folder / "run", "--step", 10, "train.steps=30", "--out", tmp_path / "fork").stderr
    assert "depends on train.steps: the learning rate of step 10" in said and "with 24" in said
    headscope("replay", tmp_path / "fork", "--out", tmp_path / "w")
    headscope("fork", tmp_path / "fork", "--step", 20, "optimizer.type=sgd", "--out", tmp_path / "sgd")
    with h5py.File(tmp_path / "fork" / "log.h5") as a, h5py.File(tmp_path / "sgd" / "log.h5") as b:
        assert list(a["train/lr"]) == list(b["train/lr"])


@pytest.mark.parametrize("step", [5, 23, 24, 31])
def test_trace_and_ablate(folder, tmp_path, step):
    headscope("trace", folder / "run", "--step", step, "--tokens", folder / "held.h5", "-o", tmp_path / "a.h5")
    headscope("ablate", folder / "run", "--step", step, "--out", tmp_path / "ablation.h5")
    if step <= FIRST:
        headscope("trace", folder / "first", "--step", step, "--tokens", folder / "held.h5", "-o", tmp_path / "b.h5")
        with h5py.File(tmp_path / "a.h5") as a, h5py.File(tmp_path / "b.h5") as b:
            assert_same_bits({"logits": a["logits"][()]}, {"logits": b["logits"][()]})


@pytest.mark.parametrize("oldest_lost", [7, 20, 24, 28])
def test_checkpoints_from_before_the_change(folder, tmp_path, oldest_lost):
    run = tmp_path / "run"
    shutil.copytree(folder / "run", run)
    for path in (run / "checkpoints").glob("step-*.h5"):
        if int(path.stem.split("-")[1]) >= oldest_lost and path != run / "checkpoints" / "step-00000010.h5":
            path.unlink()
    headscope("resume", run)
    assert_same_runs(folder / "run", run)
    assert history(run) == history(folder / "run")


def test_killed_before_its_first_log(folder, tmp_path):
    """config.toml is what the run is from now on, the log what it was."""
    run = tmp_path / "run"
    shutil.copytree(folder / "first", run)
    text = (folder / "run" / "config.toml").read_text()
    (run / "config.toml").write_text(text)
    headscope("replay", run, "--out", tmp_path / "w")
    headscope("ablate", run, "--step", 13)
    (run / "ablation.h5").unlink()
    assert "depends on train.steps" in headscope("resume", run).stderr
    assert_same_runs(folder / "run", run)
    assert history(run) == history(folder / "run")


def test_a_run_of_before(folder, tmp_path):
    """An earlier version kept no history: everything is as it was then, and a resume from now on is kept."""
    run = tmp_path / "run"
    shutil.copytree(folder / "first", run)
    headscope("resume", run, f"train.steps={STEPS}")
    change_log(run, lambda file: file.__delitem__("config/history"))
    headscope("replay", run, "--from", 25, "--out", tmp_path / "late")
    refused = headscope("replay", run, "--from", 3, "--out", tmp_path / "no", expect=1).stderr
    assert f"`headscope replay {run} train.steps=N`" in refused
    assert "`headscope replay" in headscope("ablate", run, "--step", 5, expect=1).stderr
    headscope("replay", run, "--from", 3, "--to", 7, "train.steps=24", "--out", tmp_path / "early")
    headscope("resume", run, "train.steps=44")
    headscope("replay", run, "--from", 25, "--out", tmp_path / "later")


def test_early_stop_that_was_lifted(folder, tmp_path):
    run = tmp_path / "run"
    headscope("run", folder / "c.toml", *OVERRIDES, "optimizer.lr=0.3", "schedule.type=constant", "eval.every=2",
              "eval.patience=3", "train.steps=60", "--out", run)
    last = int(newest_checkpoint(run).stem.split("-")[1])
    assert last < 60, "this run should stop early"
    headscope("resume", run, "eval.patience=0", "eval.every=3")
    headscope("replay", run, "--out", tmp_path / "w")
    headscope("fork", run, "--step", 3, "--out", tmp_path / "fork")
    assert_same_runs(run, tmp_path / "fork")


def test_a_broken_history_is_named(folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder / "run", run)

    def change(file):
        del file["config/history"]
        file["config/history"] = "[[from]]\nset = []\n"

    change_log(run, change)
    for verb in (["replay", run, "--out", tmp_path / "no"], ["resume", run, "train.steps=50"]):
        assert "config/history is no history of a config" in headscope(*verb, expect=74).stderr
