"""The head of the report: machine, compiler, PyTorch and its BLAS, and what may spoil the numbers."""
import os
import re
import subprocess
from pathlib import Path

from measure import BINARY, DEBIANS_PYTHON, SOURCE, python, run


def _first(pattern, path):
    try:
        match = re.search(pattern, path.read_text(errors="replace"), re.MULTILINE)
    except OSError:
        return None
    return match and match[1].strip()


def _compiler():
    path = _first(r"^CMAKE_CXX_COMPILER:\w+=(.*)$", BINARY.parent / "CMakeCache.txt")
    if not path:
        return "unknown compiler"
    return run([path, "--version"]).splitlines()[0]


def _commit():
    answer = subprocess.run(["git", "-C", str(SOURCE), "describe", "--always", "--dirty"], capture_output=True,
                            text=True, check=False)
    return answer.stdout.strip() or "unknown"


def head(bench):
    libraries = dict(line.split(maxsplit=1) for line in
                     run([python(), SOURCE / "tests/benchmarks/blas.py"]).splitlines() if " " in line)
    flags = (_first(r"^flags\s*:(.*)$", Path("/proc/cpuinfo")) or "").split()
    isa = next((name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "no AVX2")
    info = {"isa": isa, "cpu": _first(r"^model name\s*:(.*)$", Path("/proc/cpuinfo")) or "unknown CPU",
            "cores": len(os.sched_getaffinity(0)), "compiler": _compiler(), "commit": _commit(),
            "pytorch": libraries.get("torch", "?"), "blas": libraries.get("blas", "none"),
            "load_average": os.getloadavg()[0]}
    bench.results["machine"] = info
    print(f"headscope {info['commit']}, {info['compiler']}\n{info['cpu']} ({isa}), {info['cores']} cores\n"
          f"PyTorch {info['pytorch']}, BLAS {info['blas']}")
    if python() == DEBIANS_PYTHON and "openblas-openmp/" not in info["blas"]:
        print("warning: PyTorch is not at its best: its BLAS is not libopenblas0-openmp. scripts/setup --tests "
              "installs that;\n         then choose it by `update-alternatives --config libblas.so.3-x86_64-linux-gnu`")
    if info["load_average"] > 0.5:
        print(f"warning: this machine is not quiet, load average {info['load_average']:.1f}; trust the minima more "
              "than the medians")
    if bench.quick:
        print("quick: few steps, for a first look")
