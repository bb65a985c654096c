"""Section probes: what probes cost when they run at every step, by the program itself on a config made for it."""
import h5py
import numpy as np
from measure import BINARY, SHAPES, BenchError, low_and_middle, run, table

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


def _step_seconds(bench, shape, probes):
    """Time per step of one run, from its log; the first third is warm-up."""
    vocab, T, d_model, heads, layers, d_ff, batch = SHAPES[shape]
    steps, every = STEPS[shape]
    if bench.quick:
        steps = max(6, steps // 3)
    config = bench.folder / "probes.toml"
    config.write_text(CONFIG.format(**locals(), far=T // 4) + "".join(f"{name} = 1\n" for name in probes))
    out = bench.folder / f"run-{len(list(bench.folder.iterdir()))}"
    run([BINARY, "run", config, "--threads", bench.threads, "--out", out], bench.threads)
    with h5py.File(out / "log.h5") as log:
        elapsed = log["train/elapsed"][()]
    return list(np.diff(elapsed)[len(elapsed) // 3:] / every)


def probes(bench):
    names = [line.split()[0] for line in run([BINARY, "list", "probes"]).splitlines() if line.strip()]
    cheap = [name for name in names if name in CHEAP]
    sets = {"none": [], **{name: [name] for name in names}, "the cheap: " + ", ".join(cheap): cheap, "all": names}
    shapes = [shape for shape in ("XS", "M") if shape in bench.shapes] or bench.shapes[:1]
    print(f"A step of `headscope run` with probes at every step, {bench.threads} threads, ms, minimum / median of "
          f"{bench.rounds} alternating rounds;\nin brackets what the probes add")
    cells = {title: [title] for title in sets}
    results = {}
    for shape in shapes:
        times, failures = {title: [] for title in sets}, {}
        for _ in range(bench.rounds):
            for title, chosen in sets.items():
                try:
                    times[title].extend(_step_seconds(bench, shape, chosen))
                except BenchError as error:
                    if title == "none":
                        raise
                    failures[title] = str(error).splitlines()[-1]
        bare = low_and_middle(times["none"])
        for title in sets:
            if title in failures:
                cells[title].append("failed: " + failures[title])
                continue
            low, middle = low_and_middle(times[title])
            added = [100 * (value / base - 1) for value, base in zip((low, middle), bare)]
            results.setdefault(shape, {})[title] = {"ms": [low, middle], "added_percent": added}
            cells[title].append(f"{low:.2f} / {middle:.2f}" +
                                ("" if title == "none" else f" ({added[0]:+.1f} / {added[1]:+.1f} %)"))
    bench.results["probes"] = results
    table(["", *shapes], list(cells.values()))
    fifty = ", ".join(f"{shape} {results[shape]['all']['added_percent'][0] / 50:+.2f} %"
                      for shape in shapes if "all" in results[shape])
    if fifty:
        print(f"So all of them every 50 steps: {fifty}")
