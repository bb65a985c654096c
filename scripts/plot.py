#!/usr/bin/python3
"""Draws what a run's log holds: loss against its floors, gradient norms, what each head does, overlap against its null,
attention maps, roles, ablations. Of a sweep, or of several runs: means over seeds with their intervals. Works on runs
that are still training, too. The figures are functions: see figures.py and figures_over_runs.py.

Exit: 0 done (figures whose data were not logged are named, and metrics that no figure shows), 1 a figure failed (the
others are written), 2 usage, 74 damaged or foreign file (of several runs the others are drawn)."""
import argparse
import difflib
import io
import os
import pathlib
import sys
import warnings

try:
    import matplotlib

    from figure_data import NoSuchStep, NotLogged, Window, losses_of_classes, one_number_per_head
    from figure_text import PLAIN_TEXT, shown
    import figures_over_runs
    from figure_runs import Runs, is_sweep
    from figures import (ablation, attention, by_role, circuit_cosine, composition, grad_cosine, grad_norm,
                         grad_norm_by_class, heads, lag_profile, loss, overlap, roles)
    from headscope import Ablation, NotInLog, Run
except ImportError as error:
    if __name__ != "__main__":
        raise
    print(f"plot: {error}; apt-get install python3-h5py python3-matplotlib python3-numpy", file=sys.stderr)
    sys.exit(2)

OVER_TIME = {"loss": loss, "grad_norm": grad_norm, "grad_norm_by_class": grad_norm_by_class, "heads": heads,
             "lag_profile": lag_profile, "roles": roles, "by_role": by_role}
AT_A_STEP = {"overlap": overlap, "grad_cosine": grad_cosine, "circuit_cosine": circuit_cosine,
             "composition": composition, "attention": attention, "ablation": ablation}
NAMES = [*OVER_TIME, *AT_A_STEP]
OVER_RUNS = {"loss": figures_over_runs.loss, "heads": figures_over_runs.heads, "roles": figures_over_runs.roles,
             "by_role": figures_over_runs.by_role}


class Refused(Exception):
    """Ends the program with one line and an exit code."""

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Refused(message, 2)


def nearest(word, words):
    found = difflib.get_close_matches(word, words, 1, .5)
    return f"; did you mean {found[0]}?" if found else ""


def check_names(given, names):
    """Raises Refused for a name that is none of `names`."""
    for name in given:
        if name not in names:
            raise Refused(f"argument --only: invalid choice: {name!r}{nearest(name, names)} (choose from "
                          f"{', '.join(names)})", 2)


def check_metric(name, logged):
    if name is not None and name not in logged:
        raise Refused(f"--metric: {name} was not logged{nearest(name, logged)}", 2)


def steps_within(text):
    """"A:B" as (A, B); None for an open end."""
    first, colon, last = text.partition(":")
    if not colon or not all(end == "" or end.isascii() and end.isdigit() for end in (first, last)):
        raise argparse.ArgumentTypeError(f"{text!r}: give A:B, two steps; 100: or :100 leaves an end open")
    window = tuple(int(end) if end else None for end in (first, last))
    if None not in window and window[0] > window[1]:
        raise argparse.ArgumentTypeError(f"{text!r}: the first step is after the last")
    return window


def arguments(given=None):
    parser = Parser(prog="plot", description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("runs", nargs="+", type=pathlib.Path, metavar="RUN",
                        help="folder of a run, or a log.h5; a sweep or several runs: figures over all of them")
    parser.add_argument("-o", dest="out", type=pathlib.Path, metavar="DIR",
                        help="default: RUN/figures; of several runs in the folder that holds them")
    parser.add_argument("--step", type=int, metavar="N",
                        help=f"of one run's {', '.join(AT_A_STEP)}; default: the last one")
    parser.add_argument("--steps", type=steps_within, metavar="A:B", default=(None, None),
                        help="draw only rows of steps A to B, both included; A: and :B leave an end open")
    parser.add_argument("--log-steps", action="store_true",
                        help="a logarithmic step axis: step s is drawn at log(1 + s), so step 0 is at the left end")
    parser.add_argument("--format", choices=["png", "svg", "both"], default="both")
    parser.add_argument("--only", nargs="+", metavar="NAME",
                        help=f"of one run: {', '.join(NAMES)}. Over several: {', '.join(OVER_RUNS)}, or any logged "
                        "quantity: eval/loss, overlap, induction/max (or /min, /mean), grad_norm[0.1] (a head)")
    parser.add_argument("--metric", metavar="NAME", help="what by_role shows of each head")
    options, unknown = parser.parse_known_args(given)
    if unknown:
        known = [name for action in parser._actions for name in action.option_strings]
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{nearest(unknown[0].partition('=')[0], known)}")
    options.many = len(options.runs) > 1 or is_sweep(options.runs[0])
    if options.many and options.step is not None:
        parser.error("--step is for figures of one run")
    if not options.many:
        check_names(options.only or [], NAMES)
    first, last = options.steps
    if options.step is not None and not (first or 0) <= options.step <= (options.step if last is None else last):
        parser.error(f"--step {options.step} is outside of --steps")
    return options


def draw(name, log, folder, step, log_steps=False, by=None):
    """The Figure of that name. `by`: the metric of by_role."""
    if name == "by_role":
        return by_role(log, by, log_steps=log_steps)
    if name in OVER_TIME:
        return OVER_TIME[name](log, log_steps=log_steps)
    if name != "ablation":
        return AT_A_STEP[name](log, step)
    if not (folder / "ablation.h5").exists():
        raise NotLogged("there is no ablation.h5; `headscope ablate` makes one")
    with Ablation(folder / "ablation.h5") as results:
        if results.run_id != log.run_id:
            raise NotLogged("ablation.h5 is about another run")
        return ablation(log, results, step)


def without_figure(log):
    """Names of the logged metrics that no figure shows."""
    drawn = {*NAMES, "train/loss", "eval/loss", "role", *losses_of_classes(log).values(), *one_number_per_head(log)}
    return [name for name in log.metrics() if name not in drawn]


def how_to_get(probe):
    if probe is None:
        return ""
    return f"; {probe}=N gives it, also afterwards: headscope replay RUN --from A --to B {probe}=N --out DIR"


def draw_over_runs(name, runs, log_steps, by):
    """The Figure of that name, or of that logged quantity, over several runs."""
    if name == "by_role":
        return figures_over_runs.by_role(runs, by, log_steps=log_steps)
    if name in OVER_RUNS:
        return OVER_RUNS[name](runs, log_steps=log_steps)
    return figures_over_runs.quantity(runs, name, log_steps=log_steps)


def draw_all(names, draw_one, option):
    """Figures by name, why the others are not there, and what went wrong: name -> exception. `draw_one`(name) gives a
    Figure. `option`: what to name when no figure has a row of the steps asked for."""
    drawn, skipped, failed, no_such_step = {}, {}, {}, {}
    for name in names:
        try:
            drawn[name] = draw_one(name)
        except NotLogged as error:
            skipped[name] = f"{error}{how_to_get(error.probe)}"
        except NotInLog as error:
            skipped[name] = str(error)
        except NoSuchStep as error:
            skipped[name] = no_such_step[name] = str(error)
        except Exception as error:  # one figure that fails costs only itself
            failed[name] = error
    if no_such_step and not failed and not any(name in AT_A_STEP or option == "--steps" for name in drawn):
        raise Refused(f"{option}: " + "; ".join(f"{name} has {why}" for name, why in no_such_step.items()), 2)
    return drawn, skipped, failed


def as_bytes(figure, kind):
    buffer = io.BytesIO()
    # Without time stamps and random names, equal logs give equal files.
    with matplotlib.rc_context({"svg.hashsalt": "headscope", **PLAIN_TEXT}):
        if kind == "svg":
            figure.savefig(buffer, format=kind, dpi=130, metadata={"Date": None})
        else:
            figure.savefig(buffer, format=kind, dpi=130, metadata={"Software": None}, pil_kwargs={"compress_level": 3})
    return buffer.getvalue()


def write(path, content):
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def files_of(drawn, kinds, failed):
    """File name -> content of the figures; one that cannot be saved goes to `failed`."""
    files = {}
    for name, figure in drawn.items():
        try:
            files.update({f"{name.replace('/', '_')}.{kind}": as_bytes(figure, kind) for kind in kinds})
        except Exception as error:  # as in draw_all()
            failed[name] = error
    return files


def plot(options):
    """Of one run. Returns the exit code."""
    run, = options.runs
    path = run / "log.h5" if run.is_dir() else run
    if not path.exists():
        raise Refused(f"{run}: no such run; name the folder of a run, or its log.h5", 2)
    try:
        with Run(path) as log:
            log.settings(), log.seed, log.run_id  # every figure says whose it is
            check_metric(options.metric, log.metrics())
            seen = Window(log, *options.steps)
            drawn, skipped, failed = draw_all(
                options.only or NAMES,
                lambda name: draw(name, seen, path.parent, options.step, options.log_steps, options.metric),
                "--steps" if options.step is None else "--step")
            files = files_of(drawn, kinds_of(options), failed)
            bare = without_figure(log) if not options.only else []
    except (OSError, KeyError, ValueError) as error:
        message = " ".join(str(error).split())
        raise Refused(message if isinstance(error, OSError) else f"{path}: not the log of a run: {message}", 74)
    write_all(options.out or path.parent / "figures", files, skipped, bare)
    return tell(failed)


def plot_over_runs(options):
    """Of several. Returns the exit code."""
    for path in options.runs:
        if not path.exists():
            raise Refused(f"{path}: no such run; name folders of runs or of a sweep", 2)
    try:
        runs = Runs(options.runs, options.steps)
    except OSError as error:
        raise Refused(" ".join(str(error).split()), 74)
    for note in runs.notes:
        print(f"plot: {shown(note)}", file=sys.stderr)
    if not runs.members:
        tell_unreadable(runs)
        raise Refused(f"{options.runs[0]}: no run to draw", 74 if runs.failed else 2)
    unknown = [name for name in options.only or [] if not runs.logs(name)]
    check_names(unknown, [*OVER_RUNS, *runs.metrics()])
    check_metric(options.metric, runs.metrics())
    names = options.only or list(OVER_RUNS)
    drawn, skipped, failed = draw_all(
        names, lambda name: draw_over_runs(name, runs, options.log_steps, options.metric), "--steps")
    files = files_of(drawn, kinds_of(options), failed)
    write_all(options.out or folder_of_all(options.runs) / "figures", files, skipped, [])
    tell_unreadable(runs)
    return max(tell(failed), 74 if runs.failed or runs.lacking else 0)


def write_all(out, files, skipped, bare):
    """Writes the figures and says on stdout which, and which are not there."""
    for name, why in skipped.items():
        print(f"skipped {shown(name)}: {shown(why)}")
    if bare:
        print(f"no figure shows {', '.join(shown(name) for name in bare)}")
    if files:
        try:
            out.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                write(out / name, content)
                print(shown(str(out / name)))
        except OSError as error:
            raise Refused(f"{out}: {error.strerror}", 74)


def tell(failed):
    """Names what failed on stderr. Returns the exit code."""
    for name, error in failed.items():
        print(f"plot: {shown(name)}: {shown(what_failed(error))}", file=sys.stderr)
    damaged = any(isinstance(error, (OSError, KeyError)) for error in failed.values())
    return 74 if damaged else 1 if failed else 0


def tell_unreadable(runs):
    for path, error in runs.failed.items():
        why = " ".join(str(error).split())
        print(f"plot: {shown(str(path))}: left out, it cannot be read: {shown(why)}", file=sys.stderr)
    for path, error in dict(reversed(runs.lacking)).items():  # the first of each run
        why = " ".join(str(error).split())
        print(f"plot: {shown(str(path))}: a part of it is left out, it cannot be read: {shown(why)}", file=sys.stderr)


def kinds_of(options):
    return ["png", "svg"] if options.format == "both" else [options.format]


def folder_of_all(paths):
    """The folder of a sweep, or the nearest that holds all runs."""
    if len(paths) == 1:
        return paths[0] if paths[0].is_dir() else paths[0].parent
    folders = [path if path.is_dir() else path.parent for path in paths]
    return pathlib.Path(os.path.commonpath([folder.absolute().parent for folder in folders]))


def what_failed(error):
    message = " ".join(str(error).split())
    if isinstance(error, OSError):
        return message
    if isinstance(error, KeyError):
        return f"the log lacks something that this figure needs: {message}"
    return f"this figure failed, {type(error).__name__}: {message}"


def main(given=None):
    warnings.filterwarnings("ignore", "Glyph .* missing")  # of characters that no font here has
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options = arguments(given)
        return plot_over_runs(options) if options.many else plot(options)
    except Refused as refused:
        print(f"plot: {shown(str(refused))}", file=sys.stderr)
        return refused.code


if __name__ == "__main__":
    sys.exit(main())
