"""What probes are shown of a forward and backward pass, against PyTorch in f64."""

import math
import pathlib
import subprocess

import h5py
import numpy as np
import pytest
import torch

from cli_tools import BINARY, headscope, newest_checkpoint, write_config, write_tokens
from reference_model import ReferenceModel, alibi, load_parameters, loss_of, read_config, rotated

RUNNER = pathlib.Path(BINARY).parent / "headscope_capture_runner"
VOCAB, T, BATCH = 11, 7, 3
SIZES = ["model.d_model=14", "model.num_heads=3", "model.head_dim=4", "model.d_ff=9", "model.num_layers=2"]
LIVELY = ["model.init.scheme=pytorch", "model.init.embedding_std=1", "optimizer.lr=0.05", "train.steps=3"]
CASES = {
    "causal": [],
    "not_causal_post": ["model.causal=false", "model.norm=post"],
    "rotary": ["model.position=rotary"],
    "alibi": ["model.position=alibi", "model.d_ff=0"],
    "alibi_not_causal": ["model.position=alibi", "model.causal=false", "model.norm=none"],
    "wide_heads": ["model.head_dim=9", "model.num_heads=2", "model.num_layers=3"],
    "one_head": ["model.num_heads=1", "model.head_dim=1"],
    "no_bias": ["model.bias=false", "model.d_model=13"],
    "linear": ["model.attention=linear"],
    "uniform": ["model.attention=uniform"],
}


class CapturedModel(ReferenceModel):
    """Keeps everything between the residual stream and itself, and its gradient."""

    def attention(self, x, name):
        heads, (B, length, _) = self.config["num_heads"], x.shape
        q, k, v = (self.linear(x, f"{name}.W_{p}").view(B, length, heads, -1).transpose(1, 2) for p in "qkv")
        if self.config["position"] == "rotary":
            q, k = rotated(q), rotated(k)
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        hidden = torch.ones(length, length).triu(1).bool() if self.config["causal"] else torch.zeros(length, length).bool()
        if self.config["attention"] == "softmax":
            seen = scores + alibi(heads, length) if self.config["position"] == "alibi" else scores
            weights = seen.masked_fill(hidden, -math.inf).softmax(-1)
        else:
            weights = self.weights(q, k, hidden)
            if not weights.requires_grad:
                weights.requires_grad_()
        out = weights @ v
        W_o = self.p[f"{name}.W_o.weight"]  # [d, H*d_v]
        blocks = W_o.view(W_o.shape[0], heads, -1)
        result = torch.einsum("bhtv,dhv->bhtd", out, blocks)
        record = {"q": q, "k": k, "v": v, "scores": scores, "weights": weights, "head_out": out, "head_result": result}
        for tensor in record.values():
            if tensor.requires_grad:
                tensor.retain_grad()
        self.records.append(record)
        bias = self.p.get(f"{name}.W_o.bias")
        return result.sum(1) + (bias if bias is not None else 0)


@pytest.mark.parametrize("case", CASES)
def test_captures(case, tmp_path):
    inputs, targets = write_tokens(tmp_path / "tokens.h5", 3, BATCH, T, VOCAB, seed=3, unscored=0.4)
    config = write_config(tmp_path / "c.toml", tmp_path / "tokens.h5", VOCAB, T)
    run = tmp_path / "run"
    headscope("run", config, *SIZES, *LIVELY, *CASES[case], "--out", run)
    subprocess.run([RUNNER, run, tmp_path / "tokens.h5", tmp_path / "out.h5"], check=True)

    model = CapturedModel(load_parameters(newest_checkpoint(run)), read_config(run)["model"])
    logits = model.logits(torch.tensor(inputs[0]))
    sum(loss_of(logits[b], torch.tensor(targets[0, b])) for b in range(BATCH)).backward()

    def check(name, ours, theirs, atol):
        theirs = theirs.detach().numpy()
        assert ours.shape == theirs.shape, name
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=atol * max(np.abs(theirs).max(), 1e-30), err_msg=name)

    with h5py.File(tmp_path / "out.h5") as out:
        check("logits", out["logits"][()], logits, 1e-11)
        for layer, record in enumerate(model.records):
            ours = {name: values[()] for name, values in out[str(layer)].items()}
            for name, tensor in record.items():
                check(f"{layer} {name}", ours[name], tensor, 1e-11)
                if name == "scores" and "grad_scores" not in ours:
                    assert case in ("linear", "uniform")
                    continue
                gradient = tensor.grad if tensor.grad is not None else torch.zeros_like(tensor)
                check(f"{layer} grad_{name}", ours[f"grad_{name}"], gradient, 1e-10)
                assert np.abs(ours[f"grad_{name}"]).max() > 0 or case == "uniform", name
