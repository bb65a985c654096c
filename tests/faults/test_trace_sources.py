"""What trace runs through the weights: a user's file, a text in the run's own tokens, the run's evaluation batches."""

import pathlib
import subprocess

import h5py
import numpy as np
import pytest

from cli_tools import BINARY, assert_same_bits, headscope, read_datasets, write_config, write_tokens
from test_bad_input import refuse

T = 12
TEXT = "床前明月光，疑是地上霜。\nthe quick brown fox jumps over the lazy dog; 1234567890\n" * 9
SMALL = ["model.d_model=8", "model.num_heads=2", "model.d_ff=8", "model.num_layers=2", "train.batch_size=3",
         "train.steps=8", "checkpoint.every=4", "checkpoint.keep=0", "eval.every=2", "eval.batches=3", "optimizer.lr=0.01"]
BATCH_WRITER = pathlib.Path(BINARY).parent / "headscope_batch_writer"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "t.txt").write_text(TEXT)
    text = f'[task]\ntype = "text"\npath = "{folder}/t.txt"\nseq_len = {T}\n'
    (folder / "text.toml").write_text(f'name = "text"\n{text}eval_fraction = 0.3\n')
    (folder / "bpe.toml").write_text(f'name = "bpe"\n{text}eval_fraction = 0.3\ntokens = "bpe"\nbpe_vocab = 90\n')
    (folder / "no_eval.toml").write_text(f'name = "no_eval"\n{text}eval_fraction = 0\n')
    (folder / "sums.toml").write_text('name = "sums"\n[task]\ntype = "modular_addition"\n')
    write_tokens(folder / "train.h5", 3, 3, T, 7, seed=1)
    write_tokens(folder / "held.h5", 4, 3, T, 7, seed=2)
    write_config(folder / "tokens.toml", folder / "train.h5", 7, T, folder / "held.h5")
    for name in ("text", "bpe", "no_eval", "tokens"):
        headscope("run", f"{name}.toml", *SMALL, "--out", name, cwd=folder)
    return folder


def trace(run, out, *arguments):
    shown = headscope("trace", run, *arguments, "-o", out).stdout
    return read_datasets(out), shown


def assert_same_as_tokens(run, out, *step):
    """The tokens that a trace says it ran, given to it as a file, give the same trace to the bit."""
    again, _ = trace(run, out.with_suffix(".again"), "--tokens", out, *step)
    assert_same_bits(read_datasets(out), again)


def windows(ids, length):
    """By the rule of --text: each token but the first is a target once."""
    size = min(length, len(ids))
    inputs, targets, scored = [], [], 1
    for first in range(0, len(ids), size):
        first = min(first, len(ids) - size)
        inputs.append(ids[first:first + size])
        row = []
        for place in range(first + 1, first + size + 1):
            is_new = scored <= place < len(ids)
            row.append(ids[place] if is_new else -1)
        scored = max(scored, first + size + 1)
        targets.append(row)
    return np.array(inputs)[:, None], np.array(targets)[:, None]


@pytest.mark.parametrize("size", [1, 2, T - 1, T, T + 1, 2 * T, 2 * T + 1, 3 * T - 1, 100])
def test_text(size, runs, tmp_path):
    text = TEXT[20:20 + size]
    out, shown = trace(runs / "text", tmp_path / "out.h5", "--text", text)
    known = {character: number for number, character in enumerate(sorted(set(TEXT)))}
    inputs, targets = windows([known[character] for character in text], T)
    assert np.array_equal(out["inputs"], inputs) and np.array_equal(out["targets"], targets)
    assert sorted(targets[targets >= 0]) == sorted(known[character] for character in text[1:])
    assert ("no target is scored" if size == 1 else f"over {size - 1} scored targets") in shown
    assert_same_as_tokens(runs / "text", tmp_path / "out.h5")


def test_text_in_byte_pairs(runs, tmp_path):
    text = "床前 the quick fox\n123 jumps over the 月光"
    out, _ = trace(runs / "bpe", tmp_path / "out.h5", "--text", text)
    with h5py.File(runs / "bpe" / "log.h5") as log:
        names = [name.decode() for name in log["task/vocabulary"][:]]
    ids = [out["inputs"][0, 0, 0], *(out["targets"][out["targets"] >= 0])]  # windows in order
    whole = "".join(names[i] for i in ids)
    for character in "床前月光":  # a byte that is no whole character is shown as <E5>
        whole = whole.replace("".join(f"<{byte:02X}>" for byte in character.encode()), character)
    assert whole == text and len(ids) < len(text.encode())
    assert_same_as_tokens(runs / "bpe", tmp_path / "out.h5")


@pytest.mark.parametrize("name", ["text", "bpe", "tokens"])
def test_evaluation_is_that_of_the_log(name, runs, tmp_path):
    with h5py.File(runs / name / "log.h5") as log:
        losses = dict(zip(log["eval/step"][:], log["eval/loss"][:]))
    for step in (4, 6, 8):  # 6 has no checkpoint
        out, _ = trace(runs / name, tmp_path / f"{step}.h5", "--eval", "--step", step)
        assert out["loss"] == losses[step]
    assert_same_as_tokens(runs / name, tmp_path / "8.h5")


@pytest.mark.parametrize("name", ["text", "tokens"])
def test_evaluation_batches(name, runs, tmp_path):
    subprocess.run([BATCH_WRITER, runs / name / "config.toml", "eval", tmp_path / "batches.h5"], check=True)
    out, _ = trace(runs / name, tmp_path / "out.h5", "--eval")
    truth, _ = trace(runs / name, tmp_path / "truth.h5", "--tokens", tmp_path / "batches.h5")
    assert out["inputs"].shape == (3, 3, T)
    assert_same_bits(truth, out)
    two, _ = trace(runs / name, tmp_path / "two.h5", "--eval", "--batches", 2)
    assert np.array_equal(two["inputs"], out["inputs"][:2]) and np.array_equal(two["logits"], out["logits"][:2])


def test_a_short_last_batch(runs, tmp_path):
    """modular_addition evaluates on a table that batches need not divide: what is filled up is not scored."""
    headscope("run", runs / "sums.toml", *SMALL, "train.batch_size=100", "--out", tmp_path / "run")
    out, shown = trace(tmp_path / "run", tmp_path / "out.h5", "--eval", "--batches", 1000)
    scored = (out["targets"] >= 0).sum(axis=2)
    assert out["inputs"].shape[1:] == (100, 3) and set(scored.ravel()) == {0, 1}
    assert scored.sum() == len({tuple(row) for row in out["inputs"].reshape(-1, 3)}) < 97 * 97
    assert scored[:-1].all() and not scored[-1].all() and f"over {scored.sum()} scored targets" in shown
    assert_same_as_tokens(tmp_path / "run", tmp_path / "out.h5")


def test_resumed_with_other_evaluation(runs, tmp_path):
    """As many batches as the run had at that step."""
    headscope("run", runs / "tokens.toml", *SMALL, "train.steps=4", "--out", tmp_path / "run")
    headscope("resume", tmp_path / "run", "train.steps=8", "eval.batches=1")
    for step, batches in ((2, 3), (8, 1)):
        out, _ = trace(tmp_path / "run", tmp_path / f"{step}.h5", "--eval", "--step", step)
        assert len(out["inputs"]) == batches


REFUSED = {
    "nothing": ("text", [], ["--tokens", "--text", "--eval"]),
    "two": ("text", ["--text", "the", "--eval"], ["one of --tokens"]),
    "file_and_text": ("text", ["--text", "the", "--tokens", "held.h5"], ["one of --tokens"]),
    "batches_of_text": ("text", ["--text", "the", "--batches", 2], ["--batches is of --eval"]),
    "no_batches": ("text", ["--eval", "--batches", 0], ["--batches"]),
    "unknown": ("text", ["--text", "the ÄQÄ dog"], ["no token for Ä Q;", "t.txt"]),
    "unknown_bytes": ("bpe", ["--text", "the ß"], ["no token for ß;"]),
    "empty": ("text", ["--text", ""], ["--text is empty"]),
    "no_utf8": ("text", ["--text", b"the \xff".decode(errors="surrogateescape")], ["byte offset 4"]),
    "no_text": ("tokens", ["--text", "the"], ["task `text`", "--tokens or --eval"]),
    "no_evaluation": ("no_eval", ["--eval"], ["needs evaluation data", "task `text`"]),
    "no_such_step": ("text", ["--eval", "--step", 9], ["0 to 8, not 9"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, runs):
    run, arguments, words = REFUSED[case]
    refuse(runs, "trace", run, *arguments, "-o", "out.h5", says=words)


def test_text_and_evaluation_need_the_data(runs, tmp_path):
    (tmp_path / "t.txt").write_text(TEXT)
    headscope("run", runs / "text.toml", *SMALL, f"task.path={tmp_path}/t.txt", "--out", tmp_path / "run")
    (tmp_path / "t.txt").rename(tmp_path / "moved.txt")
    for source in (["--text", "the"], ["--eval"]):
        refuse(tmp_path, "trace", "run", *source, "-o", "out.h5", code=74, says="task.path=FILE")
        headscope("trace", "run", "task.path=moved.txt", *source, "-o", f"{source[0][2:]}.h5", cwd=tmp_path)
    (tmp_path / "moved.txt").write_text(TEXT + "x")
    refuse(tmp_path, "trace", "run", "task.path=moved.txt", "--eval", "-o", "out.h5", says="SHA-256")


def test_more_than_memory_holds(tmp_path):
    """Refused at the first batch, not when memory is full."""
    length, names = 128, dict(line.split(":") for line in pathlib.Path("/proc/meminfo").read_text().splitlines())
    available = 1024 * int(names["MemAvailable"].split()[0])
    batches = available // (2 * length * length * 4) // 2  # one map of weights per batch and head; five are written
    with h5py.File(tmp_path / "large.h5", "w") as file:
        for name in ("inputs", "targets"):
            file.create_dataset(name, data=np.zeros((batches, 1, length), np.int8))
    write_tokens(tmp_path / "train.h5", 1, 1, length, 7)
    write_config(tmp_path / "c.toml", tmp_path / "train.h5", 7, length)
    headscope("run", "c.toml", *SMALL[:4], "train.steps=1", "--out", "run", cwd=tmp_path)
    refuse(tmp_path, "trace", "run", "--tokens", "large.h5", "-o", "out.h5", says=[f"{batches} batches", "memory"])
