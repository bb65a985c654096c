"""Reads the logs of runs: the Python counterpart of experiments/storage/log_reader.h. Needs numpy and h5py; dataset(),
runs() and to_xarray() also need xarray.

    import sys; sys.path.append("scripts")
    import headscope
    run = headscope.open("runs/lag_mixture-s0")
    loss = run.series("eval/loss")                    # loss.step, loss.values, loss.units
    overlap = run.series("overlap")                   # values [step, layer, projection, head, head_other]
    entropy = run.dataset()["attention_entropy"]      # xarray, with names of axes and units
    seeds = headscope.runs("runs/lag_mixture-*")      # dims run and seed come first
    sweep = headscope.Sweep("runs/lag_mixture-sweep") # sweep.axes, sweep.entries, sweep.runs()
"""
import contextlib
import dataclasses
import difflib
import fcntl
import glob
import hashlib
import io
import json
import os
import pathlib
import re
import struct
import tomllib

import h5py
import numpy as np

GROUPS = ("train", "eval", "parameters", "attention")  # each with a step axis that its datasets share


class NotInLog(KeyError):
    """The log holds no such metric. `key` is the config key that makes a run log it ("log.probes.overlap"), or None."""

    def __init__(self, message, key=None):
        super().__init__(message)
        self.key = key

    def __str__(self):  # KeyError alone shows the repr
        return self.args[0]


def open_file(path, schemas=("headscope.log",)):
    """The HDF5 file at `path`, open for reading, as h5py.File. It is read whole first, so a run may go on writing.

    The last line of our files is a checksum; HDF5 does not check what it parses, and damage can crash it. A file that
    another tool has rewritten has no such line and is read as it is. Raises OSError for a damaged file and for one
    whose schema_name is none of `schemas`."""
    if pathlib.Path(path).exists() and not pathlib.Path(path).is_file():  # a FIFO would be waited for
        raise OSError(f"{path}: is not a file")
    for _ in range(5):
        before = os.stat(path).st_ino
        content = pathlib.Path(path).read_bytes()
        tail = read_tail(f"{path}.tail")
        if os.stat(path).st_ino == before:
            break  # else it was published meanwhile, and took the tail in
    seal = re.search(rb"\nheadscope log sha256 ([0-9a-f]{64})\n\Z", content[-100:])
    if seal and hashlib.sha256(content[:-len(seal[0])]).hexdigest() != seal[1].decode():
        raise OSError(f"{path}: damaged: its checksum does not fit its contents")
    try:
        file = h5py.File(io.BytesIO(content), "r+" if tail else "r")
    except OSError as error:
        raise OSError(f"{path}: no HDF5 file, or damaged: {error}")
    if tail and file.attrs.get("publication") == tail[0]:
        for block in tail[1]:
            _add_rows(file, block)
    if file.attrs.get("schema_name") not in schemas:
        name = file.attrs.get("schema_name", "missing")
        raise OSError(f"{path}: no {' or '.join(schemas)} file: attribute schema_name is {name}")
    return file


def read_tail(path):
    """(publication, [HDF5 file as bytes, ...]) of the tail of a log: rows that are newer than the log of that publication.
    None when there is no tail. experiments/storage/log_tail.h tells the format."""
    try:
        content = pathlib.Path(path).read_bytes()
    except FileNotFoundError:
        return None
    title = re.match(rb"headscope log tail of publication (\d+)\n", content)
    if not title:
        return None
    blocks, at = [], title.end()
    while header := re.compile(rb"rows (\d+) ([0-9a-f]{64})\n").match(content, at):
        block = content[header.end():header.end() + int(header[1])]
        if hashlib.sha256(block).hexdigest() != header[2].decode():
            break  # a process was killed while it wrote, or still writes
        blocks.append(block)
        at = header.end() + len(block)
    return int(title[1]), blocks


def _add_rows(log, block):
    with h5py.File(io.BytesIO(block), "r") as rows:
        def add(path, item):
            if isinstance(item, h5py.Dataset):
                log[path].resize(len(log[path]) + len(item), axis=0)
                log[path][len(log[path]) - len(item):] = item[()]

        rows.visititems(add)
        log.attrs["complete_until"] = rows.attrs["complete_until"]


def config_key(metric):
    """The config key that makes a run log `metric`; None for what is logged without one, such as "train/loss"."""
    group, _, name = metric.rpartition("/")
    if group in ("", "heads") and name:
        return f"log.probes.{name}"
    return "log.attention" if metric == "attention/weights" else None


def _xarray():
    try:
        import xarray
    except ImportError as error:
        raise ImportError("this needs xarray: apt-get install python3-xarray") from error
    return xarray


@dataclasses.dataclass(frozen=True)
class Series:
    """A logged quantity over the steps."""
    name: str
    step: np.ndarray    # int64 [rows]; row s describes the weights after s updates
    values: np.ndarray  # [rows, ...]; NaN: not measured
    dims: tuple         # ("step", ...)
    coords: dict        # labels of each further axis that has any: layer, head, projection, ...
    units: str
    long_name: str
    attrs: dict         # these two and all else that the log says of it: formula, null_mean, value_labels, ...

    def to_xarray(self):
        """The same as an xarray.DataArray. Raises ImportError without xarray."""
        return _xarray().DataArray(self.values, dims=self.dims, coords={"step": self.step, **self.coords},
                                   attrs=self.attrs, name=self.name.replace("/", "_"))


@dataclasses.dataclass(frozen=True)
class Event:
    step: int
    time: int  # seconds since 1970
    kind: str
    message: str


def _read(dataset, rows=()):
    return dataset.asstr()[rows] if h5py.check_string_dtype(dataset.dtype) else dataset[rows]


def _has_rows(item):
    """Whether an item of a group is a dataset whose first axis is the step."""
    return isinstance(item, h5py.Dataset) and item.ndim > 0 and item.dims[0].label == "step"


class File:
    """What log.h5 and ablation.h5 have in common. `log` is the open h5py.File; close() or a with statement closes
    it."""

    schema = None

    def __init__(self, path, log=None):
        """`log`: the h5py.File of that path, if it is open already. Raises OSError as open_file() does."""
        self.path = pathlib.Path(path)
        self.path = self.path / "log.h5" if self.path.is_dir() else self.path
        self.log = open_file(self.path, (self.schema,)) if log is None else log

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
    def run_id(self):
        return self.log.attrs["run_id"]

    def _paths(self, metric):
        """Group and name of the metric's dataset. The group holds its step axis and its labels, too."""
        raise NotImplementedError

    def _dataset(self, metric):
        group, name = self._paths(metric)
        dataset = self.log.get(f"{group}/{name}") if name else None
        if not _has_rows(dataset) or f"{group}/step" not in self.log:
            names = self.metrics()
            nearest = difflib.get_close_matches(metric.removeprefix("heads/"), names, 4, .5)
            has = f"the nearest are {', '.join(nearest)}" if nearest else f"it has {', '.join(names) or 'none'}"
            key = config_key(metric) if self.schema == Run.schema else None
            probe = "if there is such a probe, " if key != config_key("attention/weights") else ""
            how = f"; {probe}{key} = N in the config logs it every N steps" if key else ""
            raise NotInLog(f"{self.path} has no {metric or 'metric without a name'}; {has}{how}", key)
        return group, dataset

    def __contains__(self, metric):
        try:
            self._dataset(metric)
        except NotInLog:
            return False
        return True

    def steps(self, metric):
        """int64 [rows]: the steps of its rows. Raises NotInLog."""
        group, _ = self._dataset(metric)
        return self.log[f"{group}/step"][()]

    def dims(self, metric):
        """Names of its axes, ("step", ...), without reading its values. Raises NotInLog."""
        _, dataset = self._dataset(metric)
        return ("step", *(axis.label or (axis[0].name.rsplit("/", 1)[-1] if len(axis) else f"axis_{index}")
                          for index, axis in enumerate(dataset.dims) if index > 0))

    def series(self, metric, rows=slice(None)):
        """The Series of a metric, by a name of metrics(). `rows`, a slice: only these rows are read.

        Raises NotInLog, a KeyError, when it was not logged: the message tells the nearest names, or all, and which
        config key logs it. Raises OSError when values and steps differ in number."""
        group, dataset = self._dataset(metric)
        dims, steps = self.dims(metric), self.steps(metric)
        if len(steps) != len(dataset):
            raise OSError(f"{self.path}: {metric} has {len(dataset)} values for {len(steps)} steps")
        coords = {dim: _read(self.log[f"{group}/{dim}"]) for dim in dims[1:] if f"{group}/{dim}" in self.log}
        hidden = ("CLASS", "NAME", "DIMENSION_LIST", "DIMENSION_LABELS", "REFERENCE_LIST")  # of HDF5 dimension scales
        attrs = {name: value for name, value in dataset.attrs.items() if name not in hidden}
        return Series(metric, steps[rows], _read(dataset, rows), dims, coords, str(attrs.get("units", "")),
                      str(attrs.get("long_name", "")), attrs)

    def dataset(self, metrics=None):
        """An xarray.Dataset of `metrics` (default: those of metrics()), joined over the steps: NaN where one has no
        row. "train/loss" is the variable train_loss. Raises NotInLog, and ImportError without xarray."""
        arrays = [self.series(name).to_xarray() for name in (self.metrics() if metrics is None else metrics)]
        return _xarray().Dataset({array.name: array for array in arrays}, attrs=self.attrs)


class Run(File):
    """The log of one run. `path`: its folder, or its log.h5."""

    schema = "headscope.log"

    @property
    def seed(self):
        return int(self.log.attrs["seed"])

    @property
    def state(self):
        """"running", "finished" or "failed": what the run said last. A killed one says "running"; see alive."""
        return self.log.attrs["state"]

    @property
    def alive(self):
        """Does a process train in the run's folder? True, False, or None when the folder cannot be opened. Takes no
        lock. Processes on other machines are not seen."""
        return _is_locked(self.path.parent)

    @property
    def config(self):
        """The whole config as TOML, every key written out."""
        return _read(self.log["config/resolved"])

    def settings(self, step=None):
        """The same as a dict: settings()["train"]["steps"]. With `step`: as it held there, if `resume` changed it."""
        settings = tomllib.loads(self.config)
        history = tomllib.loads(_read(self.log["config/history"])) if "config/history" in self.log else {}
        if step is None or not history:
            return settings
        held = [part for part in history["from"] if part["step"] <= step] or history["from"][:1]
        settings["log"].pop("probes", None)
        for line in held[-1]["set"]:
            *tables, key = line.partition("=")[0].split(".")
            table, value = settings, tomllib.loads(line)
            for name in tables:
                table, value = table.setdefault(name, {}), value[name]
            table[key] = value[key]
        return settings

    def floors(self):
        """Name -> the loss (nat per token) that a model which knows only that part of the rule cannot get below."""
        return self._losses("floors", "floor", "floor")

    def references(self):
        """Name -> loss (nat per token) to compare with that is no floor."""
        return self._losses("floors", "floor", "reference") | self._losses("references", "reference", "reference")

    def _losses(self, group, own, kind):
        """Those of a group that are of that kind; earlier logs do not say, and theirs are of kind `own`."""
        return {name: float(value[()]) for name, value in self.log.get(f"task/{group}", {}).items()
                if value.attrs.get("kind", own) == kind}

    def events(self):
        """A list of Event, in the order in which they happened: the run was resumed, ..."""
        if "events" not in self.log:
            return []
        columns = [_read(self.log[f"events/{field.name}"]) for field in dataclasses.fields(Event)]
        return [Event(int(step), int(time), kind, message) for step, time, kind, message in zip(*columns)]

    def tokens(self):
        """int64 [sample, position]: the sequences whose attention maps were logged. Raises NotInLog."""
        if "attention/tokens" not in self.log:
            raise NotInLog(f"{self.path} has no attention maps; log.attention = N in the config logs them",
                           config_key("attention/weights"))
        return self.log["attention/tokens"][()]

    def vocabulary(self):
        """The text of each token, in a list; empty when the task has no words."""
        return list(_read(self.log["task/vocabulary"])) if "task/vocabulary" in self.log else []

    def metrics(self):
        """Names that series() takes: "train/loss", "eval/loss", "parameters/norm", ..., then the per-head metrics,
        "overlap", ... It also takes "attention/weights" [step, sample, layer, head, query, key], which is not named
        here: a dataset() of it at the steps of all others would be large."""
        columns = [f"{group}/{name}" for group in GROUPS if group != "attention"
                   for name, item in self.log.get(group, {}).items() if _has_rows(item)]
        return columns + list(self.log.get("heads", {}))

    def _paths(self, metric):
        group, _, name = metric.rpartition("/")
        return (group, name) if group in GROUPS else (f"heads/{metric.removeprefix('heads/')}", metric and "value")


class Ablation(File):
    """The results of `headscope ablate`, an ablation.h5: "delta" [step, layer, head, ablation], ..."""

    schema = "headscope.ablation"

    def metrics(self):
        """Names that series() takes."""
        return [name for name, item in self.log.items() if _has_rows(item)]

    def _paths(self, metric):
        return "", metric


def _is_locked(folder):
    """By a process that trains in it? None when the folder cannot be opened."""
    try:
        folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        wanted = struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # struct flock
        found = fcntl.fcntl(folder, fcntl.F_OFD_GETLK, wanted)
        return struct.unpack_from("@h", found)[0] != fcntl.F_UNLCK
    except OSError:
        return None
    finally:
        os.close(folder)


@dataclasses.dataclass(frozen=True)
class SweepRun:
    """What a sweep's manifest tells of one of its runs."""
    path: pathlib.Path  # its folder
    overrides: dict     # axis -> value, as one types it: {"model.num_heads": "2", "seed": "0"}
    state: str          # "waiting", "running", "stopped", "finished" or "failed"
    exit: int | None    # exit code of the process that trained last
    message: str        # why it failed

    @property
    def has_log(self):
        return (self.path / "log.h5").exists()

    def open(self):
        """The Run. Raises OSError."""
        return Run(self.path)


class Sweep:
    """The runs of a sweep. `path`: its folder, or its manifest.json. Raises OSError when that is missing, damaged or of
    a later schema; experiments/study/manifest.h tells the format."""

    file_name, schema, version = "manifest.json", "headscope.sweep", "1.0"

    def __init__(self, path):
        path = pathlib.Path(path)
        path = path if path.name == self.file_name and not path.is_dir() else path / self.file_name
        if path.exists() and not path.is_file():  # a FIFO would be waited for
            raise OSError(f"{path}: is not a file")
        self.path = path.parent
        try:
            manifest = json.loads(path.read_bytes())
            if (manifest["schema_name"], manifest["schema_version"]) != (self.schema, self.version):
                raise ValueError(f"of schema {manifest['schema_name']} {manifest['schema_version']}")
            self.name, self.config = str(manifest["name"]), str(manifest["config"])
            self.overrides = _assignments(manifest["overrides"])  # of all runs
            self.axes = {axis["key"]: list(axis["values"]) for axis in manifest["axes"]}
            self.zip = bool(manifest["zip"])  # the n-th values of all axes go together, instead of each with each
            self.entries = [self._entry(run) for run in manifest["runs"]]  # a list of SweepRun
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise OSError(f"{path}: is no manifest of a sweep that this version reads: {error}") from error

    def _entry(self, run):
        if not run["folder"] or "/" in run["folder"] or run["folder"].startswith("."):
            raise ValueError(f"the folder {run['folder']!r} is none of a sweep")
        path, state = self.path / run["folder"], str(run["state"])
        # What the manifest says is older than what is on disk: a process that was killed leaves "running" behind.
        if state not in ("waiting", "failed") and not path.exists():
            state = "waiting"
        elif state == "running" and not _is_locked(path):
            state = "stopped"
        return SweepRun(path, _assignments(run["overrides"]), state, run["exit"], str(run["message"]))

    def runs(self):
        """(SweepRun, Run) of each run that has a log, in the manifest's order. A log is opened when its turn comes and
        closed when the next one is asked for, so that a sweep of any size fits into memory. Raises OSError."""
        for entry in self.entries:
            if entry.has_log:
                with entry.open() as run:
                    yield entry, run


def _assignments(lines):
    """["train.steps=500"] as a dict."""
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def open(run):  # as h5py.open or xarray.open: headscope.open(...)
    """The Run in a folder or of a log.h5, or the Ablation of an ablation.h5. Takes a path or an h5py.File that is open;
    a Run or an Ablation is returned as it is. Raises OSError for damaged and foreign files."""
    if isinstance(run, File):
        return run
    kinds = {kind.schema: kind for kind in (Run, Ablation)}
    if isinstance(run, h5py.File):
        return kinds.get(run.attrs.get("schema_name"), Run)(str(run.filename), run)
    path = pathlib.Path(run)
    log = open_file(path / "log.h5" if path.is_dir() else path, tuple(kinds))
    return kinds[log.attrs["schema_name"]](path, log)


def runs(pattern, metrics=None):
    """The runs of a glob pattern, or of a list of folders, side by side: an xarray.Dataset whose first dims are run and
    seed. Folders whose names differ in "-s<seed>" alone share a `run`, named by the rest. `metrics`: as for
    Run.dataset(), default those that every run has. NaN where there is no such seed or no row.

    Raises FileNotFoundError when there is no run, ValueError when two have the same name and seed, NotInLog, and
    ImportError without xarray."""
    xarray = _xarray()
    if isinstance(pattern, (str, pathlib.Path)):
        paths = sorted(path for path in glob.glob(str(pattern)) if pathlib.Path(path, "log.h5").exists())
    else:
        paths = list(pattern)
    if not paths:
        raise FileNotFoundError(f"{pattern}: no folder of a run")
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(Run(path)) for path in paths]
        if metrics is None:
            metrics = [name for name in opened[0].metrics() if all(name in run for run in opened)]
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
    return re.sub(rf"-s{run.seed}\Z", "", run.path.absolute().parent.name)
