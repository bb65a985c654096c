"""Axes of steps, and lines over them."""
import numpy as np
from matplotlib.ticker import MaxNLocator


class StepAxis:
    """Where a step is drawn: from the first to the last one logged, evenly or, `log_steps`, at log(1 + step), where
    step 0 is the left end."""

    def __init__(self, steps, log_steps):
        self.steps, self.log_steps = np.unique(steps), log_steps
        self.first, self.last = int(self.steps[0]), int(self.steps[-1])
        self.label = "step (drawn at log(1 + step))" if log_steps else "step"

    def __call__(self, steps):
        """In 0 .. 1; an only step in the middle."""
        scale = np.log1p if self.log_steps else np.asarray
        first, last = scale(float(self.first)), scale(float(self.last))
        return (scale(np.asarray(steps, float)) - first) / (last - first) if last > first else np.full(len(steps), .5)

    def ticks(self, most):
        """Steps to be named, about `most`."""
        ticks = MaxNLocator(most, integer=True, steps=[1, 2, 2.5, 5, 10]).tick_values(self.first, self.last)
        if self.log_steps:
            powers = [0, *(10 ** power for power in range(19))]
            inside = [tick for tick in powers if self.first <= tick <= self.last]
            every = -(-len(inside) // (most + 1))
            ticks = inside[::-every][::-1] if len(inside) > 1 else ticks
        return [int(tick) for tick in ticks if self.first <= tick <= self.last] or [self.first]

    def apply(self, axis, margin=0., most=6):
        """To the x axis of an Axes; `margin`: free at both ends, a share of the whole."""
        if self.log_steps:
            axis.set_xscale("function", functions=(np.log1p, np.expm1))
        if self.first == self.last:
            axis.set_xlim(self.first - .5, self.last + .5)
        elif margin == 0:
            axis.set_xlim(self.first, self.last)
        else:
            scale, back = (np.log1p, np.expm1) if self.log_steps else (float, float)
            free = margin * (scale(self.last) - scale(self.first))
            axis.set_xlim(back(scale(self.first) - free), back(scale(self.last) + free))
        axis.set_xticks(self.ticks(most), [str(tick) for tick in self.ticks(most)])
        axis.minorticks_off()

    def borders(self):
        """Of the bands that stand for the steps: half way between neighbours, and at the ends."""
        if self.first == self.last:
            return np.array([self.first - .5, self.first + .5])
        return np.concatenate([self.steps[:1], (self.steps[1:] + self.steps[:-1]) / 2, self.steps[-1:]])

    def rows(self, count=240):
        """For a picture of `count` rows from the first to the last step: which logged step each shows."""
        inner = self(self.borders()[1:-1])
        return np.searchsorted(inner, (np.arange(count) + .5) / count)


def draw_line(axis, x, y, **look):
    """axis.plot(x, y), and a dot where a value has no neighbour on either side: a line alone would not show it."""
    known = np.concatenate([[False], np.isfinite(np.asarray(y, float)), [False]])
    alone = np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:])
    if len(alone) > 0 and "marker" not in look:
        look |= {"marker": "o", "markersize": 2.5, "markevery": alone.tolist()}
    return axis.plot(x, y, **look)
