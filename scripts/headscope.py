"""Reads the logs of runs: the Python counterpart of experiments/storage/log_reader.h. Needs numpy and h5py; dataset()
and runs() also need xarray.

    import sys; sys.path.append("scripts")
    import headscope
    run = headscope.open("runs/lag_mixture-s0")
    loss = run.series("eval/loss")                    # loss.step, loss.values, loss.units
    overlap = run.series("overlap")                   # values [step, layer, projection, head, head_other]
    entropy = run.dataset()["attention_entropy"]      # xarray, with names of axes and units
    seeds = headscope.runs("runs/lag_mixture-*")      # dims run and seed come first
"""
import dataclasses
import glob
import hashlib
import io
import pathlib
import re

import h5py
import numpy as np

SCALAR_GROUPS = ("train", "eval")


def open_file(path, schema="headscope.log"):
    """The HDF5 file at `path`, open for reading, as h5py.File. It is read whole first, so a run may go on writing.

    The last line of our files is a checksum; HDF5 does not check what it parses, and damage can crash it. A file that
    another tool has rewritten has no such line and is read as it is. Raises OSError for a damaged or foreign file."""
    content = pathlib.Path(path).read_bytes()
    seal = re.search(rb"\nheadscope log sha256 ([0-9a-f]{64})\n\Z", content[-100:])
    if seal and hashlib.sha256(content[:-len(seal[0])]).hexdigest() != seal[1].decode():
        raise OSError(f"{path}: damaged: its checksum does not fit its contents")
    try:
        file = h5py.File(io.BytesIO(content), "r")
    except OSError as error:
        raise OSError(f"{path}: no HDF5 file, or damaged: {error}")
    if file.attrs.get("schema_name") != schema:
        raise OSError(f"{path}: no {schema} file: attribute schema_name is {file.attrs.get('schema_name', 'missing')}")
    return file


@dataclasses.dataclass(frozen=True)
class Series:
    """A logged quantity over the steps."""
    name: str
    step: np.ndarray    # int64 [rows]
    values: np.ndarray  # [rows, ...]
    dims: tuple         # ("step", ...)
    coords: dict        # values of each axis that has any: layer, head, projection, ...
    units: str
    long_name: str


def _texts(values):
    return values.astype(str) if values.dtype.kind in "SO" else values


class Run:
    """The log of one run. `log` is the open h5py.File; close() or a with statement closes it."""

    def __init__(self, path):
        path = pathlib.Path(path)
        self.path = path / "log.h5" if path.is_dir() else path
        self.log = open_file(self.path)

    def close(self):
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def attrs(self):
        """Root attributes: run_id, seed, state, schema_version, ..."""
        return dict(self.log.attrs)

    @property
    def seed(self):
        return int(self.log.attrs["seed"])

    @property
    def config(self):
        """The whole config as TOML, every key written out."""
        return self.log["config/resolved"].asstr()[()]

    def floors(self):
        """Name -> loss (nat per token) of a model that knows that part of the rule."""
        return {name: float(value[()]) for name, value in self.log.get("task/floors", {}).items()}

    def metrics(self):
        """Names that series() takes: "train/loss", ..., then the per-head metrics, "overlap", ..."""
        scalars = [f"{group}/{name}" for group in SCALAR_GROUPS for name in self.log.get(group, {}) if name != "step"]
        return scalars + list(self.log.get("heads", {}))

    def series(self, metric):
        """The Series of a scalar ("eval/loss") or a per-head metric ("overlap"). Raises KeyError when the run has not
        logged it; the message lists what it has."""
        group, _, name = metric.rpartition("/")
        place = group if group in SCALAR_GROUPS else f"heads/{metric}"
        name = name if group in SCALAR_GROUPS else "value"
        if not name or f"{place}/{name}" not in self.log:
            raise KeyError(f"{self.path} has no {metric}; it has {', '.join(self.metrics())}")
        value, step = self.log[f"{place}/{name}"], self.log[f"{place}/step"][()]
        dims = ["step"] + [axis.label or (axis[0].name.rsplit("/", 1)[-1] if len(axis) else f"axis_{index}")
                           for index, axis in enumerate(value.dims) if index > 0]
        coords = {dim: _texts(self.log[f"{place}/{dim}"][()]) for dim in dims[1:] if f"{place}/{dim}" in self.log}
        if len(step) != len(value):
            raise OSError(f"{self.path}: {metric} has {len(value)} values for {len(step)} steps")
        return Series(metric, step, value[()], tuple(dims), coords, str(value.attrs.get("units", "")),
                      str(value.attrs.get("long_name", "")))

    def dataset(self, metrics=None):
        """An xarray.Dataset of `metrics` (default: all that there are), joined over the steps: NaN where one has no row.
        "train/loss" is the variable train_loss."""
        import xarray

        arrays = {}
        for name in self.metrics() if metrics is None else metrics:
            series = self.series(name)
            arrays[name.replace("/", "_")] = xarray.DataArray(
                series.values, dims=series.dims, coords={"step": series.step, **series.coords},
                attrs={"units": series.units, "long_name": series.long_name})
        return xarray.Dataset(arrays, attrs=self.attrs)


def open(path):  # as h5py.open or xarray.open: headscope.open(...)
    """The Run in a folder, or of a log.h5."""
    return Run(path)


def runs(pattern, metrics=None):
    """The runs of a glob pattern side by side: an xarray.Dataset whose first dims are run and seed. Runs that differ
    in their seed alone share a `run`, named by their config's name. `metrics`: as for Run.dataset(), default those that
    every run has. NaN where there is no such seed or no row."""
    import xarray

    paths = sorted(path for path in glob.glob(str(pattern)) if pathlib.Path(path, "log.h5").exists())
    if not paths:
        raise FileNotFoundError(f"{pattern}: no folder of a run")
    opened = [Run(path) for path in paths]
    if metrics is None:
        metrics = [name for name in opened[0].metrics() if all(name in run.metrics() for run in opened)]
    groups = {}
    for run in opened:
        seeds = groups.setdefault(_name_without_seed(run), {})
        if run.seed in seeds:
            raise ValueError(f"{run.path} and another run have the same name and seed {run.seed}")
        seeds[run.seed] = run.dataset(metrics)
    of_names = [xarray.concat([seeds[seed] for seed in sorted(seeds)], _index("seed", sorted(seeds)), join="outer",
                              combine_attrs="drop_conflicts") for seeds in groups.values()]
    joined = xarray.concat(of_names, _index("run", list(groups)), join="outer", combine_attrs="drop_conflicts")
    return joined.transpose("run", "seed", ...)


def _index(name, values):
    import pandas

    return pandas.Index(values, name=name)


def _name_without_seed(run):
    """The folder's name without "-s<seed>" at its end."""
    return re.sub(rf"-s{run.seed}\Z", "", run.path.parent.name)

