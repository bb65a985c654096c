"""Runs of earlier programs stay readable; runs of later ones are refused in so many words."""

import tarfile

import h5py
import pytest

from cli_tools import SOURCE, headscope, newest_checkpoint, write_tokens
from test_bad_input import contents
from test_verify import seal_checkpoint, seal_log

GOLDEN = sorted((SOURCE / "tests" / "faults" / "golden").glob("*/run.tar.gz"))


@pytest.fixture(params=GOLDEN, ids=lambda path: path.parent.name)
def run(request, tmp_path):
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path)
    return tmp_path / "run"


def test_there_are_some():
    assert GOLDEN and sum(path.stat().st_size for path in GOLDEN) < 60_000 * len(GOLDEN)


def test_inspect_and_verify(run):
    before = contents(run)
    assert "0.1" in headscope("inspect", run).stdout
    assert headscope("verify", run).stdout.endswith("all is well: 3 files\n")
    assert contents(run) == before


def test_trace(run, tmp_path):
    write_tokens(tmp_path / "tokens.h5", 2, 3, 5, 4)
    headscope("trace", run, "--tokens", tmp_path / "tokens.h5", "-o", tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as out:
        assert out["logits"].shape == (2, 3, 5, 4) and out.attrs["step"] == 4


def test_resume(run):
    headscope("resume", run)
    with h5py.File(run / "log.h5") as log:
        losses = log["train/loss"][:]
    headscope("resume", run, "train.steps=6")
    assert newest_checkpoint(run).name == "step-00000006.h5"
    with h5py.File(run / "log.h5") as log:
        assert list(log["train/step"]) == [0, 1, 2, 3, 4, 5] and list(log["train/loss"][:4]) == list(losses)
    headscope("verify", run)


def test_a_later_log(run):
    with h5py.File(run / "log.h5", "r+") as log:
        log.attrs["schema_version"] = "2.7"
    seal_log(run / "log.h5")
    for verb, code in (("inspect", 74), ("verify", 1)):
        result = headscope(verb, run, expect=code)
        assert "schema 2.7" in result.stdout + result.stderr and "headscope that wrote it" in result.stdout + result.stderr
    before = contents(run)
    assert "schema 2.7" in headscope("resume", run, "train.steps=6", expect=74).stderr
    assert {path: data for path, data in contents(run).items() if path.name != "config.toml"} == {
        path: data for path, data in before.items() if path.name != "config.toml"}


def test_a_later_checkpoint(run, tmp_path):
    path = newest_checkpoint(run)
    seal_checkpoint(path)
    path.write_bytes(path.read_bytes().replace(b"format 0000000001", b"format 0000000002", 1))
    write_tokens(tmp_path / "tokens.h5", 2, 3, 5, 4)
    result = headscope("trace", run, "--tokens", tmp_path / "tokens.h5", "-o", tmp_path / "out.h5", expect=74)
    assert "checkpoint format 2" in result.stderr and "newer headscope" in result.stderr
    assert "checkpoint format 2" in headscope("verify", run, expect=1).stdout
