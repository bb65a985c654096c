"""`headscope ablate` against PyTorch and NumPy in f64, from the checkpoint and the evaluation batches alone."""

import json
import math
import pathlib
import subprocess

import h5py
import numpy as np
import pytest
import torch
import xarray

from cli_tools import BINARY, headscope, newest_checkpoint, write_config, write_tokens
from reference_model import ReferenceModel, load_parameters, read_config

BATCH_WRITER = pathlib.Path(BINARY).parent / "headscope_batch_writer"
KINDS = ["zero", "mean", "resample"]
# 2 layers of 3 heads; head_dim is not d_model / 3.
LIVELY = ["train.dtype=float64", "model.num_layers=2", "model.num_heads=3", "model.d_model=14", "model.head_dim=5",
          "model.d_ff=11", "model.init.scheme=pytorch", "model.init.embedding_std=1", "optimizer.lr=0.02",
          "train.steps=30", "checkpoint.every=10", "checkpoint.keep=0", "eval.batches=3"]
TIGHT = dict(rtol=1e-9, atol=1e-9)


class AblatedModel(ReferenceModel):
    """`edit(layer, heads [N, H, T, d_v], W_o)` gives what W_o sees and what is added to the attention's output."""

    edit = None

    def attention(self, x, name):
        plain = super().attention(x, name)
        if self.edit is None:
            return plain
        heads, added = self.edit(int(name.split(".")[1]), self.records[-1]["head_out"], self.p[f"{name}.W_o.weight"])
        N, H, T, d = heads.shape
        return self.linear(heads.transpose(1, 2).reshape(N, T, H * d), f"{name}.W_o") + added


class Run:
    """A trained run, its ablation file, and all that is needed to do the same again."""

    def __init__(self, folder, config, *overrides):
        self.folder = folder / "run"
        headscope("run", config, *LIVELY, *overrides, "--out", self.folder)
        self.json = json.loads(headscope("ablate", self.folder, "--draws", "2", "--json").stdout)
        self.file = h5py.File(self.folder / "ablation.h5")
        subprocess.run([BATCH_WRITER, self.folder / "config.toml", "eval", folder / "eval.h5"], check=True)
        with h5py.File(folder / "eval.h5") as data:
            flat = {name: values[()].reshape(-1, *values.shape[2:]) for name, values in data.items()}
        self.inputs, self.targets = torch.tensor(flat["inputs"]), flat["targets"]
        self.classes, self.truth = flat.get("classes"), flat.get("truth")
        self.config = read_config(self.folder)["model"]
        self.model = AblatedModel(load_parameters(newest_checkpoint(self.folder)), self.config)
        self.layers, self.heads = self.config["num_layers"], self.config["num_heads"]
        with torch.no_grad():
            self.baseline = self.model.logits(self.inputs).numpy()
            self.said = [record["head_out"] for record in self.model.records]

    def edited(self, edit):
        self.model.edit = edit
        with torch.no_grad():
            logits = self.model.logits(self.inputs).numpy()
        self.model.edit = None
        return logits

    def ablated(self, layer, head, kind):
        def edit(at, heads, W_o):
            heads = heads.clone()
            if at == layer:
                own = self.said[layer][:, head]  # [N, T, d_v]: all sequences of all batches in one list
                heads[:, head] = {"zero": torch.zeros_like(own), "mean": own.mean((0, 1)).expand_as(own),
                                  "resample": own.roll(-1, 0)}[kind]
            return heads, 0
        return self.edited(edit)

    def losses(self, logits, beta=1.0):
        """Loss against the truth where it is known, and against the targets of each class."""
        log_p = beta * logits - np.log(np.exp(beta * logits).sum(-1, keepdims=True))
        scored = self.targets >= 0
        own = -np.take_along_axis(log_p, np.maximum(self.targets, 0)[..., None], -1)[..., 0]
        each = own if self.truth is None else -(self.truth * log_p).sum(-1)
        count = 0 if self.classes is None else self.file["class"].shape[0]
        return each[scored].mean(), np.array([own[scored & (self.classes == c)].mean() for c in range(count)])

    def best_beta(self, logits):
        """The loss is convex in beta: golden section over log beta, then the root of its slope between the two."""
        low, high = math.log(1e-4), math.log(1e4)
        ratio = (math.sqrt(5) - 1) / 2
        for _ in range(40):
            a, b = high - ratio * (high - low), low + ratio * (high - low)
            if self.losses(logits, math.exp(a))[0] < self.losses(logits, math.exp(b))[0]:
                high = b
            else:
                low = a
        low, high = math.exp(low - 1e-4), math.exp(high + 1e-4)
        for _ in range(60):  # the slope has digits where the loss itself is flat
            middle = (low + high) / 2
            low, high = (low, middle) if self.slope(logits, middle) > 0 else (middle, high)
        return (low + high) / 2

    def slope(self, logits, beta):
        scored = self.targets >= 0
        p = np.exp(beta * logits)
        p /= p.sum(-1, keepdims=True)
        q = np.eye(logits.shape[-1])[np.maximum(self.targets, 0)] if self.truth is None else self.truth
        return ((p - q) * logits).sum(-1)[scored].mean()

    def importance(self):
        """Mean over the sequences of |sum_t z . dL_b/dz|."""
        logits = self.model.logits(self.inputs)
        said = [record["head_out"] for record in self.model.records]
        scored = torch.tensor(self.targets >= 0)
        own = torch.nn.functional.cross_entropy(logits.transpose(1, 2), torch.tensor(self.targets).clamp(min=0),
                                                reduction="none")
        per_sequence = (own * scored).sum(1) / scored.sum(1).clamp(min=1)
        gradients = torch.autograd.grad(per_sequence.sum(), said)
        return np.stack([(z * g).sum((2, 3)).abs().mean(0).detach().numpy() for z, g in zip(said, gradients)])

    def every_head(self):
        return ((layer, head) for layer in range(self.layers) for head in range(self.heads))


@pytest.fixture(scope="module", params=["lag_mixture", "tokens"])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    config = folder / "c.toml"
    if request.param == "lag_mixture":  # knows the truth, has classes
        config.write_text('name = "x"\n[task]\ntype = "lag_mixture"\nvocab_size = 7\nseq_len = 9\nfar = 4\n')
        return Run(folder, config, "train.batch_size=4")
    write_tokens(folder / "train.h5", 5, 4, 8, 11, seed=1)  # random: there is nothing to learn but itself
    write_config(config, folder / "train.h5", 11, 8, folder / "train.h5")
    return Run(folder, config, "model.position=rotary", "model.head_dim=6", "model.norm=post")


def ranks(values):
    return np.array([(np.sum(values < v) + np.sum(values <= v) + 1) / 2 for v in values])


def test_baseline(run):
    loss, by_class = run.losses(run.baseline)
    beta = run.best_beta(run.baseline)
    refit, class_refit = run.losses(run.baseline, beta)
    np.testing.assert_allclose(run.file["baseline_loss"][0], loss, **TIGHT)
    np.testing.assert_allclose(run.file["baseline_loss_refit"][0], refit, **TIGHT)
    np.testing.assert_allclose(run.file["baseline_inverse_temperature"][0], beta, rtol=1e-8)
    with h5py.File(run.folder / "log.h5") as log:
        np.testing.assert_allclose(run.file["baseline_loss"][0], log["eval/loss"][-1], rtol=1e-12)
    if run.classes is None:
        assert run.truth is None and not [name for name in run.file if "class" in name]
    else:
        np.testing.assert_allclose(run.file["baseline_class_loss"][0], by_class, **TIGHT)
        np.testing.assert_allclose(run.file["baseline_class_loss_refit"][0], class_refit, rtol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_heads(run, kind):
    k = KINDS.index(kind)
    baseline, baseline_classes = run.losses(run.baseline)
    for layer, head in run.every_head():
        logits = run.ablated(layer, head, kind)
        loss, by_class = run.losses(logits)
        beta = run.best_beta(logits)
        refit, class_refit = run.losses(logits, beta)
        found = {name: run.file[name][0, layer, head, k] for name in
                 ("loss", "delta", "loss_refit", "inverse_temperature")}
        np.testing.assert_allclose(found["loss"], loss, **TIGHT)
        np.testing.assert_allclose(found["delta"], loss - baseline, **TIGHT)
        np.testing.assert_allclose(found["loss_refit"], refit, **TIGHT)
        np.testing.assert_allclose(found["inverse_temperature"], beta, rtol=1e-8)
        assert abs(found["delta"]) > 1e-5 and found["loss_refit"] <= found["loss"]
        if run.classes is not None:
            np.testing.assert_allclose(run.file["class_loss"][0, layer, head, k], by_class, **TIGHT)
            np.testing.assert_allclose(run.file["class_delta"][0, layer, head, k], by_class - baseline_classes, **TIGHT)
            np.testing.assert_allclose(run.file["class_loss_refit"][0, layer, head, k], class_refit, rtol=1e-8)


def test_controls(run):
    delta, other = run.file["delta"][0], run.file["control_head"][0]
    for layer, head in run.every_head():
        assert other[layer, head] != head and 0 <= other[layer, head] < run.heads
        assert (run.file["control_delta"][0, layer, head] == delta[layer, other[layer, head]]).all()


def test_directions_are_as_long_as_what_the_head_adds(run):
    """The directions are drawn in C++, so only their distribution is known here: no draw of the file may stand out from
    a hundred drawn here."""
    random = np.random.default_rng(3)
    baseline = run.losses(run.baseline)[0]
    for layer, head in [(0, 1), (1, 2)]:
        draws = []
        for _ in range(100):
            u = random.standard_normal(run.config["d_model"])
            u = torch.tensor(u / np.linalg.norm(u))

            def edit(at, heads, W_o):
                width = heads.shape[-1]
                r = heads[:, head] @ W_o[:, head * width:(head + 1) * width].T
                return heads, -r.norm(dim=-1, keepdim=True) * u if at == layer else 0
            draws.append(run.losses(run.edited(edit))[0] - baseline)
        found = run.file["direction_delta"][0, layer, head]
        assert found.shape == (2,) and found[0] != found[1]
        assert (np.abs(found - np.mean(draws)) < 4.5 * np.std(draws)).all()


def test_importance_and_its_rank_correlation(run):
    importance = run.importance()
    np.testing.assert_allclose(run.file["importance"][0], importance, rtol=1e-9)
    for k in range(3):
        a, b = ranks(importance.ravel()), ranks(run.file["delta"][0, :, :, k].ravel())
        np.testing.assert_allclose(run.file["spearman"][0, k], np.corrcoef(a, b)[0, 1], rtol=1e-12)


def test_json_says_the_same(run):
    assert run.json["step"] == 30 and run.json["draws"] == 2
    assert run.json["baseline"]["loss"] == run.file["baseline_loss"][0]
    for row, (layer, head) in zip(run.json["heads"], run.every_head()):
        assert (row["layer"], row["head"]) == (layer, head)
        for k, kind in enumerate(KINDS):
            for name in ("loss", "delta", "loss_refit", "inverse_temperature"):
                assert row[kind][name] == run.file[name][0, layer, head, k]
            assert row["control"][kind] == run.file["control_delta"][0, layer, head, k]
            if run.classes is not None:
                assert list(row[kind]["class_delta"].values()) == run.file["class_delta"][0, layer, head, k].tolist()
        assert row["direction"]["delta"] == run.file["direction_delta"][0, layer, head].tolist()
        assert row["importance"] == run.file["importance"][0, layer, head]


def test_other_steps_are_other_rows(run, tmp_path):
    """A step without a checkpoint of its own is computed again; rows are in order of their steps."""
    out = tmp_path / "rows.h5"
    for step in (17, 30, 10, 17):
        headscope("ablate", run.folder, "--step", step, "--draws", "2", "--out", out, "--threads", "1")
    with xarray.open_dataset(out, engine="h5netcdf") as rows:
        assert rows["step"].values.tolist() == [10, 17, 30]
        assert rows["delta"].dims == ("step", "layer", "head", "ablation")
        assert rows["ablation"].values.tolist() == KINDS
        assert rows["direction_delta"].dims == ("step", "layer", "head", "draw")
        for name in rows.data_vars:
            assert rows[name].attrs["units"] and rows[name].attrs["long_name"], name
            assert (rows[name].sel(step=30).values == run.file[name][0]).all(), name
        assert (rows["loss"].sel(step=10).values != rows["loss"].sel(step=17).values).all()
        with h5py.File(run.folder / "log.h5") as log:
            assert rows.attrs["run_id"] == log.attrs["run_id"]
