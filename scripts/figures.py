"""The figures of plot.py. Each function takes a log that headscope.open() opened (or an h5py.File of it) and returns a
matplotlib Figure, so

    import sys; sys.path.append("scripts")
    import headscope
    from plot import loss
    with headscope.open("runs/kjv-s0") as log:
        loss(log).savefig("loss.pdf")

works in a notebook too. Those with a `step` show its row, the last one unless told otherwise. Raises NotLogged for what
the log does not hold and NoSuchStep for a step that has no row.
"""
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, PowerNorm
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

import headscope
from figure_parts import (COLOURS, SMALL, NotLogged, colour_bar, colours, entitle, grid, head_names, layer_rows, legend,
                          metric, name_axes, name_panels, row_of, steps_of, takes_logs, with_units)

ROLE_COLOURS = [*COLOURS[:6], "#999999", "#dddddd"]  # uniform and unclear are the pale ones
STYLES = ["-", "--", ":", "-."]
DIVERGING, SEQUENTIAL = "RdBu_r", "cividis"


def measured(series):
    """Steps and values without the rows of batches that had no scored target, whose loss is NaN."""
    there = ~np.isnan(series.values)
    return series.step[there], series.values[there]


@takes_logs
def loss(log):
    """Training and evaluation loss, every floor and reference; the losses of target classes in a second panel."""
    training = log.series("train/loss") if "train/loss" in log else None
    evaluation = log.series("eval/loss") if "eval/loss" in log else None
    evaluated = evaluation is not None and len(evaluation.step) > 0
    if training is None or len(training.step) == 0 and not evaluated:
        raise NotLogged("no loss was logged")
    classes = [name for name in log.metrics() if name.startswith("eval/loss_")] if evaluated else []
    figure, axes = grid(1, 1 + bool(classes), 4.6, 3.2, gap=(1.5, 0), right=.3 if classes else 1.2, top=.8, sharey=True)
    axis = axes[0, 0]
    for name, colour in zip(classes, colours(len(classes))):
        of_class = log.series(name)
        axes[0, 1].plot(*measured(of_class), "o-", color=colour, markersize=3,
                        label=name.removeprefix("eval/loss_"))
    axis.plot(*measured(training), color=COLOURS[5], linewidth=.8, label="training batch")
    if evaluated:
        axis.plot(*measured(evaluation), "o-", color=COLOURS[0], markersize=3, label="evaluation")
    known = []
    for values, style, what in ((log.floors(), "-", "floor"), (log.references(), "--", "reference")):
        for name, value in values.items():
            axis.axhline(value, color=COLOURS[6], linestyle=style, linewidth=.8, zorder=1)
            known.append((value, f"{what} {name}"))
    axis.set_xlim(left=0)
    bottom, top = axis.get_ylim()
    apart, height = .045 * (top - bottom), -np.inf
    for value, name in sorted(known):  # labels of neighbours are pushed apart
        height = max(value, height + apart)
        axis.annotate(f"{name} {value:.3f}", (1, height), (4, 0), xycoords=("axes fraction", "data"),
                      textcoords="offset points", va="center", fontsize=SMALL)
    for axis in axes.flat:
        axis.legend(fontsize=8, frameon=False)
        axis.set_xlabel("step", fontsize=9)
    if classes:
        axes[0, 1].set_title("evaluation, by class of target", fontsize=8)
        axes[0, 1].set_xlim(left=0)
    axes[0, 0].set_ylabel(f"loss [{training.units}]", fontsize=9)
    entitle(figure, log, "loss", sorted([*training.step, *(evaluation.step if evaluated else ())]))
    return figure


def lines_of_heads(log, shown, values, labels, what):
    """A panel per head: rows = layers, columns = heads; values [step, layer, head, line] on a logarithmic scale, of the
    headscope.Series `shown`."""
    layers, heads = values.shape[1:3]
    many = layers * heads > 32
    figure, axes = grid(layers, heads, 1.0 if many else 1.6, .8 if many else 1.2, top=1.0, sharex=True, sharey=True)
    values = np.where(values > 0, values, np.nan)
    palette = colours(len(labels))
    for (layer, head), axis in np.ndenumerate(axes):
        for line, label in enumerate(labels):
            axis.plot(shown.step, values[:, layer, head, line], color=palette[line], linewidth=.8, label=label)
        axis.set_yscale("log")
        axis.minorticks_off()
        axis.xaxis.set_major_locator(MaxNLocator(3))
    layer_rows(axes, layers, heads)
    none = [" (0 throughout)" if np.isnan(values[..., line]).all() else "" for line in range(len(labels))]
    legend(figure, [Line2D([], [], color=palette[line], label=label + none[line]) for line, label in enumerate(labels)])
    entitle(figure, log, what, shown.step)
    name_axes(figure, "step", with_units(shown.name.replace("_by_class", ""), shown))
    return figure


@takes_logs
def grad_norm(log):
    """The gradient's norm of every head's W_q, W_k, W_v, W_o."""
    norm = metric(log, "grad_norm")
    labels = [f"W_{label}" for label in norm.coords["projection"]]
    return lines_of_heads(log, norm, norm.values, labels, norm.long_name)


@takes_logs
def grad_norm_by_class(log):
    """The same of each target class's share of the loss, W_q to W_o together: the root of the sum of their squares."""
    norm = metric(log, "grad_norm_by_class")  # [step, class, layer, head, projection]
    whole = np.sqrt((norm.values.astype(float) ** 2).sum(-1)).transpose(0, 2, 3, 1)
    return lines_of_heads(log, norm, whole, list(norm.coords["class"]),
                          "norm of the gradient of a head's weights, by class of target")


@takes_logs
def heads(log):
    """Every metric that is one number per layer and head: colour = head, style = layer; with more than four layers a
    column per layer."""
    logged = [log.series(name) for name in log.metrics()
              if log.dims(name) == ("step", "layer", "head") and len(log.steps(name)) > 0]
    shown = [series for series in logged if "value_labels" not in series.attrs]
    if not shown:
        raise NotLogged("no metric of one number per head was logged", headscope.config_key("attention_entropy"))
    layers, count = shown[0].values.shape[1:]
    by_layer = layers > len(STYLES)
    columns = layers if by_layer else min(3, len(shown))
    rows = len(shown) if by_layer else -(-len(shown) // columns)
    size = (1.1, 1.0) if by_layer else (2.5, 1.5)
    figure, axes = grid(rows, columns, *size, left=1.1 if by_layer else .8, top=1.2, bottom=.55,
                        gap=(.12, .2) if by_layer else (.6, .55), sharex=True, sharey="row" if by_layer else False)
    palette = colours(count)
    for index, series in enumerate(shown):
        null = series.attrs["null_mean"]
        panels = axes[index] if by_layer else [axes.flat[index]] * layers
        for layer, axis in enumerate(panels):
            for head in range(count):
                axis.plot(series.step, series.values[:, layer, head], color=palette[head], linewidth=1,
                          linestyle="-" if by_layer else STYLES[layer], label=f"{layer}.{head}")
            if layer == 0 or by_layer:
                axis.xaxis.set_major_locator(MaxNLocator(3 if by_layer else 5, integer=True))
                if np.isfinite(null):
                    axis.axhline(null, color="#999999", linewidth=.8)
        if by_layer:
            panels[0].set_ylabel(with_units(series.name, series).replace("_", "\n"), fontsize=SMALL)
        else:
            panels[0].set_title(with_units(series.name, series), fontsize=9)
    for axis in list(axes.flat)[len(shown):] if not by_layer else ():
        axis.set_axis_off()
        axes[-2, list(axes[-1]).index(axis)].tick_params(labelbottom=True)
    if by_layer:
        name_panels(axes, [f"layer {layer}" for layer in range(layers)], [])
    handles = [Line2D([], [], color=palette[head], label=f"head {head}") for head in range(count)]
    if layers > 1 and not by_layer:
        handles += [Line2D([], [], color="black", linestyle=style, label=f"layer {layer}")
                    for layer, style in zip(range(layers), STYLES)]
    legend(figure, handles, 7 if figure.get_size_inches()[0] < 9 else 14)
    ends = [series.step[at] for series in shown for at in (0, -1)]
    entitle(figure, log, "what each head does", sorted(ends))
    name_axes(figure, "step")
    return figure


def pairs(log, name, step, symmetric=None):
    """Heads against heads at a step: a row per layer, colours centred at what random heads give."""
    row = row_of(steps_of(log, name), step)
    shown = metric(log, name, slice(row, row + 1))
    values = shown.values[0].astype(float)
    layers, panels, count = values.shape[:3]
    null, spread = float(shown.attrs["null_mean"]), float(shown.attrs["null_std"])
    own = np.eye(count, dtype=bool)
    others = values[:, :, ~own]
    others = others[np.isfinite(others)]
    half = symmetric or max([4 * spread, *np.abs(others - null)])
    norm = Normalize(null - half, null + half)
    size = max(1.3, .125 * count) if count > 8 else max(1.1, .46 * count)
    figure, axes = grid(layers, panels, size, size, right=1.7, left=.55, gap=(.15, .15), sharex=True, sharey=True)
    ticks = range(0, count, 1 if count <= 8 else 4)
    for (layer, panel), axis in np.ndenumerate(axes):
        axis.imshow(np.where(own, np.nan, values[layer, panel]), cmap=DIVERGING, norm=norm)
        axis.set_facecolor("#dddddd")  # of a head with itself
        axis.set_xticks(ticks)
        axis.set_yticks(ticks)
        for (a, b), number in np.ndenumerate(values[layer, panel]) if count <= 8 else ():
            if a != b and np.isfinite(number):
                strong = abs(number - null) > .6 * half
                axis.text(b, a, f"{number:.2f}", ha="center", va="center", fontsize=6.5,
                          color="white" if strong else "black")
    axis_name = shown.dims[2]
    name_panels(axes, [f"W_{label}" if axis_name == "projection" else label for label in shown.coords[axis_name]],
                [f"layer {layer}" for layer in range(layers)])
    bar = colour_bar(figure, ScalarMappable(norm, DIVERGING), with_units(name, shown), null)
    bar.set_ylim(max(norm.vmin, shown.attrs["minimum"]), min(norm.vmax, shown.attrs["maximum"]))
    entitle(figure, log, shown.long_name, shown.step[0], f"null {null:.3g} ± {spread:.2g}")
    name_axes(figure, "head", "head")
    return figure


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
def lag_profile(log):
    """How far back each head looks: steps upwards, the distance across; below, the last row."""
    steps = steps_of(log, "lag_profile")
    every = -(-len(steps) // 400)
    shown = metric(log, "lag_profile", slice(None, None, every))
    last = metric(log, "lag_profile", slice(len(steps) - 1, None)).values[0]
    values = shown.values  # [step, layer, head, lag]
    layers, count, lags = values.shape[1:]
    many = layers * count > 32
    width, height = (1.0, .8) if many else (1.7, 1.3)
    figure, axes = grid(2 * layers, count, width, height, right=1.4, sharex=True, sharey="row")
    norm = PowerNorm(.5, 0, float(np.nanmax(values, initial=0)) or 1)  # the square root: small weights show
    for layer in range(layers):
        for head in range(count):
            mesh = axes[2 * layer, head].pcolormesh(np.arange(lags), shown.step, values[:, layer, head], cmap=SEQUENTIAL,
                                                    norm=norm, shading="nearest", rasterized=True)
            below = axes[2 * layer + 1, head]
            below.plot(np.arange(lags), last[layer, head], color=COLOURS[0], linewidth=1)
            below.set_ylim(0, 1.05 * (np.nanmax(last, initial=0) or 1))
            below.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes[2 * layer, head].yaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes[2 * layer, 0].set_ylabel("step", fontsize=SMALL)
        axes[2 * layer + 1, 0].set_ylabel("last row", fontsize=SMALL)
    name_panels(axes, [f"head {head}" for head in range(count)], [f"layer {row // 2}" for row in range(2 * layers)])
    colour_bar(figure, mesh, "attention weight")
    entitle(figure, log, shown.long_name, steps)
    name_axes(figure, "positions back")
    return figure


@takes_logs
def attention(log, step=None):
    """Where heads look: query down, key across; rows = heads, columns = samples. Of more than 16 heads one sample
    alone: rows = layers, columns = heads."""
    maps = "attention/weights"
    if maps not in log or len(log.steps(maps)) == 0:
        raise NotLogged("attention maps were not logged", headscope.config_key(maps))
    row = row_of(log.steps(maps), step)
    shown = log.series(maps, slice(row, row + 1))
    weights, tokens = shown.values[0], log.tokens()  # [S, L, H, T, T], [S, T]
    samples, layers, count, length = weights.shape[:4]
    words = [repr(word)[1:-1].replace(" ", "␣")[:8] for word in log.vocabulary()] if length <= 64 else []
    named = len(words) > 0
    norm = PowerNorm(.5, 0, 1)  # the square root: small weights show
    if layers * count > 16:
        figure, axes = grid(layers, count, 1.1, 1.1, right=1.5, sharex=True, sharey=True)
        panels = {(layer, head): weights[0, layer, head] for layer in range(layers) for head in range(count)}
        layer_rows(axes, layers, count)
        named, note = False, f"sample 0 of {samples}"
    else:
        size = max(1.6, .075 * length) if named else 1.6
        figure, axes = grid(layers * count, samples, size, size, right=1.5, gap=(.35 if named else .12, .12),
                            sharex="col", sharey="col")
        panels = {(index, sample): weights[sample, index // count, index % count]
                  for index in range(layers * count) for sample in range(samples)}
        name_panels(axes, [f"sample {sample}" for sample in range(samples)],
                    [f"head {name}" for name in head_names(layers, count)])
        note = ""
    for (i, j), values in panels.items():
        mesh = axes[i, j].imshow(values, cmap=SEQUENTIAL, norm=norm, interpolation="nearest")
        if named:
            labels = [words[token] for token in tokens[j]]
            axes[i, j].set_xticks(range(length), labels, fontsize=4.5, rotation=90 if max(map(len, labels)) > 2 else 0)
            axes[i, j].set_yticks(range(length), labels, fontsize=4.5)
            axes[i, j].tick_params(length=1.5, pad=1.5)
        else:
            axes[i, j].xaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes[i, j].yaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes[i, j].label_outer()
    colour_bar(figure, mesh, "attention weight")
    entitle(figure, log, "attention maps", shown.step[0], note)
    name_axes(figure, "key", "query")
    return figure


@takes_logs
def roles(log):
    """What each head does, as one strip of colour over the steps."""
    role = metric(log, "role")
    names = role.attrs["value_labels"].split(", ")
    layers, count = role.values.shape[1:]
    codes = role.values.reshape(len(role.step), layers * count).T
    present = [code for code in range(len(names)) if (codes == code).any()]
    palette = [ROLE_COLOURS[code % len(ROLE_COLOURS)] for code in range(len(names))]
    many = layers * count > 32
    figure, axes = grid(1, 1, 6, max((.08 if many else .24) * layers * count, .6), top=.9, left=.8)
    axis = axes[0, 0]
    axis.pcolormesh(role.step, np.arange(layers * count), np.ma.masked_invalid(codes), cmap=ListedColormap(palette),
                    vmin=-.5, vmax=len(names) - .5, shading="nearest", rasterized=True)
    if many:
        axis.set_yticks((np.arange(layers) + .5) * count - .5, [f"layer {layer}" for layer in range(layers)])
    else:
        axis.set_yticks(range(layers * count), head_names(layers, count))
    axis.hlines(np.arange(1, layers * count) - .5, *axis.get_xlim(), color="white", linewidth=.5)
    axis.hlines(np.arange(1, layers) * count - .5, *axis.get_xlim(), color="black", linewidth=.8)
    axis.invert_yaxis()
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axis.set_xlabel("step", fontsize=9)
    axis.set_ylabel("head", fontsize=9)
    legend(figure, [Patch(color=palette[code], label=names[code]) for code in present])
    entitle(figure, log, "role of each head", role.step)
    return figure


@takes_logs
def ablation(log, results, step=None):
    """How much the loss rises without a head, a row per layer. `results`: the open ablation.h5 of the run. Marks: the
    same done to another head, and a change as large in random directions."""
    results = headscope.open(results)
    row = row_of(results.steps("delta"), step)
    shown, *others = (results.series(name, slice(row, row + 1)) for name in
                      ("delta", "control_delta", "direction_delta"))
    delta, control, directions = (series.values[0] for series in (shown, *others))
    kinds = shown.coords["ablation"]
    layers, count = delta.shape[:2]
    figure, axes = grid(layers, 1, max(4.5, .75 * count), 1.5 if layers <= 4 else 1.0, top=1.0, right=.4, gap=(0, .15),
                        sharex=True, sharey=True)
    width = .75 / (len(kinds) + 1)
    for layer, axis in enumerate(axes[:, 0]):
        for kind in range(len(kinds)):
            x = np.arange(count) + (kind - len(kinds) / 2) * width
            axis.bar(x, delta[layer, :, kind], width, color=COLOURS[kind])
            axis.plot(x, control[layer, :, kind], "_", color="black", markersize=width * 50, markeredgewidth=1.2)
        x = np.arange(count) + len(kinds) / 2 * width
        axis.plot(x, directions[layer], ".", color=COLOURS[7], markersize=4)
        axis.axhline(0, color="black", linewidth=.6)
        axis.set_xticks(range(count), [f"{layer}.{head}" for head in range(count)] if layers == 1 else range(count))
    name_panels(axes, [], [f"layer {layer}" for layer in range(layers)])
    handles = [Patch(color=COLOURS[kind], label=name) for kind, name in enumerate(kinds)]
    handles += [Line2D([], [], color="black", marker="_", linestyle="", label="the same of another head"),
                Line2D([], [], color=COLOURS[7], marker=".", linestyle="", label="random directions")]
    legend(figure, handles)
    entitle(figure, log, "loss without each head", shown.step[0])
    name_axes(figure, "head", f"rise of the loss [{shown.units or 'nat/token'}]")
    return figure
