"""The model in PyTorch, eager mode, tuned as PyTorch users would: one product for q, k and v, the fused layer norm and
softmax. Also what the programs here share: the process's memory, and the tensors that step.cpp writes."""
import math
import re

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, d_model, heads, d_ff, head_dim, attention_bias):
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.norm1 = nn.LayerNorm(d_model)
        self.qkv = nn.Linear(d_model, 3 * heads * head_dim, bias=attention_bias)
        self.out = nn.Linear(heads * head_dim, d_model, bias=attention_bias)
        self.ffn = None
        if d_ff:
            self.norm2 = nn.LayerNorm(d_model)
            self.ffn = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model))

    def forward(self, x, mask):
        B, T, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(B, T, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / math.sqrt(self.head_dim)
        weights = F.softmax(scores.masked_fill(mask, -math.inf), dim=-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(B, T, self.heads * self.head_dim))
        return x + self.ffn(self.norm2(x)) if self.ffn else x


class Model(nn.Module):
    """Pre-norm, learned positions, causal, exact gelu."""

    def __init__(self, vocab, T, d_model, heads, layers, d_ff, head_dim=None, attention_bias=True):
        super().__init__()
        head_dim = head_dim or d_model // heads
        self.embedding = nn.Embedding(vocab, d_model)
        self.position = nn.Embedding(T, d_model)
        self.blocks = nn.ModuleList(Block(d_model, heads, d_ff, head_dim, attention_bias) for _ in range(layers))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab, bias=False)
        self.register_buffer("mask", torch.triu(torch.ones(T, T, dtype=torch.bool), 1))

    def forward(self, tokens):
        x = self.embedding(tokens) + self.position.weight
        for block in self.blocks:
            x = block(x, self.mask)
        return self.head(self.norm(x))

    def load(self, ours):
        """Takes over headscope's parameters, by their names there."""
        state = {}
        for name in self.state_dict():
            if name == "mask":
                continue
            if ".qkv." in name:
                parts = [ours[name.replace("qkv", f"attn.W_{projection}")] for projection in "qkv"]
                state[name] = torch.from_numpy(np.concatenate(parts))
                continue
            for here, there in ((".out.", ".attn.W_o."), (".ffn.0.", ".ffn.linear1."), (".ffn.2.", ".ffn.linear2.")):
                name_there = name.replace(here, there)
                if name_there != name:
                    break
            state[name] = torch.from_numpy(ours[name_there])
        self.load_state_dict({**state, "mask": self.mask})


def read_tensors(path):
    """What step.cpp wrote: name -> array."""
    tensors = {}
    with open(path, "rb") as file:
        while line := file.readline().split():
            name, shape = line[0].decode(), [int(size) for size in line[1:]]
            dtype = np.int64 if name in ("inputs", "targets") else np.float32
            tensors[name] = np.fromfile(file, dtype, math.prod(shape)).reshape(shape)
    return tensors


def memory(key):
    """A line of /proc/self/status, bytes: VmRSS is the memory in use, VmHWM its peak."""
    with open("/proc/self/status") as status:
        return 1024 * int(re.search(rf"{key}:\s+(\d+)", status.read())[1])


def reset_peak_memory():
    """From now on VmHWM counts from what is in use now."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
