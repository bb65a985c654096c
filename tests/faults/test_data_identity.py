"""A run is known by what its data hold, not by where they are: it can be moved, and other data are never taken for its
own."""

import hashlib
import json
import random
import shutil
import signal
import tarfile

import h5py
import numpy as np
import pytest

from cli_tools import (SOURCE, assert_same_bits, assert_same_runs, headscope, newest_checkpoint, read_datasets,
                       reproducible, start, write_tokens)
from test_bad_input import contents

WORDS = "the cat sat on mat and dog ran".split()
TEXT = """name = "t"
task = {type = "text", path = "t.txt", seq_len = 16}
model = {d_model = 16, num_heads = 2, num_layers = 1}
optimizer = {type = "adamw", lr = 1e-2}
train = {steps = 10, batch_size = 4}
eval = {every = 5, batches = 2}
log = {every = 1, probes = {grad_norm = 5}}
checkpoint = {every = 4, keep = 0}
"""
TOKENS = """name = "k"
task = {type = "tokens", path = "k.h5", eval_path = "e.h5", vocab_size = 7, seq_len = 6}
model = {d_model = 8, num_heads = 2, num_layers = 2}
train = {steps = 10}
eval = {every = 5}
log = {every = 1}
checkpoint = {every = 4, keep = 0}
"""


def make_data(folder, seed=0):
    folder.mkdir(exist_ok=True)
    words = random.Random(seed)
    (folder / "t.txt").write_text("".join(" ".join(words.choice(WORDS) for _ in range(8)) + "\n" for _ in range(120)))
    write_tokens(folder / "k.h5", 5, 4, 6, 7, seed=seed)
    write_tokens(folder / "e.h5", 2, 4, 6, 7, seed=seed + 100)
    (folder / "t.toml").write_text(TEXT)
    (folder / "k.toml").write_text(TOKENS)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder p with data, and a run of each kind beside them."""
    folder = make_data(tmp_path_factory.mktemp("data") / "p")
    for kind in "tk":
        headscope("run", f"{kind}.toml", "--out", f"run-{kind}", cwd=folder)
    return folder


@pytest.fixture(params="tk")
def kind(request):
    return request.param


@pytest.fixture
def p(request, tmp_path):
    """The same of the test's kind (text, if it has none), for a test to move and spoil."""
    kind = request.getfixturevalue("kind") if "kind" in request.fixturenames else "t"
    folder = make_data(tmp_path / "p")
    headscope("run", f"{kind}.toml", "--out", f"run-{kind}", cwd=folder)
    return folder


def attrs(run):
    with h5py.File(run / "log.h5") as log:
        return dict(log.attrs)


def events(run):
    with h5py.File(run / "log.h5") as log:
        return list(zip(log["events/step"][()], log["events/kind"].asstr()[()], log["events/message"].asstr()[()]))


def checkpoint_attrs(path):
    body = path.read_bytes()[512:]
    inner = path.parent / "inner.tmp"
    inner.write_bytes(body)
    try:
        with h5py.File(inner) as file:
            return dict(file["trainer"].attrs)
    finally:
        inner.unlink()


def spoil(folder, kind):
    """Other data of the same shape and vocabulary."""
    if kind == "t":
        path = folder / "t.txt"
        text = path.read_text()
        path.write_text(text.replace("cat", "cot"))
        assert path.read_text() != text and set(path.read_text()) == set(text)
        return path
    with h5py.File(folder / "k.h5", "r+") as file:
        for name in ("inputs", "targets"):
            file[name][...] = np.roll(file[name][()].reshape(-1), 1).reshape(file[name].shape)
    return folder / "k.h5"


def path_of(folder, kind):
    return [f"task.path={folder / 't.txt'}"] if kind == "t" else [f"task.path={folder / 'k.h5'}",
                                                                 f"task.eval_path={folder / 'e.h5'}"]


def verbs_that_read_data(run, out):
    """Command lines of each verb that trains or looks back, all of which need the data."""
    return {"resume": ["resume", run, "train.steps=12"], "replay": ["replay", run, "--from", 1, "--to", 3, "--out", out / "r"],
            "ablate": ["ablate", run, "--out", out / "a.h5"],
            "trace": ["trace", run, "--step", 3, "--tokens", out / "tokens.h5", "-o", out / "t.h5"],
            "fork": ["fork", run, "--step", 3, "optimizer.lr=0.02", "--out", out / "f"]}


# --- what is written ---

def test_the_digest_is_of_the_content(made, kind, tmp_path):
    if kind == "t":
        digest = hashlib.sha256((made / "t.txt").read_bytes()).hexdigest()
    else:
        whole = hashlib.sha256()
        for name in ("k.h5", "e.h5"):
            with h5py.File(made / name) as file:
                for part in (np.array(file["inputs"].shape), file["inputs"][()], file["targets"][()]):
                    whole.update(part.astype("<i8").tobytes())
        digest = whole.hexdigest()
    run = made / f"run-{kind}"
    assert attrs(run)["data_sha256"] == digest and attrs(run)["schema_version"] == "1.1"
    for checkpoint in sorted((run / "checkpoints").glob("*.h5")):
        assert checkpoint_attrs(checkpoint)["data_sha256"] == digest


def test_packing_and_place_do_not_count(made, tmp_path):
    with h5py.File(made / "k.h5") as old, h5py.File(tmp_path / "packed.h5", "w") as new:
        for name in ("inputs", "targets"):
            new.create_dataset(name, data=old[name][()], chunks=True, compression="gzip")
    (tmp_path / "marked.txt").write_bytes(b"\xef\xbb\xbf" + (made / "t.txt").read_bytes())
    headscope("run", made / "k.toml", f"task.path={tmp_path / 'packed.h5'}", f"task.eval_path={made / 'e.h5'}", "--out",
              tmp_path / "k")
    headscope("run", made / "t.toml", f"task.path={tmp_path / 'marked.txt'}", "--out", tmp_path / "t")
    for kind in "tk":
        assert attrs(tmp_path / kind)["data_sha256"] == attrs(made / f"run-{kind}")["data_sha256"]
        assert_same_runs(tmp_path / kind, made / f"run-{kind}")


def test_every_part_of_the_data_counts(made, tmp_path):
    digests = {attrs(made / "run-k")["data_sha256"]}
    for changed in ("k.h5", "e.h5"):
        for name in ("inputs", "targets"):
            folder = tmp_path / f"{changed}-{name}"
            folder.mkdir()
            for file in ("k.h5", "e.h5", "k.toml"):
                shutil.copy(made / file, folder)
            with h5py.File(folder / changed, "r+") as file:
                file[name][1, 2, 3] = (file[name][1, 2, 3] + 1) % 7
            headscope("run", "k.toml", "train.steps=0", "--out", "run", cwd=folder)
            digests.add(attrs(folder / "run")["data_sha256"])
    headscope("run", "k.toml", "train.steps=0", "task.eval_path=", "--out", tmp_path / "blind", cwd=made)
    digests.add(attrs(tmp_path / "blind")["data_sha256"])
    assert len(digests) == 6


def test_a_task_that_draws_has_an_empty_digest(tmp_path):
    headscope("run", SOURCE / "experiments" / "configs" / "repeat.toml", "train.steps=0", "--out", tmp_path / "run")
    assert attrs(tmp_path / "run")["data_sha256"] == ""
    headscope("verify", tmp_path / "run")


def test_the_config_notes_where_data_are(p):
    text = (p / "run-t" / "config.toml").read_text()
    assert 'path = "t.txt"' in text and f'absolute_path = "{p / "t.txt"}"' in text
    with h5py.File(p / "run-t" / "log.h5") as log:
        assert log["config/resolved"].asstr()[()] == text and log.attrs["folder"] == str(p / "run-t")


# --- a run that was moved ---

def where(place, q, kind, tmp_path):
    """A working folder and overrides from which the moved run must be found."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    return {"beside the data": (q, []), "from elsewhere": (elsewhere, []), "named": (elsewhere, path_of(q, kind)),
            "named, relative": (tmp_path, [o.replace(f"{tmp_path}/", "") for o in path_of(q, kind)])}[place]


@pytest.mark.parametrize("place", ["beside the data", "from elsewhere", "named", "named, relative"])
@pytest.mark.parametrize("verb", ["resume", "replay", "ablate", "trace", "fork"])
def test_moved_with_its_data(verb, place, kind, made, p, tmp_path):
    q, out = tmp_path / "q", tmp_path / "out"
    out.mkdir()
    p.rename(q)
    cwd, overrides = where(place, q, kind, tmp_path)
    shutil.copy(q / "e.h5", out / "tokens.h5")
    if kind == "t":
        write_tokens(out / "tokens.h5", 2, 3, 5, 4)
    run = q / f"run-{kind}"
    headscope(*verbs_that_read_data(run, out)[verb], *overrides, cwd=cwd)
    assert not [event for event in events(run) if event[1] == "data"]
    headscope("verify", run, cwd=cwd)
    if verb == "resume":
        shutil.copytree(made / f"run-{kind}", tmp_path / "still")
        headscope("resume", tmp_path / "still", "train.steps=12", *path_of(made, kind))
        assert_same_runs(tmp_path / "still", run)
        headscope("replay", run, "--out", tmp_path / "again", cwd=cwd)  # the place is remembered


def test_moved_alone(made, p, kind, tmp_path):
    """The run goes elsewhere, its data stay: found where they were. Then the data go too, and are asked for."""
    run = tmp_path / "far" / "run"
    run.parent.mkdir()
    (p / f"run-{kind}").rename(run)
    headscope("replay", run, "--out", tmp_path / "r", cwd=tmp_path)
    (tmp_path / "p").rename(tmp_path / "gone")
    before = contents(run)
    result = headscope("resume", run, "train.steps=12", cwd=tmp_path, expect=74)
    name = path_of(p, kind)[0].rpartition("/")[2]
    for looked in (tmp_path / name, p / name, tmp_path / "far" / name):
        assert str(looked) in result.stderr, result.stderr
    assert "task.path=FILE" in result.stderr and contents(run) == before
    headscope("resume", run, "train.steps=12", *path_of(tmp_path / "gone", kind), cwd=tmp_path)
    assert f"absolute_path = \"{tmp_path / 'gone' / name}\"" in (run / "config.toml").read_text()
    headscope("resume", run, "train.steps=14", cwd=tmp_path)
    headscope("verify", run)


def test_given_by_an_absolute_path_and_moved(p, tmp_path):
    headscope("run", p / "t.toml", f"task.path={p / 't.txt'}", "--out", p / "runs" / "a")
    p.rename(tmp_path / "q")
    run = tmp_path / "q" / "runs" / "a"
    for steps in (12, 14):  # the second time by what the first has noted
        headscope("resume", run, f"train.steps={steps}", cwd=tmp_path)
    (tmp_path / "q").rename(tmp_path / "s")
    headscope("resume", tmp_path / "s" / "runs" / "a", "train.steps=16", cwd=tmp_path)


def test_one_of_two_files_named(p, tmp_path):
    headscope("run", "k.toml", "--out", "run-k", cwd=p)
    p.rename(tmp_path / "q")
    headscope("resume", tmp_path / "q" / "run-k", "train.steps=12", f"task.path={tmp_path / 'q' / 'k.h5'}",
              cwd=tmp_path)


def test_the_stored_config_is_a_config(made, kind, tmp_path):
    headscope("run", made / f"run-{kind}" / "config.toml", "--out", tmp_path / "again", cwd=tmp_path)
    assert_same_runs(tmp_path / "again", made / f"run-{kind}")


def test_a_wrong_name_is_not_replaced_by_what_was_noted(made, tmp_path):
    config = tmp_path / "mine.toml"
    config.write_text((made / "run-t" / "config.toml").read_text().replace('path = "t.txt"', 'path = "typo.txt"', 1))
    message = headscope("run", config, "--out", tmp_path / "run", cwd=tmp_path, expect=74).stderr
    assert "typo.txt" in message and str(made) not in message
    message = headscope("resume", made / "run-t", "train.steps=12", "task.path=t.txt", cwd=tmp_path, expect=74).stderr
    assert str(tmp_path / "t.txt") in message and str(made) not in message


def test_a_file_that_is_elsewhere_is_told(made, tmp_path):
    result = headscope("run", made / "run-t" / "config.toml", "--out", tmp_path / "run", cwd=tmp_path)
    assert str(made / "t.txt") in result.stderr and "is read" in result.stderr


def test_edited_by_hand(p, kind, tmp_path):
    run = p / f"run-{kind}"
    config = run / "config.toml"
    for name in ("t.txt", "k.h5"):
        shutil.copy(p / name, tmp_path / f"new-{name}")
    text = config.read_text()
    for name in ("t.txt", "k.h5"):
        text = text.replace(f'\npath = "{name}"', f'\npath = "{tmp_path}/new-{name}"')
    assert text != config.read_text()
    config.write_text(text)
    headscope("verify", run, cwd=p)
    headscope("verify", run, cwd=tmp_path)
    headscope("resume", run, "train.steps=12", cwd=p)
    config.write_text(config.read_text().replace("num_heads = 2", "num_heads = 4"))
    assert "another config" in headscope("verify", run, cwd=p, expect=1).stdout


# --- other data ---

@pytest.mark.parametrize("verb", ["resume", "replay", "ablate", "trace", "fork"])
def test_other_data_are_refused(verb, kind, p, tmp_path):
    run, out = p / f"run-{kind}", tmp_path / "out"
    out.mkdir()
    write_tokens(out / "tokens.h5", 2, 3, 5, 7)
    old = attrs(run)["data_sha256"]
    place = spoil(p, kind)
    headscope("run", f"{kind}.toml", "train.steps=0", "--out", "other", cwd=p)
    new = attrs(p / "other")["data_sha256"]
    before = contents(run)
    message = headscope(*verbs_that_read_data(run, out)[verb], cwd=p, expect=2).stderr
    assert old in message and new in message and old != new and str(place) in message, message
    assert ("--other-data" in message) == (verb in ("resume", "fork")), message
    assert contents(run) == before and [path.name for path in out.iterdir()] == ["tokens.h5"]
    # The same data under another name, the others still in sight.
    good = make_data(tmp_path / "good")
    headscope(*verbs_that_read_data(run, out)[verb], *path_of(good, kind), cwd=p)


@pytest.mark.parametrize("verb", ["resume", "replay", "ablate", "trace", "fork"])
def test_other_data_named_are_refused(verb, kind, made, tmp_path):
    shutil.copytree(made / f"run-{kind}", tmp_path / "run")
    out = tmp_path / "out"
    out.mkdir()
    write_tokens(out / "tokens.h5", 2, 3, 5, 7)
    other = make_data(tmp_path / "other", seed=1)
    before = contents(tmp_path / "run")
    message = headscope(*verbs_that_read_data(tmp_path / "run", out)[verb], *path_of(other, kind), cwd=made,
                        expect=2).stderr
    assert attrs(tmp_path / "run")["data_sha256"] in message and str(other) in message, message
    assert contents(tmp_path / "run") == before and [path.name for path in out.iterdir()] == ["tokens.h5"]


def test_resume_with_other_data(p, kind):
    run = p / f"run-{kind}"
    old, rows = attrs(run)["data_sha256"], read_datasets(run / "log.h5", "/train")
    spoil(p, kind)
    headscope("resume", run, "train.steps=14", "--other-data", cwd=p)
    new = attrs(run)["data_sha256"]
    assert new != old and checkpoint_attrs(newest_checkpoint(run))["data_sha256"] == new
    step, _, message = next(event for event in events(run) if event[1] == "data")
    assert step == 10 and old in message and new in message
    losses = read_datasets(run / "log.h5", "/train")["loss"]
    assert len(losses) == 14 and (losses[:10] == rows["loss"][:10]).all()
    headscope("verify", run, cwd=p)
    headscope("resume", run, "train.steps=16", cwd=p)  # they are the run's own now
    assert sum(event[1] == "data" for event in events(run)) == 1


def test_other_data_and_a_kill(p):
    """The event and the digest reach the disk together: whoever finds the one finds the other."""
    run = p / "run-t"
    old = attrs(run)["data_sha256"]
    spoil(p, "t")
    process = start("resume", run, "train.steps=1000000", "checkpoint.every=1000000", "--other-data", cwd=p)
    while attrs(run)["data_sha256"] == old:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert any(event[1] == "data" for event in events(run))
    headscope("resume", run, "train.steps=12", cwd=p)
    headscope("verify", run, cwd=p)


@pytest.mark.parametrize("step", [8, 10])
def test_fork_with_other_data(step, p, kind, tmp_path):
    """From a checkpoint the run's own data are not needed; other steps take them."""
    run = p / f"run-{kind}"
    spoil(p, kind)
    headscope("fork", run, "--step", step, "train.steps=14", "--other-data", "--out", "f", cwd=p)
    with h5py.File(p / "f" / "log.h5") as log:
        assert log["train/step"][0] == step  # other data: no history
    assert any(kind == "data" for _, kind, _ in events(p / "f")) and attrs(p / "f")["data_sha256"] != attrs(
        run)["data_sha256"]
    headscope("verify", p / "f", cwd=p)
    headscope("resume", p / "f", "train.steps=16", cwd=p)
    message = headscope("fork", run, "--step", 6, "--other-data", "--out", "g", cwd=p, expect=2).stderr
    assert attrs(run)["data_sha256"] in message and not (p / "g").exists()


def test_fork_with_other_data_named(p, kind, tmp_path):
    """The run's own data are there for the steps before."""
    other = make_data(tmp_path / "other", seed=1)
    headscope("fork", f"run-{kind}", "--step", 6, *path_of(other, kind), "--other-data", "--out", "f", cwd=p)
    headscope("verify", p / "f", cwd=p)
    assert any(event[1] == "data" for event in events(p / "f"))


def test_fork_keeps_history_of_the_same_data(p, kind, tmp_path):
    good = make_data(tmp_path / "good")
    headscope("fork", f"run-{kind}", "--step", 6, *path_of(good, kind), "--out", "f", cwd=p)
    assert_same_runs(p / f"run-{kind}", p / "f")


def test_other_data_that_do_not_fit(p):
    text = (p / "t.txt").read_text()
    (p / "t.txt").write_text(text.replace("cat", "owl"))
    result = headscope("resume", "run-t", "train.steps=14", "--other-data", cwd=p, expect=2)
    assert "do not fit the model" in result.stderr


def test_verify_names_other_data(p, kind):
    run = p / f"run-{kind}"
    old = attrs(run)["data_sha256"]
    place = spoil(p, kind)
    report = json.loads(headscope("verify", run, "--json", cwd=p, expect=1).stdout)
    wrong = [file for file in report["files"] if not file["good"]]
    assert len(wrong) == 1 and wrong[0]["kind"] == "data" and str(place) in wrong[0]["file"]
    assert old in wrong[0]["problems"][0]
    place.write_bytes(b"x")  # no data at all
    assert "WRONG  data" in headscope("verify", run, cwd=p, expect=1).stdout
    place.unlink()
    headscope("verify", run, cwd=p)


def test_a_checkpoint_of_other_data(p, tmp_path):
    other = make_data(tmp_path / "other", seed=1)
    headscope("run", "t.toml", "--out", "run-t", cwd=other)
    shutil.copy(other / "run-t" / "checkpoints" / "step-00000010.h5", p / "run-t" / "checkpoints")
    assert "other data" in headscope("verify", "run-t", cwd=p, expect=1).stdout
    assert "other data" in headscope("resume", "run-t", "train.steps=12", cwd=p, expect=2).stderr
    assert "other data" in headscope("replay", "run-t", "--from", 10, "--to", 10, cwd=p, expect=2).stderr


# --- verbs that need no data ---

def test_verbs_that_need_no_data(p, kind, tmp_path):
    headscope("ablate", f"run-{kind}", cwd=p)
    names = ("t.txt", "k.h5", "e.h5")
    write_tokens(tmp_path / "tokens.h5", 2, 3, 5, 7)
    headscope("trace", f"run-{kind}", "--tokens", tmp_path / "tokens.h5", "-o", tmp_path / "with.h5", cwd=p)
    for name in names:
        (p / name).unlink()
    run = p / f"run-{kind}"
    headscope("inspect", run)
    headscope("compare", run)
    headscope("verify", run)
    headscope("resume", run)  # finished: nothing to do
    for step in ([], ["--step", 10]):
        headscope("trace", run, *step, "--tokens", tmp_path / "tokens.h5", "-o", tmp_path / f"without{len(step)}.h5")
        with h5py.File(tmp_path / "with.h5") as a, h5py.File(tmp_path / f"without{len(step)}.h5") as b:
            assert (a["logits"][()] == b["logits"][()]).all()
    write_tokens(tmp_path / "large.h5", 2, 3, 5, 99)
    message = headscope("trace", run, "--tokens", tmp_path / "large.h5", "-o", tmp_path / "no.h5", expect=2).stderr
    assert "vocab_size" in message
    assert "task.path=FILE" in headscope("trace", run, "--step", 3, "--tokens", tmp_path / "tokens.h5", "-o",
                                         tmp_path / "no.h5", expect=74).stderr


def test_only_places_of_data_can_be_told(made, tmp_path):
    for verb in (["trace", made / "run-t", "--tokens", made / "k.h5", "-o", tmp_path / "o.h5"], ["ablate", made / "run-t"]):
        for change in ("optimizer.lr=1", "log.every=2", "task.seq_len=8", "task.nothing=1"):
            assert "task.path" in headscope(*verb, change, expect=2).stderr
    assert "cannot change" in headscope("resume", made / "run-t", "task.seq_len=8", expect=2).stderr


# --- compare ---

def test_compare_knows_data_by_content(made, tmp_path):
    for seed, folder in enumerate(("a", "b", "c")):
        make_data(tmp_path / folder, seed=folder == "c")
        headscope("run", "t.toml", f"seed={seed}", "--out", "run", cwd=tmp_path / folder)
    report = json.loads(headscope("compare", tmp_path / "a" / "run", tmp_path / "b" / "run", "--json").stdout)
    assert len(report["groups"]) == 1 and report["differs"] == []
    runs = [tmp_path / folder / "run" for folder in "abc"]
    report = json.loads(headscope("compare", *runs, "--json").stdout)
    assert len(report["groups"]) == 2 and report["differs"] == ["data"]
    drawn = ["run", SOURCE / "experiments" / "configs" / "repeat.toml", "train.steps=0", "--out"]
    headscope(*drawn, tmp_path / "drawn")
    headscope(*drawn, tmp_path / "drawn1", "seed=1")
    report = json.loads(headscope("compare", tmp_path / "drawn", tmp_path / "drawn1", "--json").stdout)
    assert report["differs"] == []


# --- runs of schema 1.0 ---

@pytest.fixture
def old(tmp_path):
    """A run of a text by a program whose identities held the text's absolute path; the text is beside it, elsewhere."""
    with tarfile.open(SOURCE / "tests" / "faults" / "golden" / "schema-1.0-text" / "text-run.tar.gz") as archive:
        archive.extractall(tmp_path)
    return tmp_path / "run"


def test_an_old_run_without_its_data(old, tmp_path):
    before = contents(old)
    headscope("verify", old)
    headscope("inspect", old)
    write_tokens(tmp_path / "tokens.h5", 2, 3, 5, 4)
    headscope("trace", old, "--tokens", tmp_path / "tokens.h5", "-o", tmp_path / "out.h5")
    assert contents(old) == before
    assert "golden-text/t.txt" in headscope("resume", old, "train.steps=6", expect=74).stderr


def test_an_old_run_moved(old, tmp_path):
    """Its checkpoints are known by the path of long ago, also when the log tells of a new one."""
    data = f"task.path={tmp_path / 't.txt'}"
    headscope("replay", old, data, "--out", tmp_path / "r")
    headscope("ablate", old, data)
    headscope("fork", old, "--step", 2, data, "--out", tmp_path / "f")
    before, fork = reproducible(old / "log.h5"), reproducible(tmp_path / "f" / "log.h5")
    newer = {"task/unseen_characters", "task/unseen_occurrences"}  # which the program of that time did not log
    assert_same_bits({**before, **{name: fork[name] for name in newer}}, fork)
    headscope("resume", old, "train.steps=5", data)
    digest = hashlib.sha256((tmp_path / "t.txt").read_bytes()).hexdigest()
    assert attrs(old)["data_sha256"] == digest and attrs(old)["schema_version"] == "1.1"
    assert "data_sha256" not in checkpoint_attrs(old / "checkpoints" / "step-00000004.h5")
    headscope("verify", old)
    (old / "checkpoints" / "step-00000005.h5").unlink()  # as if killed before
    headscope("resume", old, "train.steps=6")
    headscope("verify", old)
    headscope("replay", old, "train.steps=4", "--to", 3, "--out", tmp_path / "r2")
    text = (old / "config.toml").read_text()
    (old / "config.toml").write_text(text.replace("momentum = 0.9", "momentum = 0.8"))
    assert "another config" in headscope("verify", old, expect=1).stdout
    (old / "config.toml").write_text(text)
    (tmp_path / "t.txt").write_text((tmp_path / "t.txt").read_text().replace("cat", "cot"))
    assert digest in headscope("resume", old, "train.steps=8", expect=2).stderr


def test_an_old_run_whose_path_was_edited(old, tmp_path):
    config = old / "config.toml"
    config.write_text(config.read_text().replace("/tmp/golden-text/t.txt", str(tmp_path / "t.txt")))
    headscope("verify", old)
    headscope("resume", old, "train.steps=6")
    headscope("verify", old)


def test_compare_old_and_new(old, tmp_path):
    headscope("run", old / "config.toml", f"task.path={tmp_path / 't.txt'}", "seed=6", "--out", tmp_path / "new")
    report = json.loads(headscope("compare", old, tmp_path / "new", "--json").stdout)
    assert report["differs"] == ["task.path"]
    config = old / "config.toml"
    headscope("resume", old, "train.steps=5", f"task.path={tmp_path / 't.txt'}")
    headscope("run", config, "seed=6", "--out", tmp_path / "new2")
    report = json.loads(headscope("compare", old, tmp_path / "new2", "--json").stdout)
    assert report["differs"] == [] and len(report["groups"]) == 1
