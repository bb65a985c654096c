"""A FIFO, device, socket or folder where a file belongs, and files without an end: a clear error at once, little memory.
A config alone may come through a pipe. Nobody's child is left behind."""

import os
import pathlib
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest

from cli_tools import SOURCE, command, headscope, write_config, write_tokens
from disk import SANITIZED

VOCAB, T = 7, 6
SMALL = ["model.d_model=8", "model.num_heads=2", "model.d_ff=8", "model.num_layers=1", "train.steps=4", "log.every=1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("special")
    write_tokens(folder / "train.h5", 2, 3, T, VOCAB, seed=12)
    write_config(folder / "c.toml", folder / "train.h5", VOCAB, T)
    write_tokens(folder / "held.h5", 1, 3, T, VOCAB, seed=13)
    headscope("run", "c.toml", *SMALL, f"task.eval_path={folder / 'held.h5'}", "--out", "run", cwd=folder)
    headscope("ablate", "run", "--draws", "1", cwd=folder)
    (folder / "t.toml").write_text('name = "t"\n[task]\ntype = "text"\npath = "text.txt"\nseq_len = 8\n')
    (folder / "text.txt").write_text("some text " * 200)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    write_config(tmp_path / "c.toml", tmp_path / "train.h5", VOCAB, T)
    return tmp_path


def fifo(path):
    os.mkfifo(path)


def zeros(path):
    path.symlink_to("/dev/zero")


def null(path):
    path.symlink_to("/dev/null")


def unix_socket(path):
    where = os.getcwd()
    os.chdir(path.parent)  # the path of a socket is short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(where)


def a_folder(path):
    path.mkdir()


def sparse(path):
    with open(path, "wb") as file:
        file.truncate(1 << 43)


def endless(path):
    """Says that it is empty, and goes on for ever."""
    path.symlink_to("/proc/self/pagemap")


KINDS = {fifo: "is a FIFO", zeros: "is a device", null: "is a device", unix_socket: "is a socket", a_folder: "folder",
         sparse: "memory", endless: "more than it may have"}
every_kind = pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)

# The file that is replaced, and the verbs that read it.
PLACES = {
    "run/log.h5": [["inspect", "run"], ["compare", "run", "run"], ["find", "run", "role == 'local'"], ["resume", "run", "train.steps=6"],
                   ["replay", "run"], ["inspect", "run/log.h5"], ["verify", "run"]],
    "run/config.toml": [["resume", "run"], ["replay", "run"], ["verify", "run"], ["ablate", "run"]],
    "run/checkpoints/step-00000004.h5": [["ablate", "run", "--step", "4", "--out", "out.h5"], ["verify", "run"],
                                         ["trace", "run", "--step", "4", "--tokens", "train.h5", "-o", "out.h5"]],
    "run/ablation.h5": [["ablate", "run"], ["inspect", "run"], ["verify", "run"]],
    "run/extra.h5": [["verify", "run"]],
    "train.h5": [["run", "c.toml", *SMALL], ["check", "c.toml"], ["trace", "run", "--tokens", "train.h5", "-o", "out.h5"]],
    "text.txt": [["run", "t.toml", *SMALL], ["check", "t.toml"]],
}


def limits():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not SANITIZED:
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))


def timed(*arguments, cwd, seconds=10):
    begin = time.monotonic()
    result = subprocess.run(command(arguments), cwd=cwd, capture_output=True, text=True, timeout=60, preexec_fn=limits)
    assert time.monotonic() - begin < seconds
    return result


@every_kind
@pytest.mark.parametrize("place", PLACES)
def test_in_place_of_a_file(place, make, folder):
    path = folder / place
    path.unlink(missing_ok=True)
    make(path)
    for arguments in PLACES[place]:
        if arguments == ["verify", "run"] and make is a_folder and place != "run/log.h5" and place != "run/config.toml":
            continue  # folders may lie in a run
        result = timed(*arguments, cwd=folder)
        text = result.stderr + (result.stdout if arguments[0] in ("verify", "inspect") else "")
        assert result.returncode in (1, 2, 74) or (arguments[0] == "inspect" and "ablation" in place), (arguments, text)
        assert path.name in text, (arguments, text)
        if make is not a_folder and place != "train.h5":
            config = make is sparse and place == "run/config.toml"
            assert ("goes on after 16 MB" if config else KINDS[make]) in text, (arguments, text)
    mode = path.lstat().st_mode
    assert stat.S_ISFIFO(mode) if make is fifo else not stat.S_ISREG(mode) or make is sparse


@pytest.mark.parametrize("make", [fifo, zeros, null, unix_socket, endless], ids=lambda make: make.__name__)
def test_in_place_of_a_users_config(make, folder):
    make(folder / "special.toml")
    for verb in ("run", "check"):
        result = timed(verb, "special.toml", cwd=folder)
        assert result.returncode == 74 and f"special.toml: {'goes on' if make is endless else KINDS[make]}" in result.stderr, result


def test_a_config_that_is_too_large(folder):
    (folder / "large.toml").write_bytes(b"# comment\n" * 2_000_000)
    result = timed("check", "large.toml", cwd=folder)
    assert result.returncode == 74 and "large.toml: goes on after 16 MB" in result.stderr


@pytest.mark.parametrize("line", ['"$@" <(cat c.toml)', 'cat c.toml | "$@" /dev/stdin', '"$@" /dev/stdin < c.toml',
                                  '"$@" <(sleep 3; head -3 c.toml; sleep 1; tail -n +4 c.toml)',
                                  'mkfifo f; (sleep 1; cat c.toml > f) & "$@" f',
                                  'mkfifo f; (exec > f; sleep 3; cat c.toml) & "$@" f'])
def test_a_config_through_a_pipe(line, folder):
    result = subprocess.run(["bash", "-c", line, "bash", *command(["check"])], cwd=folder, capture_output=True, text=True,
                            timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout == headscope("check", "c.toml", cwd=folder).stdout or "available here" in result.stdout


def test_a_run_of_a_config_through_a_pipe(folder):
    subprocess.run(["bash", "-c", '"$0" run <(cat c.toml) --out piped "$@"', *command([*SMALL])], cwd=folder,
                   check=True, capture_output=True, timeout=60)
    headscope("resume", "piped", "train.steps=6", cwd=folder)


def test_a_config_through_endless_and_empty_pipes(folder):
    for line, words in (('"$@" <(yes)', "goes on after 16 MB"), ('"$@" <(true)', "")):
        result = subprocess.run(["bash", "-c", line, "bash", *command(["check"])], cwd=folder, capture_output=True, text=True,
                                timeout=60)
        assert result.returncode in (2, 74) and words in result.stderr, result.stderr


def test_the_reader_of_logs_in_python(folder):
    (folder / "run" / "log.h5").unlink()
    os.mkfifo(folder / "run" / "log.h5")
    script = 'import headscope, sys\ntry:\n    headscope.open("run")\nexcept OSError as error:\n    sys.exit(str(error))'
    result = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=30,
                            env={**os.environ, "PYTHONPATH": str(SOURCE / "scripts")})
    assert result.returncode == 1 and "is not a file" in result.stderr, result.stderr
    result = subprocess.run([sys.executable, SOURCE / "scripts" / "plot.py", "run"], cwd=folder, capture_output=True,
                            text=True, timeout=30)
    assert result.returncode == 74 and "is not a file" in result.stderr, result.stderr


# --- children ---

def children_of(process):
    return [int(word) for word in pathlib.Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_a_child_dies_with_its_parent(folder):
    """A file of tokens that takes long to read; the one who asked is killed, and nobody goes on reading."""
    write_tokens(folder / "long.h5", 20_000, 32, 32, VOCAB)
    process = subprocess.Popen(command(["run", "c.toml", "task.path=long.h5", "task.seq_len=32"]), cwd=folder,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    children = []
    while process.poll() is None and not children:
        children = children_of(process.pid)
    assert children, "the tokens were read before anybody looked"
    time.sleep(0.1)  # it is on its way
    os.kill(children[0], signal.SIGSTOP)  # however long it takes
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for _ in range(100):
        try:
            state = pathlib.Path(f"/proc/{children[0]}/stat").read_text().rsplit(")")[-1].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":  # nobody has asked for it yet
            return
        time.sleep(0.05)
    os.kill(children[0], signal.SIGKILL)
    pytest.fail("the child outlived its parent")
