"""Runs side by side for the figures of figures_over_runs.py: which belong together, what each logged, and the mean of a
group with its interval."""
import dataclasses
import functools
import math
import pathlib
import re

import numpy as np

import headscope
from figure_data import NoSuchStep, NotLogged, Window, looks, per_head, quietly
from figure_text import shown


@dataclasses.dataclass
class Member:
    """A run of a group."""
    path: pathlib.Path
    seed: int
    overrides: dict | None  # of a sweep's axes; None for runs that were named one by one
    settings: dict          # key -> value, every key of the config
    metrics: list           # names that were logged
    group: int = 0


@dataclasses.dataclass
class Curve:
    """A quantity of one run over the steps."""
    step: np.ndarray
    values: np.ndarray
    units: str
    group: int = 0


@dataclasses.dataclass(frozen=True)
class Interval:
    """At each step, over the runs that have a number there."""
    step: np.ndarray
    mean: np.ndarray
    half: np.ndarray   # of the 95 % Student-t interval; NaN where fewer than two runs have a number
    count: np.ndarray  # of these runs


def share_within(t, degrees):
    """P(|T| < t) of Student's t: the finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(degrees))
    odd, squared = degrees % 2, math.cos(angle) ** 2
    term, total = math.cos(angle) if odd else 1., 0.
    for k in range((degrees - 1) // 2 if odd else degrees // 2):
        total += term
        term *= squared * ((2 * k + 2) / (2 * k + 3) if odd else (2 * k + 1) / (2 * k + 2))
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


@functools.cache
def t_quantile(degrees, share=.95):
    """The t with P(|T| < t) = share, by halving an interval of 0 to 1000 until it is empty in doubles."""
    low, high = 0., 1000.
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if share_within(middle, degrees) < share else (low, middle)
    return high


def interval(curves):
    """The Interval of at least one Curve. Nothing is interpolated: a run counts at the steps where it has a row."""
    steps = np.unique(np.concatenate([curve.step for curve in curves]))
    table = np.full((len(curves), len(steps)), np.nan)
    for row, curve in zip(table, curves):
        row[np.searchsorted(steps, curve.step)] = np.where(np.isfinite(curve.values), curve.values, np.nan)
    there = np.isfinite(table)
    count = there.sum(0)
    known = np.where(there, table, 0)
    mean = known.sum(0) / np.where(count > 0, count, np.nan)
    squares = (np.where(there, table - mean, 0) ** 2).sum(0)
    several = np.where(count > 1, count, 2)
    quantile = np.array([t_quantile(int(n) - 1) for n in several])
    half = quantile * np.sqrt(squares / (several - 1) / several)
    return Interval(steps, mean, np.where(count > 1, half, np.nan), count)


# --- what a log holds, as one number per row ---

def split_quantity(logged, name):
    """A metric of `logged`, a log or names, and how it is reduced: "overlap/max" as ("overlap", "max"),
    "grad_norm[0.1]" as ("grad_norm", (0, 1)), any metric as (name, "mean"), as `compare --metric` has them."""
    if name not in logged:
        if found := re.fullmatch(r"(.+)/(mean|max|min)", name):
            return found[1], found[2]
        if found := re.fullmatch(r"(.+)\[(\d+)\.(\d+)\]", name):
            return found[1], (int(found[2]), int(found[3]))
    return name, "mean"


REDUCTIONS = {"mean": np.nanmean, "max": np.nanmax, "min": np.nanmin}


def curve_of(log, name):
    """The Curve of a quantity. Raises NotInLog, NotLogged, NoSuchStep."""
    metric, reduction = split_quantity(log, name)
    series = log.series(metric)
    if "value_labels" in series.attrs:
        raise NotLogged(f"{metric} is a code, of which there is no mean; the figure roles shows it")
    if series.values.ndim == 1:
        return Curve(series.step, series.values.astype(float), series.units)
    rows = len(series.values)
    if "layer" not in series.dims or "head" not in series.dims:
        values = series.values.astype(float).reshape(rows, -1)
    else:
        values = per_head(series)
        if isinstance(reduction, tuple):
            layer, head = reduction
            if layer >= values.shape[1] or head >= values.shape[2]:
                raise NotLogged(f"there is no head {layer}.{head}")
            values, reduction = values[:, layer, head], "mean"
        values = values.reshape(rows, -1)
    return Curve(series.step, quietly(REDUCTIONS[reduction], values, 1), series.units)


def role_names(log):
    """Of all codes, in their order."""
    return log.series("role", slice(0, 0)).attrs["value_labels"].split(", ")


def shares_of_roles(log):
    """Role -> Curve of the share of heads that have it."""
    role = log.series("role")
    codes = role.values.reshape(len(role.values), -1) if len(role.values) else role.values[:, 0]
    return {name: Curve(role.step, (codes == code).mean(1), "1") for code, name in enumerate(role_names(log))}


# --- which runs belong together ---

def flattened(table, prefix=""):
    """Every key of a config, "model.num_heads" -> value."""
    flat = {}
    for key, value in table.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


# What makes no other run: its name, its seed, and what is written down of it.
NOT_COMPARED = re.compile(r"(name|seed|eval\.every|(log|checkpoint)\..*)")
DATA_PATH = re.compile(r"task\.(absolute_)?(\w+_)?path")


def settings_of(log):
    """The config by which runs are told apart. Data are known by their digest, wherever they are."""
    flat = {key: value for key, value in flattened(log.settings()).items() if not NOT_COMPARED.fullmatch(key)}
    if "data_sha256" in log.attrs:
        flat = {key: value for key, value in flat.items() if not DATA_PATH.fullmatch(key)}
        flat["data"] = str(log.attrs["data_sha256"])[:12] or "drawn"
    if log.attrs.get("lineage"):
        flat[str(log.attrs["lineage"])] = f"{str(log.attrs['parent_config'])[:8]}@{log.attrs['parent_step']}"
    return flat


def typed(value):
    """As one types it in a config."""
    if value is None:
        return "unset"
    return str(value).lower() if isinstance(value, bool) else str(value)


def in_order(value):
    """Key to sort values by: unset, numbers by size, texts."""
    if value is None:
        return 0, 0, ""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (1, value, "") if number else (2, 0, str(value))


def short_keys(keys):
    """The last part of each key, or all of it where another ends in the same."""
    ends = [key.rpartition(".")[2] for key in keys]
    return [end if ends.count(end) == 1 else key for key, end in zip(keys, ends)]


UNREADABLE = (OSError, KeyError, ValueError, IndexError)  # what reading a damaged log raises


class Group:
    """Runs that differ in the seed alone. `look`: (colour, line style), the same in every figure."""

    def __init__(self, label, look):
        self.label, self.look, self.members = label, look, []


class Runs:
    """Runs side by side. `paths`: one folder of a sweep, or any of runs and sweeps. Of a sweep the groups are the
    combinations of its axes but for the seed; of runs named one by one those of the config keys that differ.

    `notes`: what there is to say of runs that are not finished. `failed`: path -> exception of those that could not be
    read; `lacking`: (path, exception) of those of which something could not. Raises OSError for a sweep whose manifest
    cannot be read."""

    def __init__(self, paths, steps=(None, None)):
        self.window, self.notes, self.failed, self.lacking = steps, [], {}, []
        paths = [pathlib.Path(path) for path in ([paths] if isinstance(paths, (str, pathlib.Path)) else paths)]
        sweeps = [headscope.Sweep(path) if is_sweep(path) else None for path in paths]
        self.sweep = sweeps[0] if len(paths) == 1 else None
        entries = []
        for path, sweep in zip(paths, sweeps):
            entries += sweep.entries if sweep else [path]
        self.members, self.names = [], set()
        self._read(entries)
        self._group()

    def _read(self, entries):
        waiting, unfinished = [], []
        for entry in entries:
            listed = isinstance(entry, headscope.SweepRun)
            path = entry.path if listed else entry
            if listed and entry.state != "finished" and not entry.has_log:
                waiting.append(f"{path} ({entry.state})")
                continue
            if not listed and path.is_dir() and not (path / "log.h5").exists():  # of a pattern such as runs/*
                self.notes.append(f"{path}: no log.h5, so no run: left out")
                continue
            try:
                with headscope.Run(path) as log:
                    if log.attrs.get("lineage") == "replay":
                        self.notes.append(f"{path}: a replay, no run of its own: left out")
                        continue
                    self.members.append(Member(path, log.seed, entry.overrides if listed else None, settings_of(log),
                                               log.metrics()))
                    self.names.add(str(log.settings()["name"]))
                    state = entry.state if listed else log.state
                    if state == "running" and not listed and not log.alive:
                        state = "stopped"
                    if state != "finished":
                        unfinished.append(f"{path} ({state}, {last_step(log)})")
            except Exception as error:  # one run that cannot be read costs only itself
                self.failed[path] = error
        if unfinished:
            self.notes.append(f"not finished, used as far as they go: {', '.join(unfinished)}")
        if waiting:
            self.notes.append(f"without a log yet, left out: {', '.join(waiting)}")

    def _group(self):
        if self.sweep:
            keys = [key for key, values in self.sweep.axes.items() if key != "seed" and len(values) > 1]
            rows = [tuple(entry.overrides.get(key) for key in keys) for entry in self.sweep.entries]
            every = list(dict.fromkeys(rows))  # also of runs that are still waiting: no group's colour changes

            def values_of(member):
                return tuple(member.overrides.get(key) for key in keys)
        else:
            met = dict.fromkeys(key for member in self.members for key in member.settings)
            keys = [key for key in met
                    if any(member.settings.get(key) != self.members[0].settings.get(key) for member in self.members)]

            def values_of(member):
                return tuple(member.settings.get(key) for key in keys)
            every = []
            for member in self.members:
                if values_of(member) not in every:
                    every.append(values_of(member))
            every.sort(key=lambda values: [in_order(value) for value in values])
        short = short_keys(keys)
        labels = [shown(", ".join(f"{key}={typed(value)}" for key, value in zip(short, values))) for values in every]
        self.groups = [Group(label or "all runs", look) for label, look in zip(labels, looks(len(labels)))]
        for member in self.members:
            member.group = every.index(values_of(member))
            group = self.groups[member.group]
            twin = next((other for other in group.members if other.seed == member.seed), None)
            if twin:
                self.notes.append(f"{member.path} has the config and the seed of {twin.path}: counted once")
            else:
                group.members.append(member)
        self.members = [member for group in self.groups for member in group.members]

    @property
    def title(self):
        """Whose figures these are."""
        used = sum(bool(group.members) for group in self.groups)
        name = f"sweep {self.sweep.name}" if self.sweep else ", ".join(sorted(self.names))
        groups = f" in {used} groups" if used > 1 else ""
        return shown(f"{name}: {len(self.members)} run{'s' * (len(self.members) != 1)}{groups}")

    def metrics(self):
        """Names that any run logged, in the order in which they are met."""
        return list(dict.fromkeys(name for member in self.members for name in member.metrics))

    def logs(self, name):
        """Did any run log that quantity?"""
        metrics = self.metrics()
        return split_quantity(metrics, name)[0] in metrics

    def each(self):
        """(Member, log) of every run, opened one after the other; the log has only the steps of the window."""
        for member in self.members:
            if member.path in self.failed:
                continue
            try:
                log = headscope.Run(member.path)
            except Exception as error:  # as in _read(): it was damaged, or removed, meanwhile
                self.failed[member.path] = error
                continue
            with log:
                yield member, Window(log, *self.window)

    def gather(self, read):
        """(Member, `read`(log)) of each run that has what `read` looks for. A run of which that cannot be read costs
        only itself. Raises NoSuchStep when no run has a row within the steps."""
        found, outside = [], None
        for member, log in self.each():
            try:
                made = read(log)
            except headscope.NotInLog:
                continue
            except NoSuchStep as error:
                outside = error
                continue
            except UNREADABLE as error:
                self.lacking.append((member.path, error))
                continue
            found.append((member, made))
        if not found and outside:
            raise outside
        return found


def last_step(log):
    """How far a run's log goes, in words."""
    steps = [int(log.steps(name)[-1]) for name in ("train/loss", "eval/loss") if name in log and len(log.steps(name))]
    return f"step {max(steps)}" if steps else "no rows yet"


def is_sweep(path):
    path = pathlib.Path(path)
    return path.name == headscope.Sweep.file_name or (path / headscope.Sweep.file_name).exists()
