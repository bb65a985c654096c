"""What figures read of a log: metrics that have rows, a window of steps, classes of targets and their colours."""
import functools

import matplotlib
import numpy as np
from matplotlib import colormaps

import headscope
from figure_text import PLAIN_TEXT

# Okabe and Ito's palette, which colour-blind readers tell apart; its yellow is too pale for lines.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999"]
STYLES = ["-", "--", ":", "-."]
ROLE_COLOURS = [*COLOURS[:6], "#999999", "#dddddd", "#222222"]  # uniform and unclear are pale, mixed is dark


class NotLogged(Exception):
    """The log does not hold what the figure shows; `probe` would give it ("log.attention" for maps)."""

    def __init__(self, what, probe=None):
        super().__init__(what)
        self.probe = probe


class NoSuchStep(Exception):
    """No row of that step, or none within those steps (a pair, None at an open end)."""

    def __init__(self, step, steps):
        if np.ndim(step) == 0:
            nearest = sorted(sorted(steps, key=lambda other: abs(other - step))[:4])
            super().__init__(f"no row of step {step}; the nearest are {', '.join(str(other) for other in nearest)}")
        else:
            window = ":".join("" if end is None else str(end) for end in step)
            super().__init__(f"no row within steps {window}; its rows run from {steps[0]} to {steps[-1]}")


class Window:
    """A headscope.Run of which only the rows of steps first..last are seen (None: open end)."""

    def __init__(self, log, first, last):
        self.whole, self.window = log, (first, last)

    def __getattr__(self, name):
        return getattr(self.whole, name)

    def __contains__(self, metric):
        return metric in self.whole

    def rows(self, metric):
        """The rows within the window. Raises NoSuchStep when all rows are outside."""
        steps = self.whole.steps(metric)
        first, last = self.window
        start = 0 if first is None else np.searchsorted(steps, first)
        stop = len(steps) if last is None else np.searchsorted(steps, last, side="right")
        if len(steps) > 0 and stop <= start:
            raise NoSuchStep(self.window, steps)
        return range(int(start), int(stop))

    def steps(self, metric):
        rows = self.rows(metric)
        return self.whole.steps(metric)[rows.start:rows.stop]

    def series(self, metric, rows=slice(None)):
        within = self.rows(metric)
        if isinstance(rows, slice):
            picked = within[rows]
            return self.whole.series(metric, slice(picked.start, picked.stop, picked.step))
        return self.whole.series(metric, np.asarray(rows) + within.start)


def takes_logs(figure):
    """For a function that draws headscope.Run and headscope.Ablation: it takes an open h5py.File in their place, too.
    `steps`, a pair: only the rows within are drawn; None is an open end."""
    @functools.wraps(figure)
    def draw(log, *others, steps=None, **named):
        log = headscope.open(log) if not isinstance(log, Window) else log
        with matplotlib.rc_context(PLAIN_TEXT):
            return figure(log if steps is None else Window(log, *steps), *others, **named)
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


def one_number_per_head(log):
    """Names of the metrics [step, layer, head] that are quantities, not codes such as roles."""
    return [name for name in log.metrics() if log.dims(name) == ("step", "layer", "head")
            and "value_labels" not in log.series(name, slice(0, 0)).attrs]


def losses_of_classes(log):
    """Class of target -> name of its evaluation loss."""
    return {name.removeprefix("eval/loss_"): name for name in log.metrics()
            if name.startswith("eval/loss_") and log.dims(name) == ("step",)}


def looks_of_classes(log):
    """Class of target -> (colour, line style), the same in every figure of a log whatever else was logged."""
    log = log.whole if isinstance(log, Window) else log
    names = set(losses_of_classes(log))
    for name in log.metrics():
        if "class" in log.dims(name):
            names.update(log.series(name, slice(0, 0)).coords.get("class", ()))
    return dict(zip(sorted(names), looks(len(names))))


def looks(count):
    """(colour, line style) of that many lines: the palette's colours, then the same in other styles."""
    if count > len(COLOURS) * len(STYLES):
        return [(colormaps["viridis"](x), "-") for x in np.linspace(0, .92, count)]
    return [(COLOURS[index % len(COLOURS)], STYLES[index // len(COLOURS)]) for index in range(count)]


def per_head(series):
    """[rows, layer, head, rest] of a metric of heads; NaN where a head is paired with itself."""
    values, dims = series.values.astype(float), list(series.dims)
    values = np.moveaxis(values, [dims.index("layer"), dims.index("head")], [1, 2])
    dims = ["step", "layer", "head", *(dim for dim in dims[1:] if dim not in ("layer", "head"))]
    if "head_other" in dims:
        values = np.moveaxis(values, dims.index("head_other"), 3).copy()
        own = np.arange(values.shape[2])
        values[:, :, own, own] = np.nan
    return values.reshape(*values.shape[:3], -1)


def quietly(reduce, values, axis):
    """np.nanmean and such: NaN without a warning where there is no number."""
    values = np.where(np.isfinite(values), values, np.nan)
    empty = np.isnan(values).all(axis)
    filled = np.where(np.expand_dims(empty, axis), 0, values)
    return np.where(empty, np.nan, reduce(filled, axis=axis))
