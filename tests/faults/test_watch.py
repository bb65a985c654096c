"""`headscope watch` in a terminal (tmux): what it shows, at any size, and that it leaves the terminal clean."""

import shlex
import shutil
import signal
import subprocess
import time

import pytest

from cli_tools import BINARY, headscope, start
from test_sweep import write_tiny_config

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not here")


class Terminal:
    def __init__(self, columns, lines, *command):
        self.name = f"headscope-test-{time.monotonic_ns()}"
        words = " ".join(shlex.quote(str(word)) for word in [BINARY, *command])
        self.tmux("new-session", "-d", "-x", columns, "-y", lines, f"stty -echo; {words}; echo ended $?; sleep 100")

    def tmux(self, *command):
        return subprocess.run(["tmux", "-L", self.name, *map(str, command)], capture_output=True, text=True).stdout

    def screen(self):
        return self.tmux("capture-pane", "-p").rstrip("\n").split("\n")

    def wait_for(self, text, seconds=60):
        end = time.time() + seconds
        while text not in "\n".join(self.screen()):
            assert time.time() < end, self.screen()
            time.sleep(0.1)
        return self.screen()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tmux("kill-server")


@pytest.fixture
def training(tmp_path):
    config = write_tiny_config(tmp_path / "c.toml", steps=100000)
    config.write_text(config.read_text().replace("[log]\n", "[log]\nprobes.grad_norm = 50\nprobes.role = 50\n"))
    process = start("run", config, "--threads", 1, "--out", tmp_path / "run")
    while not list((tmp_path / "run").glob("checkpoints/step-*")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)


@needs_tmux
@pytest.mark.parametrize("columns, lines", [(80, 24), (60, 12), (20, 4)])
def test_a_run(training, tmp_path, columns, lines):
    run = tmp_path / "run"
    with Terminal(columns, lines, "watch", run) as terminal:
        terminal.wait_for("running at step"[:columns - 1])
        time.sleep(1.5)
        first = terminal.screen()
        time.sleep(3)
        second = terminal.screen()
        assert len(second) < lines and all(len(line) < columns for line in second)
        if lines > 10:
            assert first[1] != second[1], "it goes on"
            assert any(line.startswith("train") for line in second)
            assert any(line.startswith("  floor copy") for line in second)
        if lines > 20:
            assert any(line.startswith("0.1 ") for line in second)
        training.send_signal(signal.SIGTERM)
        training.wait()
        stopped = terminal.wait_for("stopped at step"[:columns - 1])
        terminal.tmux("send-keys", "C-c")
        left = terminal.wait_for("ended 0")
        # What was drawn stays as it was, and the next line comes below it.
        assert [line for line in left[:left.index("ended 0")] if line][-1] == stopped[-1], left


@needs_tmux
def test_a_run_that_ends(tmp_path):
    headscope("run", write_tiny_config(tmp_path / "d.toml"), "--out", tmp_path / "run")
    with Terminal(80, 24, "watch", tmp_path / "run") as terminal:
        assert "finished at step 40 of 40" in "\n".join(terminal.wait_for("ended 0"))


@needs_tmux
def test_a_sweep(tmp_path):
    config = write_tiny_config(tmp_path / "c.toml", steps=1500)
    sweep = tmp_path / "sweep"
    process = start("sweep", config, "seed=0..11", "--jobs", 2, "--out", sweep)
    while not list(sweep.glob("*/log.h5")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    with Terminal(70, 9, "watch", sweep) as terminal:
        terminal.wait_for("runs more")
        assert "seed-0" in terminal.screen()[2]
        terminal.wait_for("12 runs: 12 finished", 120)
        terminal.wait_for("ended 0")
    assert process.wait(60) == 0
    process.communicate()


def test_without_a_terminal(tmp_path):
    config = write_tiny_config(tmp_path / "c.toml")
    headscope("sweep", config, "seed=0..1", "--out", tmp_path / "sweep")
    shown = headscope("watch", tmp_path / "sweep").stdout.splitlines()
    assert shown[:2] == [str(tmp_path / "sweep"), "2 runs: 2 finished"]
    assert shown[2].split()[:3] == ["seed-0", "finished", "40/40"] and len(shown) == 4
    assert "finished at step 40 of 40" in headscope("watch", tmp_path / "sweep" / "seed-0", "--once").stdout
    assert "no folder" in headscope("watch", tmp_path / "nothing", expect=2).stderr
    (tmp_path / "empty").mkdir()
    assert "has no log yet" in headscope("watch", tmp_path / "empty").stdout
    (tmp_path / "sweep" / "seed-0" / "log.h5").write_text("damaged")
    assert "seed-0/log.h5" in headscope("watch", tmp_path / "sweep").stdout
