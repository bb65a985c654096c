"""Random cases of every op against PyTorch: values and gradients, in f64 and f32."""

import pathlib
import subprocess

import numpy as np
import pytest
import torch

from cli_tools import BINARY
from op_cases import OPS, UNARY, Draw

RUNNER = pathlib.Path(BINARY).parent / "headscope_op_runner"
CASES_PER_OP = 10
CASES_OF_MASKS = 60  # for attention: any of three masks or several, axes to broadcast, kinds of weights
SOFTMAXES = ["softmax", "log_softmax", "masked_softmax", "cross_entropy", "attention", "attention_unfused"]
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}


def close(ours, truth, tolerance, what, least=1):
    error = np.abs(ours - truth).max(initial=0)
    assert error <= tolerance * max(least, np.abs(truth).max(initial=0)), f"{what}: {ours} is not {truth}"


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("op", OPS)
def test_op_matches_pytorch(op, dtype):
    check([Draw(op, seed, dtype) for seed in range(CASES_OF_MASKS if "attention" in op else CASES_PER_OP)])


@pytest.mark.parametrize("size", [2.0 ** 6, 2.0 ** 9, 2.0 ** 17, 2.0 ** 25])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("op", SOFTMAXES)
def test_softmax_of_very_large_scores_matches_pytorch(op, dtype, size):
    check([Draw(op, seed, dtype, size) for seed in range(CASES_OF_MASKS)])


def check(cases):
    op, dtype = cases[0].op, cases[0].dtype
    # Gradients of weights that are equal cancel, but for the rounding of products of two tensors. (That they are 0 to the
    # bit where one weight is 1 is in tests/autograd/ops/attention_extremes_test.cpp.)
    least = 1 if cases[0].size is None else cases[0].size ** 2
    truths, gradients = [], []
    for case in cases:
        truth = case.unary() if op in UNARY else getattr(case, op)()
        gradient = torch.from_numpy(case.random.standard_normal(truth.shape)).to(truth.dtype)
        truth.backward(gradient)
        truths.append(truth.detach().double().numpy())
        gradients.append(gradient)
    questions = "".join(case.question(gradient) for case, gradient in zip(cases, gradients))
    run = subprocess.run([RUNNER], input=questions, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    answers = iter(run.stdout.splitlines())
    for case, truth in zip(cases, truths):
        what = f"{op} {case.attributes} {[list(t.shape) for t in case.tensors]}"
        kind, rank, *numbers = next(answers).split()
        assert kind == "output"
        shape = [int(size) for size in numbers[:int(rank)]]
        assert shape == list(truth.shape), what
        values = [float.fromhex(word) for word in numbers[int(rank):]]
        close(np.array(values).reshape(shape), truth, TOLERANCE[dtype], what)
        for tensor in case.tensors:
            if not tensor.requires_grad:
                continue
            kind, *numbers = next(answers).split()
            assert kind == "gradient"
            # A tensor that the output does not depend on has no gradient there; here it may be zeros.
            expected = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad.double().numpy()
            values = [float.fromhex(word) for word in numbers]
            close(np.array(values).reshape(expected.shape), expected, TOLERANCE[dtype], f"gradient of {what}", least)
        assert next(answers) == "end"
    assert next(answers, None) is None
