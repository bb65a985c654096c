"""What the sections of scripts/bench share: the shapes, running both sides in turn, tables."""
import os
import pathlib
import statistics
import subprocess
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
BINARY = pathlib.Path(os.environ.get("HEADSCOPE_BINARY", SOURCE / "build/release/headscope"))
DEBIANS_PYTHON = "/usr/bin/python3"  # for which Debian's packages install PyTorch

#        vocab   T  d_model heads layers d_ff batch
SHAPES = {
    "XS": (16, 48, 64, 2, 1, 0, 32),
    "S": (64, 64, 64, 4, 2, 256, 32),
    "M": (256, 128, 256, 8, 4, 1024, 16),
    "L": (4096, 256, 768, 12, 2, 3072, 4),
}
STEPS = {"XS": 300, "S": 90, "M": 9, "L": 6}  # of one side in one round; the first third is warm-up


def few_steps(shape):
    return max(3, STEPS[shape] // 4)


def python():
    """The Python which has the PyTorch to compare with."""
    return os.environ.get("HEADSCOPE_BENCH_PYTHON", DEBIANS_PYTHON)


class BenchError(Exception):
    pass


def flops(vocab, T, d_model, heads, layers, d_ff, batch):
    """Of one training step, as `headscope check` counts them: products of the linear maps, and full attention."""
    weights = layers * (4 * d_model**2 + 2 * d_ff * d_model) + vocab * d_model
    tokens = batch * T
    return 6 * tokens * weights + 12 * layers * tokens * T * d_model


def run(command, threads=1, **environment):
    """Standard output of a program."""
    try:
        return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True,
                              env={**os.environ, "OMP_NUM_THREADS": str(threads), **environment}).stdout
    except FileNotFoundError:
        raise BenchError(f"{command[0]} is missing: scripts/build makes our programs, scripts/setup --tests installs "
                         "Python") from None
    except subprocess.CalledProcessError as error:
        raise BenchError("failed: " + " ".join(map(str, command)) + "\n" + error.stderr[-2000:]) from None


def read_values(output):
    """Lines `key value` -> key -> values."""
    values = {}
    for line in output.splitlines():
        key, value = line.split()
        values.setdefault(key, []).append(float(value))
    return values


def low_and_middle(times):
    """Minimum and median, ms."""
    return 1e3 * min(times), 1e3 * statistics.median(times)


def table(heads, rows):
    """Prints rows of text under heads; the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    for row in [heads, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        print("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())


class Bench:
    """The options of this report, and what has been measured so far: a section may use what another one needed too."""

    def __init__(self, rounds, threads, shapes, quick):
        self.rounds, self.threads, self.shapes, self.quick = rounds, threads, shapes, quick
        self.results = {}  # section -> what --json writes
        self._folder = tempfile.TemporaryDirectory(prefix="headscope-bench-")
        self.folder = pathlib.Path(self._folder.name)
        self._compared = {}

    def steps(self, shape):
        return few_steps(shape) if self.quick else STEPS[shape]

    def ours(self, sizes, threads, steps, *file):
        return read_values(run([BINARY.parent / "headscope_bench_step", *sizes, threads, steps, *file], threads))

    def theirs(self, sizes, threads, steps, *file, **environment):
        command = [python(), SOURCE / "tests/benchmarks/step.py", *sizes, threads, steps, *file]
        return read_values(run(command, threads, **environment))

    def weights(self, shape):
        """The file of a shape's first weights and tokens, which both sides train on."""
        path = self.folder / f"{shape}.bin"
        if not path.exists():
            self.ours(SHAPES[shape], 1, 0, path)
        return path

    def alternate(self, shape, threads, rounds, steps):
        """Seconds of the steps of both sides, from rounds in turn. Each round is a process of its own, so that neither
        side's threads spin beside the other's."""
        sides = ([], [])
        for _ in range(rounds):
            measured = (self.ours(SHAPES[shape], threads, steps),
                        self.theirs(SHAPES[shape], threads, steps, self.weights(shape)))
            ours, theirs = (values["loss"][0] for values in measured)
            if not abs(ours - theirs) <= 1e-4 * theirs:
                raise BenchError(f"shape {shape}: the losses of the first step differ, {ours} and {theirs}; "
                                 "the two sides do not compute the same")
            for times, values in zip(sides, measured):
                times.extend(values["seconds"][len(values["seconds"]) // 3:])
        return sides

    def compare(self, shape, threads):
        """The same with this report's rounds; measured once, then known."""
        key = shape, threads
        if key not in self._compared:
            self._compared[key] = self.alternate(shape, threads, self.rounds, self.steps(shape))
        return self._compared[key]
