"""scripts/plot.py: every figure is made, shows the numbers of the log, and what is wrong is said in one line."""

import io
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import h5py
import numpy as np
import pytest
from matplotlib.image import imread

from cli_tools import SOURCE, headscope, write_config, write_tokens

sys.path.insert(0, str(SOURCE / "scripts"))
import headscope as headscope_py  # noqa: E402
import plot  # noqa: E402

# Distinct sizes: 2 layers, 3 heads, 4 projections, 5 samples, 12 positions.
SHORT = ["model.num_layers=2", "model.num_heads=3", "model.d_model=24", "task.seq_len=12", "task.far=5",
         "train.steps=40", "train.batch_size=6", "train.accumulate=2", "eval.every=20", "eval.batches=2", "log.every=5",
         "log.attention=20", "log.attention_samples=5"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run with every probe, and its ablation."""
    run = tmp_path_factory.mktemp("plot") / "run"
    probes = [line.split()[0] for line in headscope("list", "probes").stdout.splitlines() if line.strip()]
    headscope("run", SOURCE / "experiments" / "configs" / "lag_mixture.toml", *SHORT,
              *(f"log.probes.{name}=10" for name in probes), "--out", run)
    headscope("ablate", run)
    return run


@pytest.fixture
def log(run):
    with h5py.File(run / "log.h5") as file:
        yield file


def plot_py(*arguments, expect=0):
    result = subprocess.run([sys.executable, SOURCE / "scripts" / "plot.py", *map(str, arguments)], text=True,
                            capture_output=True, timeout=300)
    assert expect is None or result.returncode == expect, result.stdout + result.stderr
    if expect:
        assert result.stderr.startswith("plot: ") and result.stderr.count("\n") == 1
    return result


def line(axis, label):
    """Data of the line of that label: x, y."""
    return next(found for found in axis.lines if found.get_label() == label).get_data()


def panels(figure):
    """The axes but for the colour bar, row by row."""
    return [axis for axis in figure.axes if getattr(axis, "get_subplotspec", lambda: None)() is not None]


def in_strip(axis, label, count):
    """Of the line of that label in a row of `count` panels: x from the panel's left side and y, [panel, points]."""
    x, y = (np.asarray(values).reshape(count, -1)[:, :-1] for values in line(axis, label))
    return x - x[:, :1], y


def test_every_figure_of_a_run_with_every_probe(run):
    result = plot_py(run)
    assert "skipped" not in result.stdout
    folder = run / "figures"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{name}.{kind}" for name in plot.NAMES for kind in ("png", "svg"))
    for name in plot.NAMES:
        pixels = imread(folder / f"{name}.png")
        assert all(200 < size < 5000 for size in pixels.shape[:2]), (name, pixels.shape)
        assert 0.01 < (pixels[..., :3].min(-1) < 0.9).mean() < 0.9, f"{name}: empty, or all ink"
        root = xml.etree.ElementTree.parse(folder / f"{name}.svg").getroot()
        assert root.tag.endswith("svg") and float(root.get("width").removesuffix("pt")) > 100
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    plot_py(run / "log.h5", "--only", "loss", "overlap", "attention")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before, "same log, same files"


def test_what_was_not_logged_is_named(tmp_path):
    write_tokens(tmp_path / "train.h5", 2, 4, 6, 9, seed=1)
    config = write_config(tmp_path / "c.toml", tmp_path / "train.h5", 9, 6)
    headscope("run", config, "model.d_model=8", "model.num_heads=2", "train.steps=3", "log.every=1",
              "log.probes.grad_norm=1", "--out", tmp_path / "run")
    result = plot_py(tmp_path / "run", "-o", tmp_path / "out", "--format", "png")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["grad_norm.png", "loss.png"]
    skipped = {row.split(":")[0]: row for row in result.stdout.splitlines() if row.startswith("skipped ")}
    assert len(skipped) == len(plot.NAMES) - 2
    assert "headscope replay" in skipped["skipped overlap"] and "log.probes.overlap=N" in skipped["skipped overlap"]
    assert "log.attention=N" in skipped["skipped attention"]
    assert "log.probes.role=N" in skipped["skipped roles"]
    assert "headscope ablate" in skipped["skipped ablation"]
    with h5py.File(tmp_path / "run" / "log.h5") as log, pytest.raises(plot.NotLogged):
        plot.overlap(log)


def test_loss(log):
    figure = plot.loss(log)
    for label, group in (("training batch", "train"), ("evaluation", "eval")):
        x, y = line(figure.axes[0], label)
        np.testing.assert_array_equal(x, log[f"{group}/step"])
        np.testing.assert_array_equal(y, log[f"{group}/loss"])
    x, y = line(figure.axes[1], "near")
    np.testing.assert_array_equal(y, log["eval/loss_near"])
    words = [text.get_text() for text in figure.axes[0].texts]
    for name, floor in log["task/floors"].items():
        assert f"floor {name} {floor[()]:.3f}" in words
    assert f"reference bag {log['task/references/bag'][()]:.3f}" in words
    levels = {(round(found.get_ydata()[0], 9), found.get_linestyle()) for found in figure.axes[0].lines[2:]}
    expected = {(round(floor[()], 9), "-") for floor in log["task/floors"].values()}
    assert levels == expected | {(round(log["task/references/bag"][()], 9), "--")}


def test_gradient_norms(log):
    value = log["heads/grad_norm/value"][()]
    axes = panels(plot.grad_norm(log))
    assert len(axes) == 2
    for layer, axis in enumerate(axes):
        assert axis.get_yscale() == "log"
        for projection, label in enumerate(("W_q", "W_k", "W_v", "W_o")):
            x, y = in_strip(axis, label, 3)
            np.testing.assert_allclose(x[2], log["heads/grad_norm/step"][()] / 30)
            np.testing.assert_array_equal(y, value[:, layer, :, projection].T)
    by_class = log["heads/grad_norm_by_class/value"][()]  # [step, class, layer, head, projection]
    axes = panels(plot.grad_norm_by_class(log))
    for index, name in enumerate(log["heads/grad_norm_by_class/class"].asstr()):
        _, y = in_strip(axes[1], name, 3)
        np.testing.assert_allclose(y, np.linalg.norm(by_class[:, index, 1].astype(float), axis=-1).T)


def test_heads(log):
    figure = plot.heads(log)
    axes = {axis.get_title().split(" [")[0]: axis for axis in panels(figure) if axis.get_title()}
    assert {"attention_entropy", "importance", "previous_token", "prefix_matching", "sink"} <= set(axes)
    assert "role" not in axes
    for name, axis in axes.items():
        for layer, head in np.ndindex(2, 3):
            x, y = line(axis, f"{layer}.{head}")
            np.testing.assert_array_equal(y, log[f"heads/{name}/value"][:, layer, head])
    styles = {label: next(found for found in axes["sink"].lines if found.get_label() == label) for label in ("0.1", "1.1")}
    assert styles["0.1"].get_color() == styles["1.1"].get_color()
    assert styles["0.1"].get_linestyle() != styles["1.1"].get_linestyle()


@pytest.mark.parametrize("name", ["overlap", "grad_cosine", "circuit_cosine"])
def test_pairs_of_heads(name, log):
    value = log[f"heads/{name}/value"]
    for step, row in ((None, -1), (10, 1)):
        figure = getattr(plot, name)(log, step)
        axis, = panels(figure)
        numbers = {(round(text.get_position()[0], 6), round(text.get_position()[1], 6)): text.get_text()
                   for text in axis.texts}
        for image, (layer, panel) in zip(axis.images, np.ndindex(2, value.shape[2]), strict=True):
            shown = np.asarray(image.get_array().filled(np.nan), dtype=float)
            expected = value[row, layer, panel].astype(float)
            own = np.eye(3, dtype=bool)
            assert np.isnan(shown[own]).all()
            np.testing.assert_array_equal(shown[~own], expected[~own])
            left, _, _, top = image.get_extent()
            for i, j in zip(*np.nonzero(~own)):
                assert numbers[round(left + j + .5, 6), round(top + i + .5, 6)] == f"{expected[i, j]:.2f}"
            norm = image.norm
            np.testing.assert_allclose((norm.vmin + norm.vmax) / 2, value.attrs["null_mean"], atol=1e-12)
        at = log[f"heads/{name}/step"][row]
        assert any(f"step {at}" in text.get_text() for text in figure.texts)


def test_composition(log):
    value = log["heads/composition/value"][()]  # [step, layer, head, layer_later, head_later, input]
    axis, = panels(plot.composition(log, 10))
    for index, image in enumerate(axis.images):
        np.testing.assert_array_equal(image.get_array(), value[1, 0, :, 1, :, index].T)
    assert [label.get_text() for label in axis.get_yticklabels()] == ["1.0", "1.1", "1.2"], "the later heads"
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0.0", "0.1", "0.2"] * 3


def test_lag_profile(log):
    value = log["heads/lag_profile/value"][()]
    axes = panels(plot.lag_profile(log))
    for layer, head in np.ndindex(2, 3):
        picture = np.asarray(axes[2 * layer].images[head].get_array())
        middles = (np.arange(5) * 60).clip(1, 239)  # of the bands of steps 0, 10, .. 40 in 240 rows
        np.testing.assert_array_equal(picture[middles], value[:, layer, head])
    _, y = np.asarray(axes[1].lines[0].get_data())
    np.testing.assert_array_equal(y.reshape(3, -1)[:, :-1], value[-1, 0])


def test_attention(log):
    weights = log["attention/weights"]
    for step, row in ((None, 2), (20, 1)):
        axis, = panels(plot.attention(log, step))
        for image, (head, sample) in zip(axis.images, np.ndindex(2 * 3, 5), strict=True):
            np.testing.assert_array_equal(image.get_array(), weights[row, sample, head // 3, head % 3])
    with pytest.raises(plot.NoSuchStep, match="the nearest are 0, 20, 40"):
        plot.attention(log, 21)


def test_attention_names_tokens(tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 200)
    headscope("run", SOURCE / "experiments" / "configs" / "kjv.toml", f"task.path={tmp_path / 'text.txt'}",
              "task.seq_len=7", "model.num_heads=2", "model.num_layers=1", "model.d_model=8", "model.d_ff=0",
              "train.steps=0", "log.attention=1", "log.attention_samples=2", "--out", tmp_path / "run")
    with h5py.File(tmp_path / "run" / "log.h5") as log:
        words = log["task/vocabulary"].asstr()[()]
        shown = [label.get_text() for label in panels(plot.attention(log))[1].get_yticklabels()]
        spelt = {" ": "␣", "\n": "\\n"}
        assert shown == [spelt.get(words[token], words[token]) for token in log["attention/tokens"][1]]


def test_roles(log):
    value = log["heads/role/value"]
    figure = plot.roles(log)
    shown = figure.axes[0].collections[0].get_array().reshape(6, -1)
    np.testing.assert_array_equal(shown, value[()].reshape(-1, 6).T)
    names = value.attrs["value_labels"].split(", ")
    present = [names[code] for code in np.unique(value).astype(int)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == present
    assert figure.axes[0].get_xlim() == (0, 40), "the logged steps"


def test_ablation(run, log):
    with h5py.File(run / "ablation.h5") as results:
        axes = panels(plot.ablation(log, results))
        for layer, axis in enumerate(axes):
            bars = np.array([[bar.vertices[1, 1] for bar in kind.get_paths()] for kind in axis.collections])
            np.testing.assert_array_equal(bars.T, results["delta"][-1, layer])
            marks = np.array([axis.lines[kind].get_ydata() for kind in range(3)])
            np.testing.assert_array_equal(marks.T, results["control_delta"][-1, layer])
    assert len(axes) == 2


def test_many_heads_stay_small_multiples(tmp_path):
    write_tokens(tmp_path / "train.h5", 1, 2, 5, 9, seed=1)
    config = write_config(tmp_path / "c.toml", tmp_path / "train.h5", 9, 5)
    headscope("run", config, "model.d_model=30", "model.num_heads=10", "model.num_layers=5", "train.steps=1",
              "log.attention=1", "log.probes.attention_entropy=1", "log.probes.sink=1", "log.probes.overlap=1",
              "log.probes.grad_norm=1", "log.probes.lag_profile=1", "log.probes.composition=1",
              "--out", tmp_path / "run")
    with h5py.File(tmp_path / "run" / "log.h5") as log:
        assert len(panels(plot.attention(log))[0].images) == 5 * 10
        axes = panels(plot.heads(log))
        assert len(axes) == 2  # metrics; in each a panel per layer
        np.testing.assert_array_equal(in_strip(axes[1], "head 7", 5)[1], log["heads/sink/value"][:, :, 7].T)
        assert not panels(plot.overlap(log))[0].texts[4 + 5:], "no numbers in cells too small for them"
        # An Axes costs some 20 ms, so one per head would take minutes for large models.
        assert all(len(plot.draw(name, headscope_py.open(log), tmp_path, None).axes) <= 2 * 5 + 1
                   for name in ("grad_norm", "heads", "lag_profile", "overlap", "attention", "composition"))


def test_errors(run, tmp_path):
    out = ["-o", tmp_path / "out"]
    assert "no such run" in plot_py(tmp_path / "nowhere", *out, expect=2).stderr
    message = plot_py(run, "--only", "overlaps", *out, expect=2).stderr
    assert "invalid choice: 'overlaps'" in message and "did you mean overlap?" in message
    assert "did you mean roles?" in plot_py(run, "--only", "role", *out, expect=2).stderr
    assert "did you mean --only?" in plot_py(run, "--ony", "roles", *out, expect=2).stderr
    message = plot_py(run, "--step", 13, *out, expect=2).stderr
    assert "overlap has no row of step 13; the nearest are 0, 10, 20, 30" in message
    (tmp_path / "foreign.h5").write_text("not HDF5")
    assert "foreign.h5" in plot_py(tmp_path / "foreign.h5", *out, expect=74).stderr
    assert "headscope.ablation" in plot_py(run / "ablation.h5", *out, expect=74).stderr
    damaged = bytearray((run / "log.h5").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "log.h5").write_bytes(damaged)
    assert "damaged" in plot_py(tmp_path, *out, expect=74).stderr
    shutil.copy(run / "log.h5", tmp_path / "log.h5")
    assert not (tmp_path / "out").exists(), "nothing is written when the log is not to be read"
    (tmp_path / "out").write_text("a file")
    plot_py(run, "--only", "loss", *out, expect=74)


def test_a_step_that_some_figures_have(run, tmp_path):
    result = plot_py(run, "--step", 10, "--format", "svg", "-o", tmp_path / "out")
    assert "skipped attention: no row of step 10; the nearest are 0, 20, 40" in result.stdout
    assert (tmp_path / "out" / "overlap.svg").exists() and not (tmp_path / "out" / "attention.svg").exists()


def test_figures_can_be_saved_by_whoever_imports_them(log):
    buffer = io.BytesIO()
    plot.loss(log).savefig(buffer, format="pdf")
    assert buffer.getvalue().startswith(b"%PDF")
