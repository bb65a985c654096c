"""scripts/plot.py: names and tokens of users are shown as they are, and nothing sticks out of a figure."""

import io
import re
import sys

import h5py
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from cli_tools import SOURCE, headscope

sys.path.insert(0, str(SOURCE / "scripts"))
import headscope as headscope_py  # noqa: E402
import plot  # noqa: E402

NASTY = ["p$5^{$", "$$", " $x$", "_under", "two\nlines", "bell\a", "a\\$b"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = tmp_path_factory.mktemp("plot_text") / "run"
    probes = [line.split()[0] for line in headscope("list", "probes").stdout.splitlines() if line.strip()]
    headscope("run", SOURCE / "experiments" / "configs" / "lag_mixture.toml", "model.num_layers=2", "model.num_heads=2",
              "model.d_model=8", "model.head_dim=4", "task.seq_len=9", "task.far=5", "train.steps=4", "eval.every=2",
              "train.batch_size=4", "train.accumulate=2", "log.every=1", "log.attention=2",
              *(f"log.probes.{name}=2" for name in probes), "--out", run)
    headscope("ablate", run)
    return run


def changed(path, change):
    """The HDF5 file at `path` after change(file), as bytes without the checksum at its end."""
    content = io.BytesIO(re.sub(rb"\nheadscope log sha256 [0-9a-f]{64}\n\Z", b"", path.read_bytes()))
    with h5py.File(content, "r+") as file:
        change(file)
    return content.getvalue()


def with_names(run, tmp_path, names):
    """A folder with the run's log in which everything that users name has one of `names`."""
    names = [names[index % len(names)] + str(index) * (index >= len(names)) for index in range(8)]

    def rename(log):
        text = log["config/resolved"].asstr()[()]
        quoted = "".join(f"\\u{ord(letter):04x}" for letter in names[0])
        set_text(log, "config/resolved", re.sub(r'(?m)^name = .*$', lambda _: f'name = "{quoted}"', text))
        vocabulary = [names[index % 7] for index in range(16)]
        log.create_dataset("task/vocabulary", data=vocabulary, dtype=h5py.string_dtype())
        for index, name in enumerate(list(log["task/floors"])):
            log.move(f"task/floors/{name}", f"task/floors/{names[index].replace('/', '')}")
        classes = log["heads/grad_norm_by_class/class"].asstr()[()]
        for index, name in enumerate(classes):
            log.move(f"eval/loss_{name}", f"eval/loss_{names[index + 3]}")
        log["heads/grad_norm_by_class/class"][...] = [names[index + 3] for index in range(len(classes))]
        log["heads/role/value"].attrs["value_labels"] = ", ".join(names)
        for metric in log["heads"].values():
            metric["value"].attrs["units"], metric["value"].attrs["long_name"] = names[1], names[2]
        for axis in ("overlap/projection", "circuit_cosine/circuit", "composition/input"):
            log[f"heads/{axis}"][...] = [names[index] for index in range(len(log[f"heads/{axis}"]))]

    (tmp_path / "log.h5").write_bytes(changed(run / "log.h5", rename))
    (tmp_path / "ablation.h5").write_bytes((run / "ablation.h5").read_bytes())
    return tmp_path


def set_text(log, path, text):
    del log[path]
    log.create_dataset(path, data=text, dtype=h5py.string_dtype())


def figures_of(folder):
    with headscope_py.open(folder) as log:
        for name in plot.NAMES:
            yield name, plot.draw(name, log, folder, None)


def texts(figure):
    """Those that are shown and not empty."""
    FigureCanvasAgg(figure).draw()
    ticks = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    drawn = {id(label) for axis in ticks for tick in axis._update_ticks() for label in (tick.label1, tick.label2)}
    labels = {id(label) for axis in ticks for tick in axis.get_major_ticks() for label in (tick.label1, tick.label2)}
    return [text for text in figure.findobj(Text)
            if text.get_visible() and text.get_text() and (id(text) in drawn or id(text) not in labels)]


def test_no_text_of_users_is_a_formula(run, tmp_path):
    folder = with_names(run, tmp_path, NASTY)
    seen = {}
    for name, figure in figures_of(folder):
        seen[name] = [text.get_text() for text in texts(figure)]
        assert not any("$" in text.get_text() and text.get_parse_math() for text in figure.findobj(Text)), name
        assert not any(letter in text for text in seen[name] for letter in "\n\a") or name == "heads", name
        assert plot.as_bytes(figure, "png") and plot.as_bytes(figure, "svg")
        assert any("run p$5^{$, seed 0" in text for text in seen[name]), name
    assert {"$$", "␣$x$", "_under", "two\\nlin", "bell\\x07"} <= set(seen["attention"]), "of 8 letters at most"
    assert {"_under", "two\\nlines"} <= set(seen["loss"]) & set(seen["grad_norm_by_class"]), "_ hides no class"
    assert any(text.startswith("floor $$ ") for text in seen["loss"])
    assert plot.main([str(folder), "-o", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize("names", [None, ["a long name of 60 letters, which somebody might have given it " * 5,
                                          "another very long name of something measured, in units of their own " * 2]])
def test_nothing_sticks_out(run, tmp_path, names):
    """Titles, legends, labels: all inside the figure, whatever their length."""
    for name, figure in figures_of(run if names is None else with_names(run, tmp_path, names)):
        width, height = figure.bbox.size
        for text in texts(figure):
            box = text.get_window_extent()
            outside = box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height
            assert not outside, f"{name}: {text.get_text()!r} at {box} in {width} x {height}"


def test_legends_of_many_entries_have_several_lines(run, tmp_path):
    labels = [f"class number {index}" for index in range(20)]

    def name_roles(log):
        log["heads/role/value"].attrs["value_labels"] = ", ".join(labels)
        log["heads/role/value"][...] = np.arange(12).reshape(3, 2, 2)

    (tmp_path / "log.h5").write_bytes(changed(run / "log.h5", name_roles))
    with headscope_py.open(tmp_path) as log:
        figure = plot.roles(log)
    shown = [text for text in texts(figure) if text.get_text() in labels]
    assert len(shown) == 12
    assert all(text.get_window_extent().x1 < figure.bbox.width for text in shown)
    top = max(axis.get_window_extent().y1 for axis in figure.axes)
    assert min(text.get_window_extent().y0 for text in shown) > top, "above the panels"


def test_a_class_has_one_colour(run, tmp_path):
    def of_lines(axes):
        return {entry.get_label(): (entry.get_color(), entry.get_linestyle())
                for axis in axes for entry in axis.lines if not entry.get_label().startswith("_")}
    with headscope_py.open(run) as log:
        by_loss = of_lines([plot.loss(log).axes[1]])
        assert len(set(by_loss.values())) == len(by_loss) == 3
        assert of_lines(plot.grad_norm_by_class(log).axes) == by_loss
    # Classes in another order, and one without an evaluation loss: no colour changes between figures.

    def reorder(log):
        log["heads/grad_norm_by_class/class"][...] = ["noise", "far", "near"]
        del log["eval/loss_far"]

    (tmp_path / "log.h5").write_bytes(changed(run / "log.h5", reorder))
    with headscope_py.open(tmp_path) as log:
        assert of_lines(plot.grad_norm_by_class(log).axes) == by_loss
        assert of_lines([plot.loss(log).axes[1]]) == {name: by_loss[name] for name in ("near", "noise")}
