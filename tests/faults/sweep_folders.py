"""Sweeps for tests, made of tiny runs trained one by one."""

import json

from cli_tools import SOURCE, headscope

CONFIG = SOURCE / "experiments" / "configs" / "lag_mixture.toml"
SMALL = ["model.d_model=12", "model.head_dim=4", "model.num_layers=2", "task.seq_len=16", "task.near=1", "task.far=5",
         "train.batch_size=4", "eval.batches=1", "eval.every=7", "log.every=2", "train.steps=40",
         "schedule.warmup_steps=5"]


def write_manifest(sweep, runs):
    """`runs`: (folder's name, overrides, state)."""
    manifest = {"schema_name": "headscope.sweep", "schema_version": "1.0", "name": "lag_mixture", "config_path": "",
                "config": CONFIG.read_text(), "working_folder": str(sweep), "overrides": SMALL, "axes": [], "zip": False,
                "runs": [{"folder": name, "overrides": overrides, "state": state, "exit": None, "message": ""}
                         for name, overrides, state in runs]}
    (sweep / "manifest.json").write_text(json.dumps(manifest))


def make_sweep(sweep, probes, axes, waiting=0):
    """Trains a run for each of `axes` (name -> its overrides) and adds runs that have not begun. Returns the folders."""
    sweep.mkdir()
    for name, overrides in axes.items():
        headscope("run", CONFIG, *SMALL, *probes, *overrides, "--threads", 1, "--out", sweep / name)
    write_manifest(sweep, [(name, overrides, "finished") for name, overrides in axes.items()] +
                   [(f"later-{i}", [f"seed={100 + i}"], "waiting") for i in range(waiting)])
    return [sweep / name for name in axes]
