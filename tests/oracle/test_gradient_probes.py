"""The probes that read gradients, at every step of small runs, against PyTorch: from the checkpoints and batches of the
same steps, by other routes than the program's."""

import math
import pathlib
import subprocess

import h5py
import numpy as np
import pytest
import torch

from cli_tools import BINARY, headscope, write_config, write_tokens
from reference_model import ReferenceModel, load_parameters, loss_of, read_config

VOCAB, T, BATCH, STEPS = 11, 8, 6, 4
LAYERS, HEADS, D_MODEL, HEAD_DIM = 2, 3, 14, 5
PROBES = ["grad_norm", "grad_cosine", "grad_norm_circuit", "update_ratio", "grad_norm_by_class", "grad_signal",
          "importance"]
BASE = [f"model.num_layers={LAYERS}", f"model.num_heads={HEADS}", f"model.d_model={D_MODEL}",
        f"model.head_dim={HEAD_DIM}", "model.d_ff=0", "model.init.scheme=pytorch", "model.init.embedding_std=1",
        "optimizer.lr=0.02", "train.clip_norm=0.1", "train.dtype=float64", "checkpoint.every=1", "checkpoint.keep=0",
        *(f"log.probes.{name}=1" for name in PROBES)]
CASES = {
    "plain": [],
    "float32": ["train.dtype=float32"],
    "accumulate": ["train.accumulate=3"],
    "no_attention_bias": ["model.attention_bias=false"],
    "alibi_post_ffn": ["model.attention_bias=false", "model.position=alibi", "model.norm=post", "model.d_ff=9"],
    "wide_heads": ["model.attention_bias=false", "model.head_dim=17"],
    "rotary": ["model.position=rotary", "model.head_dim=4", "model.causal=false"],
    "linear": ["model.attention=linear"],
    "uniform": ["model.attention=uniform"],
    "sgd": ["optimizer.type=sgd", "train.clip_norm=0"],
}


class Gated(ReferenceModel):
    """Every head's output times a gate of its own for each sequence."""

    def __init__(self, parameters, config, sequences):
        super().__init__(parameters, config)
        self.gates = torch.ones(config["num_layers"], sequences, config["num_heads"], dtype=torch.float64,
                                requires_grad=True)

    def linear(self, x, name):
        if name.endswith("attn.W_o"):
            gates = self.gates[int(name.split(".")[1])]  # [B, H]
            x = (x.unflatten(-1, (gates.shape[1], -1)) * gates[:, None, :, None]).flatten(-2)
        return super().linear(x, name)


class Circuits(ReferenceModel):
    """Attention written in QK_h = W_q W_k^T and OV_h = W_v W_o, which are leaves of the graph. Without biases."""

    def __init__(self, parameters, config):
        super().__init__(parameters, config)
        self.leaves = {}
        heads = config["num_heads"]
        for layer in range(config["num_layers"]):
            q, k, v = (parameters[f"blocks.{layer}.attn.W_{p}.weight"].detach().unflatten(0, (heads, -1))
                       for p in "qkv")  # [H, d_k, d]
            o = parameters[f"blocks.{layer}.attn.W_o.weight"].detach().unflatten(1, (heads, -1))  # [d, H, d_v]
            self.leaves[f"blocks.{layer}.attn"] = (torch.einsum("hkd,hke->hde", q, k).requires_grad_(),
                                                   torch.einsum("hkd,ehk->hde", v, o).requires_grad_())

    def attention(self, x, name):
        QK, OV = self.leaves[name]
        length = x.shape[1]
        scores = torch.einsum("btd,hde,bse->bhts", x, QK, x) / math.sqrt(self.config["head_dim"])
        if self.config["position"] == "alibi":
            slopes = torch.tensor([2 ** (-8 * (h + 1) / len(QK)) for h in range(len(QK))], dtype=torch.float64)
            distance = (torch.arange(length)[:, None] - torch.arange(length)).abs()
            scores = scores - slopes[:, None, None] * distance
        hidden = torch.ones(length, length).triu(1).bool()
        weights = scores.masked_fill(hidden, -math.inf).softmax(-1)
        return torch.einsum("bhts,bsd,hde->bte", weights, x, OV)


class Run:
    """A run of STEPS steps with all probes, and what it was made from."""

    def __init__(self, folder, config_file, overrides):
        self.folder = folder
        headscope("run", config_file, *BASE, *overrides, f"train.steps={STEPS}", "--out", folder / "run")
        headscope("run", config_file, *BASE, *overrides, "train.steps=0", "--out", folder / "start")
        config = read_config(folder / "run")
        self.model, self.train, self.optimizer = config["model"], config["train"], config["optimizer"]
        self.tolerance = {"float64": 1e-8, "float32": 3e-4}[self.train["dtype"]]
        writer = pathlib.Path(BINARY).parent / "headscope_batch_writer"
        subprocess.run([writer, folder / "run" / "config.toml", str(STEPS), folder / "batches.h5"], check=True)
        with h5py.File(folder / "batches.h5") as file:
            self.batches = {name: torch.tensor(values[()]) for name, values in file.items()}
        self.log = {}
        with h5py.File(folder / "run" / "log.h5") as log:
            for name in PROBES:
                group = log[f"heads/{name}"]
                expected = STEPS + (name == "importance")  # of the weights, so after the last update too
                assert group["step"][()].tolist() == list(range(expected)), name
                self.log[name] = group["value"][()]

    def parameters(self, step):
        run = "run" if step > 0 else "start"
        return load_parameters(self.folder / run / "checkpoints" / f"step-{step:08}.h5")

    def gradients(self, step, targets, rows=slice(None), share=1.0):
        """Of share times the mean loss of some rows of the step's batch: [L, H, 4, d_model, d_k]."""
        parameters = self.parameters(step)
        logits = ReferenceModel(parameters, self.model).logits(self.batches["inputs"][step][rows])
        (share * loss_of(logits, targets[rows])).backward()
        return self.blocks({name: torch.zeros_like(p) if p.grad is None else p.grad
                            for name, p in parameters.items()})

    def blocks(self, tensors):
        """[L, H, 4, d_model, d_k]"""
        heads, layers = self.model["num_heads"], []
        for layer in range(self.model["num_layers"]):
            of = {p: tensors[f"blocks.{layer}.attn.W_{p}.weight"].detach() for p in "qkvo"}
            of = {p: (w.T if p != "o" else w).unflatten(1, (heads, -1)) for p, w in of.items()}  # [d, H, d_k]
            layers.append(torch.stack([of[p].transpose(0, 1) for p in "qkvo"], 1))
        return torch.stack(layers).numpy()

    def compare(self, name, step, truth, scale=0.0):
        logged = self.log[name][step].astype(np.float64)
        assert logged.shape == truth.shape, name
        np.testing.assert_allclose(logged, truth, rtol=self.tolerance, atol=self.tolerance * scale,
                                   err_msg=f"{name}, step {step}")


def norms(blocks):
    return np.sqrt((blocks ** 2).sum((-2, -1)))


def check_from_gradients(run, step):
    """Metrics of the step's own gradient."""
    gradients, weights = run.gradients(step, run.batches["targets"][step]), run.blocks(run.parameters(step))
    size = norms(gradients)
    run.compare("grad_norm", step, size)

    flat = gradients.reshape(*gradients.shape[:3], -1).transpose(0, 2, 1, 3)  # [L, 4, H, .]
    with np.errstate(invalid="ignore"):
        unit = flat / np.linalg.norm(flat, axis=-1, keepdims=True)
    cosines = np.einsum("lpie,lpje->lpij", unit, unit)
    if run.model["attention"] == "uniform":
        assert np.isnan(cosines[:, :2]).all() and np.isfinite(cosines[:, 2:]).all()
    run.compare("grad_cosine", step, cosines, scale=1)

    dq, dk, dv, do = np.moveaxis(gradients, 2, 0)
    q, k, v, o = np.moveaxis(weights, 2, 0)  # o is W_o^T
    inverse = np.linalg.pinv if run.train["dtype"] == "float64" else lambda w: np.linalg.pinv(w, rcond=1e-6)
    circuit = [dq @ inverse(k), dk @ inverse(q), dv @ inverse(o), inverse(v.swapaxes(-1, -2)) @ do.swapaxes(-1, -2)]
    run.compare("grad_norm_circuit", step, norms(np.stack(circuit, 2)))

    after = run.blocks(run.parameters(step + 1))
    run.compare("update_ratio", step, norms(after - weights) / norms(weights))
    if run.optimizer["type"] == "sgd":
        np.testing.assert_allclose(run.log["update_ratio"][step] * norms(weights),
                                   run.optimizer["lr"] * run.log["grad_norm"][step], rtol=1e-9)


def check_signal(run, step):
    rows = BATCH // run.train["accumulate"] if run.train["accumulate"] > 1 else 1  # 6 sequences are cut in 6 parts
    parts = np.stack([run.gradients(step, run.batches["targets"][step], slice(first, first + rows))
                      for first in range(0, BATCH, rows)])
    with np.errstate(invalid="ignore"):
        run.compare("grad_signal", step, norms(parts.mean(0)) ** 2 / (norms(parts) ** 2).mean(0))


def check_derivation(run, step):
    """grad_norm_circuit from dL/dQK and dL/dOV and the projectors onto what the other factor spans."""
    model = Circuits(run.parameters(step), run.model)
    loss_of(model.logits(run.batches["inputs"][step]), run.batches["targets"][step]).backward()
    weights = run.blocks(run.parameters(step))
    u, s, _ = np.linalg.svd(weights, full_matrices=False)
    u = u * (s > 1e-12 * s.max())[..., None, :]
    P = u @ u.swapaxes(-1, -2)  # [L, H, 4, d, d]
    QK, OV = (np.stack([model.leaves[f"blocks.{layer}.attn"][i].grad.numpy() for layer in range(LAYERS)])
              for i in (0, 1))
    turned = [QK @ P[:, :, 1], QK.swapaxes(-1, -2) @ P[:, :, 0], OV @ P[:, :, 3], P[:, :, 2] @ OV]
    run.compare("grad_norm_circuit", step, norms(np.stack(turned, 2)))


def check_importance(run, step, held):
    inputs, targets = (torch.tensor(values).flatten(0, 1) for values in held)
    model = Gated(run.parameters(step), run.model, len(inputs))
    logits = model.logits(inputs)
    sum(loss_of(logits[b:b + 1], targets[b:b + 1]) for b in range(len(inputs))).backward()
    run.compare("importance", step, model.gates.grad.abs().mean(1).numpy())


@pytest.mark.parametrize("case", CASES)
def test_equals_pytorch(case, tmp_path):
    write_tokens(tmp_path / "train.h5", STEPS, BATCH, T, VOCAB, seed=5)
    held = write_tokens(tmp_path / "held.h5", 2, BATCH, T, VOCAB, seed=6)
    config = write_config(tmp_path / "c.toml", tmp_path / "train.h5", VOCAB, T, tmp_path / "held.h5")
    run = Run(tmp_path, config, CASES[case])
    for step in range(STEPS):
        check_from_gradients(run, step)
        check_signal(run, step)
        check_importance(run, step, held)
        # Without classes there is one: all that is scored.
        np.testing.assert_array_equal(run.log["grad_norm_by_class"][step, 0], run.log["grad_norm"][step])
        if not run.model["attention_bias"]:
            check_derivation(run, step)
    check_importance(run, STEPS, held)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_classes(accumulate, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text('name = "classes"\n[task]\ntype = "lag_mixture"\nvocab_size = 7\nseq_len = 9\nnear = 1\nfar = 4\n'
                      'p_near = 0.5\np_far = 0.3\n')
    run = Run(tmp_path, config, [f"train.batch_size={BATCH}", f"train.accumulate={accumulate}"])
    with h5py.File(tmp_path / "run" / "log.h5") as log:
        assert [name.decode() for name in log["heads/grad_norm_by_class/class"][()]] == ["near", "far", "noise"]
    for step in range(STEPS):
        targets, classes = (run.batches[name][step] for name in ("targets", "classes"))
        shares = []
        for number in range(3):
            own = torch.where(classes == number, targets, -1)
            shares.append(run.gradients(step, own, share=(own >= 0).sum().item() / (targets >= 0).sum().item()))
        run.compare("grad_norm_by_class", step, norms(np.stack(shares)))
        np.testing.assert_allclose(sum(shares), run.gradients(step, targets), atol=1e-12)
        run.compare("grad_norm", step, norms(sum(shares)))


def test_says_what_it_measures(tmp_path):
    write_tokens(tmp_path / "train.h5", STEPS, BATCH, T, VOCAB, seed=5)
    run = Run(tmp_path, write_config(tmp_path / "c.toml", tmp_path / "train.h5", VOCAB, T), [])
    heads = (LAYERS, HEADS, 4)
    shapes = {"grad_norm": heads, "grad_cosine": (LAYERS, 4, HEADS, HEADS), "grad_norm_circuit": heads,
              "update_ratio": heads, "grad_norm_by_class": (1, *heads), "grad_signal": heads,
              "importance": (LAYERS, HEADS)}
    invariance = {"grad_norm_circuit": "GL", "importance": "GL", "grad_cosine": "none", "update_ratio": "none"}
    with h5py.File(run.folder / "run" / "log.h5") as log:
        for name in PROBES:
            value = log[f"heads/{name}/value"]
            assert value.shape[1:] == shapes[name], name
            stated = value.attrs["invariance"]
            stated = stated.decode() if isinstance(stated, bytes) else stated
            assert stated == invariance.get(name, "orthogonal"), name
