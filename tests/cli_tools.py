"""What the Python tests share: running the binary, making token files, comparing runs bit by bit."""

import hashlib
import os
import pathlib
import signal
import subprocess

import h5py
import numpy as np

SOURCE = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ.get("HEADSCOPE_BINARY", str(SOURCE / "build" / "release" / "headscope"))

# Values that depend on the clock or the machine.
CLOCK_DATASETS = {"elapsed", "time", "tokens_per_second", "peak_memory"}
CLOCK_GROUPS = ("events/", "config/")


def command(arguments):
    """The whole command line. Of several key=value with one key only the last is kept, so that a test can build on a
    list of overrides and change one of them; the binary itself refuses a key given twice."""
    arguments = [str(argument) for argument in arguments]
    last = {argument.split("=")[0]: argument for argument in arguments if is_override(argument)}
    kept = [a for a in arguments if not is_override(a) or last[a.split("=")[0]] is a]
    return [BINARY, *kept]


def is_override(argument):
    return "=" in argument and not argument.startswith("-")


def headscope(*arguments, cwd=None, expect=0, **options):
    """Runs the binary to its end and checks the exit code (None: any)."""
    result = subprocess.run(command(arguments), cwd=cwd, capture_output=True, text=True, timeout=300, **options)
    right = expect is None or result.returncode == expect
    assert right, f"exit {result.returncode}, not {expect}\n{result.stdout}\n{result.stderr}"
    return result


def start(*arguments, cwd=None):
    """Starts the binary and returns the process. It heeds SIGHUP, even when the tests run under nohup."""
    return subprocess.Popen(
        command(arguments), cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))


def write_tokens(path, batches, batch_size, seq_len, vocab_size, seed=0, unscored=0.2):
    """A tokens file of random numbers; a share of the targets is not scored."""
    random = np.random.default_rng(seed)
    shape = (batches, batch_size, seq_len)
    inputs = random.integers(0, vocab_size, shape)
    targets = random.integers(0, vocab_size, shape)
    targets[random.random(shape) < unscored] = -1
    with h5py.File(path, "w") as file:
        file["inputs"] = inputs
        file["targets"] = targets
    return inputs, targets


def write_config(path, tokens, vocab_size, seq_len, eval_tokens=None, name="oracle"):
    """A config of task `tokens`; everything else goes in as key=value."""
    lines = [f'name = "{name}"', "[task]", 'type = "tokens"', f'path = "{tokens}"', f"vocab_size = {vocab_size}",
             f"seq_len = {seq_len}"]
    if eval_tokens is not None:
        lines.append(f'eval_path = "{eval_tokens}"')
    path.write_text("\n".join(lines) + "\n")
    return path


def newest_checkpoint(run):
    return sorted((run / "checkpoints").glob("step-*.h5"))[-1]


def read_datasets(path, group="/"):
    """All datasets below a group, by path."""
    values = {}
    with h5py.File(path, "r") as file:
        def visit(name, item):
            if isinstance(item, h5py.Dataset):
                values[name] = item[()]
        file[group].visititems(visit)
    return values


def reproducible(log):
    """The datasets of a log that must not depend on clock or machine."""
    return {name: value for name, value in read_datasets(log).items()
            if name.split("/")[-1] not in CLOCK_DATASETS and not name.startswith(CLOCK_GROUPS)}


def assert_same_bits(left, right, what=""):
    assert sorted(left) == sorted(right), what
    for name in left:
        a, b = np.asarray(left[name]), np.asarray(right[name])
        assert a.dtype == b.dtype and a.shape == b.shape, f"{what} {name}: {a.dtype}{a.shape} and {b.dtype}{b.shape}"
        same = np.array_equal(a, b) if a.dtype == object else a.tobytes() == b.tobytes()
        assert same, f"{what} {name} differs"


def assert_same_runs(left, right):
    """Same log, same newest weights and optimizer state, bit for bit."""
    assert_same_bits(reproducible(left / "log.h5"), reproducible(right / "log.h5"), "log")
    a, b = newest_checkpoint(left), newest_checkpoint(right)
    assert a.name == b.name
    for group in ("/model", "/optimizer"):
        assert_same_bits(read_datasets(a, group), read_datasets(b, group), f"checkpoint {group}")


def reseal(path, change):
    """Changes the HDF5 part of a checkpoint and makes its header fit again: damage that no checksum shows."""
    data = path.read_bytes()
    body = path.with_suffix(".body")
    body.write_bytes(data[512:])
    with h5py.File(body, "r+") as file:
        change(file)
    inner = body.read_bytes()
    body.unlink()
    header = (f"headscope checkpoint\nformat {1:010}\nlength {512 + len(inner):020}\n"
              f"sha256 {hashlib.sha256(inner).hexdigest()}\n").encode()
    assert data.startswith(header[:40])
    path.write_bytes(header.ljust(512, b"\0") + inner)
