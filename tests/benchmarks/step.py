"""Times one training step (forward, backward, AdamW) of a shape in PyTorch and prints the seconds of every step, one a
line. The counterpart of step.cpp: the same model (pre-norm, learned positions, exact gelu), eager mode, tuned as
PyTorch users would: one product for q, k and v, the fused layer norm and softmax."""
import math
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, d_model, heads, d_ff):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(d_model)
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)
        self.ffn = None
        if d_ff:
            self.norm2 = nn.LayerNorm(d_model)
            self.ffn = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model))

    def forward(self, x, mask):
        B, T, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(B, T, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / math.sqrt(d // self.heads)
        weights = F.softmax(scores.masked_fill(mask, -math.inf), dim=-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(B, T, d))
        return x + self.ffn(self.norm2(x)) if self.ffn else x


class Model(nn.Module):
    def __init__(self, vocab, T, d_model, heads, layers, d_ff):
        super().__init__()
        self.embedding = nn.Embedding(vocab, d_model)
        self.position = nn.Embedding(T, d_model)
        self.blocks = nn.ModuleList(Block(d_model, heads, d_ff) for _ in range(layers))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab, bias=False)
        self.register_buffer("mask", torch.triu(torch.ones(T, T, dtype=torch.bool), 1))

    def forward(self, tokens):
        x = self.embedding(tokens) + self.position.weight
        for block in self.blocks:
            x = block(x, self.mask)
        return self.head(self.norm(x))


vocab, T, d_model, heads, layers, d_ff, batch, threads, steps = map(int, sys.argv[1:])
torch.set_num_threads(threads)
torch.manual_seed(0)
model = Model(vocab, T, d_model, heads, layers, d_ff)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
inputs = torch.randint(vocab, (batch, T))
targets = torch.randint(vocab, (batch, T))
for _ in range(steps):
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    F.cross_entropy(model(inputs).view(-1, vocab), targets.view(-1)).backward()
    optimizer.step()
    print(f"{time.perf_counter() - start:.9f}")
