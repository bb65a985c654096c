"""What PyTorch there is, which BLAS library it has loaded, and the best GFLOP/s of its product of large matrices.

usage: blas.py [threads ...]
"""
import os
import sys
import time

import torch

print("torch", torch.__version__)
with open("/proc/self/maps") as maps:
    libraries = sorted({os.path.basename(os.path.dirname(path)) + "/" + os.path.basename(path)
                        for path in (line.split()[-1] for line in maps) if "blas" in os.path.basename(path)})
print("blas", " ".join(libraries))
size = 1536
a, b = torch.randn(size, size), torch.randn(size, size)
for threads in map(int, sys.argv[1:]):
    torch.set_num_threads(threads)
    best = float("inf")
    for _ in range(12):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    print(threads, 2 * size**3 / best / 1e9)
