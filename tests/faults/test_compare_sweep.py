"""`compare` on sweeps: which runs it takes, and areas, first steps and tables computed here again from the logs."""

import csv
import io
import json
import re

import h5py
import numpy as np
import pytest

from cli_tools import headscope
from sweep_folders import make_sweep

RATES, SEEDS = ["0.001", "0.1"], [0, 1]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweeps") / "sweep"
    make_sweep(folder, ["log.probes.role=5", "log.probes.importance=6", "log.probes.grad_norm=3"],
               {f"lr-{rate}_seed-{seed}": [f"optimizer.lr={rate}", f"seed={seed}"] for rate in RATES for seed in SEEDS},
               waiting=3)
    return folder


def compared(*arguments):
    return json.loads(headscope("compare", *arguments, "--json").stdout)


def runs_of(result):
    return [run for group in result["groups"] for run in group["runs"]]


def series(run, name):
    with h5py.File(f"{run}/log.h5") as file:
        return file[name.rsplit("/", 1)[0] + "/step"][:], file[name][:]


def mean_over_steps(steps, values, first=-np.inf, last=np.inf):
    inside = (steps >= first) & (steps <= last)
    steps, values = steps[inside].astype(float), values[inside]
    return np.trapz(values, steps) / (steps[-1] - steps[0])


def codes(run, role):
    with h5py.File(f"{run}/log.h5") as file:
        names = file["heads/role/value"].attrs["value_labels"].split(", ")
        return file["heads/role/step"][:], file["heads/role/value"][:] == names.index(role)


def test_a_sweep_is_its_runs(sweep):
    result = compared(sweep)
    folders = [str(sweep / f"lr-{rate}_seed-{seed}") for rate in RATES for seed in SEEDS]
    assert [run["run"] for run in runs_of(result)] == folders
    assert result["differs"] == ["optimizer.lr"]
    assert [group["quantities"]["eval/loss"]["n"] for group in result["groups"]] == [2, 2]
    assert result["notes"] == [f"3 of 7 runs of {sweep} are not finished: later-0 (waiting, no log), later-1 (waiting, no "
                               f"log), later-2 (waiting, no log); `headscope sweep {sweep} --resume` goes on."]
    by_name = compared(*folders)
    assert by_name["groups"] == result["groups"] and by_name["notes"] == []
    text = headscope("compare", sweep).stdout
    assert max(map(len, text.splitlines())) <= 80 and "3 of 7 runs of" in text


def test_sweeps_and_runs_together(sweep, tmp_path):
    make_sweep(tmp_path / "other", ["log.probes.role=5"], {"five": ["optimizer.lr=0.001", "seed=5"]})
    result = compared(tmp_path / "other", sweep / "lr-0.1_seed-1" / "log.h5", sweep / "lr-0.1_seed-0")
    assert [run["seed"] for run in runs_of(result)] == [5, 1, 0] and result["notes"] == []


@pytest.mark.parametrize("window", [None, (10, 30), (14, 25)])
def test_areas(sweep, window):
    options = [] if window is None else ["--from", window[0], "--to", window[1]]
    result = compared(sweep, "--metric", "eval/loss", "train/loss", "importance/max", "role/uniform", "grad_norm[1.0]",
                      "--area", *options)
    for run in runs_of(result):
        for name in ("eval/loss", "train/loss"):
            expected = mean_over_steps(*series(run["run"], name), *(window or ()))
            np.testing.assert_allclose(run[name + " area"], expected, rtol=1e-12)
        steps, importance = series(run["run"], "heads/importance/value")
        _, norm = series(run["run"], "heads/grad_norm/value")
        expected = mean_over_steps(steps, importance.reshape(len(steps), -1).max(1).astype(float), *(window or ()))
        np.testing.assert_allclose(run["importance/max area"], expected, rtol=1e-12)
        steps, _ = series(run["run"], "heads/grad_norm/value")
        expected = mean_over_steps(steps, norm[:, 1, 0].astype(float).mean(-1), *(window or ()))
        np.testing.assert_allclose(run["grad_norm[1.0] area"], expected, rtol=1e-12)
        steps, uniform = codes(run["run"], "uniform")
        np.testing.assert_allclose(run["role/uniform area"],
                                   mean_over_steps(steps, uniform.sum((1, 2)).astype(float), *(window or ())), rtol=1e-12)
    differences = [runs_of(result)[2 + i]["eval/loss area"] - runs_of(result)[i]["eval/loss area"] for i in range(2)]
    np.testing.assert_allclose(result["groups"][1]["differences"]["eval/loss area"]["mean"], np.mean(differences))


def first_step(steps, so):
    return float(steps[so.argmax()]) if so.any() else None


def test_first_steps(sweep):
    middle = np.median(series(sweep / "lr-0.1_seed-0", "eval/loss")[1])
    result = compared(sweep, "--metric", "eval/loss", "role/uniform", "role/unclear", "--above", 1, "--below", middle)
    seen = set()
    for run in runs_of(result):
        steps, loss = series(run["run"], "eval/loss")
        assert run[f"eval/loss first <= {middle}"] == first_step(steps, loss <= middle)
        for role in ("uniform", "unclear"):
            steps, so = codes(run["run"], role)
            seen.add(first_step(steps, so.any((1, 2))))
            assert run[f"role/{role} first >= 1"] == first_step(steps, so.any((1, 2)))
            assert run[f"role/{role}"] == so[-1].sum()
    assert len(seen) > 1, "all of them happen at one step: a test of nothing"


def test_a_role_by_name(sweep):
    assert "did you mean uniform?" in headscope("compare", sweep, "--metric", "role/unifrom", expect=2).stderr
    roles = {name for name in compared(sweep, "--metric", "role")["groups"][0]["quantities"]}
    assert "role/induction" in roles and len(roles) == 9


def test_the_table_has_a_row_per_run(sweep):
    result = headscope("compare", sweep, "--metric", "eval/loss", "role/uniform", "--area", "--above", 99, "--csv")
    assert "3 of 7 runs" in result.stderr and len(result.stderr.splitlines()) == 2
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    names = ["eval/loss", "eval/loss area", "eval/loss first >= 99", "role/uniform", "role/uniform area",
             "role/uniform first >= 99"]
    assert list(rows[0]) == ["folder", "optimizer.lr", "seed", *names]
    runs = runs_of(compared(sweep, "--metric", "eval/loss", "role/uniform", "--area", "--above", 99))
    assert [row["folder"] for row in rows] == [run["run"] for run in runs]
    for row, run in zip(rows, runs):
        assert row["optimizer.lr"] == re.search(r"lr-([\d.]+)_", run["run"]).group(1) and int(row["seed"]) == run["seed"]
        assert [float(row[name]) if row[name] else None for name in names] == [run[name] for name in names]
    assert all(row["eval/loss first >= 99"] == "" for row in rows)


def test_pandas_reads_the_table(sweep):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(io.StringIO(headscope("compare", sweep, "--area", "--csv").stdout))
    assert table["optimizer.lr"].dtype == float and table["seed"].dtype == int
    assert table.groupby("optimizer.lr")["eval/loss area"].mean().notna().all() and len(table) == 4


@pytest.mark.parametrize("arguments, says", [
    (["--json", "--csv"], "not both"),
    (["--from", 3], "--area"),
    (["--area", "--from", 5, "--to", 5], "more than one step"),
    (["--metric", "role[0.1]"], "unknown role"),
])
def test_what_is_refused(sweep, arguments, says):
    assert says in headscope("compare", sweep, *arguments, expect=2).stderr


def test_sweeps_without_a_log_and_broken_manifests(tmp_path):
    make_sweep(tmp_path / "sweep", [], {}, waiting=2)
    for verb in (["compare", tmp_path / "sweep"], ["find", tmp_path / "sweep", "role == 'local'"]):
        assert f"none of the 2 runs of {tmp_path / 'sweep'} has a log yet" in headscope(*verb, expect=2).stderr
    (tmp_path / "sweep" / "manifest.json").write_text("{")
    for verb in (["compare", tmp_path / "sweep"], ["find", tmp_path / "sweep", "role == 'local'"]):
        assert "manifest.json" in headscope(*verb, expect=74).stderr
