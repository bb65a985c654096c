"""The figures of plot.py over several runs. Each function takes Runs, a headscope.Sweep, or a path or paths of runs or
of a sweep, and returns a matplotlib Figure:

    import sys; sys.path.append("scripts")
    from figures_over_runs import loss
    loss("runs/lag_mixture-sweep").savefig("loss.pdf")

Runs that differ in the seed alone are a group. A thick line is the mean over the runs of a group that have a row at
that step, the band its 95 % Student-t interval; nothing is interpolated. Of few runs each is a thin line, too. A group
has one colour in all figures. Raises NotLogged for what no run logged and NoSuchStep when all rows are outside of the
steps."""
import functools

import matplotlib
import numpy as np
from matplotlib.patches import Patch

import headscope
from figure_data import NoSuchStep, NotLogged, one_number_per_head
from figure_parts import grid, head, sample_line
from figure_roles import lines_of, mark_role, panels_by_role, shown_by_role
from figure_runs import UNREADABLE, Runs, curve_of, interval, role_names, shares_of_roles, split_quantity
from figure_text import PLAIN_TEXT, shortened, shown, width_of
from step_axis import StepAxis, draw_line

FEW_RUNS = 6     # of a group, up to which each run is drawn
FEW_LINES = 24   # of a panel, up to which they are
BAND = .2        # opacity


def takes_runs(figure):
    """For a function that draws Runs: it takes what Runs() takes, too, or a headscope.Sweep. `steps`, a pair: only the
    rows within are drawn; None is an open end."""
    @functools.wraps(figure)
    def draw(runs, *others, steps=(None, None), **named):
        if not isinstance(runs, Runs):
            runs = Runs(runs.path if isinstance(runs, headscope.Sweep) else runs, steps)
        with matplotlib.rc_context(PLAIN_TEXT):
            return figure(runs, *others, **named)
    return draw


# --- panels ---

def gathered(runs, names_of):
    """Name -> [(group, Curve)] of the quantities that `names_of`(log) names, read of each run in one go, without those
    that have no rows. One that cannot be read costs only itself. Raises NotLogged when no run has any, and says why."""
    why = []

    def read(log):
        curves, outside = {}, None
        for name in names_of(log):
            try:
                curves[name] = curve_of(log, name)
            except headscope.NotInLog:
                continue
            except NotLogged as error:  # head 0.3 of a model with two heads, say
                why.append(error)
            except NoSuchStep as error:
                outside = error
            except UNREADABLE as error:
                runs.lacking.append((log.path.parent, error))
        if outside and not curves:
            raise outside
        return curves
    panels = side_by_side(runs.gather(read))
    if not panels and why:
        raise why[0]
    return panels


def side_by_side(found):
    """(Member, {name: Curve}) of runs as name -> [(group, Curve)], without what has no rows."""
    panels = {}
    for member, curves in found:
        for name, curve in curves.items():
            if len(curve.step) > 0:
                panels.setdefault(name, []).append((member.group, curve))
    return panels


def draw_group(axis, curves, look, label, with_runs):
    """The mean of some curves, its band and, `with_runs`, the curves. Returns their Interval."""
    colour, style = look
    found = interval(curves)
    low, high = found.mean - found.half, found.mean + found.half
    known = np.isfinite(found.half)
    if known.any():
        axis.fill_between(found.step, low, high, where=known, color=colour, alpha=BAND, linewidth=0, zorder=1,
                          label=f"{label} interval")
        padded = np.concatenate([[False], known, [False]])
        alone = known & ~padded[:-2] & ~padded[2:]  # a band of one step has no width
        axis.vlines(found.step[alone], low[alone], high[alone], color=colour, alpha=BAND, linewidth=3, zorder=1)
    if with_runs and len(curves) > 1:
        for curve in curves:
            draw_line(axis, curve.step, curve.values, color=colour, linestyle=style, linewidth=.5, alpha=.55, zorder=2,
                      label=f"{label} run")
    draw_line(axis, found.step, found.mean, color=colour, linestyle=style, linewidth=1.4, zorder=3, label=label)
    return found


def limit(axis, lines, intervals, bounds=None):
    """The y axis shows all lines, and of bands as much as lies within twice their range: the interval of two runs is
    some ten times as wide as what they differ by, and would leave the lines flat."""
    lines = np.concatenate([line[np.isfinite(line)] for line in lines])
    if bounds or len(lines) == 0:
        axis.set_ylim(*(bounds or (0, 1)))
        return
    low, high = lines.min(), lines.max()
    span = high - low or abs(high) * .1 or 1.
    ends = np.concatenate([np.concatenate([one.mean - one.half, one.mean + one.half]) for one in intervals])
    ends = ends[np.isfinite(ends)]
    low = max(low - span / 2, ends.min(initial=low))
    high = min(high + span / 2, ends.max(initial=high))
    axis.set_ylim(low - .04 * (high - low or span), high + .04 * (high - low or span))


def panels_of(runs, panels, title, log_steps, names=None, bounds=None):
    """A Figure with a panel per quantity. `panels`: name -> [(group, Curve)]; `names`: what stands above each."""
    steps = StepAxis(np.concatenate([curve.step for curves in panels.values() for _, curve in curves]), log_steps)
    count = len(panels)
    columns = min(3, count)
    width, height = (4.6, 2.9) if count == 1 else (3.0, 1.8)
    figure, axes = grid(-(-count // columns), columns, width, height, gap=(.75, .62), bottom=.55, right=.3)
    counts, any_band, any_run = {}, False, False
    for index, (axis, (name, curves)) in enumerate(zip(axes.flat, panels.items())):
        members = {group: [curve for its, curve in curves if its == group] for group in sorted({g for g, _ in curves})}
        lines, intervals = [], []
        for group, its in members.items():
            with_runs = len(its) <= FEW_RUNS and len(curves) <= FEW_LINES
            any_run |= with_runs and len(its) > 1
            found = draw_group(axis, its, runs.groups[group].look, runs.groups[group].label, with_runs)
            counts.setdefault(group, set()).update(found.count[found.count > 0].tolist())
            any_band |= bool(np.isfinite(found.half).any())
            lines += [found.mean, *(curve.values for curve in its if with_runs)]
            intervals.append(found)
        limit(axis, lines, intervals, bounds)
        axis.ticklabel_format(axis="y", useOffset=False)  # "+1.358" would stand in the title
        steps.apply(axis, margin=.02, most=4)
        axis.set_title(shortened(shown((names or {}).get(name, name)), 9, width + .4), fontsize=9)
        units = {curve.units for _, curve in curves}
        axis.set_ylabel(shortened(shown(" / ".join(f"[{unit}]" for unit in sorted(units) if unit != "1")), 8, height),
                        fontsize=8)
        if index >= count - columns:
            axis.set_xlabel(steps.label, fontsize=9)
    for axis in list(axes.flat)[count:]:
        axis.set_axis_off()
    widest = figure.get_size_inches()[0] - .7
    handles = [sample_line(with_count(runs.groups[group].label, counts[group], widest), *runs.groups[group].look,
                           linewidth=1.4) for group in sorted(counts)]
    if any_band:
        handles.append(Patch(color="#888888", alpha=2 * BAND, linewidth=0,
                             label="95 % interval of the mean (Student t)"))
    if any_run:
        handles.append(sample_line("a run", "#888888", linewidth=.5))
    head(figure, runs.title, title, [steps.first, steps.last], handles=handles)
    return figure


def with_count(label, counts, widest):
    """For a legend: a group, and of how many runs its means are. A label that is too long is cut before that."""
    low, high = (min(counts), max(counts)) if counts else (0, 0)
    told = f", n = {low}" if low == high else f", n varies: {low} to {high}"
    return shortened(label, 8, widest - width_of(told, 8)) + told


# --- figures ---

@takes_runs
def loss(runs, log_steps=False):
    """Training loss, and each number of the evaluations, a panel each."""
    def names(log):
        logged = [name for name in log.metrics() if name.startswith("eval/") and log.dims(name) == ("step",)]
        return [name for name in ("train/loss", "eval/loss") if name in log] + [n for n in logged if n != "eval/loss"]
    panels = gathered(runs, names)
    if not panels:
        raise NotLogged("no loss was logged")
    return panels_of(runs, panels, "loss and evaluation", log_steps)


@takes_runs
def heads(runs, log_steps=False):
    """Each metric of the heads, the mean over the heads of a run (of other axes, such as the projection, too): a panel
    each. Not shares that sum to 1, such as lag_profile's, whose mean says nothing."""
    def names(log):
        return [name for name in log.metrics() if {"layer", "head"} <= set(log.dims(name))
                and "lag" not in log.dims(name) and "value_labels" not in log.series(name, slice(0, 0)).attrs]
    panels = gathered(runs, names)
    if not panels:
        raise NotLogged("no metric of heads was logged", headscope.config_key("attention_entropy"))
    return panels_of(runs, panels, "what heads do, mean over the heads of each run", log_steps)


@takes_runs
def quantity(runs, name, log_steps=False):
    """Any logged quantity. Of a metric of heads three panels: the mean over heads, the largest and the smallest;
    "overlap/max" and "grad_norm[0.1]" choose one, of all heads or of head 1 of layer 0."""
    def names(log):
        whole = split_quantity(log, name) == (name, "mean") and name in log and log.dims(name) != ("step",)
        return [f"{name}/{kind}" for kind in ("mean", "max", "min")] if whole else [name]
    panels = gathered(runs, names)
    if not panels:
        raise NotLogged(f"{name} was not logged", headscope.config_key(name))
    words = {f"{name}/{kind}": words for kind, words in (
        ("mean", "mean over heads"), ("max", "largest of any head"), ("min", "smallest of any head"))}
    return panels_of(runs, panels, name, log_steps, words if len(panels) > 1 else None)


@takes_runs
def roles(runs, log_steps=False):
    """The share of heads in each role that any head has: a panel each."""
    found = runs.gather(shares_of_roles)
    codes = {name: code for _, shares in found for code, name in enumerate(shares)}
    panels = side_by_side(found)
    panels = {name: panels[name] for name in sorted(panels, key=codes.get)
              if any(curve.values.any() for _, curve in panels[name])}
    if not panels:
        raise NotLogged("role was not logged", headscope.config_key("role"))
    figure = panels_of(runs, panels, "share of heads in each role", log_steps, bounds=(-.03, 1.03))
    for axis, name in zip(figure.axes, panels):
        mark_role(axis, codes[name])
        axis.set_title(axis.get_title(), fontsize=9, pad=8)
        axis.set_ylabel("share of heads", fontsize=8)
    return figure


@takes_runs
def by_role(runs, metric=None, log_steps=False):
    """Small multiples: a panel per role with a metric of all heads, of all runs, that end in that role: a thin line per
    head, a thick one for the mean over the heads of a group. Default: attention_distance, else attention_entropy, else
    grad_norm, else what was logged first."""
    if metric is None:
        found = runs.gather(one_number_per_head)
        metric = shown_by_role(runs.metrics(), [name for _, names in found for name in names])
    for name in (metric, "role"):
        if name not in runs.metrics():
            raise NotLogged(f"{name} was not logged", headscope.config_key(name))
    found, names = [], []
    for member, (lines, its_names) in runs.gather(lambda log: (lines_of(log, metric), role_names(log))):
        names = max(names, its_names, key=len)
        lines.group = member.group
        found.append(lines)
    looks = {group: (each.label, each.look) for group, each in enumerate(runs.groups)}
    return panels_by_role(runs.title, metric, found, names, looks, log_steps)
