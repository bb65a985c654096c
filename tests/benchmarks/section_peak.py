"""Section peak: how fast this machine multiplies matrices, and what share of that a whole training step reaches."""
import json

from measure import BINARY, SHAPES, SOURCE, flops, low_and_middle, python, run, table


def _gemm_rates(counts):
    """Best GFLOP/s of our product and of the BLAS library's, by number of threads, measured in turn."""
    ours, blas = {}, {}
    for _ in range(3):
        output = run([BINARY.parent / "headscope_bench_gemm", "--benchmark_filter=^large/",
                      "--benchmark_repetitions=3", "--benchmark_min_time=.2", "--benchmark_format=json"], max(counts))
        for entry in json.loads(output)["benchmarks"]:
            if entry["run_type"] == "iteration":
                threads = int(entry["name"].split("threads:")[1].split("/")[0])
                ours[threads] = max(ours.get(threads, 0), entry["GFLOP/s"])
        for line in run([python(), SOURCE / "tests/benchmarks/blas.py", *counts], max(counts)).splitlines():
            words = line.split()
            if words[0].isdigit():
                blas[int(words[0])] = max(blas.get(int(words[0]), 0), float(words[1]))
    return ours, blas


def peak(bench):
    print("Product of two large matrices (1536 x 1536), best GFLOP/s")
    ours, blas = _gemm_rates([1, 2])
    counts = sorted(ours)
    table(["threads", *map(str, counts)],
          [["headscope", *(f"{ours[n]:.0f}" for n in counts)], ["PyTorch's BLAS", *(f"{blas[n]:.0f}" for n in counts)]])
    best = max(ours[2], blas[2])
    print(f"\nA training step on 2 threads as a share of {best:.0f} GFLOP/s, minimum / median; FLOPs of full attention")
    rows, results = [], []
    for shape in bench.shapes:
        work = flops(*SHAPES[shape])
        shares = [[work / (ms * 1e-3) / (best * 1e9) for ms in low_and_middle(times)]
                  for times in bench.compare(shape, 2)]
        cells = [f"{100 * low:.0f} / {100 * middle:.0f} %" for low, middle in shares]
        rows.append([shape, f"{work / 1e9:.2f}", *cells])
        results.append({"shape": shape, "flops": work, "headscope_share": shares[0], "pytorch_share": shares[1]})
    bench.results["peak"] = {"headscope_gflops": ours, "blas_gflops": blas, "steps": results}
    table(["", "GFLOP", "headscope", "PyTorch"], rows)
