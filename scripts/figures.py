"""The figures of plot.py. Each function takes a log that headscope.open() opened (or an h5py.File of it) and returns a
matplotlib Figure, so

    import sys; sys.path.append("scripts")
    import headscope
    from plot import loss
    with headscope.open("runs/kjv-s0") as log:
        loss(log, steps=(0, 200)).savefig("loss.pdf")

works in a notebook too. All take `steps`, a pair: only the rows within are drawn, None is an open end. Those over the
steps take `log_steps`: a step s is drawn at log(1 + s). Those with a `step` show its row, the last one unless told
otherwise. Raises NotLogged for what the log does not hold and NoSuchStep for a step that has no row.
"""
import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import ListedColormap, Normalize, PowerNorm
from matplotlib.patches import Patch

import headscope
from figure_data import (COLOURS, ROLE_COLOURS, STYLES, NoSuchStep, NotLogged, Window, looks, looks_of_classes,
                         losses_of_classes, metric, one_number_per_head, row_of, steps_of, takes_logs)
from figure_parts import (SMALL, Mosaic, Strip, colour_bar, grid, head, head_names, legend, logarithmic, name_axes,
                          name_row, sample_line, ticks_of_cells)
from figure_roles import lines_of, panels_by_role, shown_by_role
from figure_text import shortened, shown, with_units
from step_axis import StepAxis, draw_line

DIVERGING, SEQUENTIAL = "RdBu_r", "cividis"
GREY_WHERE_UNKNOWN = colormaps[DIVERGING].with_extremes(bad="#dddddd")


def rows_within(log, name):
    """The Series of what may have no row at all, or none within the steps asked for: then None."""
    try:
        series = log.series(name) if name in log else None
    except NoSuchStep:
        return None
    return series if series is not None and len(series.step) > 0 else None


def measured(series):
    """Steps and values without the rows of batches that had no scored target, whose loss is NaN."""
    there = ~np.isnan(series.values)
    return series.step[there], series.values[there]


@takes_logs
def loss(log, log_steps=False):
    """Training and evaluation loss, every floor and reference; the losses of target classes in a second panel."""
    training, evaluation = rows_within(log, "train/loss"), rows_within(log, "eval/loss")
    if training is None and evaluation is None:
        for name in ("train/loss", "eval/loss"):
            if name in log:
                log.steps(name)  # NoSuchStep, if there are rows
        raise NotLogged("no loss was logged")
    classes = {name: log.series(path) for name, path in losses_of_classes(log).items()} if evaluation else {}
    known = [(value, style, shown(f"{what} {name} {value:.3f}"))
             for values, style, what in ((log.floors(), "-", "floor"), (log.references(), "--", "reference"))
             for name, value in values.items()]
    beside = max([1.2, *(.2 + len(name) * .065 for _, _, name in known)]) if known else .3
    beside = min(beside, 3)
    figure, axes = grid(1, 1 + bool(classes), 4.6, 3.2, gap=(max(1.5, beside), 0), right=.3 if classes else beside,
                        sharey=True)
    steps = StepAxis(np.concatenate([series.step for series in (training, evaluation) if series]), log_steps)
    head(figure, log, "loss", [steps.first, steps.last])
    axis = axes[0, 0]
    handles = []
    if training:
        draw_line(axis, *measured(training), color=COLOURS[5], linewidth=.8, label="training batch")
        handles.append(sample_line("training batch", COLOURS[5]))
    if evaluation:
        draw_line(axis, *measured(evaluation), marker="o", color=COLOURS[0], markersize=3, label="evaluation")
        handles.append(sample_line("evaluation", COLOURS[0], marker="o", markersize=3))
    look = looks_of_classes(log)
    for name, of_class in classes.items():
        draw_line(axes[0, 1], *measured(of_class), marker="o", color=look[name][0], linestyle=look[name][1],
                  markersize=3, label=name)
    for value, style, _ in known:
        axis.axhline(value, color=COLOURS[6], linestyle=style, linewidth=.8, zorder=1)
    bottom, top = axis.get_ylim()
    apart, height = .045 * (top - bottom), -np.inf
    for value, _, name in sorted(known):  # labels of neighbours are pushed apart
        height = max(value, height + apart)
        axis.annotate(shortened(name, SMALL, beside - .1), (1, height), (4, 0), xycoords=("axes fraction", "data"),
                      textcoords="offset points", va="center", fontsize=SMALL)
    for axis in axes.flat:
        steps.apply(axis, margin=.015)
        axis.set_xlabel(steps.label, fontsize=9)
    legend(axes[0, 0], handles)
    if classes:
        legend(axes[0, 1], [sample_line(name, *look[name], marker="o", markersize=3) for name in sorted(classes)])
        axes[0, 1].set_title("evaluation, by class of target", fontsize=8)
    axes[0, 0].set_ylabel(f"loss [{shown((training or evaluation).units)}]", fontsize=9)
    return figure


def lines_of_heads(log, series, values, lines, what, log_steps):
    """A panel per head: rows = layers, columns = heads; values [step, layer, head, line] on a logarithmic scale, of the
    headscope.Series `series`. `lines`: label -> (colour, style)."""
    layers, heads = values.shape[1:3]
    many = layers * heads > 32
    width, height = (1.0, .8) if many else (1.6, 1.2)
    figure, axes = grid(layers, 1, heads * width + (heads - 1) * .12, height, right=.4)
    values = np.where(values > 0, values, np.nan)
    none = [" (0 throughout)" if np.isnan(values[..., line]).all() else "" for line in range(len(lines))]
    steps = StepAxis(series.step, log_steps)
    head(figure, log, what, series.step,
         handles=[sample_line(label + none[line], *lines[label]) for line, label in enumerate(lines)])
    logged = values[np.isfinite(values)]
    for layer, axis in enumerate(axes[:, 0]):
        strip = Strip(axis, heads, .12 / width, [f"head {index}" for index in range(heads)] if layer == 0 else [])
        for line, (label, look) in enumerate(lines.items()):
            strip.line(steps(series.step), values[:, layer, :, line], *look, label)
        logarithmic(axis, logged.min(initial=1 if logged.size == 0 else np.inf), logged.max(initial=0) or 1)
        name_row(axis, f"layer {layer}")
        if layer == layers - 1:
            strip.ticks(steps(steps.ticks(2)), steps.ticks(2))
    name_axes(figure, steps.label, with_units(series.name.replace("_by_class", ""), series))
    return figure


@takes_logs
def grad_norm(log, log_steps=False):
    """The gradient's norm of every head's W_q, W_k, W_v, W_o."""
    norm = metric(log, "grad_norm")
    labels = [f"W_{label}" for label in norm.coords["projection"]]
    return lines_of_heads(log, norm, norm.values, dict(zip(labels, looks(len(labels)))), norm.long_name, log_steps)


@takes_logs
def grad_norm_by_class(log, log_steps=False):
    """The same of each target class's share of the loss, W_q to W_o together: the root of the sum of their squares."""
    norm = metric(log, "grad_norm_by_class")  # [step, class, layer, head, projection]
    whole = np.sqrt((norm.values.astype(float) ** 2).sum(-1)).transpose(0, 2, 3, 1)
    look, classes = looks_of_classes(log), list(norm.coords["class"])
    order = sorted(range(len(classes)), key=classes.__getitem__)  # as in the figure of the loss
    return lines_of_heads(log, norm, whole[..., order], {classes[at]: look[classes[at]] for at in order},
                          "norm of the gradient of a head's weights, by class of target", log_steps)


@takes_logs
def heads(log, log_steps=False):
    """Every metric that is one number per layer and head. Of few heads a panel per metric: colour = head, style =
    layer; of more than four layers or eight heads, a row of panels per metric, one for each layer."""
    logged = [series for series in (rows_within(log, name) for name in one_number_per_head(log)) if series]
    if not logged:
        for name in one_number_per_head(log):
            log.steps(name)  # NoSuchStep, if there are rows
        raise NotLogged("no metric of one number per head was logged", headscope.config_key("attention_entropy"))
    layers, count = logged[0].values.shape[1:]
    by_layer = layers > len(STYLES) or count > len(COLOURS)
    look = looks(count)
    steps = StepAxis(np.concatenate([series.step for series in logged]), log_steps)
    handles = [sample_line(f"head {index}", *look[index]) for index in range(count)]
    if layers > 1 and not by_layer:
        handles += [sample_line(f"layer {layer}", "black", style) for layer, style in zip(range(layers), STYLES)]
    if any(np.isfinite(series.attrs["null_mean"]) for series in logged):
        handles.append(sample_line("null", "#999999", linewidth=.8))
    if by_layer:
        figure, axes = grid(len(logged), 1, layers * 1.1 + (layers - 1) * .12, 1.0, left=1.1, gap=(0, .2))
    else:
        columns = min(3, len(logged))
        figure, axes = grid(-(-len(logged) // columns), columns, 2.5, 1.5, bottom=.55, gap=(.6, .55), right=.5)
    head(figure, log, "what each head does", [steps.first, steps.last], handles=handles)
    for series, axis in zip(logged, axes.flat):
        null = series.attrs["null_mean"]
        if np.isfinite(null):
            axis.axhline(null, color="#999999", linewidth=.8)
        if by_layer:
            names = [f"layer {layer}" for layer in range(layers)] if axis is axes[0, 0] else []
            strip = Strip(axis, layers, .12 / 1.1, names)
            for index in range(count):
                strip.line(steps(series.step), series.values[:, :, index], *look[index], f"head {index}")
            if axis is axes[-1, 0]:
                strip.ticks(steps(steps.ticks(2)), steps.ticks(2))
            name = with_units(series.name, series)
            axis.set_ylabel(name.replace("_", "\n"), fontsize=SMALL)
            continue
        for layer, index in np.ndindex(layers, count):
            draw_line(axis, series.step, series.values[:, layer, index], color=look[index][0], linewidth=1,
                      linestyle=STYLES[layer], label=f"{layer}.{index}")
        steps.apply(axis, margin=.02, most=4)
        axis.set_title(shortened(with_units(series.name, series), 9, 2.9), fontsize=9)
    for axis in list(axes.flat)[len(logged):]:
        axis.set_axis_off()
    name_axes(figure, steps.label)
    return figure


def pairs(log, name, step, symmetric=None):
    """Heads against heads at a step: a row per layer, colours centred at what random heads give."""
    row = row_of(steps_of(log, name), step)
    series = metric(log, name, slice(row, row + 1))
    values = series.values[0].astype(float)
    layers, panels, count = values.shape[:3]
    own = np.eye(count, dtype=bool)
    norm, null, note = around_null(series, values[:, :, ~own], symmetric)
    size = max(1.3, .125 * count) if count > 8 else max(1.1, .46 * count)
    gap = .15 / size * count
    figure, axes = grid(1, 1, *(size * (n + (n - 1) * .15 / size) for n in (panels, layers)), right=1.7, left=.55)
    head(figure, log, series.long_name, series.step[0], note)
    mosaic = Mosaic(axes[0, 0], layers, panels, count, gap)
    for layer, panel in np.ndindex(layers, panels):
        cells = values[layer, panel]
        mosaic.picture(layer, panel, np.where(own, np.nan, cells), cmap=GREY_WHERE_UNKNOWN, norm=norm)
        for i, j in zip(*np.nonzero(~own & np.isfinite(cells))) if count <= 8 else ():
            dark = abs(norm(cells[i, j]) - .5) > .35
            mosaic.axis.text(panel * mosaic.pitch + j, layer * mosaic.pitch + i, f"{cells[i, j]:.2f}", ha="center",
                             va="center", fontsize=SMALL - (count > 4), color="white" if dark else "black")
    axis_name = log.dims(name)[2]
    prefix = "W_" if axis_name == "projection" else ""
    mosaic.names([prefix + shown(label) for label in series.coords[axis_name]],
                 [f"layer {layer}" for layer in range(layers)])
    mosaic.ticks(range(0, count, 1 if count <= 8 else 4))
    bar = colour_bar(figure, ScalarMappable(norm, DIVERGING), with_units(name, series), null)
    bar.set_ylim(max(norm.vmin, series.attrs["minimum"]), min(norm.vmax, series.attrs["maximum"]))
    name_axes(figure, "head", "head")
    return figure


def around_null(series, values, symmetric=None):
    """Colours of `values` around the null's mean, that mean, and a note of it."""
    null, spread = float(series.attrs["null_mean"]), float(series.attrs["null_std"])
    values = values[np.isfinite(values)]
    half = symmetric or max([4 * spread, *np.abs(values - null)])
    return Normalize(null - half, null + half), null, f"null {null:.3g} ± {spread:.2g}"


@takes_logs
def overlap(log, step=None):
    return pairs(log, "overlap", step)


@takes_logs
def grad_cosine(log, step=None):
    return pairs(log, "grad_cosine", step, symmetric=1)


@takes_logs
def circuit_cosine(log, step=None):
    return pairs(log, "circuit_cosine", step, symmetric=1)


@takes_logs
def composition(log, step=None):
    """How much later heads read of what earlier ones write: a panel per input (q, k, v), across the earlier heads, down
    the later ones; colours centred at what random heads give."""
    name = "composition"
    row = row_of(steps_of(log, name), step)
    series = metric(log, name, slice(row, row + 1))
    values = series.values[0].astype(float)  # [layer, head, layer_later, head_later, input]
    layers, count = values.shape[:2]
    if layers < 2:
        raise NotLogged("composition is between two layers, and the model has one")
    earlier = (layers - 1) * count  # heads of all layers but the last; later: all but the first
    panels = values[:-1, :, 1:].transpose(4, 2, 3, 0, 1).reshape(-1, earlier, earlier)
    norm, null, note = around_null(series, panels)
    size = max(1.4, min(.3, 4 / earlier) * earlier)
    figure, axes = grid(1, 1, len(panels) * size + (len(panels) - 1) * .15, size, right=1.7, left=.9)
    head(figure, log, series.long_name, series.step[0], note)
    mosaic = Mosaic(axes[0, 0], 1, len(panels), earlier, .15 / size * earlier)
    borders = np.arange(1, layers - 1) * count - .5
    for panel, cells in enumerate(panels):
        mosaic.picture(0, panel, cells, cmap=GREY_WHERE_UNKNOWN, norm=norm)
        across = panel * mosaic.pitch
        mosaic.axis.hlines(borders, across - .5, across + earlier - .5, color="white", linewidth=.6)
        mosaic.axis.vlines(across + borders, -.5, earlier - .5, color="white", linewidth=.6)
    mosaic.names([f"read as {label}" for label in map(shown, series.coords["input"])], [])
    if earlier <= 12:
        names, cells = head_names(layers, count), range(earlier)
        mosaic.ticks(cells, names[:earlier])
        mosaic.axis.set_yticks(cells, names[count:])
    else:
        centres = (np.arange(layers - 1) + .5) * count - .5
        mosaic.ticks(centres, range(layers - 1))
        mosaic.axis.set_yticks(centres, [f"layer {layer}" for layer in range(1, layers)])
    mosaic.axis.tick_params(axis="x", rotation=90 if earlier <= 12 else 0)
    bar = colour_bar(figure, ScalarMappable(norm, DIVERGING), with_units(name, series), null)
    bar.set_ylim(max(norm.vmin, series.attrs["minimum"]), min(norm.vmax, series.attrs["maximum"]))
    name_axes(figure, "earlier head" if earlier <= 12 else "layer of the earlier head", "later head")
    return figure


@takes_logs
def lag_profile(log, log_steps=False):
    """How far back each head looks: steps upwards, the distance across; below, the last row."""
    steps = StepAxis(steps_of(log, "lag_profile"), log_steps)
    drawn, row_in_drawn = np.unique(steps.rows(), return_inverse=True)
    series = metric(log, "lag_profile", drawn)
    last = metric(log, "lag_profile", slice(len(steps.steps) - 1, None)).values[0]
    values = series.values  # [step, layer, head, lag]
    layers, count, lags = values.shape[1:]
    many = layers * count > 32
    width, height = (1.0, .8) if many else (1.7, 1.3)
    figure, axes = grid(2 * layers, 1, count * width + (count - 1) * .12, height, right=1.5)
    head(figure, log, series.long_name, [steps.first, steps.last])
    norm = PowerNorm(.5, 0, float(np.nanmax(np.where(np.isfinite(values), values, 0), initial=0)) or 1)
    highest = 1.05 * (np.nanmax(np.where(np.isfinite(last), last, 0), initial=0) or 1)
    for layer in range(layers):
        upper, lower = axes[2 * layer:2 * layer + 2, 0]
        strip = Strip(upper, count, .12 / width, [f"head {index}" for index in range(count)] if layer == 0 else [])
        mesh = strip.pictures(values[row_in_drawn, layer].swapaxes(0, 1), 0, 1, cmap=SEQUENTIAL, norm=norm)
        upper.set_ylim(0, 1)
        upper.set_yticks(steps(steps.ticks(3)), [str(tick) for tick in steps.ticks(3)])
        strip = Strip(lower, count, .12 / width)
        strip.line((np.arange(lags) + .5) / lags, last[layer].T, COLOURS[0])
        lower.set_ylim(0, highest)
        if layer == layers - 1:
            lag_ticks = ticks_of_cells(lags, 2 if many else 4)
            strip.ticks((np.array(lag_ticks) + .5) / lags, lag_ticks)
        upper.set_ylabel("step", fontsize=SMALL)
        lower.set_ylabel("last row", fontsize=SMALL)
        for axis in (upper, lower):
            name_row(axis, f"layer {layer}")
    colour_bar(figure, mesh, "attention weight")
    name_axes(figure, "positions back" + (";  " + steps.label if log_steps else ""))
    return figure


MOST_SAMPLES = 8  # of attention maps, side by side


@takes_logs
def attention(log, step=None):
    """Where heads look: query down, key across; rows = heads, columns = samples. Of more than 16 heads one sample
    alone: rows = layers, columns = heads."""
    maps = "attention/weights"
    if maps not in log or len(log.steps(maps)) == 0:
        raise NotLogged("attention maps were not logged", headscope.config_key(maps))
    row = row_of(log.steps(maps), step)
    series = log.series(maps, slice(row, row + 1))
    weights, tokens = series.values[0], log.tokens()  # [S, L, H, T, T], [S, T]
    samples, layers, count, length = weights.shape[:4]
    words = [shown(word).replace(" ", "␣")[:8] for word in log.vocabulary()] if length <= 64 else []
    norm = PowerNorm(.5, 0, 1)  # the square root: small weights show
    look = {"cmap": SEQUENTIAL, "norm": norm}
    one = layers * count > 16
    drawn = 1 if one else min(samples, MOST_SAMPLES)
    note = "" if drawn == samples else f"sample 0 of {samples}" if one else f"samples 0 to {drawn - 1} of {samples}"
    if words and not one:  # every sample has words of its own, so each panel is an Axes
        size = max(1.6, .075 * length)
        figure, axes = grid(layers * count, drawn, size, size, right=1.5, gap=(.35, .35))
        head(figure, log, "attention maps", series.step[0], note)
        for (index, sample), axis in np.ndenumerate(axes):
            mesh = axis.imshow(weights[sample, index // count, index % count], interpolation="nearest", **look)
            labels = [words[token] if 0 <= token < len(words) else str(token) for token in tokens[sample]]
            axis.set_xticks(range(length), labels, fontsize=4.5, rotation=90 if max(map(len, labels)) > 2 else 0)
            axis.set_yticks(range(length), labels, fontsize=4.5)
            axis.tick_params(length=1.5, pad=1.5)
            if index == 0:
                axis.set_title(f"sample {sample}", fontsize=8)
            if sample == drawn - 1:
                name_row(axis, f"head {index // count}.{index % count}")
    else:
        size = 1.1 if one else 1.6
        rows, columns = (layers, count) if one else (layers * count, drawn)
        figure, axes = grid(1, 1, columns * size + (columns - 1) * .12, rows * size + (rows - 1) * .12, right=1.5)
        head(figure, log, "attention maps", series.step[0], note)
        mosaic = Mosaic(axes[0, 0], rows, columns, length, .12 / size * length)
        for i, j in np.ndindex(rows, columns):
            mesh = mosaic.picture(i, j, weights[0, i, j] if one else weights[j, i // count, i % count], **look)
        if one:
            mosaic.names([f"head {index}" for index in range(count)], [f"layer {layer}" for layer in range(layers)])
        else:
            mosaic.names([f"sample {sample}" for sample in range(drawn)],
                         [f"head {name}" for name in head_names(layers, count)])
        mosaic.ticks(ticks_of_cells(length, 3)[:3])
    colour_bar(figure, mesh, "attention weight")
    name_axes(figure, "key", "query")
    return figure


@takes_logs
def roles(log, log_steps=False):
    """What each head does, as one strip of colour over the steps."""
    role = metric(log, "role")
    names = role.attrs["value_labels"].split(", ")
    layers, count = role.values.shape[1:]
    codes = role.values.reshape(len(role.step), layers * count).T
    present = [code for code in range(len(names)) if (codes == code).any()]
    palette = [ROLE_COLOURS[code % len(ROLE_COLOURS)] for code in range(len(names))]
    many = layers * count > 32
    figure, axes = grid(1, 1, 6, max((.08 if many else .24) * layers * count, .6), left=.8)
    head(figure, log, "role of each head", role.step,
         handles=[Patch(color=palette[code], label=names[code]) for code in present])
    axis = axes[0, 0]
    steps = StepAxis(role.step, log_steps)
    axis.pcolormesh(steps.borders(), np.arange(layers * count + 1) - .5, np.ma.masked_invalid(codes),
                    cmap=ListedColormap(palette), vmin=-.5, vmax=len(names) - .5, rasterized=True)
    if many:
        axis.set_yticks((np.arange(layers) + .5) * count - .5, [f"layer {layer}" for layer in range(layers)])
    else:
        axis.set_yticks(range(layers * count), head_names(layers, count))
    steps.apply(axis, most=8)
    axis.hlines(np.arange(1, layers * count) - .5, *axis.get_xlim(), color="white", linewidth=.5)
    axis.hlines(np.arange(1, layers) * count - .5, *axis.get_xlim(), color="black", linewidth=.8)
    axis.set_ylim(layers * count - .5, -.5)
    axis.set_xlabel(steps.label, fontsize=9)
    axis.set_ylabel("head", fontsize=9)
    return figure


@takes_logs
def by_role(log, metric=None, log_steps=False):
    """A panel per role with a metric of the heads that end in it. Default: attention_distance, else attention_entropy,
    else grad_norm, else what was logged first."""
    steps_of(log, "role")
    if metric is None:
        metric = shown_by_role(log.metrics(), one_number_per_head(log))
    steps_of(log, metric)
    names = log.series("role", slice(0, 0)).attrs["value_labels"].split(", ")
    whose = f"run {shown(log.settings()['name'])}, seed {log.seed}"
    return panels_by_role(whose, metric, [lines_of(log, metric)], names, {0: ("", (COLOURS[0], "-"))}, log_steps)


def bars(axis, x, height, width, colour):
    """As axis.bar(), all bars in one artist."""
    left, right, none = x - width / 2, x + width / 2, np.zeros_like(x)
    corners = np.stack([[left, none], [left, height], [right, height], [right, none]]).transpose(2, 0, 1)
    axis.add_collection(PolyCollection(corners, facecolor=colour, linewidth=0))


@takes_logs
def ablation(log, results, step=None):
    """How much the loss rises without a head, a row per layer. `results`: the open ablation.h5 of the run. Marks: the
    same done to another head, and a change as large in random directions."""
    results = headscope.open(results) if not isinstance(log, Window) else Window(headscope.open(results), *log.window)
    row = row_of(results.steps("delta"), step)
    series, *others = (results.series(name, slice(row, row + 1)) for name in
                       ("delta", "control_delta", "direction_delta"))
    delta, control, directions = (one.values[0] for one in (series, *others))
    kinds = series.coords["ablation"]
    layers, count = delta.shape[:2]
    figure, axes = grid(layers, 1, max(4.5, .75 * count), 1.5 if layers <= 4 else 1.0, right=.4, gap=(0, .15))
    handles = [Patch(color=COLOURS[kind], label=name) for kind, name in enumerate(kinds)]
    handles += [sample_line("the same of another head", "black", "", marker="_"),
                sample_line("random directions", COLOURS[7], "", marker=".")]
    head(figure, log, "loss without each head", series.step[0], handles=handles)
    width = .75 / (len(kinds) + 1)
    drawn = np.concatenate([delta.ravel(), control.ravel(), directions.ravel()])
    drawn = drawn[np.isfinite(drawn)]
    low, high = min(0, drawn.min(initial=0)), max(0, drawn.max(initial=0))
    free = .05 * (high - low) or 1
    for layer, axis in enumerate(axes[:, 0]):
        for kind in range(len(kinds)):
            x = np.arange(count) + (kind - len(kinds) / 2) * width
            bars(axis, x, delta[layer, :, kind], width, COLOURS[kind])
            axis.plot(x, control[layer, :, kind], "_", color="black", markersize=width * 50, markeredgewidth=1.2)
        x = np.arange(count) + len(kinds) / 2 * width
        axis.plot(x, directions[layer], ".", color=COLOURS[7], markersize=4)
        axis.axhline(0, color="black", linewidth=.6)
        axis.set_xlim(-.6, count - .4)
        axis.set_ylim(low - free, high + free)
        labels = head_names(1, count) if layers == 1 else range(count)
        axis.set_xticks(*((range(count), labels) if layer == layers - 1 else ([],)))
        name_row(axis, f"layer {layer}")
    name_axes(figure, "head", f"rise of the loss [{shown(series.units or 'nat/token')}]")
    return figure
