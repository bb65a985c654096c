"""Heads by the role they end in: a panel per role."""
import dataclasses

import numpy as np

from figure_data import ROLE_COLOURS, NotLogged, per_head, quietly
from figure_parts import grid, head, logarithmic, sample_line
from figure_text import shortened, shown
from step_axis import StepAxis, draw_line


@dataclasses.dataclass
class HeadLines:
    """A metric of every head of one run, and what each head was called last."""
    step: np.ndarray
    values: np.ndarray  # [rows, heads]
    roles: list         # [heads]; names, None where it has none
    units: str
    group: int = 0      # of the run


def lines_of(log, name):
    """Of a metric that was logged, in a log that has roles. Of a gradient's norm the whole head's, W_q to W_o together:
    the root of the sum of squares. Of other axes beside layer and head the mean."""
    if not {"layer", "head"} <= set(log.dims(name)):
        raise NotLogged(f"{name} is no metric of heads")
    series, role = log.series(name), log.series("role")
    values = per_head(series)
    if name == "grad_norm":
        values = np.sqrt((values ** 2).sum(-1))
    else:
        values = quietly(np.nanmean, values, 3)
    names = role.attrs["value_labels"].split(", ")
    last = role.values[-1].ravel() if len(role.values) else np.full(values[0].size if len(values) else 0, np.nan)
    roles = [names[int(code)] if np.isfinite(code) and 0 <= code < len(names) else None for code in last]
    return HeadLines(series.step, values.reshape(len(values), -1), roles, series.units)


BY_ROLE_FIRST = ("attention_distance", "attention_entropy", "grad_norm")


def shown_by_role(logged, of_heads):
    """The metric to show unless told otherwise; `of_heads`: of those logged, which are one number per head."""
    return next((name for name in BY_ROLE_FIRST if name in logged), (of_heads or BY_ROLE_FIRST[:1])[0])


def mark_role(axis, code):
    """A role's colour, as in the figure of a run's roles, above its panel."""
    bar = axis.spines["top"]
    bar.set(color=ROLE_COLOURS[code % len(ROLE_COLOURS)], linewidth=4)
    bar.set_position(("outward", 2.5))  # above what lines there may be at the top


def panels_by_role(whose, metric, found, names, looks, log_steps):
    """A Figure with a panel per role. `found`: a list of HeadLines; `names`: of the roles by their codes, from which
    they have their colours; `looks`: group -> (label, (colour, style))."""
    found = [lines for lines in found if len(lines.step) > 0 and any(lines.roles)]
    if not found:
        raise NotLogged(f"{metric} and role have no rows yet")
    present = sorted({role for lines in found for role in lines.roles if role}, key=names.index)
    steps = StepAxis(np.concatenate([lines.step for lines in found]), log_steps)
    columns = min(4 if len(present) in (4, 7, 8) else 3, len(present))
    figure, axes = grid(-(-len(present) // columns), columns, 2.5, 1.8, gap=(.2, .62), bottom=.55, right=.3,
                        sharey=True)
    logarithmic_axis = metric == "grad_norm"
    used = sorted({lines.group for lines in found})
    for index, (axis, role) in enumerate(zip(axes.flat, present)):
        count = 0
        for group in used:
            of_role = [HeadLines(lines.step, lines.values[:, [its == role for its in lines.roles]], [], "")
                       for lines in found if lines.group == group]
            of_role = [lines for lines in of_role if lines.values.shape[1] > 0]
            count += sum(lines.values.shape[1] for lines in of_role)
            if of_role:
                draw_heads(axis, of_role, *looks[group], logarithmic_axis)
        steps.apply(axis, margin=.02, most=4)
        title = f"{shown(role)}: {count} head{'s' * (count != 1)}"
        axis.set_title(shortened(title, 9, 2.6), fontsize=9, pad=8)
        mark_role(axis, names.index(role))
        if index >= len(present) - columns:
            axis.set_xlabel(steps.label, fontsize=9)
    for axis in list(axes.flat)[len(present):]:
        axis.set_axis_off()
    values = np.concatenate([lines.values.ravel() for lines in found])
    if logarithmic_axis and (values > 0).any():
        logarithmic(axes[0, 0], values[values > 0].min(), values[np.isfinite(values)].max())
    name = shown(metric if metric != "grad_norm" else "grad_norm, W_q to W_o together")
    units = found[0].units
    for axis in axes[:, 0]:
        axis.set_ylabel(shortened(name if units == "1" else f"{name} [{shown(units)}]", 8, 2.3), fontsize=8)
    handles = [sample_line(looks[group][0], *looks[group][1], linewidth=1.6) for group in used if looks[group][0]]
    handles += [sample_line(what, "#888888", linewidth=width)
                for what, width in (("a head", .6), ("mean over heads", 1.6))]
    head(figure, whose, f"{name}, of heads by the role they end in", [steps.first, steps.last], handles=handles)
    return figure


def draw_heads(axis, found, label, look, positive):
    """A thin line per head, all in one artist, and the mean over heads of what has a row at a step."""
    colour, style = look
    x, y = [], []
    for lines in found:
        values = np.where(lines.values > 0, lines.values, np.nan) if positive else lines.values
        gap = np.full((1, values.shape[1]), np.nan)
        y.append(np.concatenate([values, gap]).T.ravel())
        x.append(np.tile(np.append(lines.step, lines.step[-1]), values.shape[1]))
    draw_line(axis, np.concatenate(x), np.concatenate(y), color=colour, linewidth=.5, alpha=.5, label=f"{label} heads")
    steps = np.unique(np.concatenate([lines.step for lines in found]))
    total, count = np.zeros(len(steps)), np.zeros(len(steps))
    for lines in found:
        there = np.isfinite(lines.values)
        at = np.searchsorted(steps, lines.step)
        total[at] += np.where(there, lines.values, 0).sum(1)
        count[at] += there.sum(1)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    draw_line(axis, steps, mean, color=colour, linestyle=style, linewidth=1.6, label=label)
