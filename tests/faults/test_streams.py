"""Standard streams that are full, closed, or read by nobody: a run goes on, and output that is lost is an error."""

import json
import signal
import subprocess
import time

import pytest

from cli_tools import SOURCE, assert_same_runs, command, headscope
from disk import MODEL, make_config

OVERRIDES = [*MODEL, "train.steps=40"]  # a line for each evaluation


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return make_config(tmp_path_factory.mktemp("streams"))


@pytest.fixture(scope="module")
def whole(config):
    headscope("run", config, *OVERRIDES, "--out", config.parent / "whole")
    return config.parent / "whole"


def shell(line, *arguments, **options):
    """"$@" in `line` is the command."""
    return subprocess.run(["bash", "-c", line, "bash", *command(arguments)], capture_output=True, text=True, timeout=120,
                          **options)


@pytest.mark.parametrize("line,code,summary", [
    ('"$@" 2>/dev/full', 0, True),
    ('"$@" 2>&-', 0, True),
    ('"$@" >&- 2>&- <&-', 0, False),  # the next file to be opened must not become the output
    ('"$@" >/dev/full', 74, False),
    ('"$@" 2> >(head -1 >/dev/null)', 0, True),  # whoever reads goes away
])
def test_a_run(line, code, summary, config, whole, tmp_path):
    run = tmp_path / "run"
    result = shell(line, "run", config, *OVERRIDES, "--out", run, "--json")
    assert result.returncode == code, result.stderr
    assert_same_runs(whole, run)
    assert headscope("verify", run).stdout.endswith("all is well: 4 files\n")
    if summary:
        assert json.loads(result.stdout)["state"] == "finished"
    if code != 0:
        assert "standard output: cannot be written: No space left on device" in result.stderr


@pytest.mark.parametrize("arguments", [["inspect", "RUN"], ["inspect", "RUN", "--json"], ["compare", "RUN", "RUN"],
                                       ["verify", "RUN"], ["list", "tasks"], ["describe", "optimizers", "muon"],
                                       ["--help"], ["--version"],
                                       ["check", SOURCE / "experiments/configs/lag_mixture.toml"]])
def test_output_that_is_lost_is_an_error(arguments, whole):
    result = shell('"$@" >/dev/full', *[whole if word == "RUN" else word for word in arguments])
    assert result.returncode == 74, (result.returncode, result.stderr)
    assert result.stderr.startswith("headscope: standard output: ") and result.stderr.count("\n") == 1, result.stderr


@pytest.mark.parametrize("under_nohup", [False, True])
def test_the_terminal_goes_away(under_nohup, config, tmp_path):
    """A checkpoint, and exit 75; under nohup the run goes on."""
    run, steps = tmp_path / "run", 3000 if under_nohup else 1000000
    handler = signal.SIG_IGN if under_nohup else signal.SIG_DFL
    process = subprocess.Popen(command(["run", config, *MODEL, "checkpoint.every=100", f"train.steps={steps}", "--out", run]),
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGHUP, handler))
    while process.poll() is None and not list(run.glob("checkpoints/step-*")):
        time.sleep(0.001)
    process.send_signal(signal.SIGHUP)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == (0 if under_nohup else 75), error
    newest = max(int(path.stem[5:]) for path in run.glob("checkpoints/step-*"))
    assert newest == steps if under_nohup else newest < steps
