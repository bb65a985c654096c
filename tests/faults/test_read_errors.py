"""Every call that looks at the disk fails once, in every way, under every verb that reads a run. What cannot be seen is
not taken for missing: the verb does what it would have done, or says which file it could not see, and nothing is lost."""

import errno
import os
import pathlib
import shutil

import pytest

from disk import LONG, MODEL, finish, make_config, needs_library, side_by_side, temporary_files, tiny

pytestmark = needs_library

FAULTS = [("EIO", "look"), ("EIO", "read"), ("EIO", "stat"), ("EIO", "list"), ("EACCES", "look"), ("EACCES", "stat"),
          # What nothing vouches for is read by another process.
          ("EMFILE", "pipe"), ("EAGAIN", "fork"), ("EIO", "send")]
HARMLESS = [("EINTR", "read"), ("SHORT", "read"), ("EINTR", "send"), ("SHORT", "send"), ("EINTR", "wait")]
STEPS = [*MODEL, "train.steps=6", "checkpoint.keep=0", "checkpoint.best=true"]

# RUN is a copy of a finished run, OUT a name for what is made.
VERBS = {
    "inspect": ["inspect", "RUN", "--json"],
    "verify": ["verify", "RUN"],
    "compare": ["compare", "RUN", "RUN-2", "--json"],
    "find": ["find", "RUN", "RUN-2", "grad_norm[q] > 0", "--json"],
    "trace": ["trace", "RUN", "--step", 3, "--tokens", "TOKENS", "-o", "OUT"],
    "trace_eval": ["trace", "RUN", "--eval", "-o", "OUT"],
    "replay": ["replay", "RUN", "--from", 3, "--to", 4, "--out", "OUT"],
    "fork": ["fork", "RUN", "--step", 3, "optimizer.lr=1e-4", "--out", "OUT", "--json"],
    "ablate": ["ablate", "RUN", "--step", 3, "--draws", 1],
}
RESUME = ["resume", "RUN"]
ABLATIONS = pathlib.Path("ablation.h5")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return make_config(tmp_path_factory.mktemp("read"))


@pytest.fixture(scope="module")
def whole(config):
    run = config.parent / "whole"
    for arguments in (["run", config, *STEPS, "--out", run], ["ablate", run, "--step", 2, "--draws", 1]):
        result = tiny(*arguments)
        assert result.returncode == 0, result.stderr
    return run


@pytest.fixture(scope="module")
def killed(config, whole):
    """Ended in the midst of writing its third checkpoint; two are there."""
    run = config.parent / "killed"
    for number in range(1, 40):
        shutil.rmtree(run, ignore_errors=True)
        tiny("run", config, *STEPS, "--out", run, library=True, HEADSCOPE_IO_FOLDER=config.parent,
             HEADSCOPE_IO_FAULT=f"KILL rename {number}")
        if len(list(run.glob("checkpoints/step-*"))) == 2 and list(run.glob("checkpoints/.*")):
            return run
    pytest.fail("no kill left two checkpoints and a temporary file")


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Case:
    """One verb, on copies of its own, with its k-th call failing."""

    def __init__(self, config, original, verb, fault, call, number):
        self.config, self.verb = config, verb
        self.folder = config.parent / f"{original.name}-{verb[0]}-{fault}-{call}-{number}"
        self.run, self.out = self.folder / "run", self.folder / "out"
        for copy in (self.run, self.folder / "run-2"):
            shutil.copytree(original, copy)
        self.before = contents(self.run)
        self.fault, self.call, self.number = fault, call, number

    def go(self):
        """False when the verb makes fewer calls of the kind, so that nothing failed."""
        words = {"RUN": self.run, "RUN-2": self.folder / "run-2", "OUT": self.out,
                 "TOKENS": self.config.parent / "held.h5"}
        trace = self.folder / "trace"
        self.result = tiny(*[words.get(word, word) for word in self.verb], library=True,
                           HEADSCOPE_IO_FOLDER=self.config.parent, HEADSCOPE_IO_TRACE=trace,
                           HEADSCOPE_IO_FAULT=f"{self.fault} {self.call} {self.number}")
        self.context = (f"{' '.join(map(str, self.verb))}, {self.fault} {self.call} {self.number}: "
                        f"exit {self.result.returncode}: {self.result.stderr}{self.result.stdout[-1000:]}")
        return trace.exists() and b"fault\t" in trace.read_bytes()

    def said_so(self):
        """The file and the reason, in what was printed for people. Of token files the HDF5 library tells the reason, or
        the process that reads them dies."""
        text = self.result.stderr + self.result.stdout
        reasons = [os.strerror(getattr(errno, self.fault)), "as an HDF5 file: ", "the HDF5 library fails"]
        lines = [line for line in text.splitlines() if any(reason in line for reason in reasons)]
        return any(str(self.config.parent) in line or self.verb[0] == "verify" for line in lines)


def every_call(config, original, verb, faults, check):
    """check(case) of each call that can fail, of stat each third unless HEADSCOPE_LONG is 1; returns how many these are."""
    tried = [0]

    def one_kind(kind):
        number = 0
        while True:
            case = Case(config, original, verb, *kind, number + 1)
            failed = case.go()
            if failed:
                check(case)
            shutil.rmtree(case.folder)
            if not failed:
                break
            number += 1 if LONG or kind[1] != "stat" else 3  # most of them ask for the same few files
            tried[0] += 1

    side_by_side(one_kind, faults)
    return tried[0]


@pytest.mark.parametrize("name", VERBS)
def test_a_finished_run_is_read(config, whole, name):
    verb = VERBS[name]
    undisturbed = Case(config, whole, verb, "none", "none", 0)
    assert not undisturbed.go() and undisturbed.result.returncode == 0, undisturbed.context
    ablations = contents(undisturbed.run).get(ABLATIONS)
    shutil.rmtree(undisturbed.folder)

    def check(case):
        result = case.result
        shown, known = (each.result.stdout.replace(str(each.folder), "") for each in (case, undisturbed))
        if result.returncode == 0:  # by other means, or with a part less; a fork's summary tells how long it took
            assert shown == known or name == "fork" or case.said_so(), case.context
        else:
            assert result.returncode == (1 if name == "verify" and "WRONG" in shown else 74), case.context
            assert case.said_so(), case.context
        if case.out.is_dir() and result.returncode != 0:  # a fork that had begun
            assert name == "fork" and tiny("resume", case.out).returncode == 0, case.context
        if case.out.exists():
            assert tiny("verify", case.out).returncode == 0, case.context
        after = contents(case.run)
        if after[ABLATIONS] == ablations:  # rows were added
            case.before[ABLATIONS] = ablations
        assert after == case.before, case.context

    assert every_call(config, whole, verb, FAULTS, check) > 20


def test_a_killed_run_goes_on(config, whole, killed):
    went_on = []

    def check(case):
        if case.result.returncode == 0:
            went_on.append(case.fault)
        else:
            assert case.result.returncode == 74 and case.said_so(), case.context
            kept = [path for path in case.before if not path.name.startswith(".") and path.suffix != ".tail"]
            assert all(path in contents(case.run) for path in kept), case.context  # the log may have taken the tail in
        finish(case.run, whole, None)

    assert every_call(config, killed, RESUME, [*FAULTS, ("EACCES", "unlink")], check) > 20
    assert went_on  # from the checkpoint before the one that could not be read


def test_what_interrupts_harms_nothing(config, whole, killed):
    def check(case):
        assert case.result.returncode == 0, case.context
        finish(case.run, whole, None)
        assert not temporary_files(case.run)

    assert every_call(config, killed, RESUME, HARMLESS, check) > 20


def test_a_new_run(config, whole):
    def check(case):
        if case.result.returncode != 0:
            assert case.result.returncode == 74 and case.said_so(), case.context
        assert case.out.exists() == (case.out / "log.h5").exists(), case.context  # else it would be in the way
        finish(case.out, whole, ["run", config, *STEPS])

    assert every_call(config, whole, ["run", config, *STEPS, "--out", "OUT"], FAULTS, check) > 20
