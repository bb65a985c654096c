"""scripts/plot.py over several runs: means and intervals are those of the logs, groups and roles keep their colours,
runs that cannot be read cost only themselves."""

import json
import re
import shutil
import sys

import numpy as np
import pytest

from cli_tools import SOURCE, headscope
from test_plot import panels, plot_py
from test_plot_text import changed, texts

sys.path.insert(0, str(SOURCE / "scripts"))
import figures_over_runs as over_runs  # noqa: E402
import headscope as headscope_py  # noqa: E402
import plot  # noqa: E402
from figure_data import COLOURS, ROLE_COLOURS  # noqa: E402
from figure_runs import Curve, Runs, interval, t_quantile  # noqa: E402

CONFIG = SOURCE / "experiments" / "configs" / "repeat.toml"
TINY = ["model.d_model=16", "model.num_heads=2", "model.num_layers=1", "task.seq_len=12", "train.steps=20",
        "train.batch_size=4", "log.every=2", "eval.every=5", "eval.batches=1", "log.probes.attention_distance=5",
        "log.probes.grad_norm=5", "log.probes.overlap=10", "log.probes.role=10"]
RATES = ["1e-2", "1e-3"]  # not in order of size: a sweep's groups are in the order of its manifest
# Two-sided 95 % quantiles of Student's t, from a printed table.
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 7: 2.365, 10: 2.228, 29: 2.045, 120: 1.980}


def train(folder, *settings):
    headscope("run", CONFIG, *TINY, *settings, "--out", folder)
    return folder


def entry(folder, state="finished", **overrides):
    return {"folder": folder, "overrides": [f"{key.replace('__', '.')}={value}" for key, value in overrides.items()],
            "state": state, "exit": 0 if state == "finished" else None, "message": ""}


def write_manifest(folder, axes, runs, name="tiny"):
    """As experiments/study/manifest.h describes it."""
    manifest = {"schema_name": "headscope.sweep", "schema_version": "1.0", "name": name, "config_path": str(CONFIG),
                "config": CONFIG.read_text(), "working_folder": "/", "overrides": TINY,
                "axes": [{"key": key, "values": values} for key, values in axes.items()], "zip": False, "runs": runs}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A sweep of two learning rates, three seeds of the one and two of the other."""
    folder = tmp_path_factory.mktemp("plot_runs") / "sweep"
    runs = []
    for rate, seeds in zip(RATES, (3, 2)):
        for seed in range(seeds):
            train(folder / f"lr-{rate}_seed-{seed}", f"optimizer.lr={rate}", f"seed={seed}")
            runs.append(entry(f"lr-{rate}_seed-{seed}", optimizer__lr=rate, seed=seed))
    write_manifest(folder, {"optimizer.lr": RATES, "seed": ["0", "1", "2"]}, runs)
    return folder


@pytest.fixture
def sweep(trained, tmp_path):
    """A copy to change."""
    return shutil.copytree(trained, tmp_path / "sweep")


def change_entry(sweep, folder, **values):
    manifest = json.loads((sweep / "manifest.json").read_text())
    next(run for run in manifest["runs"] if run["folder"] == folder).update(values)
    (sweep / "manifest.json").write_text(json.dumps(manifest))


def panel(figure, title):
    return next(axis for axis in panels(figure) if axis.get_title() == title)


def drawn(axis, label):
    """Steps and mean of a group's line, and the half width of its band, NaN where it has none."""
    line = next(found for found in axis.lines if found.get_label() == label)
    steps, mean = map(np.asarray, line.get_data())
    half = np.full(len(steps), np.nan)
    for band in axis.collections:
        if band.get_label() != f"{label} interval":
            continue
        for path in band.get_paths():
            for at, step in enumerate(steps):
                y = path.vertices[path.vertices[:, 0] == step, 1]
                if len(y):
                    half[at] = (y.max() - y.min()) / 2
    return steps, mean, half


def independent(rows):
    """Mean and half width over the first axis."""
    rows = np.asarray(rows, float)
    count = len(rows)
    try:
        from scipy.stats import t
        quantile = t.ppf(.975, count - 1)
    except ImportError:
        quantile = TABLE[count - 1]
    return rows.mean(0), quantile * rows.std(0, ddof=1) / np.sqrt(count)


def test_quantiles_of_students_t():
    for degrees, expected in TABLE.items():
        assert abs(t_quantile(degrees) - expected) < 6e-4
    stats = pytest.importorskip("scipy.stats")
    for degrees in (*range(1, 60), 1001):
        expected = stats.t.ppf(.975, degrees)  # right to eight digits
        np.testing.assert_allclose(t_quantile(degrees), expected, rtol=1e-8)


def test_mean_and_interval(trained):
    def of_heads(run):
        return run.series("attention_distance").values.astype(float).mean((1, 2))

    def of_pairs(run):
        values = run.series("overlap").values.astype(float)  # [step, layer, projection, head, head_other]
        return values[..., ~np.eye(2, dtype=bool)].mean((1, 2, 3))

    quantities = {"train/loss": (over_runs.loss, lambda run: run.series("train/loss").values),
                  "eval/loss": (over_runs.loss, lambda run: run.series("eval/loss").values),
                  "eval/accuracy": (over_runs.loss, lambda run: run.series("eval/accuracy").values),
                  "attention_distance": (over_runs.heads, of_heads), "overlap": (over_runs.heads, of_pairs)}
    for name, (figure, values) in quantities.items():
        axis = panel(figure(trained), name)
        for rate, seeds in zip(RATES, (3, 2)):
            runs = [headscope_py.open(trained / f"lr-{rate}_seed-{seed}") for seed in range(seeds)]
            mean, half = independent([values(run) for run in runs])
            steps, drawn_mean, drawn_half = drawn(axis, f"lr={rate}")
            np.testing.assert_array_equal(steps, runs[0].steps(name))
            np.testing.assert_allclose(drawn_mean, mean, rtol=1e-12)
            np.testing.assert_allclose(drawn_half, half, rtol=2e-3 if "scipy" not in sys.modules else 1e-7, atol=1e-12)
            thin = [line for line in axis.lines if line.get_label() == f"lr={rate} run"]
            np.testing.assert_allclose([line.get_ydata() for line in thin], [values(run) for run in runs])
    legend = [text.get_text() for text in over_runs.loss(trained).legends[0].get_texts()]
    assert legend[:2] == ["lr=1e-2, n = 3", "lr=1e-3, n = 2"]
    assert legend[2:] == ["95 % interval of the mean (Student t)", "a run"]


def test_a_window_of_steps(trained):
    figure = over_runs.loss(trained, steps=(11, 13))
    assert [axis.get_title() for axis in panels(figure)] == ["train/loss"], "no evaluation within"
    np.testing.assert_array_equal(drawn(panels(figure)[0], "lr=1e-3")[0], [12])
    with pytest.raises(plot.NoSuchStep):
        over_runs.heads(trained, steps=(11, 13))


def test_any_quantity(trained):
    runs = [headscope_py.open(trained / f"lr-1e-2_seed-{seed}") for seed in range(3)]
    # [run, step, layer, head, projection]
    norms = np.array([run.series("grad_norm").values.astype(float) for run in runs])
    figure = over_runs.quantity(trained, "grad_norm")
    for title, reduced in (("mean over heads", norms.mean((2, 3, 4))), ("largest of any head", norms.max((2, 3, 4))),
                           ("smallest of any head", norms.min((2, 3, 4)))):
        np.testing.assert_allclose(drawn(panel(figure, title), "lr=1e-2")[1], reduced.mean(0))
    axis, = panels(over_runs.quantity(trained, "grad_norm[0.1]"))
    np.testing.assert_allclose(drawn(axis, "lr=1e-2")[1], norms[:, :, 0, 1].mean((0, 2)))
    axis, = panels(over_runs.quantity(trained, "grad_norm/max", steps=(5, 10)))
    steps, mean, _ = drawn(axis, "lr=1e-2")
    np.testing.assert_array_equal(steps, [5, 10])
    np.testing.assert_allclose(mean, norms.max((2, 3, 4)).mean(0)[1:3])
    for name, why in (("role", "is a code"), ("grad_norm[0.2]", "no head 0.2"), ("sink", "was not logged")):
        with pytest.raises(plot.NotLogged, match=why):
            over_runs.quantity(trained, name)


def test_nothing_is_interpolated():
    curves = [Curve(np.array([0, 2, 4]), np.array([1., 2, np.nan]), "1"),
              Curve(np.array([0, 3]), np.array([3., 5]), "1")]
    found = interval(curves)
    np.testing.assert_array_equal(found.step, [0, 2, 3, 4])
    np.testing.assert_array_equal(found.mean, [2, 2, 5, np.nan])
    np.testing.assert_array_equal(found.count, [2, 1, 1, 0])
    np.testing.assert_allclose(found.half, [12.7062047, np.nan, np.nan, np.nan])


def test_runs_of_other_lengths_and_log_intervals(tmp_path):
    """One group: what is logged of a run makes it no other run. n is told, and no row is made up."""
    runs = [train(tmp_path / "a", "seed=0"), train(tmp_path / "b", "seed=1", "log.every=5", "eval.every=10"),
            train(tmp_path / "c", "seed=2", "log.probes.grad_norm=")]
    figure = over_runs.loss(runs)
    steps, mean, half = drawn(panel(figure, "train/loss"), "all runs")
    np.testing.assert_array_equal(steps, np.union1d(np.arange(0, 20, 2), np.arange(0, 20, 5)))
    logs = [headscope_py.open(run).series("train/loss") for run in runs]
    for at, step in enumerate(steps):
        rows = [log.values[log.step == step][0] for log in logs if step in log.step]
        np.testing.assert_allclose(mean[at], np.mean(rows))
    axis = panel(figure, "train/loss")
    bars = next(found for found in axis.collections if hasattr(found, "get_segments"))
    assert {segment[0][0] for segment in bars.get_segments()} <= set(steps), "an interval of one step is seen"
    assert [text.get_text() for text in figure.legends[0].get_texts()][0] == "all runs, n varies: 1 to 3"


def test_values_near_one_another_have_whole_tick_labels(trained, monkeypatch):
    """matplotlib would write "+1.358" where the title is."""
    monkeypatch.setattr(over_runs, "curve_of", lambda log, name: Curve(
        np.arange(3), 1.358 + log.seed * 1e-7 + np.arange(3) * 1e-7, "1"))
    for axis in panels(over_runs.quantity(trained, "eval/loss")):
        assert axis.yaxis.get_major_formatter().get_offset() == ""


def test_one_run_of_a_group_is_a_line_alone(trained):
    figure = over_runs.loss([trained / "lr-1e-2_seed-0", trained / "lr-1e-3_seed-1"])
    for axis in panels(figure):
        assert len(axis.lines) == 2 and not any(len(band.get_paths()) for band in axis.collections)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["lr=0.001, n = 1", "lr=0.01, n = 1"], "of plain runs: by the configs, in order"


def test_groups_and_roles_keep_their_colours(trained, sweep):
    def colours(figure):
        lines = [line for axis in panels(figure) for line in axis.lines]
        return {rate: {line.get_color() for line in lines if line.get_label() == f"lr={rate}"} for rate in RATES}
    figures = [over_runs.loss(trained), over_runs.heads(trained), over_runs.by_role(trained),
               over_runs.quantity(trained, "overlap")]
    assert all(colours(figure) == {rate: {COLOURS[at]} for at, rate in enumerate(RATES)} for figure in figures[:2])
    assert all(colours(figure)[rate] <= {COLOURS[at]} for figure in figures for at, rate in enumerate(RATES))
    for seed in range(3):  # the first group has not begun
        shutil.rmtree(sweep / f"lr-1e-2_seed-{seed}")
        change_entry(sweep, f"lr-1e-2_seed-{seed}", state="waiting")
    assert colours(over_runs.loss(sweep)) == {"1e-2": set(), "1e-3": {COLOURS[1]}}
    with headscope_py.open(trained / "lr-1e-2_seed-0") as log:
        names = log.series("role").attrs["value_labels"].split(", ")
        patches = plot.roles(log).legends[0].legendHandles
        in_run = {name.get_text(): patch.get_facecolor() for name, patch
                  in zip(plot.roles(log).legends[0].get_texts(), patches)}
        of_run = plot.by_role(log)
    for figure in (over_runs.roles(trained), over_runs.by_role(trained), of_run):
        for axis in [axis for axis in panels(figure) if axis.get_title()]:
            name = axis.get_title().split(":")[0]
            colour = axis.spines["top"].get_edgecolor()
            assert colour == plot.matplotlib.colors.to_rgba(ROLE_COLOURS[names.index(name)])
            assert in_run.get(name, colour) == colour


def test_heads_by_role(trained):
    """Every head of every run is in the panel of its last role, with its own line."""
    figure = over_runs.by_role(trained, "attention_distance")
    expected = {}
    for path in sorted(trained.glob("lr-*")):
        with headscope_py.open(path) as log:
            names = log.series("role").attrs["value_labels"].split(", ")
            values, last = log.series("attention_distance").values[:, 0], log.series("role").values[-1, 0]
            for head in range(2):
                expected.setdefault(names[int(last[head])], []).append(values[:, head])
    found = {axis.get_title(): axis for axis in panels(figure) if axis.get_title()}
    assert sorted(found) == sorted(f"{role}: {len(its)} head{'s' * (len(its) > 1)}" for role, its in expected.items())
    for title, axis in found.items():
        of_role = np.array(sorted(map(tuple, expected[title.split(":")[0]])))
        thin = np.concatenate([line.get_ydata().reshape(-1, 6)[:, :-1] for line in axis.lines
                               if line.get_label().endswith(" heads")])
        np.testing.assert_allclose(sorted(map(tuple, thin)), of_role)
    assert [axis.get_ylabel() for axis in panels(figure)][0].startswith("attention_distance [")
    whole = over_runs.by_role(trained / "lr-1e-2_seed-0", "grad_norm")
    with headscope_py.open(trained / "lr-1e-2_seed-0") as log:
        norm = np.linalg.norm(log.series("grad_norm").values.astype(float), axis=-1)[:, 0].T
    thin = np.concatenate([line.get_ydata().reshape(-1, norm.shape[1] + 1)[:, :-1] for axis in panels(whole)
                           for line in axis.lines if line.get_label().endswith(" heads")])
    np.testing.assert_allclose(sorted(map(tuple, thin)), sorted(map(tuple, norm)))


def test_a_sweep_that_is_not_finished(sweep):
    shutil.rmtree(sweep / "lr-1e-2_seed-2")
    change_entry(sweep, "lr-1e-2_seed-2", state="waiting", exit=None)
    change_entry(sweep, "lr-1e-3_seed-1", state="running", exit=None)  # nobody is training there
    result = plot_py(sweep, "--only", "loss", "eval/loss", "--format", "png")
    assert result.stderr.splitlines() == [
        f"plot: not finished, used as far as they go: {sweep / 'lr-1e-3_seed-1'} (stopped, step 20)",
        f"plot: without a log yet, left out: {sweep / 'lr-1e-2_seed-2'} (waiting)"]
    assert sorted(path.name for path in (sweep / "figures").iterdir()) == ["eval_loss.png", "loss.png"]
    legend = [text.get_text() for text in over_runs.loss(sweep).legends[0].get_texts()]
    assert legend[:2] == ["lr=1e-2, n = 2", "lr=1e-3, n = 2"]


def test_an_unreadable_run_costs_only_itself(sweep):
    log = sweep / "lr-1e-2_seed-0" / "log.h5"
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    result = plot_py(sweep, "--format", "png", expect=74)
    assert "lr-1e-2_seed-0: left out, it cannot be read: " in result.stderr and "damaged" in result.stderr
    assert {path.stem for path in (sweep / "figures").iterdir()} == set(plot.OVER_RUNS)
    runs = Runs(sweep)
    assert [len(group.members) for group in runs.groups] == [2, 2] and list(runs.failed) == [log.parent]


def test_what_a_run_lacks_costs_only_that(sweep):
    """A metric that one run did not log, or that is damaged in it: the others make the mean."""
    path = sweep / "lr-1e-2_seed-0" / "log.h5"

    def damage(file):
        del file["heads/overlap"], file["heads/role/value"].attrs["value_labels"]
    path.write_bytes(changed(path, damage))
    figure = over_runs.quantity(sweep, "overlap")
    assert figure.legends[0].get_texts()[0].get_text() == "lr=1e-2, n = 2"
    result = plot_py(sweep, "--only", "roles", "loss", "--format", "png", expect=74)
    assert "lr-1e-2_seed-0: a part of it is left out" in result.stderr and "value_labels" in result.stderr
    assert {path.stem for path in (sweep / "figures").iterdir()} == {"loss", "roles"}
    assert over_runs.loss(sweep).legends[0].get_texts()[0].get_text() == "lr=1e-2, n = 3"


def test_a_figure_over_runs_that_fails_costs_only_itself(trained, tmp_path, monkeypatch, capsys):
    def fails(runs, **_):
        raise ZeroDivisionError("division by zero")
    monkeypatch.setitem(plot.OVER_RUNS, "heads", fails)
    assert plot.main([str(trained), "--only", "heads", "loss", "--format", "png", "-o", str(tmp_path)]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["loss.png"]
    assert capsys.readouterr().err == "plot: heads: this figure failed, ZeroDivisionError: division by zero\n"


def test_wrong_arguments(trained, tmp_path):
    out = ["-o", tmp_path / "out"]
    assert "did you mean grad_norm?" in plot_py(trained, "--only", "gradnorm", *out, expect=2).stderr
    assert "did you mean overlap?" in plot_py(trained, "--metric", "overlaps", *out, expect=2).stderr
    assert "--step is for figures of one run" in plot_py(trained, "--step", 5, *out, expect=2).stderr
    assert "no row within steps 100:" in plot_py(trained, "--steps", "100:", *out, expect=2).stderr
    assert "no such run" in plot_py(trained, tmp_path / "nowhere", *out, expect=2).stderr
    (tmp_path / "manifest.json").write_text('{"schema_name": "headscope.sweep", "schema_version": "9.0"}')
    assert "schema headscope.sweep 9.0" in plot_py(tmp_path, *out, expect=74).stderr
    assert not (tmp_path / "out").exists()
    result = plot_py(trained, trained / "lr-1e-2_seed-0", "--only", "loss", "--format", "png", *out)
    assert "counted once" in result.stderr and (tmp_path / "out" / "loss.png").exists()


NASTY = ["$x^{$", "$$ \\frac", "_under", "a long value of many letters, which somebody might have given it " * 4]


@pytest.mark.parametrize("value", NASTY)
def test_names_are_shown_as_they_are_and_fit(sweep, value):
    manifest = json.loads((sweep / "manifest.json").read_text())
    manifest["name"] = value
    for run in manifest["runs"]:
        run["overrides"] = [text.replace("lr=1e-2", f"lr={value}") for text in run["overrides"]]
    (sweep / "manifest.json").write_text(json.dumps(manifest))

    def rename(file):
        labels = file["heads/role/value"].attrs["value_labels"].split(", ")
        file["heads/role/value"].attrs["value_labels"] = ", ".join(value.replace(",", "") + label for label in labels)
        file["heads/overlap/value"].attrs["units"] = value
    for path in sweep.glob("lr-*/log.h5"):
        path.write_bytes(changed(path, rename))
    for draw in (over_runs.loss, over_runs.heads, over_runs.roles, over_runs.by_role,
                 lambda runs: over_runs.quantity(runs, "overlap"), lambda runs: over_runs.quantity(runs, "eval/loss")):
        figure = draw(sweep)
        seen = texts(figure)
        width, height = figure.bbox.size
        for text in seen:
            box = text.get_window_extent()
            outside = box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height
            assert not outside, f"{draw}: {text.get_text()!r} at {box} in {width} x {height}"
            assert not ("$" in text.get_text() and text.get_parse_math())
        legend = [text.get_text() for text in figure.legends[0].get_texts() if text.get_text().startswith("lr=")]
        assert legend[0].startswith(f"lr={value[:20]}")
        assert draw is over_runs.by_role or all(", n = " in label for label in legend), "however long the label"
        boxes = [axis.get_window_extent() for axis in panels(figure)]
        below = figure.legends[0].get_window_extent().y0
        assert all(box.y1 <= below for box in boxes), "the legend is above the panels"
        assert plot.as_bytes(figure, "png") and plot.as_bytes(figure, "svg")


def test_a_sweep_is_read(trained, sweep):
    """headscope.Sweep, the reader."""
    read = headscope_py.Sweep(trained)
    assert read.axes == {"optimizer.lr": RATES, "seed": ["0", "1", "2"]} and read.name == "tiny" and not read.zip
    assert read.overrides["model.d_model"] == "16" and "type = \"repeat\"" in read.config
    assert [run.overrides for run in read.entries][3] == {"optimizer.lr": "1e-3", "seed": "0"}
    assert {run.state for run in read.entries} == {"finished"}
    seeds = []
    for entry_, run in read.runs():
        assert run.settings()["optimizer"]["lr"] == float(entry_.overrides["optimizer.lr"])
        seeds.append(run.seed)
    assert seeds == [0, 1, 2, 0, 1]
    change_entry(sweep, "lr-1e-2_seed-1", state="running")
    shutil.rmtree(sweep / "lr-1e-3_seed-0")
    states = [run.state for run in headscope_py.Sweep(sweep / "manifest.json").entries]
    assert states == ["finished", "stopped", "finished", "waiting", "finished"]
    for folder in ("../x", ".x", "", "a/b"):
        write_manifest(sweep, {"seed": ["0"]}, [entry(folder, seed=0)])
        with pytest.raises(OSError, match=re.escape(f"{folder!r} is none of a sweep")):
            headscope_py.Sweep(sweep)
    for text in ("", "[]", "{", "[" * 100000, '{"schema_name": 3, "schema_version": null}'):
        (sweep / "manifest.json").write_text(text)
        with pytest.raises(OSError, match="no manifest of a sweep"):
            headscope_py.Sweep(sweep)
