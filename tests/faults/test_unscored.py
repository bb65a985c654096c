"""Batches and evaluations without a scored target: what is logged, printed, checked; and that they count as nothing."""

import json
import sys

import h5py
import numpy as np
import pytest

from cli_tools import (SOURCE, assert_same_bits, assert_same_runs, headscope, read_datasets, reproducible,
                       write_config, write_tokens)

sys.path.insert(0, str(SOURCE / "scripts"))

VOCAB, T, BATCH, BATCHES, STEPS = 7, 6, 4, 5, 24
UNSCORED = 2  # of each BATCHES batches this one has no scored target
SETTINGS = ["model.d_model=8", "model.num_heads=2", "model.num_layers=2", "model.d_ff=12", "optimizer.lr=0.02",
            f"train.steps={STEPS}", "log.every=1", "eval.every=4", "checkpoint.every=8", "checkpoint.keep=0",
            "log.probes.grad_norm=1", "log.probes.importance=4", "log.probes.attention_entropy=4"]


def tokens(path, unscored_batches, batches=BATCHES, seed=1):
    write_tokens(path, batches, BATCH, T, VOCAB, seed=seed, unscored=0.2)
    with h5py.File(path, "r+") as file:
        for batch in unscored_batches:
            file["targets"][batch] = -1
    return path


def inspected(path):
    """What inspect prints, with single spaces."""
    return " ".join(headscope("inspect", path).stdout.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """train.h5 with one batch unscored, held.h5 whose first batch is unscored, nothing.h5 all unscored."""
    folder = tmp_path_factory.mktemp("unscored")
    tokens(folder / "train.h5", [UNSCORED])
    tokens(folder / "held.h5", [0], 2, seed=2)
    tokens(folder / "nothing.h5", range(2), 2, seed=3)
    write_config(folder / "c.toml", folder / "train.h5", VOCAB, T, folder / "held.h5")
    return folder


@pytest.fixture(scope="module")
def run(folder):
    headscope("run", folder / "c.toml", *SETTINGS, "--out", folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def blind(folder):
    """Evaluates on the unscored batch alone, and would stop after one evaluation without a lower loss."""
    out = headscope("run", folder / "c.toml", *SETTINGS, "eval.batches=1", "eval.patience=1", "checkpoint.best=true",
                    "--out", folder / "blind")
    assert "step 4: no target of the evaluation batches is scored" in out.stderr
    return folder / "blind"


def test_the_loss_of_such_a_batch_is_nan_and_its_gradient_0(run):
    log = read_datasets(run / "log.h5")
    unscored = log["train/step"] % BATCHES == UNSCORED
    assert (np.isnan(log["train/loss"]) == unscored).all()
    assert (log["train/loss"][~unscored] > 0.1).all()
    assert (log["train/grad_norm"][unscored] == 0).all() and (log["train/grad_norm"][~unscored] > 0).all()
    assert np.isfinite(log["eval/loss"]).all() and np.isfinite(log["heads/importance/value"]).all()


@pytest.mark.parametrize("which", ["path", "eval_path"])
@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_file_without_any_is_refused_before_training(verb, which, folder, tmp_path):
    options = ["--out", tmp_path / "out"] if verb == "run" else []
    result = headscope(verb, folder / "c.toml", *SETTINGS, f"task.{which}={folder / 'nothing.h5'}", *options, expect=2)
    assert f"{folder / 'nothing.h5'}: /targets holds no scored target" in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_evaluation_that_measured_nothing_neither_counts_nor_stops(blind):
    log = read_datasets(blind / "log.h5")
    assert log["train/step"][-1] == STEPS - 1 and log["eval/step"][-1] == STEPS
    assert np.isnan(log["eval/loss"]).all() and np.isnan(log["eval/accuracy"]).all()
    assert np.isnan(log["heads/importance/value"]).all()
    assert [kind for kind in log["events/kind"].astype(str) if kind in ("best", "early stop")] == []
    assert not (blind / "checkpoints" / "best.h5").exists()
    with h5py.File(blind / "checkpoints" / f"step-{STEPS:08}.h5") as file:
        assert (file["trainer"].attrs["best_step"], file["trainer"].attrs["evaluations_since_best"]) == (-1, 0)


@pytest.mark.parametrize("name", ["run", "blind"])
def test_verify_inspect_and_compare_take_nan_for_not_measured(name, request):
    path = request.getfixturevalue(name)
    headscope("verify", path)
    shown = inspected(path)
    assert ("evaluation - step 24, no target is scored" in shown) == (name == "blind")
    assert "nan" not in shown.replace(str(path), "").split()
    assert (json.loads(headscope("inspect", path, "--json").stdout)["eval"]["loss"] is None) == (name == "blind")
    headscope("compare", path)


def test_inspect_after_an_unscored_batch(folder, tmp_path):
    headscope("run", folder / "c.toml", *SETTINGS, f"train.steps={UNSCORED + 1}", "--out", tmp_path / "short")
    assert "training batch - step 2, no target is scored" in inspected(tmp_path / "short")


@pytest.mark.parametrize("edit", ["train", "eval"])
def test_verify_still_finds_a_loss_that_is_nan_elsewhere(edit, run, tmp_path):
    copy = tmp_path / "log.h5"
    data = (run / "log.h5").read_bytes()
    copy.write_bytes(data)
    with h5py.File(copy, "r+") as file:
        file[f"{edit}/loss"][1] = np.nan
    assert f"/{edit}/loss[1] is nan" in headscope("verify", copy, expect=1).stdout


@pytest.mark.parametrize("name", ["run", "blind"])
def test_replay_fork_and_resume_agree_bit_for_bit(name, request, folder, tmp_path):
    path = request.getfixturevalue(name)
    headscope("replay", path, "--from", 1, "--to", 13, "--out", tmp_path / "replay")
    headscope("fork", path, "--step", 11, "--out", tmp_path / "fork")
    mine, theirs = (reproducible(each / "log.h5") for each in (path, tmp_path / "fork"))
    assert_same_bits(mine, theirs)
    stopped = tmp_path / "stopped"
    same = [] if name == "run" else ["eval.batches=1", "eval.patience=1", "checkpoint.best=true"]
    headscope("run", folder / "c.toml", *SETTINGS, *same, "train.steps=12", "--out", stopped)
    headscope("resume", stopped, f"train.steps={STEPS}")
    assert_same_runs(path, stopped)


def test_accumulated_parts(folder, tmp_path):
    headscope("run", folder / "c.toml", *SETTINGS, "train.accumulate=2", "--out", tmp_path / "parts")
    log = read_datasets(tmp_path / "parts" / "log.h5")
    assert (np.isnan(log["train/loss"]) == (log["train/step"] % BATCHES == UNSCORED)).all()


def test_trace_of_unscored_tokens(run, folder, tmp_path):
    shown = headscope("trace", run, "--tokens", folder / "nothing.h5", "-o", tmp_path / "out.h5").stdout
    assert "no target is scored" in shown
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["loss"][()] == 0  # what the loss op gives
        assert all((gradient[()] == 0).all() for gradient in file["gradients"].values())


def test_ablate_measures_nothing(blind):
    headscope("ablate", blind)
    assert np.isnan(read_datasets(blind / "ablation.h5")["loss"]).all()


def test_the_figure_of_the_loss_leaves_the_rows_out(run, blind):
    pytest.importorskip("matplotlib")
    import headscope as reader
    from figures import loss
    for path in (run, blind):
        with reader.open(path) as log:
            lines = loss(log).axes[0].get_lines()
            training = next(line for line in lines if line.get_label() == "training batch")
            assert np.isfinite(training.get_ydata()).all()
            assert len(training.get_xdata()) == sum(step % BATCHES != UNSCORED for step in range(STEPS))
