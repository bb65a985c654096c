"""Section scaling: how our step time and memory grow with each size of the model."""
import math

from measure import flops, table

BASE = {"vocab": 256, "T": 128, "d_model": 256, "heads": 8, "layers": 2, "d_ff": 1024, "batch": 4}
AXES = {
    "T": [64, 128, 256, 512, 1024],
    "d_model": [64, 128, 256, 512],  # d_ff = 4 d_model
    "batch": [2, 4, 8, 16, 32],
    "heads": [2, 4, 8, 16, 32],
    "layers": [1, 2, 4, 8],
}


def _measure(bench, sizes, threads):
    """Least seconds of a step, and bytes."""
    steps = 6 if bench.quick else max(6, min(100, int(5e10 / flops(**sizes))))
    runs = [bench.ours(sizes.values(), threads, steps) for _ in range(1 if bench.quick else 3)]
    return min(second for run in runs for second in run["seconds"][steps // 3:]), runs[0]["memory"][0]


def _exponent(before, after):
    (x0, y0), (x1, y1) = before, after
    return math.log(y1 / y0) / math.log(x1 / x0)


def scaling(bench):
    base = ", ".join(f"{name} {value}" for name, value in BASE.items())
    print(f"Our step by one size at a time, the others being {base};\n{bench.threads} threads, least ms; the exponent "
          "p says that from the value before, time grew as value^p; beside it that of the FLOPs alone")
    rows, results = [], []
    for axis, values in AXES.items():
        if bench.quick:
            values = values[::2]
        points = []
        for value in values:
            sizes = {**BASE, axis: value}
            if axis == "d_model":
                sizes["d_ff"] = 4 * value
            seconds, memory = _measure(bench, sizes, bench.threads)
            points.append((value, seconds, flops(**sizes)))
            exponents = [_exponent((points[-2][0], points[-2][i]), (value, points[-1][i])) if len(points) > 1 else None
                         for i in (1, 2)]
            rows.append([f"{axis} {value}", f"{1e3 * seconds:.2f}",
                         *("" if p is None else f"{p:.2f}" for p in exponents), f"{memory / 1e6:.0f}"])
            results.append({"axis": axis, "value": value, "ms": 1e3 * seconds, "exponent": exponents[0],
                            "flops_exponent": exponents[1], "memory_bytes": memory})
    for threads in sorted({1, 2, bench.threads}):
        seconds, memory = _measure(bench, BASE, threads)
        rows.append([f"threads {threads}", f"{1e3 * seconds:.2f}", "", "", f"{memory / 1e6:.0f}"])
        results.append({"axis": "threads", "value": threads, "ms": 1e3 * seconds, "memory_bytes": memory})
    bench.results["scaling"] = results
    table(["", "ms", "exponent", "of FLOPs", "MB"], rows)
