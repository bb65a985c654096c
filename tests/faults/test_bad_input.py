"""Bad input: one clear error that names the thing, the right exit code, nothing overwritten, nothing left behind."""

import os
import resource
import sys

import h5py
import numpy as np
import pytest

from cli_tools import SOURCE, assert_same_runs, headscope, write_config, write_tokens

sys.path.append(str(SOURCE / "scripts"))
import headscope as logs  # noqa: E402

VOCAB, T = 7, 6
SMALL = ["model.d_model=8", "model.num_heads=2", "model.d_ff=8", "model.num_layers=1", "train.steps=2"]


@pytest.fixture
def folder(tmp_path):
    write_tokens(tmp_path / "train.h5", 2, 3, T, VOCAB, seed=12)
    write_config(tmp_path / "c.toml", tmp_path / "train.h5", VOCAB, T)
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def refuse(folder, *arguments, code=2, says=(), **options):
    """Runs in `folder`, expects the exit code and words, and that no file was made, changed or removed."""
    before = contents(folder)
    result = headscope(*arguments, cwd=folder, expect=code, **options)
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines and all(line.startswith("headscope: ") for line in lines), result.stderr
    for word in (says,) if isinstance(says, str) else says:
        assert word in result.stderr, f"no {word!r} in: {result.stderr}"
    assert contents(folder) == before
    return result


WRONG_CONFIGS = [
    ("nonsense=1", "nonsense"),
    ("model.d_modle=32", "d_model"),  # the nearest known key
    ("optimiser.lr=1", "optimizer"),
    ("model.d_model=abc", "d_model"),
    ("model.d_model=-4", "d_model"),
    ("model.d_model=0", "d_model"),
    ("model.d_model=2.5", "d_model"),
    ("model.d_model=9", "num_heads"),  # 2 heads do not divide it
    ("model.num_heads=0", "num_heads"),
    ("model.dropout=1.5", "dropout"),
    ("model.dropout=nan", "dropout"),
    ("model.activation=gleu", "gelu"),
    ("model.norm=batch", "pre"),
    ("model.max_len=3", "max_len"),  # shorter than seq_len
    ("model.causal=1", "causal"),
    ("model.init.clone_heads=[\"x\"]", "clone_heads"),
    ("model.init.scheme=xavier", "xavier_uniform"),
    ("optimizer.lr=-1", "lr"),
    ("optimizer.lr=inf", "lr"),
    ("optimizer.lr=1e-3,1e-4", "a run for each: optimizer.lr=1e-3, optimizer.lr=1e-4"),
    ("optimizer.lr=1e400", "beyond the largest number, 1.797"),
    ("optimizer.lr=1e-400", "closer to 0 than the smallest number, 5e-324"),
    ("optimizer.learning_rate=1", "did you mean optimizer.lr?"),
    ("optimizer.momentum=0.9", "momentum"),  # not a key of adam
    ("optimizer.type=adma", "adam"),
    ("optimizer.beta1=1", "beta1"),
    ("schedule.type=cos", "cosine"),
    ("schedule.final_ratio=2", "final_ratio"),
    ("train.steps=-1", "steps"),
    ("train.steps=99999999999999999999", "beyond the largest integer, 9223372036854775807"),
    ("train.batch_size=5", "batch_size"),  # the file has 3
    ("eval.every=0", "every"),
    ("log.probes.grad_nrom=1", "grad_norm"),
    ("log.probes.overlap=0", "overlap"),
    ("task.type=token", "tokens"),
    ("task.vocab_size=3", "inputs"),  # smaller than the tokens in the file
    ("task.seq_len=5", "seq_len"),
    ("seed=x", "seed"),
    ("name=a/b", "name"),
    ("model.d_model=1000000000", "memory"),
    ("train", "train"),  # no value
    ("=3", "="),
]


@pytest.mark.parametrize("override,word", WRONG_CONFIGS, ids=[o for o, _ in WRONG_CONFIGS])
def test_wrong_config(override, word, folder):
    # A file that is not there is the disk's fault, any other wrong value the config's.
    refuse(folder, "run", "c.toml", *SMALL, override, "--out", "run", says=word)


def test_every_error_at_once_with_its_place(folder):
    (folder / "bad.toml").write_text('name = "x"\n[task]\ntype = "tokens"\npath = "train.h5"\nvocab_size = 7\n'
                                     'seq_len = 6\n[model]\nd_modle = 8\n[train]\nsteps = "many"\n')
    result = refuse(folder, "run", "bad.toml", says=["bad.toml:8:1", "d_model", "bad.toml:10:"])
    assert len(result.stderr.splitlines()) >= 2


@pytest.mark.parametrize("text,word", [("", "name"), ("name = \n", "bad.toml:1:"), ('name = "x"\n', "task"),
                                       ('name = "x"\nname = "y"\n', "bad.toml:2"), ("\xff\xfe", "bad.toml")])
def test_wrong_file(text, word, folder):
    (folder / "bad.toml").write_bytes(text.encode("latin-1"))
    refuse(folder, "run", "bad.toml", says=word)


def test_missing_config(folder):
    refuse(folder, "run", "nowhere.toml", code=74, says="nowhere.toml")
    refuse(folder, "check", "nowhere.toml", code=74, says="nowhere.toml")


@pytest.mark.parametrize("arguments", [[], ["rnu"], ["run"], ["run", "c.toml", "--thread", "2"],
                                       ["run", "c.toml", "--threads", "0"], ["run", "c.toml", "--threads", "x"],
                                       ["trace", "x"], ["inspect"], ["resume", "nowhere"], ["inspect", "nowhere"]])
def test_wrong_command_line(arguments, folder):
    refuse(folder, *arguments, code=2)


# --- data ---

TEXT = 'name = "t"\n[task]\ntype = "text"\npath = "text.txt"\nseq_len = 16\n'


@pytest.mark.parametrize("data,code,words", [
    (None, 74, ["text.txt"]),
    (b"", 2, ["text.txt", "empty"]),
    (b"too short", 2, ["text.txt"]),
    (b"fine " * 100 + b"\xff" + b" fine" * 2000, 2, ["text.txt", "500"]),
    (b"fine " * 4000 + b"\xe4\xb8", 2, ["text.txt", "20000"]),
    (b"\xed\xa0\x80" + b"surrogate" * 2000, 2, ["text.txt", "0"]),
])
def test_wrong_text(data, code, words, folder):
    (folder / "text.toml").write_text(TEXT)
    if data is not None:
        (folder / "text.txt").write_bytes(data)
    refuse(folder, "run", "text.toml", *SMALL, code=code, says=words)


def rewrite(path, inputs=None, targets=None, drop=()):
    with h5py.File(path, "r+") as file:
        for name, values in (("inputs", inputs), ("targets", targets)):
            if values is not None:
                del file[name]
                file[name] = values
        for name in drop:
            del file[name]


def grid(value=0, shape=(2, 3, T), dtype=np.int64):
    return np.full(shape, value, dtype)


def with_value(value, place=(1, 2, 3), dtype=np.int64):
    values = grid(dtype=dtype)
    values[place] = value
    return values


BAD_TOKENS = {
    "token_too_large": (dict(inputs=with_value(VOCAB)), ["/inputs", "1, 2, 3", str(VOCAB)]),
    "token_negative": (dict(inputs=with_value(-1)), ["/inputs", "1, 2, 3", "-1"]),
    "target_too_large": (dict(targets=with_value(99)), ["/targets", "1, 2, 3", "99"]),
    "target_too_small": (dict(targets=with_value(-2)), ["/targets", "-2"]),
    "pytorch_ignores": (dict(targets=with_value(-100)), ["/targets[1, 2, 3] is -100", "write -1"]),
    "beyond_int64": (dict(inputs=with_value(2**63, dtype=np.uint64)), ["/inputs[1, 2, 3] is 9223372036854775807 or more"]),
    "unsigned_minus_one": (dict(targets=grid(-1).astype(np.uint64)), ["/targets[0, 0, 0] is 9223372036854775807 or more"]),
    "float": (dict(inputs=grid(dtype=np.float64)), ["/inputs", "int64"]),
    "boolean": (dict(inputs=grid(dtype=bool)), ["/inputs", "not of integers"]),
    "rank_two": (dict(inputs=grid(shape=(3, T))), ["/inputs", "[3, 6]"]),
    "other_length": (dict(inputs=grid(shape=(2, 3, 5)), targets=grid(shape=(2, 3, 5))), ["seq_len"]),
    "shapes_differ": (dict(targets=grid(shape=(2, 4, T))), ["/targets", "[2, 4, 6]"]),
    "no_targets": (dict(drop=["targets"]), ["/targets"]),
    "no_batches": (dict(inputs=grid(shape=(0, 3, T)), targets=grid(shape=(0, 3, T))), ["/inputs"]),
}


@pytest.mark.parametrize("case", BAD_TOKENS)
def test_wrong_tokens(case, folder):
    changes, words = BAD_TOKENS[case]
    rewrite(folder / "train.h5", **changes)
    refuse(folder, "run", "c.toml", *SMALL, "--out", "run", says=["train.h5", *words])


def test_tokens_file_that_is_none(folder):
    (folder / "train.h5").write_bytes(b"not HDF5 at all" * 100)
    refuse(folder, "run", "c.toml", *SMALL, code=74, says="train.h5")
    (folder / "train.h5").unlink()
    refuse(folder, "run", "c.toml", *SMALL, code=74, says="train.h5")


def test_tokens_outside_the_file(folder):
    """Data that lie in other files are refused: a tokens file must not make us read what it points at."""
    (folder / "raw.bin").write_bytes(grid().tobytes())
    with h5py.File(folder / "train.h5", "w") as file:
        file.create_dataset("inputs", (2, 3, T), np.int64, external=[("raw.bin", 0, h5py.h5f.UNLIMITED)])
        file["targets"] = grid()
    before = contents(folder)
    result = headscope("run", "c.toml", *SMALL, cwd=folder, expect=None)
    assert result.returncode in (2, 74) and "train.h5" in result.stderr
    with h5py.File(folder / "other.h5", "w") as file:
        file["inputs"] = grid()
    with h5py.File(folder / "train.h5", "w") as file:
        file["inputs"] = h5py.ExternalLink("other.h5", "/inputs")
        file["targets"] = grid()
    result = headscope("run", "c.toml", *SMALL, cwd=folder, expect=None)
    assert result.returncode in (2, 74) and "train.h5" in result.stderr
    assert not (folder / "runs").exists() and len(contents(folder)) == len(before) + 1


def test_absurd_size(folder):
    """A header that promises more than the file or the memory can hold is refused before memory is taken."""
    with h5py.File(folder / "train.h5", "w") as file:
        for name in ("inputs", "targets"):
            file.create_dataset(name, (1 << 40, 3, T), np.int64, chunks=(1, 3, T))
    refuse(folder, "run", "c.toml", *SMALL, says="/inputs")


# --- folders and disk ---

def test_existing_run_folder(folder):
    headscope("run", "c.toml", *SMALL, "--out", "run", cwd=folder)
    refuse(folder, "run", "c.toml", *SMALL, "--out", "run", says=["run", "resume"])
    (folder / "empty").mkdir()
    refuse(folder, "run", "c.toml", *SMALL, "--out", "empty", says="empty")


def test_unwritable_folder(folder):
    (folder / "file").write_text("in the way")
    refuse(folder, "run", "c.toml", *SMALL, "--out", "file/run", code=74, says="file")
    refuse(folder, "run", "c.toml", *SMALL, "--out", "/proc/run", code=74, says="/proc/run")
    headscope("run", "c.toml", *SMALL, "--out", "run", cwd=folder)
    refuse(folder, "trace", "run", "--tokens", "train.h5", "-o", "no/such/folder.h5", code=74, says="no/such")


def small_files(limit):
    """The largest file a process may write, as a stand-in for a full disk."""
    def limit_size():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return limit_size


def test_full_disk(folder):
    refuse(folder, "run", "c.toml", *SMALL, "--out", "run", code=74, says="run", preexec_fn=small_files(100))
    refuse(folder, "run", "c.toml", *SMALL, "--out", "run", code=74, says="log.h5", preexec_fn=small_files(5000))


def test_full_disk_later_leaves_a_run_that_resumes(folder):
    """The log outgrows the disk after the first checkpoint: nothing good is lost."""
    overrides = [*SMALL, "train.steps=400", "log.every=1", "checkpoint.every=50"]
    headscope("run", "c.toml", *overrides, "train.steps=50", "--out", "probe", cwd=folder)
    room = (folder / "probe" / "log.h5").stat().st_size + 2000
    result = headscope("run", "c.toml", *overrides, "--out", "run", cwd=folder, expect=74,
                       preexec_fn=small_files(room))
    assert "log.h5" in result.stderr
    assert not list((folder / "run").rglob(".*"))
    with logs.open(folder / "run") as log:
        assert len(log.steps("train/loss")) >= 50
    headscope("resume", "run", cwd=folder)
    headscope("run", "c.toml", *overrides, "--out", "whole", cwd=folder)
    assert_same_runs(folder / "whole", folder / "run")


def test_numeric_failure(folder):
    result = headscope("run", "c.toml", *SMALL, "optimizer.type=sgd", "optimizer.lr=1e30", "train.steps=50",
                       "--out", "run", cwd=folder, expect=70)
    assert "step" in result.stderr and "finite" in result.stderr
    with h5py.File(folder / "run" / "log.h5") as log:
        assert log.attrs["state"] in ("failed", b"failed")
        assert len(log["events/kind"]) > 0


# --- trace ---

@pytest.fixture
def run(folder):
    headscope("run", "c.toml", *SMALL, "--out", "run", cwd=folder)
    return folder


def test_trace_overwrites_nothing(run):
    headscope("trace", "run", "--tokens", "train.h5", "-o", "out.h5", cwd=run)
    refuse(run, "trace", "run", "--tokens", "train.h5", "-o", "out.h5", says="out.h5")
    refuse(run, "trace", "run", "--tokens", "train.h5", "-o", "train.h5", says="train.h5")


def test_trace_refusals(run):
    refuse(run, "trace", "run", "--step", "9", "--tokens", "train.h5", "-o", "out.h5", says=["0 to 2", "not 9"])
    refuse(run, "trace", "run", "--tokens", "nowhere.h5", "-o", "out.h5", code=74, says="nowhere.h5")
    refuse(run, "trace", "nowhere", "--tokens", "train.h5", "-o", "out.h5", says="nowhere")
    rewrite(run / "train.h5", inputs=with_value(VOCAB))
    os.rename(run / "train.h5", run / "wild.h5")
    write_tokens(run / "train.h5", 2, 3, T, VOCAB, seed=12)
    refuse(run, "trace", "run", "--tokens", "wild.h5", "-o", "out.h5", says=["wild.h5", "1, 2, 3"])


def test_inspect_refuses_what_is_no_log(run):
    (run / "run" / "log.h5").write_bytes(b"no HDF5")
    refuse(run, "inspect", "run", code=74, says="log.h5")
    (run / "run" / "log.h5").unlink()
    refuse(run, "inspect", "run", says="log.h5")
    with h5py.File(run / "run" / "log.h5", "w") as file:
        file["x"] = 1
    refuse(run, "inspect", "run", code=74, says=["log.h5", "not a log"])


def test_inspect_fits_a_terminal(run):
    result = headscope("inspect", "run", cwd=run)
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
