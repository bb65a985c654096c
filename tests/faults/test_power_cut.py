"""The power fails at any moment: what is on the disk is whole, what was promised is there, and the run goes on to the
bits of one that was never cut short."""

import hashlib
import io
import random
import shutil

import h5py
import pytest

from disk import LONG, RICH, finish, make_config, needs_library, read_trace, side_by_side, tiny
from power_cut import Disk, File, Folder, is_temporary, write_tree

pytestmark = needs_library

CUTS = 2000 if LONG else 300


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return make_config(tmp_path_factory.mktemp("power"))


class Recorded:
    """A command, the disk before it, all that it did to the disk, and the run that it is to end with."""

    def __init__(self, folder, command, begin, whole, overrides=()):
        self.folder, self.begin, self.whole, self.overrides = folder, begin, whole, overrides
        self.before, trace = folder.with_suffix(".before"), folder.with_suffix(".trace")
        shutil.copytree(folder, self.before)
        result = tiny(*command, library=True, HEADSCOPE_IO_FOLDER=folder, HEADSCOPE_IO_TRACE=trace)
        assert result.returncode == 0, result.stderr
        self.calls = read_trace(trace)

    def disk(self, **options):
        return Disk(self.folder, self.before, **options)

    def finish(self, run):
        finish(run, self.whole, self.begin, self.overrides)


def done(command, out):
    result = tiny(*command, "--out", out)
    assert result.returncode == 0, result.stderr
    return out


@pytest.fixture(scope="module", params=["run", "resume", "fork"])
def recorded(request, config):
    folder = config.parent / request.param
    folder.mkdir()
    run, whole = folder / "new" / "run", config.parent / "whole"
    begin = ["run", config, *RICH]
    if not whole.exists():
        done(begin, whole)
    if request.param == "run":
        return Recorded(folder, [*begin, "--out", run], begin, whole)
    if request.param == "fork":
        begin = ["fork", whole, "--step", 4, "optimizer.lr=0.02"]
        return Recorded(folder, [*begin, "--out", run], begin, done(begin, config.parent / "forked"))
    done([*begin, "train.steps=3"], run)
    (run / ".log.h5.tmp-1").write_bytes(b"of a killed process")
    steps = [override for override in RICH if override.startswith("train.steps")]
    return Recorded(folder, ["resume", run, *steps], begin, whole, steps)


def states(make_disk, calls, cuts, seed):
    """(disk, tree) of a process killed before and after each call, then of `cuts` power cuts."""
    disk = make_disk()
    yield disk, disk.tree()
    for call in calls:
        disk.do(*call)
        yield disk, disk.tree()
    moments = random.Random(seed)
    ends = sorted(moments.choices(range(len(calls) + 1), k=cuts))
    disk, done = make_disk(), 0
    for end in ends:
        for call in calls[done:end]:
            disk.do(*call)
        done = end
        yield disk, disk.tree(moments)


def fingerprint(tree):
    """Equal for trees from which a run goes on in the same way; what temporary files hold does not matter."""
    digest = hashlib.sha256()
    for path in sorted(tree):
        content = b"" if tree[path] is None or is_temporary(path) else tree[path]
        digest.update(f"{path} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.digest()


def test_the_model_is_the_disk(recorded):
    disk = recorded.disk()
    for call in recorded.calls:
        disk.do(*call)
    real = {str(path): path.read_bytes() if path.is_file() else None for path in recorded.folder.rglob("*")}
    assert disk.tree() == real
    for seed in range(10):
        assert disk.broken_promises(disk.tree(random.Random(seed))) == []


def test_every_state_is_whole_and_goes_on(recorded, tmp_path):
    distinct, logs = {}, set()
    for disk, tree in states(recorded.disk, recorded.calls, CUTS, seed=5):
        assert disk.broken_promises(tree) == []
        distinct.setdefault(fingerprint(tree), tree)
        logs.update(content for path, content in tree.items() if path.endswith("/log.h5"))
    for log in logs:
        with h5py.File(io.BytesIO(log)) as file:
            assert all(len(file[f"train/{name}"]) == len(file["train/step"]) for name in file["train"])
    tails = {tree[path] for tree in distinct.values() for path in tree if path.endswith(".tail")}
    assert len(distinct) > 25 and len(logs) > 1 and len(tails) >= 5

    def check(case):
        number, tree = case
        root = tmp_path / str(number)
        write_tree(tree, recorded.folder, root)
        recorded.finish(root / "new" / "run")
        shutil.rmtree(root)

    side_by_side(check, enumerate(distinct.values()))


@pytest.mark.parametrize("forgets,damage", [(File, "torn"), (Folder, "lost")])
def test_without_fsync_it_would_be_lost(forgets, damage, recorded):
    """A disk that forgets to sync files or folders does not pass: the checks above can fail."""
    wrong = []
    for disk, tree in states(lambda: recorded.disk(forgets=forgets), recorded.calls, 300, seed=6):
        wrong += disk.broken_promises(tree)
    assert [message for message in wrong if damage in message], wrong
