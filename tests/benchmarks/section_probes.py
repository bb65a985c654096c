"""Section probes: what probes cost, by the program itself on a config made for it."""
import json

import h5py
import numpy as np
from measure import BINARY, SHAPES, low_and_middle, run, table

CHEAP = ("grad_norm", "grad_cosine", "update_ratio", "weight_cosine", "overlap")
STEPS = {"XS": (300, 10), "S": (120, 5), "M": (12, 1), "L": (9, 1)}  # steps, and rows of the log every so many

CONFIG = """
name = "bench"
[task]
type = "lag_mixture"
vocab_size = {vocab}
seq_len = {T}
near = 1
far = {far}
[model]
d_model = {d_model}
num_heads = {heads}
num_layers = {layers}
d_ff = {d_ff}
[optimizer]
type = "adamw"
weight_decay = 0.01
[train]
steps = {steps}
batch_size = {batch}
[eval]
every = 1000000
batches = 1
[checkpoint]
every = 1000000
[log]
every = {every}
[log.probes]
"""




def _run(bench, shape, probes, steps, *options):
    """A run with those probes at every step: its folder, and what it printed."""
    vocab, T, d_model, heads, layers, d_ff, batch = SHAPES[shape]
    every = STEPS[shape][1]
    config = bench.folder / "probes.toml"
    config.write_text(CONFIG.format(**locals(), far=T // 4) + "".join(f"{name} = 1\n" for name in probes))
    out = bench.folder / f"run-{len(list(bench.folder.iterdir()))}"
    return out, run([BINARY, "run", config, "--threads", bench.threads, "--out", out, *options], bench.threads)


def _step_seconds(bench, shape, probes):
    """Time per step of one run, from its log; the first third is warm-up."""
    steps, every = STEPS[shape]
    out, _ = _run(bench, shape, probes, max(6, steps // 3) if bench.quick else steps)
    with h5py.File(out / "log.h5") as log:
        elapsed = log["train/elapsed"][()]
    return list(np.diff(elapsed)[len(elapsed) // 3:] / every)


def _cost_of_each(bench, shape, names):
    """Milliseconds of one measurement of each probe, and of the passes they share, from `run --profile`."""
    _, text = _run(bench, shape, names, 12, "--profile", "--json")
    return {row["name"].removeprefix("probe "): 1e3 * row["seconds"] / row["count"]
            for row in json.loads(text)["profile"] if row["name"].startswith("probe ") or row["name"] == PASSES}


PASSES = "passes for probes"


def _makes_passes(name):
    return "passes      none" not in run([BINARY, "describe", "probe", name])


def probes(bench):
    names = [line.split()[0] for line in run([BINARY, "list", "probes"]).splitlines() if line.strip()]
    plain = [name for name in names if not _makes_passes(name)]
    shapes = [shape for shape in ("XS", "M") if shape in bench.shapes] or bench.shapes[:1]
    results = {}
    print(f"The cheap probes ({', '.join(CHEAP)}) at every step of `headscope run`, {bench.threads} threads, ms, "
          f"minimum / median\nof {bench.rounds} alternating rounds")
    rows = []
    for shape in shapes:
        times = {"none": [], "cheap": []}
        for _ in range(bench.rounds):
            times["none"].extend(_step_seconds(bench, shape, []))
            times["cheap"].extend(_step_seconds(bench, shape, CHEAP))
        (low, middle), (low_with, middle_with) = (low_and_middle(values) for values in times.values())
        added = [100 * (low_with / low - 1), 100 * (middle_with / middle - 1)]
        cost = _cost_of_each(bench, shape, names)
        fifty = 100 * sum(cost[name] for name in plain) / 50 / low
        results[shape] = {"step_ms": [low, middle], "with_cheap_ms": [low_with, middle_with], "added_percent": added,
                          "each_ms": cost, "without_passes_every_50_percent": fifty}
        rows.append([shape, f"{low:.2f} / {middle:.2f}", f"{low_with:.2f} / {middle_with:.2f}",
                     f"{added[0]:+.1f} / {added[1]:+.1f} %"])
    table(["", "no probes", "with them", "added"], rows)
    print("\nOne measurement of each, ms, by `run --profile`; * makes or is shown passes of its own, whose time is the "
          "last line")
    table(["", *shapes], [[name + ("" if name in plain else " *"), *(f"{results[s]['each_ms'][name]:.2f}" for s in shapes)]
                          for name in names] +
          [[PASSES, *(f"{results[s]['each_ms'].get(PASSES, 0):.2f}" for s in shapes)]])
    print("All without passes of their own every 50 steps: " +
          ", ".join(f"{s} {results[s]['without_passes_every_50_percent']:+.1f} %" for s in shapes))
    bench.results["probes"] = results
