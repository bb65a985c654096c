"""scripts/bench works: both sides run on the same weights, and what it prints and writes holds together. No speeds."""
import json
import os
import pathlib
import subprocess

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
BINARY = os.environ.get("HEADSCOPE_BINARY", str(SOURCE / "build/release/headscope"))


def bench(*arguments):
    return subprocess.run([SOURCE / "scripts/bench", *arguments], capture_output=True, text=True, check=False,
                          env={**os.environ, "HEADSCOPE_BINARY": BINARY})


def test_a_quick_look(tmp_path):
    done = bench("--quick", "steps", "memory", "--shapes", "XS", "--rounds", "1", "--threads", "1", "--json",
                 tmp_path / "numbers.json")
    assert done.returncode == 0, done.stderr
    assert "== steps" in done.stdout and "== memory" in done.stdout and "== study" not in done.stdout
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    (row,) = numbers["steps"]
    for side in ("headscope_ms", "pytorch_ms"):
        low, middle = row[side]
        assert 0 < low <= middle
    assert row["ratio"][0] == row["pytorch_ms"][0] / row["headscope_ms"][0]
    (row,) = numbers["memory"]
    # d_model 64, vocabulary 16, 48 positions, four maps 64 x 64 with biases, two norms; weights and two moments.
    assert row["weights_and_moments"] == 3 * 4 * (2 * 16 * 64 + 48 * 64 + 4 * (64 * 64 + 64) + 4 * 64)
    assert row["weights_and_moments"] < row["headscope_bytes"] < 2e8 and row["pytorch_bytes"] > 0


def test_unknown_names_are_refused():
    for arguments, message in ((("stepz",), "no section stepz; there are steps, "),
                               (("--shapes", "XS,Q"), "no shape Q; there are XS, S, M, L"),
                               (("--rounds", "0"), "must be at least 1")):
        done = bench(*arguments)
        assert done.returncode == 2 and message in done.stderr


def test_another_python_is_compared_with(tmp_path):
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nexec /usr/bin/python3 "$@"\n')
    other.chmod(0o755)
    done = bench("--quick", "steps", "--shapes", "XS", "--rounds", "1", "--threads", "1", "--python", other)
    assert done.returncode == 0, done.stderr
    assert "step.py 16 48 64" in (tmp_path / "calls").read_text()


def test_a_python_without_torch_is_refused(tmp_path):
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho 'ModuleNotFoundError: No module named torch' >&2\nexit 1\n")
    other.chmod(0o755)
    for python, message in ((other, "has no torch and numpy to compare with: ModuleNotFoundError"),
                            (tmp_path / "nowhere", "there is no program")):
        done = bench("steps", "--python", python)
        assert done.returncode == 1 and message in done.stderr
