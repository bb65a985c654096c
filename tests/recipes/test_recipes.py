"""The recipes in experiments/configs/ reach what their comments promise: one seed each, shortened where it is safe."""

import json

import pytest

from cli_tools import SOURCE, headscope, read_datasets


def last_evaluation(name, folder, *overrides):
    """Values of the run's last evaluation by name, and the floors of its task."""
    headscope("run", SOURCE / "experiments" / "configs" / f"{name}.toml", "--out", folder / name, *overrides)
    values = {key: column[-1] for key, column in read_datasets(folder / name / "log.h5", "/eval").items()}
    return values, read_datasets(folder / name / "log.h5", "/task/floors")


def roles(run):
    """What the log's newest row calls the heads, layer by layer."""
    layers = {}
    for head in json.loads(headscope("inspect", run, "--json").stdout)["heads"]:
        layers.setdefault(head["layer"], []).append(head["role"])
    return [layers[layer] for layer in sorted(layers)]


def test_repeat_reaches_the_floor(tmp_path):
    values, floors = last_evaluation("repeat", tmp_path, "train.steps=400", "eval.every=400")
    assert floors["copy"] - 1e-9 <= values["loss"] <= 2.05


def test_reversal_is_learnt(tmp_path):
    values, _ = last_evaluation("reversal", tmp_path, "eval.every=600")
    assert values["loss"] <= 0.001 and values["accuracy"] == 1


def test_two_layers_copy_and_one_does_not(tmp_path):
    # Only determined targets are scored, so accuracy is the share of tokens copied.
    short = ["train.steps=350", "eval.every=350"]
    two, _ = last_evaluation("induction", tmp_path, *short)
    one, _ = last_evaluation("induction_one_layer", tmp_path, *short)
    assert two["accuracy"] >= 0.95
    assert one["accuracy"] <= 0.25
    first, second = roles(tmp_path / "induction")
    assert "previous-token" in first and "induction" not in first
    assert "induction" in second and "previous-token" not in second
    assert "induction" not in roles(tmp_path / "induction_one_layer")[0]


@pytest.fixture(scope="module")
def lag_mixture(tmp_path_factory):
    """The run's folder, its last evaluation and the floors."""
    folder = tmp_path_factory.mktemp("lag")
    return folder / "lag_mixture", *last_evaluation("lag_mixture", folder, "eval.every=2000")


def test_heads_part_into_local_and_long_range(lag_mixture):
    run, values, floors = lag_mixture
    assert abs(values["loss"] - floors["both"]) <= 0.03
    assert sorted(roles(run)[0]) == ["local", "long-range"]


def test_without_one_head_the_other_floor_is_left(lag_mixture):
    """The loss after refitting a temperature: what the model still knows, not how loudly it says the rest."""
    run, _, floors = lag_mixture
    names = roles(run)[0]
    ablated = json.loads(headscope("ablate", run, "--json").stdout)
    for head in ablated["heads"]:
        role = names[head["head"]]
        lost, kept = {"local": ("near", "far"), "long-range": ("far", "near")}[role]
        assert abs(head["zero"]["loss_refit"] - floors[kept]) <= 0.04, role
        assert head["zero"]["loss"] > floors[kept] + 0.1  # over-confident
        assert head["zero"]["class_delta"][lost] > 1 > head["zero"]["class_delta"][kept]
        assert max(head["direction"]["delta"]) < 0.25 * head["zero"]["delta"]


def test_markov_comes_near_the_bayes_predictor(tmp_path):
    values, floors = last_evaluation("markov", tmp_path, "eval.every=300")
    references = read_datasets(tmp_path / "markov" / "log.h5", "/task/references")
    assert references["chain"] < values["loss"] <= 1.03 * floors["bayes"]
