"""Trains experiments/configs/lag_mixture.toml in PyTorch: the same model, rule of the data, optimizer, schedule and
number of steps. No evaluation, no probes, no checkpoints. Prints the mean training loss of the last tenth of the steps
and the seconds of the training itself, without the start of Python and the import of PyTorch.

usage: lag_mixture.py CONFIG threads steps seed
"""
import math
import sys
import time
import tomllib

import torch
from pytorch_model import Model
from torch.nn import functional as F

with open(sys.argv[1], "rb") as file:
    config = tomllib.load(file)
threads, steps, seed = map(int, sys.argv[2:])
torch.set_num_threads(threads)
torch.manual_seed(seed)
start = time.perf_counter()

task, size, settings = config["task"], config["model"], config["optimizer"]
V, T, B = task["vocab_size"], task["seq_len"], config["train"]["batch_size"]
near, far, p_near, p_far = (task[key] for key in ("near", "far", "p_near", "p_far"))
f, g = torch.randperm(V), torch.randperm(V)


def batch():
    """Tokens [B, T], and the targets of positions far .. T-1."""
    x = torch.randint(V, (B, T))
    u = torch.rand(B, T - far)
    noise = torch.randint(V, (B, T - far))
    y = torch.where(u < p_near, f[x[:, far - near:T - near]], torch.where(u < p_near + p_far, g[x[:, :T - far]], noise))
    return x, y


model = Model(V, T, size["d_model"], size["num_heads"], size["num_layers"], size["d_ff"], size["head_dim"],
              size["attention_bias"])  # PyTorch's own initialisation: embeddings N(0, 1), linear maps U(+-1/sqrt(in))
optimizer = torch.optim.Adam(model.parameters(), lr=settings["lr"], betas=(settings["beta1"], settings["beta2"]),
                             eps=settings["eps"])
warmup, final = config["schedule"]["warmup_steps"], config["schedule"]["final_ratio"]
schedule = torch.optim.lr_scheduler.LambdaLR(
    optimizer,
    lambda s: min(1, (s + 1) / warmup) * (final + (1 - final) / 2 * (1 + math.cos(math.pi * min(s, steps) / steps))))

losses = []
for step in range(steps):
    x, y = batch()
    optimizer.zero_grad(set_to_none=True)
    loss = F.cross_entropy(model(x)[:, far:].reshape(-1, V), y.reshape(-1))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), config["train"]["clip_norm"])
    optimizer.step()
    schedule.step()
    if step % config["log"]["every"] == 0:
        losses.append(loss.item())
last = losses[-max(1, len(losses) // 10):]
print(f"loss {sum(last) / len(last):.6f}")
print(f"seconds {time.perf_counter() - start:.6f}")
