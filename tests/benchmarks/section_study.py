"""Section study: training runs of lag_mixture.toml per hour, ours and the same training in PyTorch."""
import os
import re
import subprocess
import time
import tomllib

import h5py
from measure import BINARY, SOURCE, BenchError, python, read_values, table

CONFIG = SOURCE / "experiments/configs/lag_mixture.toml"


class _Side:
    """One way to train: the command of one run, and how to read its loss."""

    def __init__(self, bench, name, steps):
        self.bench, self.name, self.steps = bench, name, steps

    def start(self, threads, seed, folder):
        if self.name == "PyTorch":
            command = [python(), SOURCE / "tests/benchmarks/lag_mixture.py", CONFIG, threads, self.steps, seed]
        else:
            config, rest = CONFIG, []
            if self.name == "headscope":
                config = self.bench.folder / "bare.toml"
                config.write_text(re.sub(r"\[log\.probes\][^\[]*", "", CONFIG.read_text()))
                rest = ["eval.every=1000000", "eval.batches=1", "checkpoint.every=1000000"]
            command = [BINARY, "run", config, "--threads", threads, "--out", folder, f"seed={seed}",
                       f"train.steps={self.steps}", *rest]
        return subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)})

    def loss(self, output, folder):
        if self.name == "PyTorch":
            return read_values(output)["loss"][0]
        with h5py.File(folder / "log.h5") as log:
            losses = log["train/loss"][()]
        return float(losses[-max(1, len(losses) // 10):].mean())

    def train(self, runs, threads):
        """`runs` at a time: seconds from the first start to the last end, seconds of training alone, mean loss."""
        folders = [self.bench.folder / f"study-{time.monotonic_ns()}-{i}" for i in range(runs)]
        start = time.perf_counter()
        processes = [self.start(threads, seed, folder) for seed, folder in enumerate(folders)]
        outputs = [process.communicate() for process in processes]
        seconds = time.perf_counter() - start
        for process, (_, errors) in zip(processes, outputs):
            if process.returncode != 0:
                raise BenchError(f"{self.name}: a run failed\n{errors[-2000:]}")
        alone = seconds
        if self.name == "PyTorch":
            alone = max(read_values(output)["seconds"][0] for output, _ in outputs)
        losses = [self.loss(output, folder) for (output, _), folder in zip(outputs, folders)]
        return seconds, alone, sum(losses) / runs


def study(bench):
    all_steps = tomllib.loads(CONFIG.read_text())["train"]["steps"]
    steps = all_steps // 10 if bench.quick else all_steps
    n = bench.threads
    ways = {f"{n} runs x 1 thread": (n, 1), f"1 run x {n} threads": (1, n)}
    sides = [_Side(bench, name, steps) for name in ("headscope", "headscope, all of the config", "PyTorch")]
    print("Training runs of lag_mixture.toml per hour: side by side with one thread each, or one at a time with all.\n"
          "Evaluation, probes and checkpoints are left out on both sides, but for the line \"all of the config\". The\n"
          "start of a process counts, but for the line \"without start\". Loss: mean of the log's last tenth.")
    if bench.quick:
        print(f"Quick: {steps} of {all_steps} steps, and the rate scaled down.")
    best, losses = {}, {}
    for _ in range(min(bench.rounds, 3)):
        for way, (runs, threads) in ways.items():
            for side in sides:
                seconds, alone, loss = side.train(runs, threads)
                names = {side.name: seconds}
                if side.name == "PyTorch":
                    names["PyTorch, without start"] = alone
                for name, spent in names.items():
                    rate = runs * 3600 / spent * steps / all_steps
                    best[name, way] = max(best.get((name, way), 0), rate)
                    losses.setdefault(name, []).append(loss)
    rows, results = [], {}
    for name, values in losses.items():
        rates = [best[name, way] for way in ways]
        results[name] = {"runs_per_hour": dict(zip(ways, rates)), "loss": sum(values) / len(values)}
        rows.append([name, *(f"{rate:.0f}" for rate in rates), f"{results[name]['loss']:.4f}"])
    table(["", *ways, "loss"], rows)
    top = {name: max(result["runs_per_hour"].items(), key=lambda item: item[1]) for name, result in results.items()}
    ours = top["headscope"]
    results["ratio"] = {name: ours[1] / top[name][1] for name in ("PyTorch", "PyTorch, without start")}
    bench.results["study"] = results
    print(f"Best against best: headscope ({ours[0]}) is {results['ratio']['PyTorch']:.2f} times PyTorch "
          f"({top['PyTorch'][0]}), {results['ratio']['PyTorch, without start']:.2f} times without its start")
