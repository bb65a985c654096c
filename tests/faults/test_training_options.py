"""train.accumulate, checkpoint.best and eval.patience: what they do, and that stopping and resuming changes no bit."""

import h5py
import numpy as np
import pytest

from cli_tools import (assert_same_bits, assert_same_runs, headscope, newest_checkpoint, read_datasets, write_config,
                       write_tokens)

VOCAB, T, BATCH = 9, 11, 6
MODEL = ["model.d_model=18", "model.num_heads=3", "model.d_ff=12", "log.every=1", "checkpoint.keep=0",
         "log.probes.grad_norm=1"]
# Random targets that repeat every five batches: the model learns them by heart, and the evaluation loss soon rises.
OVERFIT = [*MODEL, "optimizer.lr=0.02", "train.steps=300", "eval.every=10", "checkpoint.every=30"]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("options")
    write_tokens(folder / "train.h5", 5, BATCH, T, VOCAB, seed=7, unscored=0.4)
    write_tokens(folder / "held.h5", 2, BATCH, T, VOCAB, seed=8)
    return write_config(folder / "c.toml", folder / "train.h5", VOCAB, T, folder / "held.h5")


def run(config, out, *overrides):
    headscope("run", config, *overrides, "--out", out)
    return out


def weights(run_folder):
    return read_datasets(newest_checkpoint(run_folder), "/model")


def eval_losses(run_folder):
    rows = read_datasets(run_folder / "log.h5", "/eval")
    return rows["step"].tolist(), rows["loss"]


def trainer(path):
    with h5py.File(path) as file:
        return dict(file["/trainer"].attrs)


def events(run_folder):
    rows = read_datasets(run_folder / "log.h5", "/events")
    return [(int(step), kind.decode()) for step, kind in zip(rows["step"], rows["kind"])]


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_accumulated_gradients_are_those_of_the_batch(parts, config, tmp_path):
    overrides = [*MODEL, "train.steps=20", "train.dtype=float64", "optimizer.type=sgd", "optimizer.lr=0.5"]
    whole = run(config, tmp_path / "whole", *overrides)
    split = run(config, tmp_path / "split", *overrides, f"train.accumulate={parts}")
    for path in ("train/loss", "train/grad_norm", "heads/grad_norm/value"):
        a, b = (read_datasets(folder / "log.h5")[path] for folder in (whole, split))
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14, err_msg=path)
    a, b = weights(whole), weights(split)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=0, atol=1e-10, err_msg=name)


def test_accumulation_gives_the_same_bits_for_any_threads_and_across_resume(config, tmp_path):
    overrides = [*MODEL, "train.accumulate=3", "model.dropout=0.2", "eval.every=10", "checkpoint.every=10"]
    one = run(config, tmp_path / "one", *overrides, "train.steps=40", "--threads", 1)
    three = run(config, tmp_path / "three", *overrides, "train.steps=40", "--threads", 3)
    assert_same_runs(one, three)
    stopped = run(config, tmp_path / "stopped", *overrides, "train.steps=20")
    headscope("resume", stopped, "train.steps=40")
    assert_same_runs(one, stopped)


def test_parts_draw_dropout_of_their_own(tmp_path):
    """A batch of the same sequence twice: with one mask for both parts, two parts would equal one."""
    inputs, targets = write_tokens(tmp_path / "one.h5", 1, 1, T, VOCAB, seed=3)
    with h5py.File(tmp_path / "twice.h5", "w") as file:
        file["inputs"], file["targets"] = np.repeat(inputs, 2, axis=1), np.repeat(targets, 2, axis=1)
    overrides = [*MODEL, "train.steps=2", "model.dropout=0.5"]
    one = run(write_config(tmp_path / "one.toml", tmp_path / "one.h5", VOCAB, T), tmp_path / "one", *overrides)
    two = run(write_config(tmp_path / "two.toml", tmp_path / "twice.h5", VOCAB, T), tmp_path / "two", *overrides,
              "train.accumulate=2")
    assert read_datasets(one / "log.h5")["train/loss"][0] != read_datasets(two / "log.h5")["train/loss"][0]


def test_parts_must_divide_the_data(config, tmp_path):
    result = headscope("run", config, *MODEL, "train.accumulate=4", "--out", tmp_path / "run", expect=2)
    assert "train.accumulate = 4 does not divide batches of 6" in result.stderr


def test_best_checkpoint(config, tmp_path):
    folder = run(config, tmp_path / "run", *OVERFIT, "checkpoint.best=true", "checkpoint.every=10")
    steps, losses = eval_losses(folder)
    best = steps[int(np.argmin(losses))]
    assert 0 < best < 300, "the task should overfit"
    found = trainer(folder / "checkpoints" / "best.h5")
    assert (found["step"], found["best_step"]) == (best, best) and found["best_loss"] == losses.min()
    same_step = folder / "checkpoints" / f"step-{best:08}.h5"
    assert_same_bits(read_datasets(same_step, "/model"), read_datasets(folder / "checkpoints" / "best.h5", "/model"))
    lower = [step for i, step in enumerate(steps) if i == 0 or losses[i] < losses[:i].min()]
    assert [step for step, kind in events(folder) if kind == "best"] == lower
    last = trainer(newest_checkpoint(folder))
    assert last["best_step"] == best and last["best_loss"] == losses.min()

    plain = run(config, tmp_path / "plain", *OVERFIT)
    assert not (plain / "checkpoints" / "best.h5").exists()
    assert_same_runs(plain, folder)


def expected_end(steps, losses, patience):
    """The step at which so many evaluations have gone by since the lowest loss."""
    for i in range(len(steps)):
        if i - int(np.argmin(losses[: i + 1])) >= patience:
            return steps[i]
    raise AssertionError("the run never stops early")


def test_early_stop(config, tmp_path):
    whole = run(config, tmp_path / "whole", *OVERFIT)
    end = expected_end(*eval_losses(whole), 4)
    assert end < 300
    early = run(config, tmp_path / "early", *OVERFIT, "eval.patience=4")
    assert newest_checkpoint(early).name == f"step-{end:08}.h5"
    assert eval_losses(early)[0][-1] == end
    with h5py.File(early / "log.h5") as log:
        assert log.attrs["state"] in ("finished", b"finished")
    assert (end, "early stop") in events(early)

    before = newest_checkpoint(early).read_bytes(), (early / "log.h5").read_bytes()
    assert "eval.patience=0" in headscope("resume", early).stdout
    headscope("resume", early, "train.steps=500")  # a finished run stays as it is
    assert before == (newest_checkpoint(early).read_bytes(), (early / "log.h5").read_bytes())

    headscope("resume", early, "eval.patience=0")  # goes on as if it had never stopped
    assert_same_runs(whole, early)


def test_early_stop_is_the_same_across_resume(config, tmp_path):
    early = run(config, tmp_path / "early", *OVERFIT, "eval.patience=4", "checkpoint.best=true")
    end = int(newest_checkpoint(early).stem.split("-")[1])
    for middle in (end - 30, end - 10):  # a checkpoint within the patience, where the evaluation is done once more
        stopped = run(config, tmp_path / f"stopped{middle}", *OVERFIT, "eval.patience=4", "checkpoint.best=true",
                      f"train.steps={middle}")
        headscope("resume", stopped, "train.steps=300")
        assert_same_runs(early, stopped)
        best = [read_datasets(folder / "checkpoints" / "best.h5", "/model") for folder in (early, stopped)]
        assert_same_bits(*best)
        assert {key: value for key, value in trainer(newest_checkpoint(stopped)).items() if key != "elapsed"} == \
               {key: value for key, value in trainer(newest_checkpoint(early)).items() if key != "elapsed"}


def test_the_evaluation_at_the_end_counts_for_best_but_not_for_a_longer_run(config, tmp_path):
    """At a step that eval.every does not divide a run evaluates only because it ends there."""
    early = run(config, tmp_path / "early", *OVERFIT, "eval.patience=4")
    end = int(newest_checkpoint(early).stem.split("-")[1])
    for middle in (end - 25, end - 5):
        stopped = run(config, tmp_path / f"stopped{middle}", *OVERFIT, "eval.patience=4", f"train.steps={middle}")
        assert eval_losses(stopped)[0][-1] == middle
        headscope("resume", stopped, "train.steps=300")
        assert_same_runs(early, stopped)

    short = run(config, tmp_path / "short", *OVERFIT, "checkpoint.best=true", "train.steps=5")
    steps, losses = eval_losses(short)
    assert steps == [0, 5] and losses[1] < losses[0]
    found = trainer(short / "checkpoints" / "best.h5")
    assert (found["step"], found["best_step"], found["best_loss"]) == (5, 5, losses[1])
    assert [step for step, kind in events(short) if kind == "best"] == [0, 5]


@pytest.mark.parametrize("key", ["eval.patience=2", "checkpoint.best=true"])
def test_needs_evaluation_data(key, tmp_path):
    write_tokens(tmp_path / "train.h5", 5, BATCH, T, VOCAB)
    blind = write_config(tmp_path / "c.toml", tmp_path / "train.h5", VOCAB, T)
    result = headscope("run", blind, *MODEL, key, "--out", tmp_path / "run", expect=2)
    assert f"{key.split('=')[0]} needs evaluation data" in result.stderr and not (tmp_path / "run").exists()
