#!/usr/bin/python3
"""Draws what a run's log holds: loss against its floors, gradient norms, what each head does, overlap against its null,
attention maps, roles, ablations. Works on a run that is still training, too. The figures are functions: see figures.py.

Exit: 0 done (figures whose data were not logged are named, and metrics that no figure shows), 1 a figure failed (the
others are written), 2 usage, 74 damaged or foreign file."""
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
    from figures import (ablation, attention, circuit_cosine, composition, grad_cosine, grad_norm, grad_norm_by_class,
                         heads, lag_profile, loss, overlap, roles)
    from headscope import Ablation, Run
except ImportError as error:
    if __name__ != "__main__":
        raise
    print(f"plot: {error}; apt-get install python3-h5py python3-matplotlib python3-numpy", file=sys.stderr)
    sys.exit(2)

OVER_TIME = {"loss": loss, "grad_norm": grad_norm, "grad_norm_by_class": grad_norm_by_class, "heads": heads,
             "lag_profile": lag_profile, "roles": roles}
AT_A_STEP = {"overlap": overlap, "grad_cosine": grad_cosine, "circuit_cosine": circuit_cosine,
             "composition": composition, "attention": attention, "ablation": ablation}
NAMES = [*OVER_TIME, *AT_A_STEP]


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


def one_of(names):
    """For an argument that takes one of them."""
    def check(word):
        if word not in names:
            raise argparse.ArgumentTypeError(f"invalid choice: {word!r}{nearest(word, names)} (choose from "
                                             f"{', '.join(names)})")
        return word
    return check


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
    parser.add_argument("run", type=pathlib.Path, help="folder of a run, or a log.h5")
    parser.add_argument("-o", dest="out", type=pathlib.Path, metavar="DIR", help="default: RUN/figures")
    parser.add_argument("--step", type=int, metavar="N", help=f"of {', '.join(AT_A_STEP)}; default: the last one")
    parser.add_argument("--steps", type=steps_within, metavar="A:B", default=(None, None),
                        help="draw only rows of steps A to B, both included; A: and :B leave an end open")
    parser.add_argument("--log-steps", action="store_true",
                        help="a logarithmic step axis: step s is drawn at log(1 + s), so step 0 is at the left end")
    parser.add_argument("--format", choices=["png", "svg", "both"], default="both")
    parser.add_argument("--only", nargs="+", metavar="NAME", type=one_of(NAMES), default=NAMES, help=", ".join(NAMES))
    options, unknown = parser.parse_known_args(given)
    if unknown:
        known = [name for action in parser._actions for name in action.option_strings]
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{nearest(unknown[0].partition('=')[0], known)}")
    first, last = options.steps
    if options.step is not None and not (first or 0) <= options.step <= (options.step if last is None else last):
        parser.error(f"--step {options.step} is outside of --steps")
    return options


def draw(name, log, folder, step, log_steps=False):
    """The Figure of that name."""
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


def draw_all(names, log, folder, step, log_steps=False):
    """Figures by name, why the others are not there, and what went wrong: name -> exception."""
    drawn, skipped, failed, no_such_step = {}, {}, {}, {}
    for name in names:
        try:
            drawn[name] = draw(name, log, folder, step, log_steps)
        except NotLogged as error:
            skipped[name] = f"{error}{how_to_get(error.probe)}"
        except NoSuchStep as error:
            skipped[name] = no_such_step[name] = str(error)
        except Exception as error:  # one figure that fails costs only itself
            failed[name] = error
    if no_such_step and not failed and not any(name in AT_A_STEP or step is None for name in drawn):
        option = "--steps" if step is None else "--step"
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
            files.update({f"{name}.{kind}": as_bytes(figure, kind) for kind in kinds})
        except Exception as error:  # as in draw_all()
            failed[name] = error
    return files


def plot(options):
    """Returns the exit code."""
    path = options.run / "log.h5" if options.run.is_dir() else options.run
    if not path.exists():
        raise Refused(f"{options.run}: no such run; name the folder of a run, or its log.h5", 2)
    try:
        with Run(path) as log:
            log.settings(), log.seed, log.run_id  # every figure says whose it is
            seen = Window(log, *options.steps)
            drawn, skipped, failed = draw_all(options.only, seen, path.parent, options.step, options.log_steps)
            kinds = ["png", "svg"] if options.format == "both" else [options.format]
            files = files_of(drawn, kinds, failed)
            bare = without_figure(log) if options.only is NAMES else []
    except (OSError, KeyError, ValueError) as error:
        message = " ".join(str(error).split())
        raise Refused(message if isinstance(error, OSError) else f"{path}: not the log of a run: {message}", 74)
    out = options.out or path.parent / "figures"
    for name, why in skipped.items():
        print(f"skipped {name}: {shown(why)}")
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
    for name, error in failed.items():
        print(f"plot: {name}: {shown(what_failed(error))}", file=sys.stderr)
    damaged = any(isinstance(error, (OSError, KeyError)) for error in failed.values())
    return 74 if damaged else 1 if failed else 0


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
        return plot(arguments(given))
    except Refused as refused:
        print(f"plot: {shown(str(refused))}", file=sys.stderr)
        return refused.code


if __name__ == "__main__":
    sys.exit(main())
