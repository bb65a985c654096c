"""`find`: its answers computed here again from the logs, and what it says of conditions that are none."""

import csv
import io
import itertools
import json
import shutil

import h5py
import numpy as np
import pytest

from cli_tools import headscope
from sweep_folders import make_sweep

PROBES = ["log.probes.role=5", "log.probes.importance=2", "log.probes.grad_norm=3", "log.probes.overlap=10",
          "log.probes.lag_profile=5", "log.probes.grad_norm_by_class=10"]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweeps") / "sweep"
    make_sweep(folder, PROBES, {
        f"heads-{heads}_seed-{seed}": [f"model.num_heads={heads}", f"seed={seed}", "optimizer.lr=0.1"]
        for heads in (2, 3) for seed in (0, 1)}, waiting=1)
    return folder


def runs(sweep):
    return [run["folder"] for run in json.loads((sweep / "manifest.json").read_text())["runs"]
            if run["state"] == "finished"]


class Logged:
    """A run's metrics, each with the steps that it has, as [rows, L, H]."""

    def __init__(self, run):
        self.run = run
        with h5py.File(run / "log.h5") as file:
            self.seed = file.attrs["seed"]
            names = file["heads/role/value"].attrs["value_labels"].split(", ")
            self.values, self.steps = {}, {}
            for name in ("importance", "grad_norm", "overlap", "lag_profile", "grad_norm_by_class", "role"):
                group = file["heads"][name]
                self.values[name], self.steps[name] = group["value"][:], group["step"][:]
            self.classes = list(file["heads/grad_norm_by_class/class"].asstr())
        self.values["role"] = np.array(names)[self.values["role"].astype(int)]
        self.heads = self.values["role"].shape[2]

    def at(self, steps, name):
        return self.values[name][np.searchsorted(self.steps[name], steps)]

    def common(self, *names):
        steps = self.steps[names[0]]
        for name in names[1:]:
            steps = np.intersect1d(steps, self.steps[name])
        return steps


def mean_of_others(overlap):
    """[rows, L, H, H] -> [rows, L, H]."""
    heads = overlap.shape[-1]
    return np.stack([np.delete(overlap[:, :, h], h, axis=-1).astype(float).mean(-1) for h in range(heads)], -1)


# A condition, the metrics it names, and what it comes to.
CASES = {
    "role == 'unclear'": (["role"], lambda log, steps: log.at(steps, "role") == "unclear"),
    'not role == "unclear" and step < 30': (
        ["role"], lambda log, steps: (log.at(steps, "role") != "unclear") & (steps < 30)[:, None, None]),
    "importance > 0.02 or layer == 1 and head >= 1": (
        ["importance"], lambda log, steps: (log.at(steps, "importance") > 0.02) | (
            np.arange(2)[:, None] == 1) & (np.arange(log.heads) >= 1)),
    "grad_norm[q] > grad_norm[k]": (
        ["grad_norm"], lambda log, steps: log.at(steps, "grad_norm")[..., 0] > log.at(steps, "grad_norm")[..., 1]),
    "grad_norm[v] > 0.012 and importance < 0.01": (
        ["grad_norm", "importance"],
        lambda log, steps: (log.at(steps, "grad_norm")[..., 2] > 0.012) & (log.at(steps, "importance") < 0.01)),
    "overlap[k] > 0.37": (
        ["overlap"], lambda log, steps: mean_of_others(log.at(steps, "overlap")[:, :, 1]) > 0.37),
    "lag_profile[5] >= 0.12 and role != 'sink'": (
        ["lag_profile", "role"],
        lambda log, steps: (log.at(steps, "lag_profile")[..., 5] >= 0.12) & (log.at(steps, "role") != "sink")),
    "grad_norm_by_class[far, o] > grad_norm_by_class[near, o]": (
        ["grad_norm_by_class"],
        lambda log, steps: log.at(steps, "grad_norm_by_class")[:, log.classes.index("far"), ..., 3] >
        log.at(steps, "grad_norm_by_class")[:, log.classes.index("near"), ..., 3]),
    "role == 'unclear' and (model.num_heads == 3 or seed == 1)": (
        ["role"],
        lambda log, steps: (log.at(steps, "role") == "unclear") & bool(log.heads == 3 or log.seed == 1)),
    "importance >= 0 and num_heads == 2 and lr == 0.1 and causal and activation == 'gelu'": (
        ["importance"], lambda log, steps: (log.at(steps, "importance") >= 0) & (log.heads == 2)),
}


@pytest.mark.parametrize("condition", CASES)
def test_answers_are_those_of_the_logs(sweep, condition):
    metrics, so = CASES[condition]
    result = json.loads(headscope("find", sweep, condition, "--json").stdout)
    assert [run["run"] for run in result["runs"]] == [str(sweep / name) for name in runs(sweep)]
    assert result["metrics"] == metrics or sorted(result["metrics"]) == sorted(metrics)
    outcomes = set()
    for run in result["runs"]:
        log = Logged(sweep / run["run"])
        steps = log.common(*metrics)
        assert (run["rows"], run["first_row"], run["last_row"]) == (len(steps), steps[0], steps[-1])
        holds = np.broadcast_to(so(log, steps), (len(steps), 2, log.heads))
        expected = []
        for layer, head in itertools.product(range(2), range(log.heads)):
            rows = np.flatnonzero(holds[:, layer, head])
            outcomes |= set(holds[:, layer, head])
            if len(rows):
                expected.append({"layer": layer, "head": head, "first": steps[rows[0]], "last": steps[rows[-1]],
                                 "at_end": bool(holds[-1, layer, head]), "rows": len(rows)})
        assert run["found"] == expected
        assert run["heads"] == 2 * log.heads and run["seed"] == log.seed
    assert outcomes == {True, False}, "it holds always or never: a test of nothing"
    assert result["heads_found"] == sum(len(run["found"]) for run in result["runs"])
    assert result["runs_found"] == sum(bool(run["found"]) for run in result["runs"])
    assert result["heads"] == sum(run["heads"] for run in result["runs"]) == 20
    assert "1 of 5 runs of" in result["notes"][0] and "later-0 (waiting, no log)" in result["notes"][0]


def test_text_and_table_say_the_same(sweep):
    condition = "grad_norm[v] > 0.012 and importance < 0.01"
    found = [(run["run"], run["seed"], *head.values()) for run in json.loads(
        headscope("find", sweep, condition, "--json").stdout)["runs"] for head in run["found"]]
    table = headscope("find", sweep, condition, "--csv")
    rows = list(csv.DictReader(io.StringIO(table.stdout)))
    assert list(rows[0]) == ["folder", "seed", "layer", "head", "first", "last", "at_end", "rows"]
    assert [(row["folder"], *(int(row[key]) for key in ("seed", "layer", "head", "first", "last")),
             row["at_end"] == "true", int(row["rows"])) for row in rows] == found
    assert f"{len(found)} of 20 heads in " in table.stderr and "1 of 5 runs of" in table.stderr
    text = headscope("find", sweep, condition).stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "grad_norm (14 rows), importance (21 rows)" in " ".join(text.split())
    assert f"\n{len(found)} of 20 heads in " in text


def test_one_run_by_its_log_and_twice(sweep):
    run = sweep / "heads-3_seed-0"
    once = headscope("find", run / "log.h5", "role != 'sink'").stdout
    assert once == headscope("find", run, f"{run}/", "role != 'sink'").stdout
    assert " of 6 heads in 1 of 1 run\n" in once


def test_runs_that_lack_a_metric_are_left_out(sweep, tmp_path):
    make_sweep(tmp_path / "bare", ["log.probes.role=5"], {"a": ["seed=9"]})
    condition = "importance > 0 and role != 'sink'"
    result = json.loads(headscope("find", tmp_path / "bare", sweep, condition, "--json").stdout)
    assert len(result["runs"]) == 4
    assert result["notes"][0] == f"Not looked at, for want of importance: {tmp_path / 'bare' / 'a'}."
    said = headscope("find", tmp_path / "bare", condition, expect=2).stderr
    assert "log.probes.importance=N" in said
    # What it advises.
    headscope("replay", tmp_path / "bare" / "a", "log.probes.importance=10", "--out", tmp_path / "again")
    assert " of 4 heads in 1 of 1 run" in headscope("find", tmp_path / "again", condition).stdout


@pytest.mark.parametrize("condition, column, says", [
    ("role == 'inductoin'", 9, "did you mean induction?"),
    ("importanec > 1", 1, "did you mean importance?"),
    ("importance > 1 and num_haeds == 2", 20, "did you mean num_heads?"),
    ("grad_norm > 1", 1, "projection q, k, v, o"),
    ("grad_norm[x] > 1", 1, "projection x"),
    ("lag_profile[16] > 1", 1, "lag 0 to 15"),
    ("grad_norm_by_class[q] > 1", 1, "write grad_norm_by_class["),
    ("importance[q] > 1", 1, "without []"),
    ("copying > 1", 1, "log.probes.copying=N"),
    ("type == 'adam' and role == 'local'", 1, "optimizer.type"),
    ("step < 300", 1, "no metric"),
    ("role == local", 9, "in quotes"),
    ("role = 'local'", 6, "write =="),
    ("role == 'local' and (step < 3", 30, 'expected ")"'),
    ("role", 1, "compare it"),
    ("", 1, "missing"),
])
def test_what_is_no_condition(sweep, condition, column, says):
    result = headscope("find", sweep, condition, expect=2)
    assert result.stdout == "" and says in result.stderr and f"column {column} of the condition" in result.stderr
    shown, mark = result.stderr.splitlines()[1:3]
    assert shown == "headscope:   " + condition
    assert mark == "headscope: " + " " * (column + 1) + "^"


def test_what_is_refused(sweep, tmp_path):
    run = sweep / "heads-2_seed-0"
    assert "last the condition" in headscope("find", run, expect=2).stderr
    assert "last the condition" in headscope("find", "role == 'local'", run, expect=2).stderr
    assert "there is no run folder" in headscope("find", tmp_path / "no", "role == 'local'", expect=2).stderr
    assert "not both" in headscope("find", run, "role == 'local'", "--json", "--csv", expect=2).stderr
    assert "words" in headscope("find", expect=2).stderr
    shutil.copytree(run, tmp_path / "bad")
    (tmp_path / "bad" / "log.h5").write_bytes((tmp_path / "bad" / "log.h5").read_bytes()[:-200])
    bad = headscope("find", run, tmp_path / "bad", "role == 'local'", expect=74)
    assert bad.stdout == "" and str(tmp_path / "bad") in bad.stderr


def test_help_lists_it(sweep):
    assert any(line.split()[:1] == ["find"] for line in headscope("--help").stdout.splitlines())
