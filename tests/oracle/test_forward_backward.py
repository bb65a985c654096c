"""Every value and gradient of a trained model against PyTorch in f64."""

import itertools
import random

import h5py
import numpy as np
import pytest
import torch

from cli_tools import headscope, newest_checkpoint, write_config, write_tokens
from reference_model import ReferenceModel, load_parameters, loss_of, read_config

VOCAB, T, BATCH = 11, 7, 3
SMALL = ["model.d_model=12", "model.num_heads=3", "model.d_ff=20", "model.num_layers=2"]
# pytorch: the only scheme with random biases; wide embeddings and a few large steps move every parameter off its start.
LIVELY = ["model.init.scheme=pytorch", "model.init.embedding_std=1", "optimizer.lr=0.05", "train.steps=3",
          "log.every=1"]
TOLERANCE = 2e-5

CASES = {
    "pre_learned": [],
    "initial_weights": ["train.steps=0"],
    "post": ["model.norm=post"],
    "no_norm": ["model.norm=none"],
    "attention_only": ["model.d_ff=0"],
    "attention_only_post": ["model.d_ff=0", "model.norm=post"],
    "attention_only_no_norm": ["model.d_ff=0", "model.norm=none", "model.position=none"],
    "not_causal": ["model.causal=false"],
    "not_causal_post": ["model.causal=false", "model.norm=post", "model.activation=relu"],
    "no_bias": ["model.bias=false"],
    "no_attention_bias": ["model.attention_bias=false"],
    "tied": ["model.tie_embeddings=true"],
    "tied_sinusoidal": ["model.tie_embeddings=true", "model.position=sinusoidal"],
    "wide_heads": ["model.head_dim=7"],
    "narrow_heads": ["model.head_dim=1"],
    "one_head": ["model.num_heads=1", "model.num_layers=1"],
    "odd_sizes": ["model.d_model=13", "model.head_dim=5", "model.d_ff=9"],
    "no_position": ["model.position=none"],
    "relu": ["model.activation=relu"],
    "silu": ["model.activation=silu"],
    "long_position_table": ["model.max_len=10"],
    "three_layers": ["model.num_layers=3", "model.bias=false", "model.norm=post", "model.tie_embeddings=true"],
    "small_embeddings": ["model.init.embedding_std=0.01", "train.steps=0"],  # where eps of the norms counts
    "larger": ["model.d_model=64", "model.num_heads=4", "model.d_ff=256"],
    "rotary": ["model.position=rotary"],
    "rotary_linear": ["model.position=rotary", "model.attention=linear", "model.norm=post"],
    "alibi": ["model.position=alibi"],
    "alibi_five_heads": ["model.position=alibi", "model.num_heads=5", "model.head_dim=3", "model.causal=false"],
    "linear": ["model.attention=linear"],
    "uniform": ["model.attention=uniform"],
    "rms": ["model.norm_type=rms"],
    "rms_post": ["model.norm_type=rms", "model.norm=post"],
    "swiglu": ["model.ffn=swiglu"],
    "swiglu_no_bias_post": ["model.ffn=swiglu", "model.bias=false", "model.norm=post"],
    "qk_norm": ["model.qk_norm=true"],
    "qk_norm_rotary": ["model.qk_norm=true", "model.position=rotary"],
    "kv_heads": ["model.kv_heads=1"],
    "kv_heads_uneven": ["model.num_heads=5", "model.head_dim=4", "model.kv_heads=2", "model.position=rotary"],
    "kv_heads_linear": ["model.num_heads=6", "model.kv_heads=3", "model.attention=linear"],
    "window": ["model.window=3"],
    "window_of_one": ["model.window=1", "model.position=alibi"],
    "window_linear": ["model.window=2", "model.attention=linear"],
    "window_uniform": ["model.window=4", "model.attention=uniform"],
    "sigmoid": ["model.attention=sigmoid"],
    "sigmoid_alibi": ["model.attention=sigmoid", "model.position=alibi"],
    "sigmoid_not_causal": ["model.attention=sigmoid", "model.causal=false", "model.norm=post"],
    "no_layers": ["model.num_layers=0"],
    "no_layers_tied": ["model.num_layers=0", "model.tie_embeddings=true", "model.norm=none"],
    "modern": ["model.norm_type=rms", "model.ffn=swiglu", "model.qk_norm=true", "model.kv_heads=1",
               "model.window=4", "model.position=rotary", "model.bias=false"],
    "sigmoid_modern": ["model.attention=sigmoid", "model.norm_type=rms", "model.ffn=swiglu", "model.qk_norm=true",
                       "model.kv_heads=2", "model.window=5", "model.position=rotary"],
}

# All of these combined would be thousands of models; every pair of values occurs in some model below.
AXES = {
    "model.position": ["none", "sinusoidal", "learned", "rotary", "alibi"],
    "model.norm": ["none", "pre", "post"],
    "model.attention": ["softmax", "linear", "uniform"],
    "model.d_ff": [0, 10],
    "model.causal": ["true", "false"],
    "model.bias": ["true", "false"],
    "model.head_dim": [2, 4, 6],  # d_model / num_heads is 4
    "model.tie_embeddings": ["true", "false"],
}


def possible(combination):
    return combination["model.position"] != "alibi" or combination["model.attention"] == "softmax"


def covering(axes, seed, triples):
    """Combinations, chosen greedily from a random order, that hold every possible pair of values, and every possible
    value triple of the axes named in `triples`."""
    everything = [dict(zip(axes, values)) for values in itertools.product(*axes.values())]
    everything = [combination for combination in everything if possible(combination)]
    random.Random(seed).shuffle(everything)

    def parts(combination):
        items = combination.items()
        chosen = [item for item in items if item[0] in triples]
        return set(itertools.combinations(items, 2)) | set(itertools.combinations(chosen, 3))

    parts_of = [parts(combination) for combination in everything]
    missing = set().union(*parts_of)
    result = []
    while missing:
        best = max(range(len(everything)), key=lambda i: len(parts_of[i] & missing))
        result.append(everything[best])
        missing -= parts_of[best]
    return result


COMBINATIONS = covering(AXES, 3, ("model.position", "model.norm", "model.attention", "model.causal"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_tokens(folder / "train.h5", 2, BATCH, T, VOCAB, seed=1)
    write_tokens(folder / "given.h5", 3, BATCH, T, VOCAB, seed=2, unscored=0.4)
    with h5py.File(folder / "given.h5", "r+") as file:
        file["targets"][1] = -1  # a whole batch without a target
    write_config(folder / "config.toml", folder / "train.h5", VOCAB, T)
    return folder


def assert_close(ours, truth, what, scale=0.0):
    truth = truth.detach().numpy()
    assert ours.shape == truth.shape, what
    error = np.linalg.norm(ours.astype(np.float64) - truth)
    norm = np.linalg.norm(truth)
    assert error <= TOLERANCE * max(norm, scale), f"{what}: off by {error}, norm {norm}"


@pytest.mark.parametrize("case", CASES)
def test_equals_pytorch(case, data, tmp_path):
    check_against_pytorch(CASES[case], data, tmp_path)


@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda c: "-".join(str(value) for value in c.values()))
def test_combination_equals_pytorch(combination, data, tmp_path):
    check_against_pytorch([f"{key}={value}" for key, value in combination.items()], data, tmp_path)


def check_against_pytorch(overrides, data, tmp_path):
    run, out = tmp_path / "run", tmp_path / "trace.h5"
    headscope("run", data / "config.toml", *SMALL, *LIVELY, *overrides, "--out", run)
    headscope("trace", run, "--tokens", data / "given.h5", "-o", out)

    parameters = load_parameters(newest_checkpoint(run))
    model = ReferenceModel(parameters, read_config(run)["model"])
    with h5py.File(data / "given.h5") as file:
        inputs, targets = (torch.tensor(file[name][()]) for name in ("inputs", "targets"))
    logits = model.logits(inputs.flatten(0, 1))  # batches and sequences are alike to the model
    loss = loss_of(logits, targets.flatten(0, 1))
    loss.backward()

    with h5py.File(out) as trace:
        assert trace["loss"].shape == ()
        assert abs(trace["loss"][()] - loss.item()) <= TOLERANCE * loss.item()
        stacked = (inputs.shape[0], inputs.shape[1])
        assert_close(trace["logits"][()], logits.unflatten(0, stacked), "logits")
        assert len(trace["layers"]) == len(model.records)
        for layer, record in enumerate(model.records):
            assert sorted(trace[f"layers/{layer}"]) == sorted(record)
            for name, truth in record.items():
                assert_close(trace[f"layers/{layer}/{name}"][()], truth.unflatten(0, stacked), f"layer {layer} {name}")
        assert sorted(trace["gradients"]) == sorted(parameters)
        # A parameter that the loss does not see at all (rows of a long position table) has gradient zero.
        gradients = {name: p.grad if p.grad is not None else torch.zeros_like(p) for name, p in parameters.items()}
        largest = max(gradient.norm().item() for gradient in gradients.values())
        for name, truth in gradients.items():
            assert_close(trace["gradients"][name][()], truth, f"gradient of {name}", 1e-3 * largest)


def test_parameter_names(data, tmp_path):
    headscope("run", data / "config.toml", *SMALL, "train.steps=0", "model.num_layers=1", "--out", tmp_path / "run")
    linears = [f"blocks.0.{name}" for name in
               ("attn.W_q", "attn.W_k", "attn.W_v", "attn.W_o", "ffn.linear1", "ffn.linear2", "norm1", "norm2")]
    expected = {f"{name}.{part}" for name in [*linears, "norm"] for part in ("weight", "bias")}
    expected |= {"embedding.weight", "position.weight", "head.weight"}
    parameters = load_parameters(newest_checkpoint(tmp_path / "run"))
    assert set(parameters) == expected
    assert parameters["blocks.0.ffn.linear1.weight"].shape == (20, 12)  # [out, in]


def test_trace_without_any_target(data, tmp_path):
    headscope("run", data / "config.toml", *SMALL, "train.steps=0", "--out", tmp_path / "run")
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file["inputs"] = np.zeros((1, 2, T), dtype=np.int64)
        file["targets"] = np.full((1, 2, T), -1, dtype=np.int64)
    headscope("trace", tmp_path / "run", "--tokens", tmp_path / "none.h5", "-o", tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as trace:
        assert trace["loss"][()] == 0
        assert all((values[()] == 0).all() for values in trace["gradients"].values())
