"""scripts/headscope.py: gives what h5py reads from the file, with names of axes; several runs side by side."""

import re
import shutil
import subprocess
import sys
import time
import tomllib

import h5py
import numpy as np
import pytest

from cli_tools import SOURCE, headscope as run_headscope, start, write_config, write_tokens

sys.path.insert(0, str(SOURCE / "scripts"))
import headscope  # noqa: E402

# Distinct sizes: 2 layers, 3 heads, 4 projections, 5 samples, 12 positions.
SHORT = ["model.num_layers=2", "model.num_heads=3", "model.d_model=24", "task.seq_len=12", "task.far=5",
         "train.steps=12", "train.batch_size=6", "eval.every=6", "eval.batches=2", "log.every=3",
         "log.probes.grad_norm=4", "log.probes.attention_entropy=6", "log.probes.overlap=6", "log.attention=6",
         "log.attention_samples=5"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs a-s0, a-s1 and b-s1, which differ in learning rate."""
    folder = tmp_path_factory.mktemp("runs")
    for name, seed, lr in (("a", 0, 1e-3), ("a", 1, 1e-3), ("b", 1, 1e-2)):
        run_headscope("run", SOURCE / "experiments" / "configs" / "lag_mixture.toml", *SHORT, f"seed={seed}",
                      f"optimizer.lr={lr}", "--out", folder / f"{name}-s{seed}")
    return folder


def test_series(folder):
    with headscope.open(folder / "a-s1") as run, h5py.File(folder / "a-s1" / "log.h5") as log:
        assert run.seed == 1 and run.attrs["run_id"] == log.attrs["run_id"]
        assert "seed = 1" in run.config
        assert run.floors() == {name: value[()] for name, value in log["task/floors"].items()} and run.floors()
        loss = run.series("eval/loss")
        assert loss.dims == ("step",) and loss.units == "nat/token" and list(loss.step) == [0, 6, 12]
        assert np.array_equal(loss.values, log["eval/loss"])
        norm = run.series("grad_norm")
        assert norm.dims == ("step", "layer", "head", "projection") and norm.values.shape == (3, 2, 3, 4)
        assert np.array_equal(norm.values, log["heads/grad_norm/value"])
        assert list(norm.coords["projection"]) == ["q", "k", "v", "o"]


def test_what_resume_changed(folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder / "a-s1", run)
    with headscope.open(run) as log:
        assert log.settings(3) == log.settings()
    run_headscope("resume", run, "train.steps=18", "eval.every=9", "log.probes.overlap=", "log.probes.role=3")
    with headscope.open(run) as log:
        assert log.settings(12) == log.settings() and log.settings()["train"]["steps"] == 18
        before = log.settings(11)
        assert before["train"]["steps"] == 12 and before["eval"] == {"every": 6, "batches": 2, "patience": 0}
        assert before["log"]["probes"]["overlap"] == 6 and "overlap" not in log.settings()["log"]["probes"]
        assert before["model"] == log.settings()["model"]


def test_whether_a_run_is_alive(folder, tmp_path):
    run = tmp_path / "run"
    process = start("run", SOURCE / "experiments" / "configs" / "lag_mixture.toml", "train.steps=1000000", "--out", run)
    try:
        while process.poll() is None and not (run / "log.h5").exists():
            time.sleep(0.01)
        with headscope.open(run) as log:
            assert log.state == "running" and log.alive is True
    finally:
        process.kill()
        process.wait()
    with headscope.open(run) as log:
        assert log.state == "running" and log.alive is False
    with headscope.open(folder / "a-s1" / "log.h5") as log:
        assert log.state == "finished" and log.alive is False


def test_what_a_series_says_of_itself(folder):
    with headscope.open(folder / "a-s1") as run, h5py.File(folder / "a-s1" / "log.h5") as log:
        overlap, value = run.series("heads/overlap"), log["heads/overlap/value"]
        assert overlap.dims == run.dims("overlap") == ("step", "layer", "projection", "head", "head_other")
        assert overlap.long_name == value.attrs["long_name"] == overlap.attrs["long_name"]
        for name in ("formula", "source", "null_mean", "null_std", "minimum", "maximum"):
            assert overlap.attrs[name] == value.attrs[name]
        assert not {name for name in overlap.attrs if name.isupper()}
        array = overlap.to_xarray()
        assert array.sel(step=6, layer=1, projection="k", head=0, head_other=2) == value[1, 1, 1, 0, 2]
        assert list(run.steps("overlap")) == [0, 6, 12]
        row = run.series("overlap", slice(1, 2))
        assert list(row.step) == [6] and np.array_equal(row.values, value[1:2])


def test_every_metric_equals_h5py(folder):
    with headscope.open(folder / "a-s0") as run, h5py.File(folder / "a-s0" / "log.h5") as log:
        names = run.metrics()
        assert {"train/loss", "eval/accuracy", "parameters/norm", "grad_norm", "overlap"} <= set(names)
        data = run.dataset()
        for name in names:
            path = name if name in log and isinstance(log[name], h5py.Dataset) else f"heads/{name}/value"
            series = run.series(name)
            assert name in run and np.array_equal(series.values, log[path])
            assert np.array_equal(series.step, log[path.rsplit("/", 1)[0] + "/step"])
            rows = data[name.replace("/", "_")].sel(step=series.step).transpose(*series.dims)
            assert np.array_equal(rows, series.values)
        assert list(run.series("parameters/norm").coords["name"]) == list(log["parameters/name"].asstr())


def test_attention_maps(folder):
    with headscope.open(folder / "a-s0") as run, h5py.File(folder / "a-s0" / "log.h5") as log:
        maps = run.series("attention/weights", slice(1, 2))
        assert maps.dims == ("step", "sample", "layer", "head", "query", "key")
        assert maps.values.shape == (1, 5, 2, 3, 12, 12) and np.array_equal(maps.values[0], log["attention/weights"][1])
        assert np.array_equal(run.tokens(), log["attention/tokens"]) and run.vocabulary() == []
        assert "attention/weights" not in run.metrics() and "attention/tokens" not in run


def test_run(folder):
    with headscope.open(folder / "a-s1") as run, h5py.File(folder / "a-s1" / "log.h5") as log:
        assert run.state == "finished" and run.run_id == log.attrs["run_id"]
        assert run.settings() == tomllib.loads(log["config/resolved"].asstr()[()])
        assert run.settings()["optimizer"]["lr"] == 1e-3
        assert run.references() == {"bag": log["task/references/bag"][()]}
        assert run.events() == []
    assert headscope.open(run) is run


def test_models_of_a_text_are_references(tmp_path):
    (tmp_path / "text.txt").write_text("the rain in spain stays mainly in the plain " * 20)
    (tmp_path / "c.toml").write_text('name = "x"\n[task]\ntype = "text"\npath = "text.txt"\nseq_len = 8\n')
    run_headscope("run", "c.toml", "model.d_model=8", "model.num_heads=2", "train.steps=2", "--out", "run",
                  cwd=tmp_path)
    with headscope.open(tmp_path / "run") as run, h5py.File(tmp_path / "run" / "log.h5") as log:
        there = {name: value[()] for name, value in log["task/floors"].items()}
        assert set(there) == {"unigram", "bigram"} and run.references() == there and run.floors() == {}
    shown = run_headscope("inspect", "run", cwd=tmp_path).stdout
    assert "reference bigram" in shown and "floor" not in shown
    ablated = run_headscope("ablate", "run", cwd=tmp_path).stdout
    assert "  reference bigram  " in ablated and "  floor " not in ablated


def test_unseen_characters_of_a_text(tmp_path):
    (tmp_path / "text.txt").write_text("abcde" * 18 + "abzzcdyabc")
    (tmp_path / "c.toml").write_text('name = "x"\n[task]\ntype = "text"\npath = "text.txt"\nseq_len = 4\n')
    said = "text: 2 different characters of the held-out part, 3 of its 10, never occur in the training part"
    assert run_headscope("check", "c.toml", cwd=tmp_path).stderr.count(said) == 1
    ran = run_headscope("run", "c.toml", "model.d_model=8", "model.num_heads=2", "train.steps=2", "--out", "run",
                        cwd=tmp_path)
    assert ran.stderr.count(said) == 1
    with h5py.File(tmp_path / "run" / "log.h5") as log:
        assert (log["task/unseen_characters"][()], log["task/unseen_occurrences"][()]) == (2, 3)
        assert log["task/unseen_characters"].attrs["units"] == "1"


def test_events(folder, tmp_path):
    write_tokens(tmp_path / "train.h5", 2, 4, 6, 9, seed=1)
    config = write_config(tmp_path / "c.toml", tmp_path / "train.h5", 9, 6)
    run_headscope("run", config, "model.d_model=8", "model.num_heads=2", "train.steps=2", "--out", tmp_path / "run")
    run_headscope("resume", tmp_path / "run", "train.steps=4")
    with headscope.open(tmp_path / "run") as run:
        event = run.events()[0]
        assert (event.step, event.kind) == (2, "resume") and event.time > 1.7e9 and isinstance(event.message, str)
        assert run.floors() == run.references() == {}
        with pytest.raises(KeyError, match="log.attention = N"):
            run.tokens()


def test_words(tmp_path):
    (tmp_path / "text.txt").write_text("猫 é sat\n" * 200, encoding="utf-8")
    run_headscope("run", SOURCE / "experiments" / "configs" / "kjv.toml", f"task.path={tmp_path / 'text.txt'}",
                  "task.seq_len=7", "model.num_heads=2", "model.num_layers=1", "model.d_model=8", "model.d_ff=0",
                  "train.steps=0", "--out", tmp_path / "run")
    with headscope.open(tmp_path / "run") as run, h5py.File(tmp_path / "run" / "log.h5") as log:
        assert run.vocabulary() == [word.decode() for word in log["task/vocabulary"]]
        assert run.vocabulary()


def test_ablation(folder):
    run_headscope("ablate", folder / "a-s0")
    with headscope.open(folder / "a-s0" / "ablation.h5") as results, h5py.File(folder / "a-s0" / "ablation.h5") as file:
        assert results.run_id == headscope.open(folder / "a-s0").run_id
        delta = results.series("delta")
        assert delta.dims == ("step", "layer", "head", "ablation") and delta.units == "nat/token"
        assert list(delta.coords["ablation"]) == ["zero", "mean", "resample"]
        assert np.array_equal(delta.values, file["delta"])
        data = results.dataset()
        assert data["control_delta"].sel(step=12, layer=1, head=2, ablation="mean") == file["control_delta"][0, 1, 2, 1]
        with pytest.raises(KeyError, match="no delt; the nearest are .*delta"):
            results.series("delt")
    with pytest.raises(OSError, match="no headscope.log file"):
        headscope.Run(folder / "a-s0" / "ablation.h5")


def test_not_logged(folder):
    run = headscope.open(folder / "a-s0" / "log.h5")
    for name, message in (("copying", "it has .*eval/loss.*grad_norm.*log.probes.copying = N"),
                          ("heads/copying", "log.probes.copying = N"), ("grad_nrm", "the nearest are grad_norm"),
                          ("evl/loss", "the nearest are eval/loss"), ("eval/nothing", "has no eval/nothing"),
                          ("", "it has .*eval/loss.*grad_norm"), ("eval/", "has no eval/"), ("train/step", "has no")):
        assert name not in run
        with pytest.raises(KeyError, match=message) as caught:
            run.series(name)
        assert not str(caught.value).startswith(("'", '"')), "the message, not its repr"
    for name, key in (("copying", "log.probes.copying"), ("eval/nothing", None)):
        with pytest.raises(headscope.NotInLog) as caught:
            run.steps(name)
        assert caught.value.key == key


def test_without_xarray(folder):
    """numpy and h5py are enough for series; what needs xarray says how to get it."""
    program = f"""
import sys
sys.modules["xarray"] = sys.modules["pandas"] = None
sys.path.insert(0, {str(SOURCE / "scripts")!r})
import headscope
run = headscope.open({str(folder / "a-s0")!r})
assert len(run.series("eval/loss").values) == 3
for use in (run.dataset, run.series("eval/loss").to_xarray, lambda: headscope.runs({str(folder / "a-*")!r})):
    try:
        use()
    except ImportError as error:
        assert "apt-get install python3-xarray" in str(error), error
    else:
        sys.exit("no error")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_only_the_reader_knows_paths_inside_a_log():
    inside = re.compile(r"""["'][^"' ]*(\b(heads|task|config|events)/|/(value|step)\b)|h5py\.File\(|\[f?"[a-z_]+/""")
    for name in ("plot.py", "figures.py", "figure_data.py", "figure_parts.py", "figure_text.py", "step_axis.py"):
        lines = (SOURCE / "scripts" / name).read_text().splitlines()
        assert not [line for line in lines if inside.search(line)], name
    assert inside.search((SOURCE / "scripts" / "headscope.py").read_text()), "the pattern finds what it looks for"


def test_dataset(folder):
    run = headscope.open(folder / "a-s0")
    data = run.dataset(["eval/loss", "grad_norm"])
    assert list(data.step) == [0, 4, 6, 8, 12]
    assert data["eval_loss"].sel(step=6) == run.series("eval/loss").values[1] and np.isnan(data["eval_loss"].sel(step=4))
    assert data["grad_norm"].sel(step=8, layer=1, head=2, projection="v") == run.series("grad_norm").values[2, 1, 2, 2]
    assert data["grad_norm"].attrs["units"] == "1" and data.attrs["state"] == "finished" and "units" not in data.attrs


def test_runs(folder):
    data = headscope.runs(folder / "*")
    assert data["grad_norm"].dims == ("run", "seed", "step", "layer", "head", "projection")
    assert list(data.run) == ["a", "b"] and list(data.seed) == [0, 1]
    for name, seed in (("a", 0), ("a", 1), ("b", 1)):
        loss = headscope.open(folder / f"{name}-s{seed}").series("train/loss")
        assert np.array_equal(data["train_loss"].sel(run=name, seed=seed, step=loss.step), loss.values)
    assert np.isnan(data["train_loss"].sel(run="b", seed=0)).all()
    with pytest.raises(FileNotFoundError):
        headscope.runs(folder / "c*")
    some = headscope.runs([folder / "b-s1", folder / "a-s0"], ["eval/loss"])
    assert some["eval_loss"].dims == ("run", "seed", "step") and set(some.run.values) == {"a", "b"}
    with pytest.raises(FileNotFoundError):
        headscope.runs([folder / "a-s0", folder / "a-s7"])


def test_damaged(folder, tmp_path):
    content = bytearray((folder / "a-s0" / "log.h5").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "log.h5").write_bytes(content)
    with pytest.raises(OSError, match="damaged"):
        headscope.open(tmp_path)
