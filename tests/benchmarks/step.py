"""Times one training step (forward, backward, AdamW) of a shape in PyTorch; the counterpart of step.cpp, whose output
it prints and whose weights and tokens it reads from FILE; without one both are random.

usage: step.py vocab T d_model heads layers d_ff batch threads steps [FILE]
"""
import sys
import time

import torch
from pytorch_model import Model, memory, read_tensors, reset_peak_memory
from torch.nn import functional as F


class Training:
    def __init__(self, vocab, T, d_model, heads, layers, d_ff, tensors):
        self.model = Model(vocab, T, d_model, heads, layers, d_ff)
        if "embedding.weight" in tensors:
            self.model.load(tensors)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.01)
        self.inputs, self.targets = (torch.from_numpy(tensors[name]) for name in ("inputs", "targets"))

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        logits = self.model(self.inputs)
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), self.targets.view(-1))
        loss.backward()
        self.optimizer.step()
        return loss.item()


def random_tokens(vocab, batch, T):
    return {name: torch.randint(vocab, (batch, T)).numpy() for name in ("inputs", "targets")}


*shape, batch, threads, steps = map(int, sys.argv[1:10])
torch.set_num_threads(threads)

# A few tiny steps first: threads and libraries are part of the process at rest.
for _ in range(3):
    Training(16, 16, 16, 2, 1, 16, random_tokens(16, 2, 16)).step()
reset_peak_memory()
at_rest = memory("VmRSS")

tensors = read_tensors(sys.argv[10]) if len(sys.argv) > 10 else random_tokens(shape[0], batch, shape[1])
training = Training(*shape, tensors)
del tensors
for step in range(steps):
    start = time.perf_counter()
    loss = training.step()
    seconds = time.perf_counter() - start
    if step == 0:
        print(f"loss {loss:.9g}")
    print(f"seconds {seconds:.9f}")
print(f"memory {memory('VmHWM') - at_rest}")
