"""Forward and backward passes of our GPT-2 and LLaMA against those of transformers, in
tokens per second.

Both hold the same weights in fp32, take the same ids and the same loss, and use
PyTorch's fused attention; transformers is told to keep no cache. Logits, loss and the
gradient of the embedding, through which all others flow, are compared before anything
is timed. Compiled rows put both through `torch.compile` with fixed shapes, where each
is one graph and the compiler has the last word on speed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.compare import Comparison, Measurement, alternate
from happyllm_support.model import gpt2, llama2
from happyllm_support.model.gpt2 import GPT2, GPT2Config
from happyllm_support.model.llama2 import Llama2, Llama2Config
from happyllm_support.model.weights.pretrained import save_pretrained

TOLERANCE = 2e-5  # of the norm


def speed(
    data: Path,
    *,
    config: GPT2Config | Llama2Config,
    name: str,
    batch: int,
    length: int,
    repeats: int,
    compiled: bool = False,
) -> Measurement:
    """One step of training without the optimizer: forward, loss, backward."""
    ours, theirs = models(config)
    run_ours: Any = ours
    run_theirs: Any = theirs
    if compiled:
        run_ours = torch.compile(ours, fullgraph=True, dynamic=False)
        run_theirs = torch.compile(theirs, fullgraph=True, dynamic=False)
    ids = torch.randint(
        config.vocab_size, (batch, length), generator=torch.Generator().manual_seed(0)
    )
    pair = alternate(
        step(ours, run_ours, ids),
        step(
            theirs, lambda ids: run_theirs(input_ids=ids, use_cache=False).logits, ids
        ),
        equal=same,
        repeats=repeats,
    )
    tokens = batch * length
    return Measurement(
        workload=f"{name}, {ours.num_parameters() / 1e6:.3g}M parameters, batch "
        f"{batch} of {length} tokens, fp32{', compiled' if compiled else ''}",
        peer=f"transformers {transformers.__version__} {type(theirs).__name__}, sdpa"
        f"{', compiled' if compiled else ''}",
        ours=tokens / pair.ours,
        theirs=tokens / pair.theirs,
        unit="tokens/s",
        equal=pair.equal,
        higher_is_better=True,
        note="Forward, loss and backward, without optimizer.",
    )


def models(config: GPT2Config | Llama2Config) -> tuple[GPT2 | Llama2, Any]:
    """A model of ours and one of transformers' with the same weights, both in training
    mode and without dropout.
    """
    transformers.utils.logging.disable_progress_bar()
    generator = torch.Generator().manual_seed(0)
    ours = (
        GPT2(config, generator)
        if isinstance(config, GPT2Config)
        else Llama2(config, generator)
    )
    randomise(ours, generator)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(ours, Path(folder) / "model")
        load = transformers.AutoModelForCausalLM.from_pretrained
        theirs = load(
            Path(folder) / "model", attn_implementation="sdpa", dtype=torch.float32
        )
        for parameter in theirs.parameters():
            parameter.data = (
                parameter.data.clone()
            )  # ordinary memory, not pages of a file
    return ours.train(), theirs.train()


@torch.no_grad()
def randomise(model: nn.Module, generator: torch.Generator) -> None:
    """Move norms and biases away from 1 and 0, and make weights as large as after
    training.
    """
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        else:
            parameter.mul_(2)


def step(
    model: nn.Module, logits_of: Callable[[Tensor], Tensor], ids: Tensor
) -> Callable[[], tuple[Tensor, Tensor, Tensor]]:
    """One step of one model, which leaves logits, loss and the gradient of the
    embedding to be compared.
    """
    embedding = next(
        module for module in model.modules() if isinstance(module, nn.Embedding)
    )

    def run() -> tuple[Tensor, Tensor, Tensor]:
        logits = logits_of(ids)
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        gradient = embedding.weight.grad
        assert gradient is not None
        model.zero_grad(set_to_none=True)
        return logits.detach(), loss.detach(), gradient

    return run


def same(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> bool:
    """Whether each pair differs by no more than the tolerance, relative to its norm;
    zeros are never the same.

    Norms, because most rows of the embedding's gradient are zero, those of ids that did
    not occur.
    """
    return all(
        a.shape == b.shape and b.norm() > 0 and (a - b).norm() <= TOLERANCE * b.norm()
        for a, b in zip(ours, theirs, strict=True)
    )


COMPARISONS = (
    Comparison(
        "gpt2-124m-step",
        partial(
            speed,
            config=gpt2.GPT2_124M,
            name="GPT-2 124M",
            batch=2,
            length=256,
            repeats=7,
        ),
        threads=2,
    ),
    Comparison(
        "gpt2-tiny-step",
        partial(
            speed,
            config=gpt2.TINY,
            name="GPT-2, tiny preset",
            batch=16,
            length=128,
            repeats=41,
        ),
        threads=2,
    ),
    Comparison(
        "llama-215m-step",
        partial(
            speed,
            config=llama2.LLAMA_215M,
            name="LLaMA 215M, 16 heads on 8",
            batch=2,
            length=256,
            repeats=15,
        ),
        threads=2,
    ),
    Comparison(
        "llama-tiny-step",
        partial(
            speed,
            config=llama2.TINY,
            name="LLaMA, tiny preset, 4 heads on 2",
            batch=16,
            length=128,
            repeats=41,
        ),
        threads=2,
    ),
    *(
        Comparison(
            f"{name}-tiny-step-compiled",
            partial(
                speed,
                config=config,
                name=what,
                batch=16,
                length=128,
                repeats=41,
                compiled=True,
            ),
            threads=2,
            floor=0.95,
        )
        for name, config, what in (
            ("gpt2", gpt2.TINY, "GPT-2, tiny preset"),
            ("llama", llama2.TINY, "LLaMA, tiny preset, 4 heads on 2"),
        )
    ),
)
