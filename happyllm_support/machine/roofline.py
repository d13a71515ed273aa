"""What a machine can do at most: arithmetic and reading per second, and the speed limit
that follows for a model.

A computation that performs `intensity` floating-point operations on every byte that it
reads from memory cannot run faster than

    min(flops_per_s, intensity * bytes_per_s)

Drawn over the intensity, the limit looks like a roof. Both numbers are measured here
rather than looked up: as the fastest of several runs, because what disturbs a run
(other programs, a clock that was turned down) only slows it.

Source: S. Williams, A. Waterman, D. Patterson, "Roofline: An Insightful Visual
Performance Model for Multicore Architectures", Communications of the ACM 52(4), 2009.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

FLOAT_BYTES = 4  # torch.float32
COLUMNS = 4096
# Side of the matrices to multiply, large enough to keep all units busy.
SIZE = {"cpu": 1024, "cuda": 8192}
# To read, more than one program keeps in the caches.
MEGABYTES = {"cpu": 256, "cuda": 4096}


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """The two limits of a machine, in single precision.

    Attributes:
        flops_per_s: floating-point operations per second of a large matrix product.
        bytes_per_s: bytes per second read from main memory by a matrix-vector product.
    """

    flops_per_s: float
    bytes_per_s: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} is {value}; expected a positive number")

    @property
    def ridge(self) -> float:
        """The intensity (FLOP per byte) from which on arithmetic is the limit."""
        return self.flops_per_s / self.bytes_per_s

    def attainable(self, intensity: float) -> float:
        """Highest possible FLOP per second at an intensity in FLOP per byte.

        Raises:
            ValueError: the intensity is not positive.
        """
        if not intensity > 0:
            raise ValueError(
                f"intensity is {intensity}; expected a positive number of FLOP per byte"
            )
        return min(self.flops_per_s, intensity * self.bytes_per_s)

    def tokens_per_s(
        self,
        n_parameters: int,
        *,
        bytes_per_parameter: float = FLOAT_BYTES,
        rows: int = 1,
    ) -> float:
        """Most tokens per second, over all rows, of a model read once per step.

        A step makes one token for every row. It reads
        `n_parameters * bytes_per_parameter` bytes, whatever the number of rows, and
        performs `2 * n_parameters * rows` operations: one multiplication and one
        addition per weight. What a cache of earlier keys and values adds is left out,
        so the limit is never too low.

        Args:
            n_parameters: weights that take part in a step.
            bytes_per_parameter: 4 in fp32, 2 in bf16, 1 in int8.
            rows: sequences that are continued at the same time.

        Raises:
            ValueError: an argument is not positive.
        """
        given = {
            "n_parameters": n_parameters,
            "bytes_per_parameter": bytes_per_parameter,
            "rows": rows,
        }
        for name, value in given.items():
            if not value > 0:
                raise ValueError(f"{name} is {value}; expected a positive number")
        reading = n_parameters * bytes_per_parameter / self.bytes_per_s
        computing = 2 * n_parameters * rows / self.flops_per_s
        return rows / max(reading, computing)


def measure_roofline(
    device: str = "cpu",
    *,
    size: int | None = None,
    megabytes: int | None = None,
    runs: int = 7,
) -> Roofline:
    """Measure this machine with the threads that torch uses now, in about 2 s a core.

    Args:
        device: where to measure, `cpu` or `cuda`.
        size: side of the square matrices whose product is timed; by default as in
            `SIZE`.
        megabytes: how much is read (1 MB = 10^6 bytes), by default as in `MEGABYTES`.
            It has to exceed the processor's caches, or the caches are measured.
        runs: how many times; the fastest counts.

    Raises:
        ValueError: an unknown device, a GPU that is not there, a number below 1.
    """
    kind = _checked(device)
    size = SIZE[kind] if size is None else size
    megabytes = MEGABYTES[kind] if megabytes is None else megabytes
    return Roofline(
        flops_per_s=matmul_flops_per_s(device, size=size, runs=runs),
        bytes_per_s=read_bytes_per_s(device, megabytes=megabytes, runs=runs),
    )


def matmul_flops_per_s(
    device: str = "cpu", *, size: int = 1024, runs: int = 7
) -> float:
    """FLOP per second of a product of (size, size) fp32 matrices, `2 * size**3`."""
    _checked(device)
    _require_positive("size", size)
    left = torch.ones(size, size, device=device)
    right = torch.ones(size, size, device=device)
    product = torch.empty(size, size, device=device)

    def multiply() -> None:
        torch.mm(left, right, out=product)

    seconds = fastest(multiply, runs=runs, device=device)
    return 2 * size**3 / seconds


def read_bytes_per_s(
    device: str = "cpu", *, megabytes: int = 256, runs: int = 7
) -> float:
    """Bytes per second at which a matrix-vector product reads its matrix, once."""
    _checked(device)
    _require_positive("megabytes", megabytes)
    rows = max(1, round(megabytes * 1e6 / (COLUMNS * FLOAT_BYTES)))
    # written, so that every page of memory exists
    matrix = torch.ones(rows, COLUMNS, device=device)
    vector = torch.ones(COLUMNS, device=device)
    product = torch.empty(rows, device=device)

    def read() -> None:
        torch.mv(matrix, vector, out=product)

    seconds = fastest(read, runs=runs, device=device)
    return rows * COLUMNS * FLOAT_BYTES / seconds


def fastest(run: Callable[[], Any], *, runs: int = 7, device: str = "cpu") -> float:
    """Seconds that the fastest of `runs` calls takes, after one call that is not timed.

    Args:
        run: what to time.
        runs: how many timed calls.
        device: where `run` computes. An accelerator works behind Python's back and is
            waited for.

    Raises:
        ValueError: fewer than one run.
    """
    _require_positive("runs", runs)
    wait = torch.cuda.synchronize if device.startswith("cuda") else _nothing_to_wait_for
    run()
    wait()
    best = math.inf
    for _ in range(runs):
        start = time.perf_counter()
        run()
        wait()
        best = min(best, time.perf_counter() - start)
    return best


def _checked(device: str) -> str:
    """Return the kind of a device on which time can be measured."""
    kind = device.partition(":")[0]
    if kind not in SIZE:
        allowed = " or ".join(map(repr, SIZE))
        raise ValueError(f"device is {device!r}; expected {allowed}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, and torch sees no GPU; expected 'cpu'")
    return kind


def _nothing_to_wait_for() -> None:
    """Return at once: on a CPU, an operator has finished when its call returns."""


def _require_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} is {value}; expected at least 1")
