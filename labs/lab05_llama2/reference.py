"""The package's code under the lab's names: what the lab is checked against."""

from __future__ import annotations

from torch import Tensor
from torch.func import functional_call as _call

from happyllm_support.model import rope_scaling as _rope_scaling
from happyllm_support.model.attention import Attention
from happyllm_support.model.layers import Block, RMSNorm, SwiGLU
from happyllm_support.model.llama2 import Llama2, Llama2Config
from happyllm_support.model.rope import RotaryPositions as _RotaryPositions
from happyllm_support.model.rope import (
    apply_rope,
    apply_rope_interleaved,
    interleaved_to_half_split,
)

__all__ = [
    "Attention",
    "Block",
    "RMSNorm",
    "RotaryPositions",
    "SmallLlama",
    "SwiGLU",
    "apply_rope",
    "apply_rope_interleaved",
    "interleaved_to_half_split",
    "rms_norm",
    "rope_frequencies",
]


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    """The package's `RMSNorm` with this weight."""
    return _call(RMSNorm(x.shape[-1], eps), {"weight": weight}, (x,))


def _scaling(kind: str | None, factor: float) -> _rope_scaling.RopeScaling | None:
    if kind is None:
        return None
    return _rope_scaling.RopeScaling(
        kind=kind, factor=factor, original_max_seq_len=1
    )  # which neither kind looks at


def rope_frequencies(
    head_dim: int,
    theta: float = 10000.0,
    *,
    scaling: str | None = None,
    factor: float = 1.0,
) -> Tensor:
    """The package's function, with the scaling as two arguments."""
    return _rope_scaling.rope_frequencies(head_dim, theta, _scaling(scaling, factor))[0]


class RotaryPositions(_RotaryPositions):
    """The package's module, with the scaling as two arguments."""

    def __init__(
        self,
        head_dim: int,
        *,
        theta: float = 10000.0,
        scaling: str | None = None,
        factor: float = 1.0,
    ) -> None:
        super().__init__(head_dim, theta=theta, scaling=_scaling(scaling, factor))


class SmallLlama(Llama2):
    """The package's model, with its sizes as arguments."""

    def __init__(
        self,
        vocab_size: int,
        n_layer: int,
        n_head: int,
        n_kv_head: int,
        d_model: int,
        d_ff: int,
        *,
        rope_theta: float = 10000.0,
        norm_eps: float = 1e-5,
    ) -> None:
        sizes = {
            "n_layer": n_layer,
            "n_head": n_head,
            "n_kv_head": n_kv_head,
            "d_model": d_model,
            "d_ff": d_ff,
        }
        theta = {"rope_theta": rope_theta, "norm_eps": norm_eps}
        super().__init__(
            Llama2Config(vocab_size=vocab_size, max_seq_len=1_000_000, **sizes, **theta)
        )
