"""What the figures of figures.py are made of: reading a log, panels of a fixed size, titles and legends."""
import functools

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

import headscope

# Okabe and Ito's palette, which colour-blind readers tell apart; its yellow is too pale for lines.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999"]
SMALL = 7  # points
CHINESE = [font.name for font in fontManager.ttflist if "CJK" in font.name or "WenQuanYi" in font.name][:1]


class NotLogged(Exception):
    """The log does not hold what the figure shows; `probe` would give it ("log.attention" for maps)."""

    def __init__(self, what, probe=None):
        super().__init__(what)
        self.probe = probe


class NoSuchStep(Exception):
    def __init__(self, step, steps):
        nearest = sorted(sorted(steps, key=lambda other: abs(other - step))[:4])
        super().__init__(f"no row of step {step}; the nearest are {', '.join(str(other) for other in nearest)}")


# --- reading ---

def takes_logs(figure):
    """For a function that draws headscope.Run and headscope.Ablation: it takes an open h5py.File in their place, too."""
    @functools.wraps(figure)
    def draw(log, *others, **named):
        return figure(headscope.open(log), *others, **named)
    return draw


def steps_of(log, name):
    """Steps of a metric's rows, of which there is at least one."""
    if name not in log:
        raise NotLogged(f"{name} was not logged", headscope.config_key(name))
    steps = log.steps(name)
    if len(steps) == 0:
        raise NotLogged(f"{name} has no rows yet")
    return steps


def metric(log, name, rows=slice(None)):
    """The headscope.Series of a metric that has rows."""
    steps_of(log, name)
    return log.series(name, rows)


def row_of(steps, step):
    """Index of a step's row; of the last one for None."""
    if step is None:
        return len(steps) - 1
    if step not in steps:
        raise NoSuchStep(step, steps.tolist())
    return int(np.flatnonzero(steps == step)[0])


def with_units(name, series):
    """For an axis: "attention_entropy [nat]"."""
    return name if series.units == "1" else f"{name} [{series.units}]"


# --- layout: all sizes in inches, so that a hundred small panels come out as readable as two ---

def grid(rows, columns, width, height, *, left=.8, right=.3, top=.95, bottom=.6, gap=(.12, .12), least=5.2, **shared):
    """A Figure with rows x columns axes of width x height, `gap` (across, down) apart."""
    across = columns * width + (columns - 1) * gap[0]
    right = max(right, least - left - across)
    total = (left + across + right, top + rows * height + (rows - 1) * gap[1] + bottom)
    figure = Figure(figsize=total)
    axes = figure.subplots(rows, columns, squeeze=False, **shared)
    figure.subplots_adjust(left / total[0], bottom / total[1], 1 - right / total[0], 1 - top / total[1],
                           gap[0] / width, gap[1] / height)
    for axis in axes.flat:
        axis.tick_params(labelsize=SMALL)
    return figure, axes


def place(figure, x, y):
    """A place in the figure: inches from the left (from the right if negative) and from the bottom (the top)."""
    width, height = figure.get_size_inches()
    return x / width if x >= 0 else 1 + x / width, y / height if y >= 0 else 1 + y / height


def entitle(figure, log, text, step, note=""):
    """Two lines: what is shown; of which run, seed and step (or steps)."""
    run = log.settings()["name"]
    when = f", step {step}" if np.ndim(step) == 0 else f", steps {step[0]} to {step[-1]}"
    figure.text(*place(figure, .15, -.1), text, va="top", fontsize=11, fontweight="bold")
    which = f"run {run}, seed {log.seed}{when}{note and '   ' + note}"
    figure.text(*place(figure, .15, -.33), which, va="top", fontsize=8.5, color="#444444")


def name_axes(figure, x="", y=""):
    figure.text(*place(figure, figure.get_size_inches()[0] * figure.subplotpars.left, .1), x, va="bottom", fontsize=9)
    centre = figure.get_size_inches()[1] * (figure.subplotpars.bottom + figure.subplotpars.top) / 2
    figure.text(*place(figure, .1, centre), y, rotation=90, va="center", fontsize=9)


def name_panels(axes, columns, rows):
    """Titles above the top row, and names of the rows to the right of the last column."""
    for axis, name in zip(axes[0], columns):
        axis.set_title(name, fontsize=8)
    for axis, name in zip(axes[:, -1], rows):
        axis.annotate(name, (1, .5), (4, 0), xycoords="axes fraction", textcoords="offset points", rotation=270,
                      va="center", fontsize=8)


def legend(figure, handles, columns=None):
    """One line under the title."""
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=place(figure, .08, -.48),
                  ncol=columns or len(handles), frameon=False, fontsize=8, handlelength=1.6, columnspacing=1.2,
                  borderpad=.2)


def colour_bar(figure, mappable, label, null=None):
    """To the right of all panels, in 1.2 inches left for it; the null's mean is marked."""
    width, height = figure.get_size_inches()
    tall = min((figure.subplotpars.top - figure.subplotpars.bottom) * height, 3)
    axis = figure.add_axes([1 - .95 / width, figure.subplotpars.top - tall / height, .12 / width, tall / height])
    figure.colorbar(mappable, cax=axis).ax.tick_params(labelsize=SMALL)
    axis.set_ylabel(label, fontsize=8)
    if null is not None:
        axis.axhline(null, color="black", linewidth=1)
        axis.annotate("null", (0, null), (-3, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                      ha="right", va="center", fontsize=SMALL)
    return axis


def colours(count):
    """As many colours as there are heads: those of the palette while they last, else shades."""
    return COLOURS[:count] if count <= len(COLOURS) else [colormaps["viridis"](x) for x in np.linspace(0, .92, count)]


def head_names(layers, heads):
    return [f"{layer}.{head}" for layer in range(layers) for head in range(heads)]


def layer_rows(axes, layers, heads):
    name_panels(axes, [f"head {head}" for head in range(heads)], [f"layer {layer}" for layer in range(layers)])
