"""Every common tool opens log.h5 at any moment, while the run is alive and after kill -9."""

import subprocess
import time

import h5py
import numpy as np
import pytest
import xarray

from cli_tools import headscope, start, write_config, write_tokens


def read_with_every_tool(log):
    with h5py.File(log, "r") as file:
        assert file.attrs["schema_name"] in ("headscope.log", b"headscope.log")
        rows = len(file["train/step"])
        assert all(len(file[f"train/{name}"]) == rows for name in file["train"])
    dump = subprocess.run(["h5dump", str(log)], capture_output=True, timeout=60)
    assert dump.returncode == 0 and b"attention_entropy" in dump.stdout, dump.stderr
    for group, dims in (("heads/grad_norm", ("step", "layer", "head", "projection")),
                        ("heads/overlap", ("step", "layer", "projection", "head", "head_other")),
                        ("heads/attention_entropy", ("step", "layer", "head"))):
        with xarray.open_dataset(log, group=group, engine="h5netcdf") as data:
            assert data["value"].dims == dims
            assert data["value"].attrs["units"] and data["value"].attrs["long_name"]
            assert set(dims) <= set(data.coords)
            assert np.isfinite(data["value"].values).all()
    with xarray.open_dataset(log, group="train", engine="h5netcdf") as data:
        assert data["loss"].dims == ("step",)
    return rows


@pytest.fixture
def config(tmp_path):
    write_tokens(tmp_path / "train.h5", 5, 4, 12, 9, seed=11)
    return write_config(tmp_path / "c.toml", tmp_path / "train.h5", 9, 12)


OVERRIDES = ["model.d_model=16", "model.num_heads=2", "log.every=1", "train.steps=1000000", "checkpoint.every=2000",
             "log.probes.grad_norm=5", "log.probes.overlap=5", "log.probes.attention_entropy=50"]


def test_while_alive_and_after_the_kill(config, tmp_path):
    run = tmp_path / "run"
    process = start("run", config, *OVERRIDES, "--out", run)
    log = run / "log.h5"
    try:
        deadline = time.monotonic() + 30
        while not log.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        rows = 0
        until = time.monotonic() + 8
        reads = 0
        while time.monotonic() < until or rows == 0 or reads < 3:
            assert process.poll() is None, process.stderr.read()
            rows_now = read_with_every_tool(log)
            assert rows_now >= rows
            rows = rows_now
            reads += 1
        assert "\nrunning at step " in headscope("inspect", run).stdout
    finally:
        process.kill()
        process.wait()
    assert read_with_every_tool(log) >= rows
    assert "\nstopped at step " in headscope("inspect", run).stdout


def test_finished_log(config, tmp_path):
    run = tmp_path / "run"
    headscope("run", config, *OVERRIDES, "train.steps=20", "--out", run)
    assert read_with_every_tool(run / "log.h5") == 20
    with h5py.File(run / "log.h5") as file:
        for name in ("run_id", "created", "software_version", "git_commit", "compiler", "isa", "cpu", "threads", "seed",
                     "state", "config_sha256", "schema_version"):
            assert name in file.attrs, name
        assert file.attrs["state"] in ("finished", b"finished")

        def check(name, item):
            if isinstance(item, h5py.Dataset):
                assert "long_name" in item.attrs and "units" in item.attrs, name
        file.visititems(check)


def test_log_without_training_rows(config, tmp_path):
    run = tmp_path / "run"
    headscope("run", config, *OVERRIDES, "train.steps=0", "--out", run)
    assert read_with_every_tool(run / "log.h5") == 0
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000000.h5"]
