"""Messages stay short and come soon, whatever they are about; a number that none can stand for is an error."""

import subprocess

import pytest

from cli_tools import command, headscope, write_config, write_tokens

VOCAB, T = 7, 6


@pytest.fixture
def folder(tmp_path):
    write_tokens(tmp_path / "train.h5", 2, 3, T, VOCAB, seed=12)
    write_config(tmp_path / "c.toml", tmp_path / "train.h5", VOCAB, T)
    return tmp_path


TABLES = {"": "key{} = 1\n", "[task]\ntype = 'dyck'\n": "key{} = 1\n", "[log.probes]\n": "key{} = 1\n",
          "[optimizer.groups]\n": "key{} = {{lr = 1}}\n"}


@pytest.mark.parametrize("head", TABLES)
def test_a_hundred_thousand_unknown_keys(head, folder):
    keys = "".join(TABLES[head].format(number) for number in range(100_000))
    task = "" if "task" in head else "task.type = 'dyck'\n"
    (folder / "many.toml").write_text("name = 'x'\n" + task + head + keys)
    result = subprocess.run(["timeout", "5", *command(["run", "many.toml"])], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 21 and lines[-1] == "headscope: and 99980 more problems like these", lines[-1]
    assert all(f"key{number}" in line and "known: " in line for number, line in enumerate(lines[:20])), lines


def test_a_key_of_a_megabyte(folder):
    (folder / "long.toml").write_text(f"name = 'x'\n{'k' * 1_000_000} = '{'v' * 1_000_000}'\n")
    assert len(headscope("run", "long.toml", cwd=folder, expect=2).stderr) < 10_000


BEYOND = "99999999999999999999"


@pytest.mark.parametrize("word", [BEYOND, "-" + BEYOND, "9223372036854775808", "4294967296000000000000", "1x", "1.5", "1e3",
                                  "0x10", " 7", "", "+5"])
@pytest.mark.parametrize("arguments", [["replay", "run", "--from"], ["replay", "run", "--to"], ["fork", "run", "--step"],
                                       ["trace", "run", "--tokens", "train.h5", "-o", "out.h5", "--step"],
                                       ["ablate", "run", "--step"], ["ablate", "run", "--draws"],
                                       ["compare", "run", "--step"], ["compare", "run", "--from"], ["run", "c.toml", "--threads"],
                                       ["resume", "run", "--threads"]], ids=" ".join)
def test_integers_that_are_none(arguments, word, folder):
    text = headscope(*arguments[:-1], f"{arguments[-1]}={word}", cwd=folder, expect=2).stderr
    assert text.startswith(f"headscope: {arguments[-1]}: "), text
    assert word in text


@pytest.mark.parametrize("word", ["1e999", "nan", "inf", "1x", "", "0x1p3"])
@pytest.mark.parametrize("option", ["--above", "--below"])
def test_numbers_that_are_none(option, word, folder):
    assert f"{option}: " in headscope("compare", "run", f"{option}={word}", cwd=folder, expect=2).stderr
