#!/usr/bin/python3
"""Draws what a run's log holds: loss against its floors, gradient norms, what each head does, overlap against its null,
attention maps, roles, ablations. Works on a run that is still training, too. The figures are functions: see figures.py.

Exit: 0 done (figures whose data were not logged are named), 2 usage, 74 damaged or foreign file."""
import argparse
import io
import os
import pathlib
import sys
import warnings

try:
    import matplotlib

    from figure_parts import CHINESE, NoSuchStep, NotLogged
    from figures import (ablation, attention, circuit_cosine, grad_cosine, grad_norm, grad_norm_by_class, heads,
                         lag_profile, loss, overlap, roles)
    from headscope import Ablation, Run
except ImportError as error:
    if __name__ != "__main__":
        raise
    print(f"plot: {error}; apt-get install python3-h5py python3-matplotlib python3-numpy", file=sys.stderr)
    sys.exit(2)

OVER_TIME = {"loss": loss, "grad_norm": grad_norm, "grad_norm_by_class": grad_norm_by_class, "heads": heads,
             "lag_profile": lag_profile, "roles": roles}
AT_A_STEP = {"overlap": overlap, "grad_cosine": grad_cosine, "circuit_cosine": circuit_cosine, "attention": attention,
             "ablation": ablation}
NAMES = [*OVER_TIME, *AT_A_STEP]


class Refused(Exception):
    """Ends the program with one line and an exit code."""

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Refused(message, 2)


def arguments(given=None):
    parser = Parser(prog="plot", description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("run", type=pathlib.Path, help="folder of a run, or a log.h5")
    parser.add_argument("-o", dest="out", type=pathlib.Path, metavar="DIR", help="default: RUN/figures")
    parser.add_argument("--step", type=int, metavar="N", help=f"of {', '.join(AT_A_STEP)}; default: the last one")
    parser.add_argument("--format", choices=["png", "svg", "both"], default="both")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=NAMES, default=NAMES, help=", ".join(NAMES))
    return parser.parse_args(given)


def draw(name, log, folder, step):
    """The Figure of that name."""
    if name in OVER_TIME:
        return OVER_TIME[name](log)
    if name != "ablation":
        return AT_A_STEP[name](log, step)
    if not (folder / "ablation.h5").exists():
        raise NotLogged("there is no ablation.h5; `headscope ablate` makes one")
    with Ablation(folder / "ablation.h5") as results:
        if results.run_id != log.run_id:
            raise NotLogged("ablation.h5 is about another run")
        return ablation(log, results, step)


def how_to_get(probe):
    if probe is None:
        return ""
    return f"; {probe}=N gives it, also afterwards: headscope replay RUN --from A --to B {probe}=N --out DIR"


def draw_all(names, log, folder, step):
    """Figures by name, and why the others are not there."""
    drawn, skipped, no_such_step = {}, {}, {}
    for name in names:
        try:
            drawn[name] = draw(name, log, folder, step)
        except NotLogged as error:
            skipped[name] = f"{error}{how_to_get(error.probe)}"
        except NoSuchStep as error:
            skipped[name] = no_such_step[name] = str(error)
    if step is not None and no_such_step and not any(name in AT_A_STEP for name in drawn):
        raise Refused("--step: " + "; ".join(f"{name} has {why}" for name, why in no_such_step.items()), 2)
    return drawn, skipped


def as_bytes(figure, kind):
    buffer = io.BytesIO()
    # Without time stamps and random names, equal logs give equal files.
    with matplotlib.rc_context({"svg.hashsalt": "headscope", "font.family": ["DejaVu Sans", *CHINESE]}):
        figure.savefig(buffer, format=kind, dpi=130, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return buffer.getvalue()


def write(path, content):
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def plot(options):
    path = options.run / "log.h5" if options.run.is_dir() else options.run
    if not path.exists():
        raise Refused(f"{options.run}: no such run; name the folder of a run, or its log.h5", 2)
    try:
        with Run(path) as log:
            drawn, skipped = draw_all(options.only, log, path.parent, options.step)
            kinds = ["png", "svg"] if options.format == "both" else [options.format]
            files = {f"{name}.{kind}": as_bytes(figure, kind) for name, figure in drawn.items() for kind in kinds}
    except (OSError, KeyError, ValueError) as error:
        message = " ".join(str(error).split())
        raise Refused(message if isinstance(error, OSError) else f"{path}: not the log of a run: {message}", 74)
    out = options.out or path.parent / "figures"
    for name, why in skipped.items():
        print(f"skipped {name}: {why}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write(out / name, content)
            print(out / name)
    except OSError as error:
        raise Refused(f"{out}: {error.strerror}", 74)


def main(given=None):
    warnings.filterwarnings("ignore", "Glyph .* missing")  # of characters that no font here has
    try:
        plot(arguments(given))
    except Refused as refused:
        print(f"plot: {refused}", file=sys.stderr)
        return refused.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
