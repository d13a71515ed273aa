"""Small models whose weights, norms and biases are all random, and a cache, for the
tests of this folder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from happyllm_support.model.gpt2 import GPT2, GPT2Config
from happyllm_support.model.llama2 import Llama2, Llama2Config
from happyllm_support.model.modes import set_dropout, set_kernel

VOCAB = 37
GPT2_SMALL = {
    "vocab_size": VOCAB,
    "max_seq_len": 32,
    "n_layer": 3,
    "n_head": 4,
    "d_model": 24,
}
LLAMA2_SMALL = {**GPT2_SMALL, "n_kv_head": 2, "d_ff": 40}
MODELS = ("gpt2", "llama2")


def build(
    name: str, *, dtype: torch.dtype = torch.float64, **changes: object
) -> GPT2 | Llama2:
    """A randomised model in evaluation mode; in fp64, so that equal means equal."""
    kernel, dropout = changes.pop("kernel", "sdpa"), changes.pop("dropout", 0.0)
    if name == "gpt2":
        model: GPT2 | Llama2 = GPT2(GPT2Config(**{**GPT2_SMALL, **changes}))
    else:
        model = Llama2(Llama2Config(**{**LLAMA2_SMALL, **changes}))
    set_kernel(model, kernel)
    set_dropout(model, dropout)
    return randomise(model).to(dtype).eval()


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Weights that matter everywhere: logits with a standard deviation of about 2, no
    norm at 1 and no bias at 0.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                parameter.copy_(0.3 * noise + (0 if name.endswith("bias") else 1))
            else:
                parameter.copy_(
                    noise
                    * (
                        0.4
                        if "emb" in name or "head" in name
                        else 1.2 * parameter.shape[1] ** -0.5
                    )
                )
    return model


def some_ids(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    """Equal within a tolerance relative to the scale of what is expected, which must
    not be a constant.
    """
    scale = expected.double().std().item()
    assert scale > 1e-3, "a constant proves nothing"
    torch.testing.assert_close(
        found.double(), expected.double(), rtol=0, atol=tolerance * scale
    )


class ListCache:
    """The shortest cache there is: keys and values of each layer, concatenated."""

    def __init__(self, batch: int, n_layer: int) -> None:
        self.positions = torch.zeros(batch, 0, dtype=torch.long)
        self.segments = torch.zeros(batch, 0, dtype=torch.long)
        self.layers: list[tuple[Tensor, Tensor] | None] = [None] * n_layer
        self.reserved: tuple[Tensor, Tensor] | None = None
        self.writes: list[int] = []
        self.commits = 0

    def reserve(self, positions: Tensor, segments: Tensor) -> tuple[Tensor, Tensor]:
        assert positions.shape == segments.shape
        assert positions.shape[0] == self.positions.shape[0]
        both = zip((self.positions, self.segments), (positions, segments), strict=True)
        self.reserved = tuple(torch.cat(pair, dim=1) for pair in both)
        return self.reserved

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        self.writes.append(layer)
        new, past = (keys, values), self.layers[layer]
        if past is not None:
            new = tuple(torch.cat(pair, 2) for pair in zip(past, new, strict=True))
        self.layers[layer] = new
        return new

    def commit(self) -> None:
        self.positions, self.segments = self.reserved
        self.commits += 1
        assert self.layers[0][0].shape[2] == self.positions.shape[1]
