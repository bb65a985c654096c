"""`verify` names every kind of damage, and finds nothing wrong with a good run: finished, running or killed."""

import hashlib
import json
import re
import shutil
import signal
import time

import h5py
import numpy as np
import pytest

from cli_tools import headscope, newest_checkpoint, start, write_config, write_tokens

VOCAB, T = 9, 8
SMALL = ["model.d_model=12", "model.num_heads=3", "model.d_ff=8", "model.num_layers=1", "train.steps=40",
         "eval.every=10", "log.every=5", "checkpoint.every=20", "checkpoint.best=true", "log.probes.grad_norm=10",
         "log.probes.overlap=20"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    write_tokens(folder / "train.h5", 5, 4, T, VOCAB, seed=7)
    write_tokens(folder / "held.h5", 2, 4, T, VOCAB, seed=8)
    write_config(folder / "c.toml", folder / "train.h5", VOCAB, T, folder / "held.h5")
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    headscope("run", folder / "c.toml", *SMALL, "--out", folder / "whole")
    return folder / "whole"


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def seal_log(path):
    """Gives a log that was changed a checksum that fits."""
    body = path.read_bytes()
    mark = body.rfind(b"\nheadscope log sha256 ")
    if mark == len(body) - 87:
        body = body[:mark]
    path.write_bytes(body + b"\nheadscope log sha256 " + hashlib.sha256(body).hexdigest().encode() + b"\n")


def seal_checkpoint(path):
    body = path.read_bytes()[512:]
    header = (f"headscope checkpoint\nformat 0000000001\nlength {len(body) + 512:020}\n"
              f"sha256 {hashlib.sha256(body).hexdigest()}\n")
    path.write_bytes(header.encode().ljust(512, b"\0") + body)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def wrong_files(path):
    """What `verify` says is wrong, by file; nothing on disk changes, and both outputs agree."""
    before = contents(path) if path.is_dir() else {path: path.read_bytes()}
    result = headscope("verify", path, "--json", expect=None)
    report = json.loads(result.stdout)
    wrong = {file["file"]: " ".join(file["problems"]) for file in report["files"] if not file["good"]}
    assert report["good"] == (not wrong) and result.returncode == (1 if wrong else 0), result.stderr
    text = headscope("verify", path, expect=result.returncode)
    lines = text.stdout.splitlines()
    for file, problem in wrong.items():
        assert problem and any(line.startswith(file) and " WRONG " in line for line in lines), text.stdout
    assert sum(" WRONG " in line for line in lines) == len(wrong)
    if wrong:
        assert f"{len(wrong)} of {len(report['files'])} files wrong" in text.stderr
    else:
        assert lines[-1].startswith("all is well")
    assert before == (contents(path) if path.is_dir() else {path: path.read_bytes()})
    return wrong


def flip(path, at, bit=4):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


# --- nothing wrong ---

def test_a_good_run(whole):
    assert wrong_files(whole) == {}
    report = json.loads(headscope("verify", whole, "--json").stdout)
    assert [(file["file"], file["kind"]) for file in report["files"]] == [
        ("config.toml", "config"), ("log.h5", "log"), ("checkpoints/best.h5", "checkpoint"),
        ("checkpoints/step-00000020.h5", "checkpoint"), ("checkpoints/step-00000040.h5", "checkpoint")]
    assert report["files"][4]["note"] == "step 40"


def test_single_files(whole, folder, tmp_path):
    headscope("trace", whole, "--tokens", folder / "train.h5", "-o", tmp_path / "out.h5")
    for path, kind in ((whole / "config.toml", "config"), (whole / "log.h5", "log"), (tmp_path / "out.h5", "trace"),
                       (newest_checkpoint(whole), "checkpoint"), (folder / "train.h5", "HDF5 file")):
        assert wrong_files(path) == {}
        assert json.loads(headscope("verify", path, "--json").stdout)["files"][0]["kind"] == kind


def test_other_files_beside_the_log(run, folder):
    headscope("trace", run, "--tokens", folder / "train.h5", "-o", run / "trace.h5")
    (run / "report.html").write_text("not ours to read")
    (run / "notes.txt").write_text("nor this")
    (run / "checkpoints" / ".step-00000040.h5.tmp-123").write_bytes(b"half")
    assert wrong_files(run) == {}
    text = headscope("verify", run).stdout
    assert "trace.h5" in text and ".step-00000040.h5.tmp-123" in text and "killed" in text and "report" not in text


def test_what_other_verbs_leave(run, tmp_path):
    headscope("replay", run, "--from", 5, "--to", 25, "log.probes.overlap=5", "--out", tmp_path / "replayed")
    headscope("fork", run, "--step", 20, "optimizer.lr=0.01", "--out", tmp_path / "forked")
    headscope("ablate", run)
    for folder in (tmp_path / "replayed", tmp_path / "forked", run):
        assert wrong_files(folder) == {}
    flip(run / "ablation.h5", 3000)
    assert list(wrong_files(run)) == ["ablation.h5"]
    (tmp_path / "forked" / "checkpoints" / "start.h5").unlink()
    assert "start.h5" in wrong_files(tmp_path / "forked")["log.h5"]


def test_a_run_that_is_being_written(folder, tmp_path):
    run = tmp_path / "run"
    process = start("run", folder / "c.toml", *SMALL, "train.steps=1000000", "checkpoint.every=50", "--threads", 1,
                    "--out", run)
    try:
        while not (run / "checkpoints" / "step-00000050.h5").exists():
            assert process.poll() is None
            time.sleep(0.005)
        for _ in range(10):
            result = headscope("verify", run, expect=None)
            assert result.returncode == 0, result.stdout + result.stderr
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    assert wrong_files(run) == {}


def test_killed_before_the_first_checkpoint(folder, tmp_path):
    run = tmp_path / "run"
    process = start("run", folder / "c.toml", *SMALL, "train.steps=1000000", "checkpoint.every=1000000", "--out", run)
    while not (run / "log.h5").exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert [file for file in wrong_files(run) if "best" not in file] == []


def test_without_the_data(run, folder, tmp_path):
    """Data that are elsewhere now are no damage; there is less to compare with then."""
    text = (run / "config.toml").read_text()
    config = text.replace(str(folder / "train.h5"), str(tmp_path / "gone.h5"))
    assert config != text
    (run / "config.toml").write_text(text)
    shutil.copytree(folder, tmp_path / "data")
    moved = tmp_path / "moved"
    headscope("run", tmp_path / "data" / "c.toml", *SMALL, f"task.path={tmp_path / 'data' / 'train.h5'}",
              "--out", moved)
    (tmp_path / "data" / "train.h5").unlink()
    assert wrong_files(moved) == {}
    assert "no model to compare with" in headscope("verify", moved).stdout


# --- damage ---

@pytest.mark.parametrize("share", [0, 0.1, 0.35, 0.5, 0.8, 0.995, 1])
@pytest.mark.parametrize("file", ["log.h5", "checkpoints/step-00000040.h5", "checkpoints/best.h5"])
def test_a_flipped_bit(file, share, run):
    size = (run / file).stat().st_size
    flip(run / file, min(size - 1, int(share * size)))
    wrong = wrong_files(run)
    assert list(wrong) == [file] and any(word in wrong[file] for word in ("checksum", "damaged")), wrong


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("file", ["log.h5", "checkpoints/step-00000040.h5"])
def test_truncated(file, share, run):
    data = (run / file).read_bytes()
    (run / file).write_bytes(data[:int(share * len(data))])
    assert list(wrong_files(run)) == [file]


@pytest.mark.parametrize("name", ["train/loss", "heads/grad_norm/value", "heads/overlap/value"])
@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<i8"])
@pytest.mark.parametrize("grows", [True, False])
def test_a_dataset_of_another_type(name, dtype, grows, run):
    with h5py.File(run / "log.h5", "r+") as log:
        values = log[name][()]
        del log[name]
        log.create_dataset(name, data=np.nan_to_num(values).astype(dtype), chunks=True,
                           maxshape=(None if grows else len(values), *values.shape[1:]))
    seal_log(run / "log.h5")
    fine = grows and (dtype == "<f8" or dtype == "<f4" and "heads" in name)
    assert list(wrong_files(run)) == ([] if fine else ["log.h5"])
    assert fine or f"/{name} is " in wrong_files(run)["log.h5"]


def test_runs_without_metrics_and_failed_ones(folder, tmp_path):
    headscope("run", folder / "c.toml", "train.steps=3", "--out", tmp_path / "run")
    assert wrong_files(tmp_path / "run") == {}
    headscope("run", folder / "c.toml", "optimizer.lr=1e30", "model.norm=none", "--out", tmp_path / "nan", expect=70)
    assert wrong_files(tmp_path / "nan") == {}


def test_a_config_that_is_none(run):
    (run / "config.toml").write_text("name = [")
    wrong = wrong_files(run)
    assert list(wrong) == ["config.toml"] and "TOML" in wrong["config.toml"]


@pytest.mark.parametrize("old,new", [("seed = 0", "seed = 1"), ("lr = 0.001", "lr = 0.002")])
def test_a_config_of_another_run(old, new, run):
    text = (run / "config.toml").read_text()
    assert old in text
    (run / "config.toml").write_text(text.replace(old, new))
    wrong = wrong_files(run)
    assert sorted(wrong) == ["checkpoints/best.h5", "checkpoints/step-00000020.h5", "checkpoints/step-00000040.h5",
                             "log.h5"]
    assert all("config" in problem for problem in wrong.values())


def test_keys_that_resume_may_change_are_no_other_config(run):
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace("steps = 40", "steps = 80"))
    assert wrong_files(run) == {}


def test_a_checkpoint_of_another_step(run):
    folder = run / "checkpoints"
    (folder / "step-00000020.h5").rename(folder / "step-00000030.h5")
    wrong = wrong_files(run)
    assert list(wrong) == ["checkpoints/step-00000030.h5"] and "step 20" in wrong["checkpoints/step-00000030.h5"]


def test_a_checkpoint_of_another_run(run, folder, tmp_path):
    headscope("run", folder / "c.toml", *SMALL, "seed=5", "--out", tmp_path / "other")
    shutil.copy(newest_checkpoint(tmp_path / "other"), newest_checkpoint(run))
    wrong = wrong_files(run)
    assert list(wrong) == ["checkpoints/step-00000040.h5"] and "another config" in wrong["checkpoints/step-00000040.h5"]


@pytest.mark.parametrize("dataset", ["model/blocks.0.attn.W_q.weight", "optimizer/head.weight/exp_avg"])
def test_a_value_that_is_no_number(dataset, run):
    path = run / "checkpoints" / "step-00000020.h5"
    with h5py.File(path, "r+") as file:
        file[dataset][1, 2] = np.nan
    seal_checkpoint(path)
    wrong = wrong_files(run)
    assert list(wrong) == ["checkpoints/step-00000020.h5"]
    assert f"/{dataset} is not finite" in wrong["checkpoints/step-00000020.h5"]


@pytest.mark.parametrize("dataset", ["model/head.weight", "optimizer/head.weight/exp_avg"])
@pytest.mark.parametrize("change", ["missing", "shape", "extra"])
def test_parameters_of_another_model(dataset, change, run):
    path = run / "checkpoints" / "step-00000020.h5"
    with h5py.File(path, "r+") as file:
        values = file[dataset][()]
        if change == "extra":
            file[dataset.replace("head.weight", "tail.weight")] = values
        else:
            del file[dataset]
            if change == "shape":
                file[dataset] = values[:, 1:]
    seal_checkpoint(path)
    wrong = wrong_files(run)
    assert list(wrong) == ["checkpoints/step-00000020.h5"] and ".weight" in wrong["checkpoints/step-00000020.h5"]


@pytest.mark.parametrize("missing", ["config.toml", "log.h5"])
def test_a_missing_file(missing, run):
    (run / missing).unlink()
    wrong = wrong_files(run)
    assert wrong[missing] == "is missing"


def test_missing_checkpoints(run):
    newest_checkpoint(run).unlink()
    assert "step 20" in wrong_files(run)["log.h5"]
    shutil.rmtree(run / "checkpoints")
    assert "checkpoints" in wrong_files(run)["log.h5"]


def edit_log(run, edit):
    with h5py.File(run / "log.h5", "r+") as log:
        edit(log)
    seal_log(run / "log.h5")
    wrong = wrong_files(run)
    assert list(wrong) == ["log.h5"]
    return wrong["log.h5"]


def set_value(dataset, index, value):
    def edit(log):
        log[dataset][index] = value
    return edit


def set_attribute(name, value):
    def edit(log):
        log.attrs[name] = value
    return edit


def delete(*names):
    def edit(log):
        for name in names:
            del log[name]
    return edit


def shorten(dataset):
    def edit(log):
        log[dataset].resize(len(log[dataset]) - 1, axis=0)
    return edit


def change_resolved(old, new):
    def edit(log):
        text = log["config/resolved"][()].decode()
        assert old in text
        log["config/resolved"][()] = text.replace(old, new)
        log.attrs["config_sha256"] = hashlib.sha256(text.replace(old, new).encode()).hexdigest()
    return edit


LOG_EDITS = {
    "loss_nan": (set_value("train/loss", 3, np.nan), "/train/loss[3] is nan"),
    "eval_loss_inf": (set_value("eval/loss", 1, np.inf), "/eval/loss[1] is inf"),
    "steps_repeat": (set_value("train/step", 3, 10), "/train/step does not ascend"),
    "steps_of_a_metric": (set_value("heads/grad_norm/step", 0, 50), "/heads/grad_norm/step does not ascend"),
    "negative_step": (set_value("train/step", 0, -5), "/train/step begins below 0"),
    "rows_differ": (shorten("train/lr"), "/train/lr has 7 rows, and /train/step 8"),
    "metric_rows_differ": (shorten("heads/overlap/value"), "/heads/overlap/value has"),
    "no_loss": (delete("train/loss"), "/train/loss is missing"),
    "no_config": (delete("config/resolved"), "/config/resolved is missing"),
    "no_parameters": (delete("parameters"), "/parameters/name is missing"),
    "state": (set_attribute("state", "fine"), "state"),
    "schema": (set_attribute("schema_name", "other"), "schema_name"),
    "version": (set_attribute("schema_version", "2.0"), "schema 2.0"),
    "seed": (set_attribute("seed", 3), "seed"),
    "config_hash": (set_attribute("config_sha256", "0" * 64), "config_sha256"),
    "another_config": (change_resolved("lr = 0.001", "lr = 0.003"), "another config"),
}


@pytest.mark.parametrize("case", LOG_EDITS)
def test_a_log_that_was_changed(case, run):
    edit, words = LOG_EDITS[case]
    assert words in edit_log(run, edit)


def test_a_damaged_chunk(run):
    """Found by HDF5's own checksum when the log's fits."""
    with h5py.File(run / "log.h5", "r") as log:
        chunk = log["heads/grad_norm/value"].id.get_chunk_info(0)
    flip(run / "log.h5", chunk.byte_offset + chunk.size // 2)
    seal_log(run / "log.h5")
    wrong = wrong_files(run)
    assert list(wrong) == ["log.h5"] and "/heads/grad_norm/value" in wrong["log.h5"]


def test_a_log_that_another_tool_rewrote(run):
    data = (run / "log.h5").read_bytes()
    (run / "log.h5").write_bytes(data[:-87])
    assert "no checksum" in wrong_files(run)["log.h5"]
    headscope("inspect", run)


def test_a_damaged_file_beside_the_log(run, folder):
    headscope("trace", run, "--tokens", folder / "train.h5", "-o", run / "trace.h5")
    data = (run / "trace.h5").read_bytes()
    (run / "trace.h5").write_bytes(data[:len(data) // 2])
    assert list(wrong_files(run)) == ["trace.h5"]
    (run / "trace.h5").write_bytes(b"something else")
    assert list(wrong_files(run)) == ["trace.h5"]


def test_all_is_reported_at_once(run):
    flip(run / "log.h5", 5000)
    flip(newest_checkpoint(run), 2000)
    (run / "config.toml").unlink()
    assert sorted(wrong_files(run)) == ["checkpoints/step-00000040.h5", "config.toml", "log.h5"]


# --- no such thing ---

def test_no_such_path(tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):  # an empty folder holds no run
        result = headscope("verify", path, expect=2)
        assert str(path) in result.stderr and result.stdout == ""
    headscope("verify", expect=2)


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "text.txt").write_text("hello")
    assert list(wrong_files(tmp_path / "text.txt")) == [str(tmp_path / "text.txt")]
    (tmp_path / "empty.h5").write_bytes(b"")
    assert list(wrong_files(tmp_path / "empty.h5")) == [str(tmp_path / "empty.h5")]


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.symlink_to("nowhere")])
def test_what_stands_in_the_place_of_a_checkpoint(run, make):
    checkpoint = sorted((run / "checkpoints").glob("step-*"))[0]
    checkpoint.unlink()
    make(checkpoint)
    told = headscope("verify", run, expect=1).stdout
    assert re.search(rf"checkpoints/{checkpoint.name}\s+WRONG\s+checkpoint\s+is no file", told), told


def test_a_checkpoint_of_another_step_or_run(folder, run, tmp_path):
    """The name of a checkpoint is not believed, nor that the same config makes it the run's."""
    steps = sorted((run / "checkpoints").glob("step-*"))
    kept, named = steps[-1].read_bytes(), int(steps[-1].stem[5:])
    steps[0].rename(steps[-1])
    for verb in (["trace", run, "--step", named, "--tokens", folder / "held.h5", "-o", tmp_path / "t.h5"],
                 ["ablate", run, "--step", named, "--out", tmp_path / "a.h5"]):
        assert "its name says otherwise" in headscope(*verb, expect=74).stderr
    headscope("run", run / "config.toml", "--out", tmp_path / "other")
    theirs = (tmp_path / "other" / "checkpoints" / steps[-1].name).read_bytes()
    steps[-1].write_bytes(theirs)
    assert "belongs to another run" in re.sub(r"\s+", " ", headscope("verify", run, expect=1).stdout)
    assert "belongs to another run" in headscope("resume", run, "train.steps=1000", expect=2).stderr
    steps[-1].write_bytes(kept)
    headscope("resume", run, "train.steps=50")
