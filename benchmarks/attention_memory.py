"""Peak memory and time of a forward and backward pass of attention over 4,096 tokens:
online softmax against naive.

Each pass runs in a fresh process that has its inputs in memory and its libraries warm.
What counts is how far the peak of the resident memory rises above what was there
before: the tensors saved for the backward pass, the gradients and everything in
between. The outputs and gradients of both processes are compared.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.compare import Comparison, Measurement, peak_bytes
from benchmarks.results import ROOT
from happyllm_support.model.attention import KERNELS
from happyllm_support.model.context import Kernel

HEADS, LENGTH, HEAD_DIM = 8, 4096, 64
WARM_LENGTH = 64
REPEATS = 5
TOLERANCE = 1e-4  # of the standard deviation


def one_pass(
    kernel: Kernel, length: int = LENGTH
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Run one causal pass here and return its output and gradients, its peak above the
    start in MB, and its seconds.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (1, HEADS, length, HEAD_DIM)
    q, k, v, d_out = (torch.randn(shape, generator=generator) for _ in range(4))
    for x in (q, k, v):
        x.requires_grad_()
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    out = KERNELS[kernel](q, k, v, causal=True)
    out.backward(d_out)
    seconds = time.perf_counter() - start
    results: dict[str, Any] = {
        "out": out.detach(),
        "dq": q.grad,
        "dk": k.grad,
        "dv": v.grad,
    }
    return results, {"peak": (peak_bytes() - before) / 1e6, "seconds": seconds}


def memory(data: Path) -> Measurement:
    """Compare the peaks."""
    return compare("peak", "MB")


def seconds(data: Path) -> Measurement:
    """Compare the times of the same passes."""
    return compare("seconds", "s")


def compare(figure: str, unit: str) -> Measurement:
    """Alternate fresh processes; equal when output and gradients are."""
    runs: dict[str, list[dict[str, float]]] = {"online": [], "naive": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(REPEATS):
            for kernel, done in runs.items():
                done.append(
                    _in_fresh_process(kernel, Path(folder) / f"{kernel}.safetensors")
                )
        equal = same(
            *(load_file(Path(folder) / f"{kernel}.safetensors") for kernel in runs)
        )
    return Measurement(
        workload=f"causal attention, forward and backward, {LENGTH:,} tokens, {HEADS} "
        f"heads of {HEAD_DIM}, fp32",
        peer="the naive formula",
        ours=statistics.median(run[figure] for run in runs["online"]),
        theirs=statistics.median(run[figure] for run in runs["naive"]),
        unit=unit,
        equal=equal,
        note="Peak above the inputs, in a fresh process."
        if figure == "peak"
        else "Promises nothing.",
    )


def same(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    """Whether all tensors are equal within the tolerance, relative to their scale;
    constants are never the same.
    """
    if ours.keys() != theirs.keys():
        return False
    for name, expected in theirs.items():
        scale = expected.std().item()
        if not (
            scale > 0
            and (ours[name] - expected).abs().max().item() <= TOLERANCE * scale
        ):
            return False
    return True


def _in_fresh_process(kernel: str, results: Path) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.attention_memory",
        kernel,
        str(results),
    ]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


COMPARISONS = (
    Comparison("attention-memory", memory, threads=2, floor=8.0),
    Comparison("attention-time", seconds, threads=2, floor=0.0),
)

if __name__ == "__main__":
    one_pass(sys.argv[1], WARM_LENGTH)
    tensors, figures = one_pass(sys.argv[1])
    save_file(tensors, sys.argv[2])
    print(json.dumps(figures))
