"""scripts/plot.py: which steps are drawn and how, single rows, what has no figure, figures that fail."""

import shutil
import sys
import tomllib

import numpy as np
import pytest
from matplotlib.figure import Figure

from cli_tools import SOURCE, headscope
from test_plot import in_strip, log, panels, plot_py, run  # noqa: F401
from test_plot_text import changed

sys.path.insert(0, str(SOURCE / "scripts"))
import headscope as headscope_py  # noqa: E402
import plot  # noqa: E402
from step_axis import draw_line  # noqa: E402

ONE_ROW = ("grad_norm", "grad_norm_by_class", "heads")


def test_a_single_row_is_seen(run, tmp_path):  # noqa: F811
    probes = ("grad_norm", "grad_norm_by_class", "sink", "lag_profile", "role")
    headscope("replay", run, "--from", 20, "--to", 20, *(f"log.probes.{name}=1" for name in probes), "log.every=1",
              "--out", tmp_path / "row")
    plot_py(tmp_path / "row", "-o", tmp_path / "out")
    with headscope_py.open(tmp_path / "row") as log:  # noqa: F811
        assert len(log.steps("grad_norm")) == 1
        for name in ONE_ROW:
            lines = [line for axis in panels(plot.draw(name, log, tmp_path, None)) for line in axis.lines
                     if np.isfinite(np.asarray(line.get_ydata(), float)).any() and len(line.get_xdata()) != 2]
            assert lines and all(line.get_marker() == "o" and line.get_markevery() for line in lines), name
        training = plot.loss(log).axes[0].lines[0]
        assert training.get_marker() == "o" and training.get_xdata() == [20]
        assert panels(plot.roles(log))[0].get_xlim() == (19.5, 20.5)
        assert len(panels(plot.lag_profile(log))[0].images) == 3


def test_rows_between_gaps_are_seen():
    axis = Figure().add_subplot()
    line, = draw_line(axis, np.arange(6), np.array([1, np.nan, 2, 3, np.nan, 4]))
    assert line.get_marker() == "o" and line.get_markevery() == [0, 5]
    line, = draw_line(axis, np.arange(2), np.array([1, 2]))
    assert line.get_marker() == "None"


@pytest.mark.parametrize("text, window, steps", [("10:30", (10, 30), [10, 20, 30]), (":15", (None, 15), [0, 10]),
                                                 ("25:", (25, None), [30]), (":", (None, None), [0, 10, 20, 30])])
def test_a_window_of_steps(log, text, window, steps):  # noqa: F811
    assert plot.steps_within(text) == window
    x, y = in_strip(panels(plot.grad_norm(log, steps=window))[0], "W_q", 3)
    rows = np.isin(log["heads/grad_norm/step"], steps)
    np.testing.assert_array_equal(y, log["heads/grad_norm/value"][rows, 0, :, 0].T)
    assert len(steps) == 1 or np.allclose(x[1], (np.array(steps) - steps[0]) / (steps[-1] - steps[0]))
    last = steps[-1] if text in ("10:30", ":15") else 40
    for name in ("overlap", "composition"):
        texts = [text.get_text() for text in getattr(plot, name)(log, steps=window).texts]
        assert any(f"step {last}" in text for text in texts), "the last one within"
    first = 0 if window[0] is None else 30 if window[0] == 25 else 10
    assert panels(plot.roles(log, steps=window))[0].get_xlim() == (first, 10 if window[1] == 15 else last)


def test_a_window_on_the_command_line(run, tmp_path):  # noqa: F811
    result = plot_py(run, "--steps", "11:19", "--format", "svg", "-o", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["loss.svg"], "train/loss has a row at 15"
    assert "skipped overlap: no row within steps 11:19; its rows run from 0 to 40" in result.stdout
    for bad, why in (("41:", "no row within steps 41:"), ("3", "give A:B"), ("5:2", "after the last"),
                     ("a:b", "give A:B"), ("-1:3", "A:B")):
        assert why in plot_py(run, f"--steps={bad}", "-o", tmp_path / "none", expect=2).stderr
    assert "outside of --steps" in plot_py(run, "--steps", "0:10", "--step", 20, expect=2).stderr
    assert not (tmp_path / "none").exists()


def test_a_logarithmic_axis_of_steps(run, log, tmp_path):  # noqa: F811
    """Step s is at log(1 + s): step 0 is the left end, and the axis says so."""
    x, _ = in_strip(panels(plot.grad_norm(log, log_steps=True))[1], "W_v", 3)
    np.testing.assert_allclose(x[1], np.log1p([0, 10, 20, 30]) / np.log1p(30))
    figure = plot.roles(log, log_steps=True)
    axis = panels(figure)[0]
    assert axis.get_xlim() == (0, 40) and "log(1 + step)" in axis.get_xlabel()
    at = axis.transData.transform([(step, 0) for step in (0, 3, 40)])[:, 0]
    np.testing.assert_allclose((at[1] - at[0]) / (at[2] - at[0]), np.log(4) / np.log(41))
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "1", "10"]
    value = log["heads/lag_profile/value"][()]
    picture = np.asarray(panels(plot.lag_profile(log, log_steps=True))[0].images[1].get_array())
    for row, step in enumerate((0, 10, 20, 30, 40)):
        at = min(int(np.log1p(step) / np.log1p(40) * 240), 239)
        np.testing.assert_array_equal(picture[at], value[row, 0, 1])
    plot_py(run, "--log-steps", "--only", *plot.OVER_TIME, "--format", "png", "-o", tmp_path)
    assert len(list(tmp_path.iterdir())) == len(plot.OVER_TIME)


def test_what_no_figure_shows_is_named(run, tmp_path):  # noqa: F811
    named = next(row for row in plot_py(run, "-o", tmp_path, "--format", "svg").stdout.splitlines()
                 if row.startswith("no figure shows "))
    named = named.removeprefix("no figure shows ").split(", ")
    assert {"eval/accuracy", "gram_overlap", "principal_angles", "parameters/norm"} <= set(named)
    with headscope_py.open(run) as log:  # noqa: F811
        drawn = {*plot.NAMES, "role", "train/loss", "eval/loss", "eval/loss_near", "eval/loss_far", "eval/loss_noise"}
        per_head = {name for name in log.metrics() if log.dims(name) == ("step", "layer", "head")}
        assert set(named) == set(log.metrics()) - drawn - per_head


def test_a_figure_that_fails_costs_only_itself(run, tmp_path):  # noqa: F811
    (tmp_path / "log.h5").write_bytes(changed(run / "log.h5", break_some))
    shutil.copy(run / "ablation.h5", tmp_path)
    damaged = plot_py(tmp_path, "--format", "png", "-o", tmp_path / "a", expect=None)
    assert damaged.returncode == 74
    rows = damaged.stderr.splitlines()
    assert [row.split(": ")[1] for row in rows] == ["overlap", "composition"], rows
    assert all(row.startswith("plot: ") for row in rows) and "null_mean" in rows[0]
    assert {path.stem for path in (tmp_path / "a").iterdir()} == set(plot.NAMES) - {"overlap", "composition"}
    (tmp_path / "ablation.h5").write_bytes((run / "ablation.h5").read_bytes()[:-2000])
    shutil.copy(run / "log.h5", tmp_path)
    result = plot_py(tmp_path, "--format", "png", "-o", tmp_path / "b", expect=74)
    assert result.stderr.startswith("plot: ablation: ") and "ablation.h5" in result.stderr
    assert {path.stem for path in (tmp_path / "b").iterdir()} == set(plot.NAMES) - {"ablation"}


def test_an_error_of_our_own_is_told_apart(run, tmp_path, monkeypatch, capsys):  # noqa: F811
    def fails(log, **_):  # noqa: F811
        raise ZeroDivisionError("division by zero")
    monkeypatch.setitem(plot.OVER_TIME, "heads", fails)
    assert plot.main([str(run), "--only", "heads", "roles", "--format", "png", "-o", str(tmp_path)]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["roles.png"]
    assert capsys.readouterr().err == "plot: heads: this figure failed, ZeroDivisionError: division by zero\n"


def break_some(log):  # noqa: F811
    del log["heads/overlap/value"].attrs["null_mean"]
    del log["heads/composition/value"].attrs["long_name"], log["heads/composition/value"].attrs["null_std"]


def test_the_first_recipe_logs_attention_maps():
    config = tomllib.loads((SOURCE / "experiments" / "configs" / "kjv.toml").read_text())
    assert 0 < config["log"]["attention"] <= config["train"]["steps"]
