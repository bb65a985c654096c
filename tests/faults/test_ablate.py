"""`headscope ablate` asked for what cannot be done, stopped half-way, and on any number of threads."""

import signal
import time

import h5py
import pytest

from cli_tools import headscope, start, write_config, write_tokens

VOCAB, T = 7, 6
SMALL = ["model.d_model=8", "model.num_heads=2", "model.d_ff=8", "model.num_layers=1", "train.steps=4",
         "checkpoint.every=2"]


@pytest.fixture
def folder(tmp_path):
    write_tokens(tmp_path / "train.h5", 2, 3, T, VOCAB, seed=12)
    write_tokens(tmp_path / "held.h5", 2, 3, T, VOCAB, seed=13)
    write_config(tmp_path / "c.toml", tmp_path / "train.h5", VOCAB, T, tmp_path / "held.h5")
    headscope("run", "c.toml", *SMALL, "--out", "run", cwd=tmp_path)
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def refuse(folder, *arguments, code=2, says=()):
    """Expects the exit code and words, and that no file was made, changed or removed."""
    before = contents(folder)
    result = headscope("ablate", *arguments, cwd=folder, expect=code)
    assert result.stdout == ""
    for word in says:
        assert word in result.stderr, f"no {word!r} in: {result.stderr}"
    assert contents(folder) == before


def test_no_such_run_or_step(folder):
    refuse(folder, "nowhere", says=["nowhere"])
    refuse(folder, "c.toml", says=["c.toml"])
    refuse(folder, "run", "--step", "5", says=["0 to 4", "5"])
    refuse(folder, "run", "--step", "-1", says=["--step"])
    refuse(folder, "run", "--draws", "0", says=["--draws"])
    refuse(folder, "run", "--out", "no/such/folder.h5", code=74, says=["no/such"])


def test_no_evaluation_data(folder):
    write_config(folder / "blind.toml", folder / "train.h5", VOCAB, T)
    headscope("run", "blind.toml", *SMALL, "--out", "blind", cwd=folder)
    refuse(folder, "blind", says=["blind has no evaluation data", "task.eval_path"])


def test_no_checkpoint(folder):
    headscope("ablate", "run", "--out", "with.h5", cwd=folder)
    for checkpoint in (folder / "run" / "checkpoints").iterdir():
        checkpoint.unlink()
    refuse(folder, "run", says=["no checkpoint", "--step N"])
    headscope("ablate", "run", "--step", "4", "--out", "without.h5", cwd=folder)
    assert (folder / "with.h5").read_bytes() == (folder / "without.h5").read_bytes()


def test_damaged_checkpoint(folder):
    newest = sorted((folder / "run" / "checkpoints").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    result = headscope("ablate", "run", cwd=folder)
    assert newest.name in result.stderr
    with h5py.File(folder / "run" / "ablation.h5") as file:
        assert file["step"][()].tolist() == [2]
    for checkpoint in (folder / "run" / "checkpoints").iterdir():
        checkpoint.write_bytes(b"")
    refuse(folder, "run", code=74, says=["step-", "--step N"])


def test_rows_of_other_settings(folder):
    headscope("ablate", "run", cwd=folder)
    refuse(folder, "run", "--draws", "4", says=["ablation.h5", "draws = 5, not 4", "--out"])
    headscope("resume", "run", "train.steps=6", "eval.batches=1", cwd=folder)
    refuse(folder, "run", says=["eval_batches = 2, not 1", "--out"])
    headscope("run", "c.toml", *SMALL, "seed=1", "--out", "other", cwd=folder)
    refuse(folder, "other", "--out", "run/ablation.h5", says=["another run"])
    refuse(folder, "run", "--out", "held.h5", says=["held.h5", "no file of `headscope ablate`"])


def test_damaged_file(folder):
    headscope("ablate", "run", cwd=folder)
    path = folder / "run" / "ablation.h5"
    whole = path.read_bytes()
    for place in (10, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:])
        refuse(folder, "run", "--step", "2", code=74, says=["ablation.h5"])
    path.write_bytes(whole[:len(whole) // 2])
    refuse(folder, "run", code=74, says=["ablation.h5"])


def test_stopped_by_a_signal(folder):
    headscope("ablate", "run", "--draws", "10000", "--step", "0", "--out", "many.h5", cwd=folder)
    before = contents(folder)
    process = start("ablate", "run", "--draws", "10000", "--out", "many.h5", cwd=folder)
    while not catches(process.pid, signal.SIGTERM):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75, process.stderr.read()
    assert "as it was" in process.stderr.read()
    assert contents(folder) == before


def catches(pid, number):
    with open(f"/proc/{pid}/status") as status:
        masks = dict(line.split(":\t") for line in status)
    return int(masks["SigCgt"], 16) >> (number - 1) & 1


def test_any_number_of_threads_gives_the_same_bytes(folder):
    for threads in (1, 2, 3):
        headscope("ablate", "run", "--threads", threads, "--out", f"{threads}.h5", cwd=folder)
    assert (folder / "1.h5").read_bytes() == (folder / "2.h5").read_bytes() == (folder / "3.h5").read_bytes()


def test_fits_a_terminal(folder):
    (folder / "lag.toml").write_text('name = "x"\n[task]\ntype = "lag_mixture"\nvocab_size = 7\nseq_len = 9\nfar = 4\n')
    headscope("run", "lag.toml", *SMALL, "eval.batches=2", "model.num_heads=4", "--out", "lag", cwd=folder)
    text = headscope("ablate", "lag", cwd=folder).stdout
    assert max(len(line) for line in text.splitlines()) <= 80
    for word in ("0.3", "resample", "importance", "floor near", "noise", "lag/ablation.h5"):
        assert word in text, text
