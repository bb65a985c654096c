"""`headscope sweep`: every combination once, whatever happens on the way."""

import json
import os
import random
import re
import signal
import subprocess
import time

import h5py
import pytest

from cli_tools import BINARY, assert_same_runs, command, headscope, start
from disk import LONG


def write_tiny_config(path, steps=40, more=""):
    path.write_text(f"""name = "tiny"
[task]
type = "repeat"
[model]
d_model = 8
num_heads = 2
num_layers = 1
d_ff = 0
[train]
steps = {steps}
batch_size = 4
[eval]
every = 200
batches = 2
[log]
every = 5
[checkpoint]
every = 20
{more}
""")
    return path


@pytest.fixture
def config(tmp_path):
    return write_tiny_config(tmp_path / "c.toml")


def manifest(sweep):
    return json.loads((sweep / "manifest.json").read_text())


def folders(sweep):
    return [run["folder"] for run in manifest(sweep)["runs"]]


def states(sweep):
    return [run["state"] for run in manifest(sweep)["runs"]]


def resumes(run):
    with h5py.File(run / "log.h5") as file:
        return [kind for kind in file["events/kind"].asstr()[()]].count("resume")


def modified(sweep):
    return {path: path.stat().st_mtime_ns for path in sweep.glob("*/*") if path.is_file()}


def test_every_combination(config, tmp_path):
    sweep = tmp_path / "sweep"
    result = headscope("sweep", config, "model.num_heads=2,4", "optimizer.lr=1e-3,0.01", "seed=0..1", "train.steps=20",
                       "--out", sweep)
    assert folders(sweep) == [f"num_heads-{heads}_lr-{lr}_seed-{seed}"
                              for heads in (2, 4) for lr in ("1e-3", "0.01") for seed in (0, 1)]
    assert states(sweep) == ["finished"] * 8 and [run["exit"] for run in manifest(sweep)["runs"]] == [0] * 8
    assert "8 runs: 8 finished" in result.stdout and "8 runs in 4 groups" in result.stdout
    # Each is the run that the same overrides give.
    headscope("run", config, "model.num_heads=4", "optimizer.lr=0.01", "seed=1", "train.steps=20", "--out",
              tmp_path / "alone")
    assert_same_runs(tmp_path / "alone", sweep / "num_heads-4_lr-0.01_seed-1")
    for folder in folders(sweep):
        headscope("verify", sweep / folder)


def test_pairs_and_a_table_of_the_config(tmp_path):
    config = write_tiny_config(tmp_path / "c.toml", more="""
[sweep]
model.num_heads = [1, 2]
optimizer.lr = [0.001, 0.01]
zip = true
""")
    sweep = tmp_path / "sweep"
    listed = json.loads(headscope("sweep", config, "--dry-run", "--json", "--out", sweep).stdout)
    assert not sweep.exists()
    assert [run["overrides"] for run in listed["runs"]] == [["model.num_heads=1", "optimizer.lr=0.001"],
                                                            ["model.num_heads=2", "optimizer.lr=0.01"]]
    assert listed["estimate"]["runs"] == 2 and listed["estimate"]["seconds"] > 0 and listed["estimate"]["bytes"] > 1e4
    # The command line's word counts; `run` takes no notice of the table.
    listed = json.loads(headscope("sweep", config, "optimizer.lr=0.1,0.2", "--dry-run", "--json").stdout)
    assert [run["overrides"][-1] for run in listed["runs"]] == ["optimizer.lr=0.1", "optimizer.lr=0.2"]
    listed = json.loads(headscope("sweep", config, "optimizer.lr=0.1", "--dry-run", "--json").stdout)
    assert [run["overrides"] for run in listed["runs"]] == [["model.num_heads=1"], ["model.num_heads=2"]]
    headscope("run", config, "train.steps=2", "--out", tmp_path / "run")


@pytest.mark.parametrize("arguments, words", [
    ([], ["nothing to go through"]),
    (["seed=3..1"], ["3..1", "no range"]),
    (["seed=0..1..0"], ["no range"]),
    (["seed=0..1000000"], ["more than"]),
    (["seed=1,1"], ["lists 1 twice"]),
    (["seed=1,,2"], ["comma"]),
    (["seed=0..1", "model.nun_heads=2"], ["unknown key model.nun_heads", "num_heads"]),
    (["model.num_heads=2,3"], ["num_heads"]),
    (["model.num_heads=2,x"], ["model.num_heads=x"]),
    (["name=a,b"], ["name"]),
    (["--zip", "seed=0..2", "model.num_heads=2,4"], ["--zip", "3", "2"]),
    (["seed=0..99", "optimizer.lr=" + ",".join(str(i / 1000) for i in range(1, 200))], ["more than 10000 runs"]),
])
def test_what_is_refused(config, tmp_path, arguments, words):
    result = headscope("sweep", config, *arguments, "--out", tmp_path / "sweep", expect=2)
    for word in words:
        assert word in result.stderr, result.stderr
    assert not (tmp_path / "sweep").exists()


def test_a_key_given_twice(config):
    result = subprocess.run([BINARY, "sweep", config, "seed=0..1", "seed=5"], capture_output=True, text=True)
    assert result.returncode == 2 and "seed is given twice" in result.stderr


def test_going_on(config, tmp_path):
    sweep = tmp_path / "sweep"
    headscope("sweep", config, "seed=0..1", "--out", sweep)
    before = modified(sweep)
    assert "exists already" in headscope("sweep", config, "seed=0..1", "--out", sweep, expect=2).stderr
    headscope("sweep", config, "seed=0..1", "--out", sweep, "--resume")
    headscope("sweep", sweep, "--resume")
    assert modified(sweep) == before
    headscope("sweep", config, "seed=1..3", "--out", sweep, "--resume")
    assert folders(sweep) == [f"seed-{seed}" for seed in range(4)] and states(sweep) == ["finished"] * 4
    assert manifest(sweep)["axes"] == [{"key": "seed", "values": ["0", "1", "2", "3"]}]
    assert {path: time for path, time in modified(sweep).items() if path in before} == before
    for changed in (["train.steps=50"], ["optimizer.lr=0.1"]):
        refused = headscope("sweep", config, "seed=0..1", *changed, "--out", sweep, "--resume", expect=2).stderr
        assert "has changed" in refused and changed[0].split("=")[0] in refused
    assert "goes through seed" in headscope("sweep", config, "model.num_heads=1,2", "--out", sweep, "--resume",
                                            expect=2).stderr
    write_tiny_config(config, steps=41)
    assert "has changed" in headscope("sweep", config, "seed=0..1", "--out", sweep, "--resume", expect=2).stderr
    headscope("sweep", sweep, "--resume")
    # A run that somebody removed is trained again.
    again = sweep / "seed-2"
    again.rename(tmp_path / "removed")
    headscope("sweep", sweep, "--resume")
    assert_same_runs(tmp_path / "removed", again)


def test_a_folder_of_something_else(config, tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "notes").write_text("mine")
    assert "no sweep" in headscope("sweep", config, "seed=0..1", "--out", tmp_path / "sweep", expect=2).stderr
    assert (tmp_path / "sweep" / "notes").read_text() == "mine"
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["notes"]


FAILING = ["optimizer.lr=1e-3,1e30", "optimizer.type=sgd", "seed=0..2"]


@pytest.mark.parametrize("keep_going", [False, True])
def test_failures_are_told_apart(config, tmp_path, keep_going):
    sweep = tmp_path / "sweep"
    result = headscope("sweep", config, *FAILING, "--out", sweep, "--jobs", 1, *["--keep-going"] * keep_going, expect=70)
    failed = [folder for folder, state in zip(folders(sweep), states(sweep)) if state == "failed"]
    assert failed == [f"lr-1e30_seed-{seed}" for seed in range(3 if keep_going else 1)]
    assert "failed (exit 70)" in result.stdout and "is not finite" in result.stderr or "NaN" in result.stderr
    assert states(sweep).count("finished") == 3 and states(sweep).count("waiting") == (0 if keep_going else 2)
    before = modified(sweep)
    headscope("sweep", sweep, "--resume", "--keep-going", expect=70)
    assert {path: time for path, time in modified(sweep).items() if path in before} == before  # it would fail again


def test_a_failure_stops_the_others(tmp_path):
    config = write_tiny_config(tmp_path / "c.toml", steps=100000)
    sweep = tmp_path / "sweep"
    headscope("sweep", config, "optimizer.lr=1e-3,1e30", "optimizer.type=sgd", "--jobs", 2, "--out", sweep, expect=70)
    assert states(sweep) == ["stopped", "failed"]
    assert manifest(sweep)["runs"][0]["exit"] == 75
    headscope("verify", sweep / "lr-1e-3")




def test_interrupted_and_gone_on(tmp_path):
    config = write_tiny_config(tmp_path / "c.toml", steps=2000)
    headscope("sweep", config, "seed=0..2", "--out", tmp_path / "whole")
    sweep = tmp_path / "sweep"
    process = start("sweep", config, "seed=0..2", "--jobs", 2, "--out", sweep)
    while len(list(sweep.glob("*/checkpoints/step-*"))) < 2:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 75 and f"`headscope sweep {sweep} --resume` goes on" in error, error
    assert "stopped" in states(sweep) and "running" not in states(sweep)
    headscope("sweep", sweep, "--resume")
    for folder in folders(sweep):
        assert_same_runs(tmp_path / "whole" / folder, sweep / folder)


def test_a_killed_run_costs_itself(tmp_path):
    config = write_tiny_config(tmp_path / "c.toml", steps=3000)
    sweep = tmp_path / "sweep"
    process = start("sweep", config, "seed=0..1", "--jobs", 2, "--keep-going", "--out", sweep)
    while not (sweep / "seed-1" / "config.toml").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    children = subprocess.run(["pgrep", "-P", str(process.pid), "-f", "--", "--task 1"], capture_output=True, text=True)
    os.kill(int(children.stdout.split()[0]), signal.SIGKILL)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 74 and "killed by signal 9" in error, error
    assert states(sweep) == ["finished", "failed"] and manifest(sweep)["runs"][1]["exit"] == -9
    headscope("sweep", sweep, "--resume")
    assert states(sweep) == ["finished"] * 2


def test_one_process_works_on_a_sweep(tmp_path):
    config = write_tiny_config(tmp_path / "c.toml", steps=100000)
    sweep = tmp_path / "sweep"
    process = start("sweep", config, "seed=0..1", "--out", sweep)
    try:
        while not list(sweep.glob("*/config.toml")):
            time.sleep(0.005)
        assert f"in use by process {process.pid}" in headscope("sweep", sweep, "--resume", expect=2).stderr
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_kills_of_the_sweep_itself(tmp_path):
    """Killed again and again, with what it had begun: nothing is lost, and nothing is trained twice."""
    runs, kills = (200, 50) if LONG else (30, 8)
    config = write_tiny_config(tmp_path / "c.toml", steps=200)
    sweep = tmp_path / "sweep"
    chance = random.Random(4)
    begin = ["sweep", config, f"seed=0..{runs - 1}", "--jobs", 2, "--out", sweep]
    finished = {}
    for _ in range(kills):
        process = start(*begin, *["--resume"] * sweep.exists())
        time.sleep(chance.uniform(0.3, 1.5))
        process.kill()
        process.wait()
        if not (sweep / "manifest.json").exists():
            continue
        json.loads((sweep / "manifest.json").read_text())
        for run in manifest(sweep)["runs"]:
            if run["state"] == "finished":
                finished.setdefault(run["folder"], (sweep / run["folder"] / "log.h5").stat().st_mtime_ns)
    headscope(*begin, *["--resume"] * sweep.exists())
    assert states(sweep) == ["finished"] * runs
    for folder, time_of_end in finished.items():
        assert (sweep / folder / "log.h5").stat().st_mtime_ns == time_of_end, f"{folder} was trained twice"
    for seed in chance.sample(range(runs), 5):
        alone = tmp_path / f"alone-{seed}"
        headscope("run", config, f"seed={seed}", "--out", alone)
        assert_same_runs(alone, sweep / f"seed-{seed}")
    assert sorted(path.name for path in sweep.iterdir()) == sorted([*folders(sweep), "manifest.json"])


def test_progress_off_a_terminal_and_json(config, tmp_path):
    result = headscope("sweep", config, "seed=0..2", "--jobs", 1, "--json", "--out", tmp_path / "sweep")
    lines = result.stderr.splitlines()
    assert re.fullmatch(r"3 runs, about \d+:\d\d on this machine \(1 at a time, \d+ threads? each\), \S+ \S+ on disk",
                        lines[0]), lines
    assert lines[1] == "seed-0: begins" and re.match(r"seed-0: finished after 0:\d\d   1 of 3 runs done", lines[2]), lines
    assert "\x1b" not in result.stderr
    ended = json.loads(result.stdout)
    assert [run["state"] for run in ended["runs"]] == ["finished"] * 3
    task = headscope("sweep", tmp_path / "sweep", "--task", 0, "--json")
    assert task.stdout == ""  # it is finished
    assert "0 to 2" in headscope("sweep", tmp_path / "sweep", "--task", 3, expect=2).stderr


def test_a_manifest_that_is_none(config, tmp_path):
    sweep = tmp_path / "sweep"
    headscope("sweep", config, "seed=0..1", "train.steps=5", "--out", sweep)
    good = (sweep / "manifest.json").read_text()
    for bad in (good[:100], "{}", good.replace("seed-0", "../seed-0"), good.replace('"1.0"', '"9.0"'),
                good.replace('"finished"', '"perhaps"'), good.replace('"values": [', '"values": [], "other": ['),
                good.replace('"seed=0"', ""), good.replace('"seed-0"', '"seed-1"'),
                good[:good.index('"runs"')] + '"runs": []}', good.replace('"folder": "seed-0"', '"folder": "/etc"')):
        (sweep / "manifest.json").write_text(bad)
        assert "manifest.json" in headscope("sweep", sweep, "--resume", expect=74).stderr
        assert (sweep / "manifest.json").read_text() == bad
    (sweep / "manifest.json").write_text(good)
    headscope("sweep", sweep, "--resume")


def test_folders_of_runs_that_are_not_the_sweeps(config, tmp_path):
    """A run of another config in the place of one, the log of a finished one gone, one finished run in the place of
    another: none of it is taken for the sweep's."""
    sweep = tmp_path / "sweep"
    headscope("sweep", config, "seed=0..1", "--out", sweep)
    headscope("run", config, "seed=2", "optimizer.lr=0.1", "--out", sweep / "seed-2")
    refused = headscope("sweep", config, "seed=0..2", "--out", sweep, "--resume", expect=2)
    assert "seed-2 holds a run of another config, by optimizer.lr" in refused.stderr
    assert states(sweep) == ["finished", "finished", "failed"]
    (sweep / "seed-2").rename(tmp_path / "elsewhere")
    headscope("sweep", sweep, "--resume")
    assert states(sweep) == ["finished"] * 3
    (sweep / "seed-1").rename(tmp_path / "seed-1")
    subprocess.run(["cp", "-r", sweep / "seed-0", sweep / "seed-1"], check=True)
    assert "by seed" in headscope("sweep", sweep, "--resume", expect=2).stderr
    subprocess.run(["rm", "-r", sweep / "seed-1"], check=True)
    (tmp_path / "seed-1").rename(sweep / "seed-1")
    headscope("sweep", sweep, "--resume")
    (sweep / "seed-1" / "log.h5").rename(tmp_path / "log.h5")
    headscope("sweep", sweep, "--resume", expect=74)
    (tmp_path / "log.h5").rename(sweep / "seed-1" / "log.h5")
    headscope("sweep", sweep, "--resume")
    assert states(sweep) == ["finished"] * 3


def test_other_data_are_told(tmp_path):
    text = tmp_path / "t.txt"
    text.write_text("the quick brown fox jumps over the lazy dog\n" * 40)
    config = tmp_path / "c.toml"
    write_tiny_config(config)
    config.write_text(config.read_text().replace('type = "repeat"', f'type = "text"\npath = "{text}"\nseq_len = 8'))
    sweep = tmp_path / "sweep"
    headscope("sweep", config, "seed=0..1", "--out", sweep)
    text.write_text("the quick brown cat jumps over the lazy dog\n" * 40)
    refused = headscope("sweep", config, "seed=0..2", "--out", sweep, "--resume", expect=2)
    assert "the data have changed since the sweep began" in refused.stderr, refused.stderr


def test_two_that_begin_in_one_folder(config, tmp_path):
    sweep = tmp_path / "sweep"
    processes = [start("sweep", config, f"seed={first}..{first + 2}", "train.steps=2000", "--out", sweep)
                 for first in (0, 10)]
    codes = sorted(process.wait(60) for process in processes)
    errors = [process.communicate()[1] for process in processes]
    assert codes == [0, 2], errors
    assert states(sweep) == ["finished"] * 3 and sorted(folders(sweep)) == sorted(
        path.name for path in sweep.iterdir() if path.is_dir())
