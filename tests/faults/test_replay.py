"""Looking into a past run: replay, fork and trace of any step give the run's own bits, or say that they cannot."""

import hashlib
import shutil

import h5py
import numpy as np
import pytest

from cli_tools import (assert_same_bits, assert_same_runs, headscope, newest_checkpoint, read_datasets, reproducible,
                       reseal, write_config, write_tokens)
from test_verify import seal_log

VOCAB, T, STEPS = 9, 12, 24
OVERRIDES = ["model.d_model=18", "model.num_heads=3", "model.d_ff=12", "model.dropout=0.1", "optimizer.lr=0.01",
             "schedule.type=cosine", "schedule.warmup_steps=4", "train.clip_norm=1", "train.accumulate=2",
             f"train.steps={STEPS}", "checkpoint.every=10", "checkpoint.keep=0", "eval.every=8", "log.every=2",
             "log.probes.grad_norm=3", "log.probes.update_ratio=4", "log.probes.attention_entropy=5",
             "log.probes.importance=7"]
MORE = ["log.every=1", "eval.every=1", "log.probes.overlap=1", "log.probes.grad_norm=1", "log.probes.update_ratio=1",
        "log.probes.role=1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    write_tokens(folder / "train.h5", 5, 4, T, VOCAB, seed=7)
    write_tokens(folder / "held.h5", 2, 4, T, VOCAB, seed=8)
    write_config(folder / "c.toml", folder / "train.h5", VOCAB, T, folder / "held.h5")
    headscope("run", folder / "c.toml", *OVERRIDES, "--out", folder / "run")
    # Everything at every step and no checkpoint but the last: what every replay must agree with.
    headscope("run", folder / "c.toml", *OVERRIDES, *MORE, "checkpoint.every=100", "--out", folder / "dense")
    return folder


def fingerprint(run):
    return {path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
            for path in run.rglob("*") if path.is_file()}


def rows(log, first, last):
    """Every series, cut to the rows of the steps from first to last."""
    cut = {}
    with h5py.File(log) as file:
        def visit(name, group):
            if not isinstance(group, h5py.Group) or "step" not in group or name == "events":
                return
            step = group["step"][()]
            for child, item in group.items():
                if item.shape[0:1] == step.shape and item.maxshape[0] is None and child != "elapsed":
                    cut[f"{name}/{child}"] = item[()][(step >= first) & (step <= last)]
        file.visititems(visit)
    return cut


def test_every_window(folder, tmp_path):
    before = fingerprint(folder / "run")
    for first in range(STEPS + 1):
        for last in {first, min(first + 1, STEPS), min(first + 7, STEPS), STEPS}:
            out = tmp_path / f"{first}-{last}"
            threads = 1 + (first + last) % 3
            said = headscope("replay", folder / "run", "--from", first, "--to", last, *MORE, "--out", out,
                             "--threads", threads).stdout
            assert [path.name for path in out.iterdir()] == ["log.h5"]
            mine = rows(out / "log.h5", -1, STEPS + 1)
            assert_same_bits({k: v for k, v in rows(folder / "dense" / "log.h5", first, last).items()},
                             mine | {}, f"window {first} to {last}")
            own = rows(folder / "run" / "log.h5", first, last)
            compared = sum(len(value) for name, value in own.items() if not name.endswith("/step"))
            assert f"all {compared} rows" in said if compared else "no row" in said, said
            shutil.rmtree(out)
    assert fingerprint(folder / "run") == before


def test_lineage_and_inspect(folder, tmp_path):
    headscope("replay", folder / "run", "--from", 3, "--to", 6, "log.probes.overlap=1", "--out", tmp_path / "w")
    with h5py.File(folder / "run" / "log.h5") as file:
        run_id = file.attrs["run_id"]
    with h5py.File(tmp_path / "w" / "log.h5") as file:
        assert file.attrs["lineage"] == "replay" and file.attrs["parent_run_id"] == run_id
        assert file.attrs["parent"] == str(folder / "run") and file.attrs["parent_step"] == 3
        assert file.attrs["changes"] == "log.probes.overlap=1" and file.attrs["run_id"] != run_id
    headscope("inspect", tmp_path / "w")
    assert "replay" in headscope("replay", tmp_path / "w", expect=2).stderr
    headscope("resume", tmp_path / "w", expect=2)


def test_default_window_is_the_run(folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "run")
    headscope("replay", "run/", cwd=tmp_path)
    assert_same_bits(rows(folder / "run" / "log.h5", 0, STEPS),
                     rows(tmp_path / f"run-replay-0-{STEPS}" / "log.h5", 0, STEPS))


def plant_a_bit(run, step, dataset):
    """Flips the last bit of the largest value, under a checksum that fits."""
    def flip(file):
        values = file[dataset][()]
        values.reshape(-1).view(np.uint32)[np.argmax(np.abs(values))] ^= 1
        file[dataset][...] = values

    reseal(run / "checkpoints" / f"step-{step:08}.h5", flip)


@pytest.mark.parametrize("what", ["model/blocks.0.attn.W_q.weight", "model/head.weight",
                                  "optimizer/embedding.weight/exp_avg_sq"])
@pytest.mark.parametrize("window", [(10, 10), (11, 11), (13, 13), (12, 24), (14, 20)])
def test_one_planted_bit_is_caught(what, window, folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "run")

    plant_a_bit(tmp_path / "run", 10, what)
    result = headscope("replay", tmp_path / "run", "--from", window[0], "--to", window[1], *MORE, "--out",
                       tmp_path / "out", expect=None)
    if result.returncode == 0:  # nothing that the run logged of these steps depends on the bit
        assert window in [(10, 10), (11, 11)] and what.startswith("optimizer"), result.stdout
        return
    assert result.returncode == 1 and "step 1" in result.stderr, result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["model/norm.weight", "optimizer/embedding.weight/exp_avg_sq"])
def test_checkpoints_inside_the_window_are_compared(what, folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "run")
    plant_a_bit(tmp_path / "run", 20, what)
    message = headscope("replay", tmp_path / "run", "--from", 12, "--to", 22, "--out", tmp_path / "out", expect=1).stderr
    assert "step-00000020.h5" in message and what.split("/")[1] in message, message
    assert not (tmp_path / "out").exists()
    headscope("replay", tmp_path / "run", "--from", 12, "--to", 19, "--out", tmp_path / "out")


def test_untouched_reseal_changes_nothing(folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "run")
    reseal(tmp_path / "run" / "checkpoints" / "step-00000010.h5", lambda file: None)
    headscope("replay", tmp_path / "run", "--from", 11, "--to", 13, "--out", tmp_path / "out")


def test_other_data_are_caught(folder, tmp_path):
    """Data that are known to be others are refused at once; those of a log that does not know, by what comes out."""
    shutil.copytree(folder / "run", tmp_path / "run")
    with h5py.File(tmp_path / "run" / "log.h5", "r+") as file:
        del file.attrs["data_sha256"]
        file.attrs["schema_version"] = "1.0"
    seal_log(tmp_path / "run" / "log.h5")
    original = (folder / "train.h5").read_bytes()
    try:
        write_tokens(folder / "train.h5", 5, 4, T, VOCAB, seed=77)
        assert "SHA-256" in headscope("replay", folder / "run", "--from", 3, "--to", 6, expect=2).stderr
        message = headscope("replay", tmp_path / "run", "--from", 3, "--to", 6, expect=1).stderr
        assert "loss of step 0" in message and "have changed" in message
    finally:
        (folder / "train.h5").write_bytes(original)


@pytest.mark.parametrize("dataset, step", [("heads/grad_norm/value", 6), ("heads/update_ratio/value", 8),
                                           ("heads/attention_entropy/value", 5), ("heads/importance/value", 7),
                                           ("eval/loss", 8), ("parameters/grad_norm", 4), ("train/tokens_seen", 4)])
def test_one_bit_in_any_row_is_caught(dataset, step, folder, tmp_path):
    """A row that says something else than the run did: no step that is trained again can tell, only the comparison."""
    shutil.copytree(folder / "run", tmp_path / "run")
    log = tmp_path / "run" / "log.h5"
    data = log.read_bytes()
    log.write_bytes(data[: data.rindex(b"\nheadscope log sha256")])
    with h5py.File(log, "r+") as file:
        row = list(file[dataset.rsplit("/", 1)[0]]["step"]).index(step)
        values = file[dataset][row]
        bits = np.atleast_1d(values).reshape(-1).view(np.uint8)
        bits[0] ^= 1
        file[dataset][row] = bits.view(np.asarray(values).dtype).reshape(np.shape(values))
    message = headscope("replay", tmp_path / "run", "--from", step, "--to", step, "--out", tmp_path / "out",
                        expect=1).stderr
    assert f"/{dataset} at step {step}" in message, message
    assert not (tmp_path / "out").exists()
    headscope("replay", tmp_path / "run", "--from", step + 1, "--to", step + 3, "--out", tmp_path / "out")


def test_another_cpu_is_said(folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "run")
    log = tmp_path / "run" / "log.h5"
    data = log.read_bytes()
    log.write_bytes(data[: data.rindex(b"\nheadscope log sha256")])  # another tool has rewritten it
    with h5py.File(log, "r+") as file:
        file.attrs["cpu"], file.attrs["isa"] = "Another CPU", "avx9"
    result = headscope("replay", tmp_path / "run", "--from", 3, "--to", 6, "--out", tmp_path / "out")
    assert "Another CPU" in result.stderr and "avx9" in result.stderr and "bits may differ" in result.stderr


def test_bad_windows_and_runs(folder, tmp_path):
    before = fingerprint(folder / "run")
    out = tmp_path / "out"
    for arguments in (["--from", 5, "--to", 4], ["--from", 0, "--to", STEPS + 1], ["--from", -1, "--to", 3],
                      ["optimizer.lr=1"], ["train.batch_size=3"], ["eval.batches=1"], ["checkpoint.keep=1"],
                      ["log.probes.nothing=1"]):
        message = headscope("replay", folder / "run", *arguments, "--out", out, expect=2).stderr
        assert message and not out.exists(), arguments
    assert f"0 to {STEPS}" in headscope("replay", folder / "run", "--to", 99, "--out", out, expect=2).stderr
    out.mkdir()
    assert "exists" in headscope("replay", folder / "run", "--out", out, expect=2).stderr
    assert fingerprint(folder / "run") == before and not list(out.iterdir())
    headscope("replay", tmp_path / "nothing", expect=2)
    (tmp_path / "empty").mkdir()
    assert "config.toml" in headscope("replay", tmp_path / "empty", expect=2).stderr


def test_damaged_log_and_checkpoints(folder, tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    shutil.copytree(folder / "run", run)
    for name in ("step-00000010.h5", "step-00000020.h5"):
        path = run / "checkpoints" / name
        path.write_bytes(path.read_bytes()[:-7])
    result = headscope("replay", run, "--from", 21, "--to", 24, "--out", out)  # from the start, and says so
    assert "step-00000020.h5" in result.stderr and "from the start" in result.stderr
    shutil.rmtree(out)
    shutil.rmtree(run / "checkpoints")
    assert "from the start" in headscope("replay", run, "--from", 21, "--out", out).stderr
    shutil.rmtree(out)
    assert "--step" in headscope("trace", run, "--tokens", folder / "held.h5", "-o", tmp_path / "t.h5",
                                 expect=2).stderr
    log = run / "log.h5"
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 4
    log.write_bytes(data)
    for verb in (["replay", run], ["fork", run, "--step", 3]):
        assert "log.h5" in headscope(*verb, "--out", out, expect=74).stderr
    log.unlink()
    assert "log.h5" in headscope("replay", run, "--out", out, expect=2).stderr
    assert not out.exists()


def test_trace_of_every_step(folder, tmp_path):
    for step in range(STEPS + 1):
        run = tmp_path / f"run{step}"
        headscope("run", folder / "c.toml", *OVERRIDES, "schedule.type=constant", f"train.steps={step}", "--out", run)
    shutil.copytree(tmp_path / f"run{STEPS}", tmp_path / "run")
    for step in range(STEPS + 1):
        headscope("trace", tmp_path / "run", "--step", step, "--tokens", folder / "held.h5", "-o",
                  tmp_path / f"a{step}.h5")
        headscope("trace", tmp_path / f"run{step}", "--tokens", folder / "held.h5", "-o", tmp_path / f"b{step}.h5")
        assert_same_bits(read_datasets(tmp_path / f"a{step}.h5"), read_datasets(tmp_path / f"b{step}.h5"), f"step {step}")
    headscope("trace", tmp_path / "run", "--step", STEPS + 1, "--tokens", folder / "held.h5", "-o", tmp_path / "c.h5",
              expect=2)


@pytest.mark.parametrize("step", [0, 5, 10, 17, 23])
def test_fork_with_nothing_changed(step, folder, tmp_path):
    before = fingerprint(folder / "run")
    headscope("fork", folder / "run", "--step", step, "--out", tmp_path / "fork", "--threads", 1 + step % 3)
    assert_same_runs(folder / "run", tmp_path / "fork")
    assert fingerprint(folder / "run") == before
    with h5py.File(tmp_path / "fork" / "log.h5") as file, h5py.File(folder / "run" / "log.h5") as parent:
        assert file.attrs["lineage"] == "fork" and file.attrs["parent_step"] == step
        assert file.attrs["parent_run_id"] == parent.attrs["run_id"] != file.attrs["run_id"]
        events = [kind.decode() for kind in file["events/kind"]]
        assert "fork" in events


def test_fork_with_a_change(folder, tmp_path):
    run, fork = folder / "run", tmp_path / "fork"
    headscope("fork", run, "--step", 13, "optimizer.lr=1e-4", "log.probes.overlap=1", "--out", fork)
    a, b = rows(run / "log.h5", 0, 12), rows(fork / "log.h5", 0, 12)
    assert_same_bits(a, {name: value for name, value in b.items() if "overlap" not in name})
    a, b = rows(run / "log.h5", 13, STEPS), rows(fork / "log.h5", 13, STEPS)
    assert len(b["heads/overlap/step"]) == STEPS - 13 + 1
    lr, first = b["train/lr"], list(b["train/step"]).index(14)
    assert np.allclose(lr[first:] / a["train/lr"][first:], 1e-2)
    loss, control = b["train/loss"], a["train/loss"]
    assert (loss[first:] != control[first:]).all()
    # A fork is a run: it can be killed at once, resumed, looked into, forked.
    for path in (fork / "checkpoints").glob("step-*.h5"):
        path.unlink()
    shutil.copytree(fork, tmp_path / "again")
    headscope("resume", tmp_path / "again")
    assert_same_runs_but_lineage(tmp_path / "again", fork)
    headscope("replay", fork, "--from", 14, "--to", 20, "--out", tmp_path / "window")
    message = headscope("replay", fork, "--from", 12, "--to", 20, "--out", tmp_path / "no", expect=2).stderr
    assert "fork" in message
    headscope("fork", fork, "--step", 20, "optimizer.lr=1e-3", "--out", tmp_path / "fork2")


def assert_same_runs_but_lineage(left, right):
    assert_same_bits(reproducible(left / "log.h5"), reproducible(right / "log.h5"), "log")


def test_fork_with_other_types(folder, tmp_path):
    run = folder / "run"
    result = headscope("fork", run, "--step", 8, "optimizer.type=sgd", "optimizer.lr=0.1", "--out", tmp_path / "sgd")
    assert "anew" in result.stdout or "anew" in result.stderr or "anew" in read_events(tmp_path / "sgd")
    headscope("fork", run, "--step", 8, "schedule.type=constant", "model.dropout=0", "seed=5", "--out", tmp_path / "s")
    write_tokens(folder / "other.h5", 3, 4, T, VOCAB, seed=9)
    headscope("fork", run, "--step", 8, f"task.path={folder / 'other.h5'}", "--other-data", "--out", tmp_path / "task")
    with h5py.File(tmp_path / "task" / "log.h5") as file:
        assert file["train/step"][0] == 8  # other data: no history
    for change in ("model.d_model=36", "model.num_layers=1", "train.dtype=float64", "model.num_heads=6"):
        message = headscope("fork", run, "--step", 8, change, "--out", tmp_path / "no", expect=2).stderr
        assert "weights" in message or "model." in message, message
        assert not (tmp_path / "no").exists()
    assert "train.steps" in headscope("fork", run, "--step", STEPS, "--out", tmp_path / "no", expect=2).stderr
    headscope("fork", run, "--step", STEPS + 1, "--out", tmp_path / "no", expect=2)
    headscope("fork", run, "--step", STEPS, f"train.steps={STEPS + 3}", "--out", tmp_path / "longer")


def read_events(run):
    with h5py.File(run / "log.h5") as file:
        return " ".join(message.decode() for message in file["events/message"])


def test_early_stop_and_best_survive_a_fork(folder, tmp_path):
    overrides = [*OVERRIDES, "optimizer.lr=0.3", "schedule.type=constant", "eval.every=2", "eval.patience=3",
                 "checkpoint.best=true", "train.steps=60"]
    headscope("run", folder / "c.toml", *overrides, "--out", tmp_path / "run")
    last = int(newest_checkpoint(tmp_path / "run").stem.split("-")[1])
    assert last < 60, "this run should stop early"
    for step in (1, 4, last - 1):
        fork = tmp_path / f"fork{step}"
        headscope("fork", tmp_path / "run", "--step", step, "--out", fork)
        assert_same_runs(tmp_path / "run", fork)
    headscope("replay", tmp_path / "run", "--from", last - 3, "--to", last, "--out", tmp_path / "window")
    assert_same_bits(rows(tmp_path / "run" / "log.h5", last - 3, last), rows(tmp_path / "window" / "log.h5", 0, 60))
    assert "at its end" in headscope("fork", tmp_path / "run", "--step", last, "--out", tmp_path / "no",
                                     expect=2).stderr


def test_a_run_resumed_with_more_steps(folder, tmp_path):
    run = tmp_path / "run"
    headscope("run", folder / "c.toml", *OVERRIDES, "train.steps=12", "--out", run)
    headscope("resume", run, "train.steps=20")
    headscope("replay", run, "--out", tmp_path / "all")
    assert "train.steps=N" in headscope("replay", run, "--from", 2, "--to", 9, "train.steps=20", "--out",
                                        tmp_path / "no", expect=1).stderr
