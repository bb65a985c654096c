"""What others wrote (keys of a config, file names, attributes of a log, tokens, arguments) does not reach a terminal as
anything but text."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys

import h5py
import pytest

from cli_tools import SOURCE, command, headscope, write_config, write_tokens
from test_verify import seal_log

VOCAB, T = 7, 6
SMALL = ["model.d_model=8", "model.num_heads=2", "model.d_ff=8", "model.num_layers=1", "train.steps=4", "log.every=1"]
# Escape sequence, control of eight bits, overrides and marks of direction, delete, backspace, carriage return, a line
# separator, and a byte that is no UTF-8 but a control to a terminal of eight bits.
HOSTILE = "\x1b]0;title\x07\x1b[31m \x9b31m \u202egnp\u202c \u2066x\u2069 \u200f \x7f \b \r\u2028"
SPELT = r"\x1b]0;title\x07\x1b[31m \u009b31m \u202egnp\u202c \u2066x\u2069 \u200f \u007f \x08 \x0d\u2028"
# A bare byte of 0x80 to 0x9f is a control to a terminal of eight bits only where no UTF-8 character goes on.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
def folder(tmp_path):
    write_tokens(tmp_path / "train.h5", 2, 3, T, VOCAB, seed=12)
    write_config(tmp_path / "c.toml", tmp_path / "train.h5", VOCAB, T)
    return tmp_path


def shown(folder, *arguments, code=None, cwd=None):
    """What the command prints, which holds nothing that a terminal obeys."""
    result = subprocess.run(command(arguments), cwd=cwd or folder, capture_output=True, timeout=120)
    text = (result.stdout + result.stderr).decode()  # fails on what is no UTF-8
    assert not OBEYED.search(text), text
    assert code is None or result.returncode == code, text
    return text


def toml(text):
    return "".join(letter if letter.isalnum() else f"\\u{ord(letter):04x}" for letter in text)


@pytest.mark.parametrize("text", [f'name = "x"\n"{toml(HOSTILE)}" = 1\n',
                                  f'name = "x"\n[task]\ntype = "{toml(HOSTILE)}"\n',
                                  f'name = "{toml(HOSTILE)}"\n[task]\ntype = "dyck"\n',
                                  f'name = "x"\n[task]\ntype = "dyck"\n["{toml(HOSTILE)}"]\na = 1\n',
                                  f'name = "x"\n[task]\ntype = "text"\npath = "{toml(HOSTILE)}"\n',
                                  f'name = "x"\n[log.probes]\n"{toml(HOSTILE)}" = 1\n',
                                  f'name = "x"\n{HOSTILE} = 1\n'])
def test_config(text, folder):
    (folder / "bad.toml").write_text(text, newline="")
    shown(folder, "check", "bad.toml")
    shown(folder, "run", "bad.toml")


def test_arguments_and_names_of_files(folder):
    assert SPELT in shown(folder, "check", HOSTILE)
    assert SPELT in shown(folder, "inspect", HOSTILE)
    assert SPELT in shown(folder, "verify", HOSTILE)
    assert SPELT in shown(folder, "run", "c.toml", f"task.path={HOSTILE}x")
    assert SPELT in shown(folder, "run", "c.toml", f"--{HOSTILE}")
    shown(folder, HOSTILE, code=2)
    assert SPELT in shown(folder, "describe", "tasks", HOSTILE)
    shown(folder, "find", "no-run", HOSTILE, code=2)
    assert r"\x9b" in shown(folder, "check", os.fsdecode(b"no-\x9b-utf8"))
    headscope("run", "c.toml", *SMALL, "--out", HOSTILE, cwd=folder)
    for verb in (["inspect"], ["verify"], ["compare"], ["compare", "--csv"], ["replay"], ["trace", "--tokens", "train.h5", "-o", "out.h5"],
                 ["inspect", "--json"], ["resume"]):
        shown(folder, verb[0], HOSTILE, *verb[1:], code=0)


def test_json_is_still_json(folder):
    headscope("run", "c.toml", *SMALL, "--out", HOSTILE, cwd=folder)
    for verb, key in (("inspect", "run"), ("verify", "path")):
        text = shown(folder, verb, HOSTILE, "--json", code=0)
        assert json.loads(text)[key].rstrip("/").endswith(HOSTILE)


def test_attributes_and_events_of_a_log(folder):
    headscope("run", "c.toml", *SMALL, "log.probes.grad_norm=1", "log.probes.overlap=2", "--out", "run", cwd=folder)
    log = folder / "run" / "log.h5"
    for attribute in ("cpu", "compiler", "isa", "state", "software_version", "run_id", "created", "lineage", "parent",
                      "changes"):
        shutil.copy(log, folder / "kept.h5")
        with h5py.File(log, "r+") as file:
            file.attrs[attribute] = HOSTILE
            for name in ("grad_norm", "overlap"):
                for of_value in ("units", "formula", "long_name"):
                    file[f"heads/{name}/value"].attrs[of_value] = HOSTILE
            file["events/kind"].resize((1,)), file["events/message"].resize((1,)), file["events/time"].resize((1,))
            file["events/step"].resize((1,))
            file["events/kind"][0] = file["events/message"][0] = HOSTILE
        seal_log(log)
        for verb in ("inspect", "verify", "compare", "resume", "replay"):
            shown(folder, verb, "run")
        shutil.rmtree(folder / "run-replay-0-4", ignore_errors=True)
        (folder / "kept.h5").replace(log)


def test_tokens_of_a_text(folder):
    letters = HOSTILE.replace("\r", "") + "abcdefgh"
    (folder / "text.txt").write_text(letters * 200, newline="")
    (folder / "t.toml").write_text('name = "t"\n[task]\ntype = "text"\npath = "text.txt"\nseq_len = 64\n')
    text = shown(folder, "check", "t.toml", "--text", letters, code=0)
    assert r"\u202e | g | n | p" in text and r"\x1b" in text
    shown(folder, "check", "c.toml", "--text", "\x1b[31m")


def test_progress_on_a_terminal(folder):
    """Its own two sequences (to the beginning of the line, and erase the rest) are all that a terminal gets."""
    (folder / HOSTILE).mkdir()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command(["run", "c.toml", *SMALL, "train.steps=3000", "schedule.type=cosine",
                                        "--out", f"{HOSTILE}/run"]), cwd=folder, stdout=theirs, stderr=theirs,
                               env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    assert process.wait() == 0, seen
    own = seen.decode().replace("\r\n", "\n").replace("\x1b[K", "").replace("\r", "")
    assert not OBEYED.search(own), own


def test_figures(folder):
    result = subprocess.run([sys.executable, SOURCE / "scripts" / "plot.py", HOSTILE], cwd=folder, capture_output=True)
    assert result.returncode == 2 and r"\u202egnp" in result.stderr.decode(), result
    assert not OBEYED.search(result.stderr.decode())
