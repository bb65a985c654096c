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


def sweep_of_seeds(bench, steps, all_steps):
    """One command for a whole study against the same runs by hand: seconds each, the best of the rounds."""
    runs = 4 if bench.quick else 20
    n = bench.threads
    ours, torch = _Side(bench, "headscope", steps), _Side(bench, "PyTorch", steps)

    def by_hand(side, at_once, threads):
        start = time.perf_counter()
        for first in range(0, runs, at_once):
            stamp = time.monotonic_ns()
            processes = [side.start(threads, seed, bench.folder / f"hand-{stamp}-{seed}")
                         for seed in range(first, min(first + at_once, runs))]
            if any(process.communicate() and process.returncode != 0 for process in processes):
                raise BenchError(f"{side.name}: a run failed")
        return time.perf_counter() - start

    def sweep():
        config = bench.folder / "bare.toml"
        config.write_text(re.sub(r"\[log\.probes\][^\[]*", "", CONFIG.read_text()))
        command = [BINARY, "sweep", config, f"seed=0..{runs - 1}", f"train.steps={steps}", "eval.every=1000000",
                   "eval.batches=1", "checkpoint.every=1000000", "--out", bench.folder / f"sweep-{time.monotonic_ns()}"]
        start = time.perf_counter()
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f"the sweep failed\n{done.stderr[-2000:]}")
        return time.perf_counter() - start

    ways = {"headscope sweep": sweep, f"by hand, one run after the other, {n} threads": lambda: by_hand(ours, 1, n),
            f"by hand, {n} runs at a time, one thread": lambda: by_hand(ours, n, 1),
            f"PyTorch, {n} runs at a time, one thread": lambda: by_hand(torch, n, 1)}
    best = {}
    for _ in range(min(bench.rounds, 2)):
        for name, way in ways.items():
            best[name] = min(best.get(name, float("inf")), way())
    print(f"A study of {runs} seeds, {steps} of {all_steps} steps each; the sweep's own measuring included.")
    table(["", "s", "runs per hour", "of the sweep's time"],
          [[name, f"{seconds:.1f}", f"{runs * 3600 / seconds * steps / all_steps:.0f}",
            f"{seconds / best['headscope sweep']:.2f}"] for name, seconds in best.items()])
    return best


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
    results["sweep"] = sweep_of_seeds(bench, steps, all_steps)
    bench.results["study"] = results
    print(f"Best against best: headscope ({ours[0]}) is {results['ratio']['PyTorch']:.2f} times PyTorch "
          f"({top['PyTorch'][0]}), {results['ratio']['PyTorch, without start']:.2f} times without its start")
