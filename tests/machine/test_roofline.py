"""Limits of a machine: arithmetic on made-up machines, and measurements whose work is
counted, not timed.
"""

import math
import time

import pytest
import torch

from happyllm_support.machine import roofline
from happyllm_support.machine.roofline import (
    Roofline,
    fastest,
    matmul_flops_per_s,
    measure_roofline,
    read_bytes_per_s,
)

LAPTOP = Roofline(flops_per_s=100e9, bytes_per_s=20e9)


def test_the_roof_rises_to_the_ridge_and_is_flat_behind_it():
    assert LAPTOP.ridge == 5
    assert LAPTOP.attainable(0.5) == 10e9
    assert LAPTOP.attainable(LAPTOP.ridge) == 100e9
    assert LAPTOP.attainable(1000) == 100e9


def test_one_row_is_limited_by_reading():
    # 0.5 GB of weights at 20 GB/s: 40 times a second; the arithmetic alone would allow
    # 400.
    assert LAPTOP.tokens_per_s(125_000_000) == pytest.approx(40)
    assert LAPTOP.tokens_per_s(125_000_000, bytes_per_parameter=1) == pytest.approx(160)


def test_rows_share_one_reading_until_arithmetic_is_the_limit():
    one, ten, many = (
        LAPTOP.tokens_per_s(125_000_000, rows=rows) for rows in (1, 10, 1000)
    )
    assert ten == pytest.approx(
        10 * one
    )  # the ridge, 5 FLOP per byte, is reached at 10 rows of fp32
    assert many == pytest.approx(ten)
    assert LAPTOP.tokens_per_s(125_000_000, rows=20) == pytest.approx(ten)


@pytest.mark.parametrize("rows", [1, 3, 10, 64])
def test_the_two_views_agree(rows):
    """Tokens per second times operations per token is the roof at the intensity of that
    many rows.
    """
    intensity = 2 * rows / 4
    assert LAPTOP.tokens_per_s(7_000_000, rows=rows) * 2 * 7_000_000 == pytest.approx(
        LAPTOP.attainable(intensity)
    )


def test_fastest_is_the_fastest_and_leaves_out_the_first_call(monkeypatch):
    clock = iter(
        [10.0, 13.0, 20.0, 21.5, 30.0, 32.0]
    )  # timed calls of 3, 1.5 and 2 seconds
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    calls = []
    assert fastest(lambda: calls.append(1), runs=3) == 1.5
    assert len(calls) == 4


def test_what_is_counted_is_what_is_done(monkeypatch):
    """With a clock that says one second, the rates are the amounts of work."""

    def one_second(run, *, runs, device):
        run()
        return 1.0

    done = []
    monkeypatch.setattr(roofline, "fastest", one_second)
    monkeypatch.setattr(
        roofline.torch, "mm", lambda a, b, out: done.append((a.shape, b.shape))
    )
    monkeypatch.setattr(
        roofline.torch,
        "mv",
        lambda a, x, out: done.append(a.numel() * a.element_size()),
    )
    assert matmul_flops_per_s(size=100) == 2_000_000
    read = read_bytes_per_s(megabytes=3)
    assert done == [(torch.Size([100, 100]), torch.Size([100, 100])), read]
    assert read == pytest.approx(3e6, rel=0.01)


def test_measuring_takes_the_arguments_through():
    found = measure_roofline(size=64, megabytes=1, runs=1)
    assert found.flops_per_s > 0 and math.isfinite(found.bytes_per_s)
    with pytest.raises(ValueError, match="runs is 0; expected at least 1"):
        measure_roofline(size=8, megabytes=1, runs=0)


@pytest.mark.parametrize(
    ("device", "work"), [("cpu", (1024, 256)), ("cuda:1", (8192, 4096))]
)
def test_the_work_suits_the_device(monkeypatch, device, work):
    seen = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        roofline,
        "matmul_flops_per_s",
        lambda where, *, size, runs: seen.update({where: size}) or 1.0,
    )
    monkeypatch.setattr(
        roofline, "read_bytes_per_s", lambda where, *, megabytes, runs: float(megabytes)
    )
    assert measure_roofline(device).bytes_per_s == work[1]
    assert seen == {device: work[0]}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Roofline(flops_per_s=0, bytes_per_s=1), "flops_per_s is 0"),
        (lambda: Roofline(flops_per_s=1, bytes_per_s=math.inf), "bytes_per_s is inf"),
        (lambda: LAPTOP.attainable(0), "intensity is 0"),
        (lambda: LAPTOP.tokens_per_s(0), "n_parameters is 0"),
        (
            lambda: LAPTOP.tokens_per_s(1, bytes_per_parameter=-1),
            "bytes_per_parameter is -1",
        ),
        (lambda: LAPTOP.tokens_per_s(1, rows=0), "rows is 0"),
        (lambda: measure_roofline("tpu"), "device is 'tpu'; expected 'cpu' or 'cuda'"),
        (lambda: measure_roofline(size=0), "size is 0"),
        (lambda: matmul_flops_per_s(size=0), "size is 0"),
        (lambda: read_bytes_per_s(megabytes=0), "megabytes is 0"),
    ],
)
def test_impossible_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "measure", [measure_roofline, matmul_flops_per_s, read_bytes_per_s]
)
def test_a_device_without_time_or_without_hardware_is_refused(monkeypatch, measure):
    """On "meta" nothing is computed, and so fast that any limit would be absurd."""
    with pytest.raises(
        ValueError, match=r"^device is 'meta'; expected 'cpu' or 'cuda'$"
    ):
        measure("meta")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        ValueError, match=r"^device is 'cuda:0', and torch sees no GPU; expected 'cpu'$"
    ):
        measure("cuda:0")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_is_waited_for():
    big = torch.ones(4096, 4096, device="cuda")
    seconds = fastest(lambda: big @ big, runs=3, device="cuda")
    assert (
        2 * 4096**3 / seconds < 1e15
    )  # a launch without waiting would claim petaflops
