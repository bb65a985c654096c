"""run --profile says where the time went, and changes nothing else."""

import json

import pytest

from cli_tools import assert_same_runs, headscope, write_config, write_tokens

STEPS = 12
OVERRIDES = ["model.d_model=24", "model.num_heads=2", "model.num_layers=2", f"train.steps={STEPS}", "eval.every=5",
             "log.probes.grad_norm=1", "log.probes.overlap=6"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile")
    write_tokens(folder / "train.h5", 3, 4, 9, 13)
    write_config(folder / "c.toml", folder / "train.h5", 13, 9, folder / "train.h5")
    return folder


def test_profile(folder):
    result = headscope("run", folder / "c.toml", *OVERRIDES, "--profile", "--json", "--out", folder / "json")
    rows = {(row["name"], row["phase"]): row for row in json.loads(result.stdout)["profile"]}
    for phase in ("forward", "backward"):
        assert rows["attention", phase]["count"] == 2 * STEPS
        assert rows["cross_entropy", phase]["count"] == STEPS
    for name, count in (("data", STEPS), ("evaluation", 4), ("probe grad_norm", STEPS), ("probe overlap", 3)):
        assert rows[name, "other"]["count"] == count, name
    assert {"optimizer", "checkpoint", "log"} <= {name for name, _ in rows}
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)
    assert all(row["seconds"] >= 0 for row in rows.values())


def test_it_is_printed_on_request_and_changes_no_bit(folder):
    with_profile = headscope("run", folder / "c.toml", *OVERRIDES, "--profile", "--out", folder / "with").stdout
    without = headscope("run", folder / "c.toml", *OVERRIDES, "--out", folder / "without").stdout
    assert "where the time went" in with_profile and "attention" in with_profile
    assert "where the time went" not in without
    assert_same_runs(folder / "with", folder / "without")
