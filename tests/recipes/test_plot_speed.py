"""scripts/plot.py: all figures of a large model take seconds."""

import resource

from cli_tools import SOURCE, headscope
from test_plot import plot, plot_py

# Seconds of processor time, twice what is promised of a quiet machine with two cores.
LONGEST = 40
# Each takes as long as a few training steps here, and is drawn by no figure.
SLOW = {"output_cka", "output_cka_null", "grad_signal"}


def test_figures_of_192_heads(tmp_path):
    """12 layers of 16 heads, with an ablation and everything that a figure shows. An Axes for each head would take
    minutes."""
    run = tmp_path / "run"
    probes = [line.split()[0] for line in headscope("list", "probes").stdout.splitlines() if line.strip()]
    headscope("run", SOURCE / "experiments" / "configs" / "lag_mixture.toml", "model.num_layers=12",
              "model.num_heads=16", "model.d_model=64", "model.head_dim=4", "model.d_ff=0", "train.steps=40",
              "train.batch_size=2", "train.accumulate=2", "log.every=1", "eval.every=20", "eval.batches=1",
              "task.seq_len=32", "log.attention=20", "log.attention_samples=2",
              *(f"log.probes.{name}={20 if name == 'composition' else 4}" for name in probes if name not in SLOW),
              "--out", run)
    headscope("ablate", run)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = plot_py(run)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "skipped" not in result.stdout
    assert {path.stem for path in (run / "figures").iterdir()} == set(plot.NAMES)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{took:.1f} s")
    assert took < LONGEST
