"""Fifty steps of every optimizer against torch.optim (for Muon, against a few lines of our own) on the same batches, from
the same weights."""

import math

import h5py
import numpy as np
import pytest
import torch

from cli_tools import headscope, newest_checkpoint, write_config, write_tokens
from reference_model import ReferenceModel, load_parameters, loss_of, read_config

VOCAB, T, BATCH, STEPS = 13, 9, 4, 50
BASE = ["model.d_model=20", "model.num_heads=3", "model.head_dim=6", "model.d_ff=24", "model.num_layers=2",
        "model.init.scheme=pytorch", "model.init.embedding_std=0.5", "log.every=1", "eval.every=20"]
COSINE = ["schedule.type=cosine", "schedule.warmup_steps=7", "schedule.final_ratio=0.1", "train.clip_norm=0.5"]
LINEAR = ["schedule.type=linear", "schedule.warmup_steps=9", "schedule.final_ratio=0.2", "train.clip_norm=0.7"]

CASES = {
    "sgd": ["optimizer.type=sgd", "optimizer.lr=0.1"],
    "sgd_momentum": ["optimizer.type=sgd", "optimizer.lr=0.05", "optimizer.momentum=0.9", *COSINE],
    "sgd_nesterov_decay": ["optimizer.type=sgd", "optimizer.lr=0.05", "optimizer.momentum=0.8",
                           "optimizer.nesterov=true", "optimizer.weight_decay=0.01", "schedule.warmup_steps=5"],
    "adam": ["optimizer.type=adam", "optimizer.lr=1e-3"],
    "adam_decay_cosine": ["optimizer.type=adam", "optimizer.lr=3e-3", "optimizer.weight_decay=0.01",
                          "optimizer.beta1=0.8", "optimizer.beta2=0.98", "optimizer.eps=1e-6", *COSINE],
    "adamw": ["optimizer.type=adamw", "optimizer.lr=2e-3", "optimizer.weight_decay=0.1", *COSINE,
              "model.tie_embeddings=true"],
    "rmsprop": ["optimizer.type=rmsprop", "optimizer.lr=1e-3", *LINEAR],
    "rmsprop_decay": ["optimizer.type=rmsprop", "optimizer.lr=3e-4", "optimizer.alpha=0.9", "optimizer.eps=1e-3",
                      "optimizer.weight_decay=0.05"],
    "adam_noam": ["optimizer.type=adam", "optimizer.lr=0.1", "schedule.type=noam", "schedule.warmup_steps=11"],
    "muon": ["optimizer.type=muon", "optimizer.lr=5e-3", "optimizer.weight_decay=0.1"],
    "muon_linear": ["optimizer.type=muon", "optimizer.lr=0.01", "optimizer.momentum=0.9", "optimizer.beta1=0.8",
                    "optimizer.beta2=0.95", "optimizer.eps=1e-6", *LINEAR],
    "rms": ["optimizer.type=adamw", "optimizer.lr=2e-3", "model.norm_type=rms"],
    "swiglu": ["optimizer.type=adam", "optimizer.lr=2e-3", "model.ffn=swiglu"],
    "qk_norm": ["optimizer.type=adam", "optimizer.lr=2e-3", "model.qk_norm=true", *COSINE],
    "kv_heads": ["optimizer.type=adam", "optimizer.lr=2e-3", "model.kv_heads=2"],
    "window": ["optimizer.type=sgd", "optimizer.lr=0.1", "model.window=4"],
    "sigmoid": ["optimizer.type=adam", "optimizer.lr=2e-3", "model.attention=sigmoid"],
    "no_layers": ["optimizer.type=adam", "optimizer.lr=1e-2", "model.num_layers=0"],
    "modern_muon": ["optimizer.type=muon", "optimizer.lr=5e-3", "model.norm_type=rms", "model.ffn=swiglu",
                    "model.qk_norm=true", "model.kv_heads=1", "model.window=5", "model.position=rotary",
                    "model.bias=false"],
}


def orthogonalise(matrix):
    """Newton-Schulz steps of Muon: all singular values near 1."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Muon:
    """Muon on the blocks' matrices, torch.optim.AdamW on everything else."""

    def __init__(self, named, lr, weight_decay, momentum, **adamw):
        self.momentum, self.weight_decay = momentum, weight_decay
        self.matrices = [p for name, p in named.items() if name.startswith("blocks.") and p.dim() == 2]
        others = [p for name, p in named.items() if not (name.startswith("blocks.") and p.dim() == 2)]
        self.elsewhere = torch.optim.AdamW(others, lr=lr, weight_decay=weight_decay, **adamw)
        self.buffers = [torch.zeros_like(p) for p in self.matrices]
        self.param_groups = self.elsewhere.param_groups

    def zero_grad(self):
        self.elsewhere.zero_grad()
        for matrix in self.matrices:
            matrix.grad = None

    @torch.no_grad()
    def step(self):
        self.elsewhere.step()
        lr = self.param_groups[0]["lr"]
        for matrix, buffer in zip(self.matrices, self.buffers):
            buffer.mul_(self.momentum).add_(matrix.grad)
            update = orthogonalise(matrix.grad + self.momentum * buffer)
            matrix.mul_(1 - lr * self.weight_decay)
            matrix.sub_(lr * max(1, matrix.shape[0] / matrix.shape[1]) ** 0.5 * update)


def make_optimizer(parameters, settings):
    common = {"lr": settings["lr"], "weight_decay": settings["weight_decay"]}
    if settings["type"] == "sgd":
        return torch.optim.SGD(parameters.values(), momentum=settings["momentum"], nesterov=settings["nesterov"],
                               **common)
    if settings["type"] == "rmsprop":
        return torch.optim.RMSprop(parameters.values(), alpha=settings["alpha"], eps=settings["eps"], **common)
    adam = {"betas": (settings["beta1"], settings["beta2"]), "eps": settings["eps"]}
    if settings["type"] == "muon":
        return Muon(parameters, momentum=settings["momentum"], **adam, **common)
    cls = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings["type"]]
    return cls(parameters.values(), **adam, **common)


def schedule_factor(settings, d_model, step, steps):
    if settings["type"] == "noam":
        return d_model ** -0.5 * min((step + 1) ** -0.5, (step + 1) * settings["warmup_steps"] ** -1.5)
    warmup = min(1.0, (step + 1) / settings["warmup_steps"]) if settings["warmup_steps"] else 1.0
    if settings["type"] == "constant":
        return warmup
    final = settings["final_ratio"]
    left = 1 - step / steps if settings["type"] == "linear" else 0.5 * (1 + math.cos(math.pi * step / steps))
    return warmup * (final + (1 - final) * left)


def train_in_pytorch(parameters, config, inputs, targets, steps):
    model = ReferenceModel(parameters, config["model"])
    optimizer = make_optimizer(parameters, config["optimizer"])
    curves = {"loss": [], "lr": [], "grad_norm": []}
    for step in range(steps):
        lr = config["optimizer"]["lr"] * schedule_factor(
            config["schedule"], config["model"]["d_model"], step, steps)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        loss = loss_of(model.logits(inputs[step % len(inputs)]), targets[step % len(inputs)])
        loss.backward()
        clip = config["train"]["clip_norm"] or math.inf
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), clip)
        optimizer.step()
        for name, value in (("loss", loss.item()), ("lr", lr), ("grad_norm", norm.item())):
            curves[name].append(value)
    return curves


@pytest.mark.parametrize("case", CASES)
def test_equals_pytorch(case, tmp_path):
    inputs, targets = map(torch.tensor, write_tokens(tmp_path / "train.h5", 6, BATCH, T, VOCAB, seed=3))
    held_inputs, held_targets = map(torch.tensor, write_tokens(tmp_path / "held.h5", 2, BATCH, T, VOCAB, seed=4))
    config_file = write_config(tmp_path / "c.toml", tmp_path / "train.h5", VOCAB, T, tmp_path / "held.h5")
    overrides = [*BASE, *CASES[case]]
    headscope("run", config_file, *overrides, "train.steps=0", "--out", tmp_path / "start")
    headscope("run", config_file, *overrides, f"train.steps={STEPS}", "--out", tmp_path / "run")

    parameters = load_parameters(newest_checkpoint(tmp_path / "start"))
    config = read_config(tmp_path / "run")
    curves = train_in_pytorch(parameters, config, inputs, targets, STEPS)
    with h5py.File(tmp_path / "run" / "log.h5") as log:
        assert log["train/step"][()].tolist() == list(range(STEPS))
        for name, truth in curves.items():
            np.testing.assert_allclose(log[f"train/{name}"][()], truth, rtol=2e-5, err_msg=name)
        assert log["train/tokens_seen"][()].tolist() == [BATCH * T * (step + 1) for step in range(STEPS)]
        assert log["eval/step"][()].tolist() == [0, 20, 40, STEPS]
        final_eval = log["eval/loss"][-1], log["eval/accuracy"][-1]

    logits = ReferenceModel(parameters, config["model"]).logits(held_inputs.flatten(0, 1))
    held = held_targets.flatten(0, 1)
    np.testing.assert_allclose(final_eval[0], loss_of(logits, held).item(), rtol=2e-5)
    scored = held >= 0
    right = (logits.argmax(-1) == held)[scored].double().mean().item()
    np.testing.assert_allclose(final_eval[1], right, rtol=1e-12)

    trained = load_parameters(newest_checkpoint(tmp_path / "run"))
    for name, truth in parameters.items():
        # The keys' bias has gradient zero by the softmax; Adam turns the rounding of it into steps.
        if name.endswith("W_k.bias"):
            continue
        error = (trained[name] - truth).norm() / truth.norm()
        assert error < 1e-4, f"{name}: relative error {error}"
