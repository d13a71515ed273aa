"""Loading GPT-2's 124M shape from a safetensors file, ours against transformers'
`from_pretrained`.

Each load is followed by the logits of one token, which read every layer and the whole
head: a tensor that is still a page of the file is read then. The file is in the
system's cache for both.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import torch
import transformers
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.compare import Comparison, Measurement, alternate
from happyllm_support.model.weights.pretrained import load_pretrained

REPEATS = 9
TOLERANCE = 1e-5  # of the standard deviation


def loading(data: Path, *, config: GPT2Config) -> Measurement:
    """Load and ask for one token's logits."""
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        GPT2LMHeadModel(config).save_pretrained(folder)
        megabytes = (Path(folder) / "model.safetensors").stat().st_size / 1e6
        pair = alternate(
            partial(ours, folder), partial(theirs, folder), equal=same, repeats=REPEATS
        )
    return Measurement(
        workload=f"GPT-2 124M, fp32, {megabytes:,.0f} MB, loaded and asked for the "
        "logits of one token",
        peer=f"transformers {transformers.__version__} from_pretrained",
        ours=pair.ours,
        theirs=pair.theirs,
        unit="s",
        equal=pair.equal,
    )


@torch.inference_mode()
def ours(folder: str) -> Tensor:
    return load_pretrained(folder)(TOKEN)


@torch.inference_mode()
def theirs(folder: str) -> Tensor:
    return GPT2LMHeadModel.from_pretrained(folder)(TOKEN).logits


def same(a: Tensor, b: Tensor) -> bool:
    """Whether logits are equal within the tolerance, relative to their scale; constants
    are never the same.
    """
    scale = b.std().item()
    return (
        a.shape == b.shape
        and scale > 0
        and (a - b).abs().max().item() <= TOLERANCE * scale
    )


TOKEN = torch.tensor([[1]])
COMPARISONS = (
    Comparison("gpt2-124m-load", partial(loading, config=GPT2Config()), threads=2),
)
