"""/attention of the log against PyTorch in f64, and against what `trace` says of the same tokens."""

import h5py
import numpy as np
import pytest
import torch

from cli_tools import headscope, write_config, write_tokens
from reference_model import ReferenceModel, load_parameters, read_config

VOCAB, T, BATCH, SAMPLES = 11, 7, 3, 5
SIZES = ["model.d_model=12", "model.num_heads=3", "model.d_ff=10", "model.num_layers=2"]
LIVELY = ["model.init.scheme=pytorch", "model.init.embedding_std=1", "optimizer.lr=0.05", "model.dropout=0.2"]
CASES = {
    "causal": [],
    "not_causal": ["model.causal=false"],
    "rotary": ["model.position=rotary", "train.dtype=float64"],
    "alibi": ["model.position=alibi"],
    "linear": ["model.attention=linear"],
    "uniform": ["model.attention=uniform"],
}


@pytest.mark.parametrize("case", CASES)
def test_maps(case, tmp_path):
    write_tokens(tmp_path / "train.h5", 2, BATCH, T, VOCAB, seed=1)
    held, _ = write_tokens(tmp_path / "held.h5", 2, BATCH, T, VOCAB, seed=2)
    config = write_config(tmp_path / "c.toml", tmp_path / "train.h5", VOCAB, T, tmp_path / "held.h5")
    run = tmp_path / "run"
    headscope("run", config, *SIZES, *LIVELY, *CASES[case], "train.steps=4", "checkpoint.every=2", "checkpoint.keep=0",
              "log.attention=2", f"log.attention_samples={SAMPLES}", "--out", run)
    with h5py.File(run / "log.h5") as log:
        group = {name: values[()] for name, values in log["attention"].items()}
        assert [dim.label for dim in log["attention/weights"].dims] == ["step", "sample", "layer", "head", "query", "key"]
    expected_type = np.float64 if case == "rotary" else np.float32
    assert group["weights"].shape == (3, SAMPLES, 2, 3, T, T) and group["weights"].dtype == expected_type
    np.testing.assert_array_equal(group["step"], [0, 2, 4])
    np.testing.assert_array_equal(group["tokens"], held.reshape(-1, T)[:SAMPLES])

    with h5py.File(tmp_path / "given.h5", "w") as file:
        file["inputs"] = group["tokens"][None]
        file["targets"] = group["tokens"][None]
    for row, step in list(enumerate(group["step"]))[1:]:  # no checkpoint is written before the first update
        out = tmp_path / f"trace-{step}.h5"
        headscope("trace", run, "--step", step, "--tokens", tmp_path / "given.h5", "-o", out)
        model = ReferenceModel(load_parameters(run / "checkpoints" / f"step-{step:08d}.h5"), read_config(run)["model"])
        model.logits(torch.tensor(group["tokens"]))
        with h5py.File(out) as trace:
            for layer, record in enumerate(model.records):
                ours = group["weights"][row, :, layer]
                np.testing.assert_allclose(ours, record["weights"].detach().numpy(), rtol=1e-4, atol=1e-6)
                # Training must not show them other weights than trace does, which runs the very same code.
                np.testing.assert_allclose(ours, trace[f"layers/{layer}/weights"][0], rtol=1e-6, atol=1e-7)
