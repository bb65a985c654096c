"""Sections steps, threads, memory and busy: our training step beside PyTorch's on the same weights and tokens."""
import os
import subprocess
import sys

from measure import SHAPES, few_steps, low_and_middle, table


def _print_comparison(bench, section, threads):
    rows, results = [], []
    for shape in bench.shapes:
        (a, b), (c, d) = (low_and_middle(times) for times in bench.compare(shape, threads))
        rows.append([shape, f"{a:.2f} / {b:.2f}", f"{c:.2f} / {d:.2f}", f"{c / a:.2f} / {d / b:.2f}"])
        results.append({"shape": shape, "threads": threads, "headscope_ms": [a, b], "pytorch_ms": [c, d],
                        "ratio": [c / a, d / b]})
    bench.results[section] = results
    table(["", "headscope", "PyTorch", "ratio"], rows)


def steps(bench):
    print(f"A training step (forward, backward, AdamW), {bench.threads} threads, ms, minimum / median of "
          f"{bench.rounds} alternating rounds")
    _print_comparison(bench, "steps", bench.threads)


def threads(bench):
    print(f"The same on one thread, ms, minimum / median of {bench.rounds} alternating rounds")
    _print_comparison(bench, "threads", 1)


def memory(bench):
    print("Peak memory of training, MB: the peak resident set during three steps, less that of the same process at\n"
          "rest (libraries loaded, threads started, steps of a tiny model done, nothing of this model there yet).\n"
          "It holds weights, gradients, optimizer state, activations and work space; in brackets without the weights\n"
          "and AdamW's two moments, which are the same on both sides.")
    rows, results = [], []
    for shape in bench.shapes:
        vocab, T, d_model, _, layers, d_ff, _ = SHAPES[shape]
        block = 4 * d_model**2 + 6 * d_model + (2 * d_ff * d_model + d_ff + 3 * d_model if d_ff else 0)
        state = 12 * (2 * vocab * d_model + T * d_model + layers * block + 2 * d_model)
        # On random weights: reading a file of them would leave PyTorch's heap in another state.
        peaks = [side(SHAPES[shape], bench.threads, 3)["memory"][0] for side in (bench.ours, bench.theirs)]
        ours, theirs = peaks
        rows.append([shape, *(f"{peak / 1e6:.1f} ({(peak - state) / 1e6:.1f})" for peak in peaks),
                     f"{100 * ours / theirs:.0f} % ({100 * (ours - state) / (theirs - state):.0f} %)"])
        results.append({"shape": shape, "headscope_bytes": ours, "pytorch_bytes": theirs, "weights_and_moments": state})
    bench.results["memory"] = results
    table(["", "headscope", "PyTorch", "share"], rows)


def busy(bench):
    shapes = [shape for shape in ("XS", "M") if shape in bench.shapes] or bench.shapes[:1]
    if bench.quick:
        shapes = shapes[:1]
    core = min(os.sched_getaffinity(0))
    print(f"The same on {bench.threads} threads while another process keeps core {core} busy, ms, minimum / median; "
          "in brackets the\n"
          "median as a multiple of the undisturbed one. Last column: PyTorch with OMP_WAIT_POLICY=passive")
    rows, results = [], []
    for shape in shapes:
        quiet = [low_and_middle(times) for times in bench.compare(shape, bench.threads)]
        loop = f"import os; os.sched_setaffinity(0, [{core}])\nwhile True: pass"
        other = subprocess.Popen([sys.executable, "-c", loop])
        try:
            # Few, because a disturbed step may take fifty times as long as a quiet one.
            steps = few_steps(shape)
            both = bench.alternate(shape, bench.threads, min(bench.rounds, 2), steps)
            passive = bench.theirs(SHAPES[shape], bench.threads, steps, bench.weights(shape), OMP_WAIT_POLICY="passive")
        finally:
            other.kill()
            other.wait()
        disturbed = [low_and_middle(times) for times in both]
        (a, b), (c, d) = disturbed
        cells = [f"{low:.2f} / {middle:.2f} ({middle / calm[1]:.1f})"
                 for (low, middle), calm in zip(disturbed, quiet)]
        patient = low_and_middle(passive["seconds"][steps // 3:])
        rows.append([shape, *cells, f"{c / a:.2f} / {d / b:.2f}", f"{patient[0]:.2f} / {patient[1]:.2f}"])
        results.append({"shape": shape, "headscope_ms": [a, b], "pytorch_ms": [c, d], "ratio": [c / a, d / b],
                        "pytorch_passive_ms": patient, "headscope_slowdown": b / quiet[0][1],
                        "pytorch_slowdown": d / quiet[1][1]})
    bench.results["busy"] = results
    table(["", "headscope", "PyTorch", "ratio", "PyTorch, passive"], rows)
