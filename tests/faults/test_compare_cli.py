"""`compare` on runs of the binary itself: its numbers computed here again from the logs, and what it refuses."""

import json
import math
import shutil

import h5py
import numpy as np
import pytest

from cli_tools import SOURCE, headscope

CONFIG = SOURCE / "experiments" / "configs" / "lag_mixture.toml"
SMALL = ["model.d_model=12", "model.head_dim=4", "task.seq_len=16", "task.near=1", "task.far=5", "train.batch_size=3",
         "eval.batches=1", "eval.every=3", "log.every=2", "train.steps=6", "log.probes.role=3"]
RATES, SEEDS = ["1e-3", "2e-2"], [0, 1, 2]
T_975_2 = 0.95 * math.sqrt(2 / (1 - 0.95**2))  # Student's t with two degrees of freedom, in closed form


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of tiny runs by (rate, seed)."""
    folder = tmp_path_factory.mktemp("runs")
    paths = {(rate, seed): folder / f"r{rate}-s{seed}" for rate in RATES for seed in SEEDS}
    for (rate, seed), path in paths.items():
        headscope("run", CONFIG, *SMALL, f"optimizer.lr={rate}", f"seed={seed}", "--threads", 1, "--out", path)
    return paths


def compare(*folders):
    return json.loads(headscope("compare", *folders, "--json").stdout)


def last(path, dataset):
    with h5py.File(path / "log.h5") as file:
        return file[dataset][-1]


def check_estimate(estimate, values, lowest=-math.inf, highest=math.inf, has_interval=True):
    values = np.asarray(values, float)
    half_width = T_975_2 * values.std(ddof=1) / math.sqrt(3)
    low, high = max(values.mean() - half_width, lowest), min(values.mean() + half_width, highest)
    assert estimate["n"] == len(values) == 3
    np.testing.assert_allclose([estimate[key] for key in ("mean", "min", "max")],
                               [values.mean(), values.min(), values.max()], rtol=1e-12, atol=1e-12)
    if has_interval:
        np.testing.assert_allclose([estimate["low"], estimate["high"]], [low, high], rtol=1e-12, atol=1e-12)
    else:
        assert estimate["low"] is estimate["high"] is None


def test_numbers_are_those_of_the_logs(runs):
    result = compare(*runs.values())
    assert result["differs"] == ["optimizer.lr"] and result["notes"] == []
    assert [group["values"]["optimizer.lr"] for group in result["groups"]] == [0.001, 0.02]
    for group, rate in zip(result["groups"], RATES):
        paths = [runs[rate, seed] for seed in SEEDS]
        assert [run["run"] for run in group["runs"]] == [str(path) for path in paths]
        assert [run["seed"] for run in group["runs"]] == SEEDS
        assert all(run["step"] == 6 and run["state"] == "finished" for run in group["runs"])
        with h5py.File(paths[0] / "log.h5") as file:
            columns = [f"eval/{name}" for name in file["eval"] if name != "step"] + ["train/loss"]
        assert set(columns) == {name for name in group["quantities"] if not name.startswith("role/")}
        for name in columns:
            check_estimate(group["quantities"][name], [last(path, name) for path in paths],
                           -math.inf if name == "eval/excess" else 0, 1 if name == "eval/accuracy" else math.inf)
        codes = [last(path, "heads/role/value") for path in paths]
        names = h5py.File(paths[0] / "log.h5")["heads/role/value"].attrs["value_labels"].split(", ")
        heads = {f"role/{name}": [np.sum(code == i) for code in codes] for i, name in enumerate(names)}
        for name, counts in heads.items():
            if name in group["quantities"]:
                check_estimate(group["quantities"][name], counts, has_interval=False)
            else:
                assert sum(counts) == 0


def test_differences_are_those_of_equal_seeds(runs):
    first, second = compare(*runs.values())["groups"]
    assert first["difference_to_first"] is None
    check_estimate(second["difference_to_first"],
                   [last(runs[RATES[1], seed], "eval/loss") - last(runs[RATES[0], seed], "eval/loss")
                    for seed in SEEDS])


def test_order_of_runs_does_not_change_the_groups(runs):
    forwards, backwards = compare(*runs.values()), compare(*reversed(runs.values()))
    for a, b in zip(forwards["groups"], backwards["groups"]):
        assert a["values"] == b["values"]
        for name, estimate in a["quantities"].items():
            np.testing.assert_allclose(np.array(list(estimate.values()), float),
                                       np.array(list(b["quantities"][name].values()), float), rtol=1e-12)


def test_text_has_a_line_per_group_and_fits_a_terminal(runs):
    text = headscope("compare", *runs.values()).stdout
    assert max(map(len, text.splitlines())) <= 80
    block = text[text.index("eval/loss, nat/token: evaluation loss, against true distributions\n"):].splitlines()[:4]
    assert [line.split()[0] for line in block[1:3]] == ["lr=0.001", "lr=0.02"]
    mean = np.mean([last(runs[RATES[0], seed], "eval/loss") for seed in SEEDS])
    assert block[1].split()[1] == f"{mean:.4f}" and block[1].endswith("n=3") and block[3] == ""


def test_one_run_alone_and_a_run_twice(runs):
    path = runs[RATES[0], 0]
    assert "  all  " in headscope("compare", path).stdout
    twice = compare(path, path)
    assert len(twice["groups"]) == 1 and len(twice["groups"][0]["runs"]) == 1
    assert "counted once" in twice["notes"][0]
    assert twice["groups"][0]["quantities"]["eval/loss"]["low"] is None


def test_runs_of_other_tasks_share_what_they_can(runs, tmp_path):
    headscope("run", SOURCE / "experiments" / "configs" / "repeat.toml", "model.d_model=12", "train.batch_size=3",
              "eval.batches=1", "train.steps=2", "model.num_heads=2", "model.head_dim=4", "--threads", 1,
              "--out", tmp_path / "other")
    result = compare(runs[RATES[0], 0], tmp_path / "other")
    assert len(result["groups"]) == 2 and "task.type" in result["differs"]
    assert "eval/loss" in result["groups"][0]["quantities"]
    assert "eval/loss_near" not in result["groups"][0]["quantities"]
    assert any("eval/loss_near" in note for note in result["notes"])
    assert any("different steps" in note for note in result["notes"])


@pytest.mark.parametrize("damage, code, says", [
    (lambda log: log.write_bytes(log.read_bytes()[:-200]), 74, "damaged"),
    (lambda log: log.write_bytes(b"no HDF5"), 74, "log.h5"),
    (lambda log: log.write_bytes(b""), 74, "log.h5"),
    (lambda log: log.unlink(), 2, "no log.h5"),
    (lambda log: shutil.rmtree(log.parent), 2, "there is no run folder"),
])
def test_one_bad_run_ends_it_all(runs, tmp_path, damage, code, says):
    bad = tmp_path / "bad"
    shutil.copytree(runs[RATES[0], 1], bad)
    damage(bad / "log.h5")
    result = headscope("compare", runs[RATES[0], 0], bad, runs[RATES[1], 0], expect=code)
    assert result.stdout == ""
    assert str(bad) in result.stderr and (says in result.stderr or code == 74)
    assert all(line.startswith("headscope: ") for line in result.stderr.splitlines())


def test_a_log_cut_anywhere_is_refused(runs, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(runs[RATES[0], 1], bad)
    whole = (bad / "log.h5").read_bytes()
    for at in np.linspace(1, len(whole) - 1, 7).astype(int):
        (bad / "log.h5").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
        assert str(bad) in headscope("compare", bad, expect=74).stderr
        assert str(bad) in headscope("inspect", bad, expect=74).stderr


def test_needs_a_run():
    assert "runs" in headscope("compare", expect=2).stderr
