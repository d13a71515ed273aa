"""Generation: token after token, for several prompts at once.

Prompts of unequal length are padded on the left, so that all rows continue in the same
column:

    ids          pad  pad   7    4  | new
                  9    3    5    8  | new
    positions     0    0    0    1  |  2
                  0    1    2    3  |  4
    segments      0    0    1    1  |  1
                  1    1    1    1  |  1

Padding (segment 0) is seen by nothing and the positions are those of the prompt alone,
so each row gets what it would get alone. The exception is RoPE scaling of the kind
"dynamic": a batch has one set of frequencies, and the longest row sets it for all.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from happyllm_support.inference.sampling import check_sampling, sample
from happyllm_support.model.modes import training_mode
from happyllm_support.text.tokenizer.tokenizer import Tokenizer


def generate(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    stop_ids: Collection[int] = (),
    pad_id: int = 0,
    generator: torch.Generator | None = None,
) -> list[list[int]]:
    """Continue each prompt, without dropout; the model is left in the mode, training or
    evaluation, that it was in.

    With temperature 0 each row is what the prompt alone would give, except under
    "dynamic" RoPE scaling, where the longest row sets the frequencies of all as soon as
    it is longer than the trained length. Otherwise the rows share one stream of random
    numbers, and a row depends on its place in the batch.

    Args:
        model: GPT-2, LLaMA2, or whatever has their signature and a
            `config.max_seq_len`.
        prompts: ids, at least one each.
        max_new_tokens: how many to add at most.
        temperature: see `sample`.
        top_k: see `sample`.
        stop_ids: a row ends with the first of these that it draws, which is the last of
            its new ids.
        pad_id: what stands left of shorter prompts; any id of the vocabulary will do.
        generator: source of randomness, on the device of the model; None is torch's
            own.

    Returns:
        The new ids of each prompt.

    Raises:
        ValueError: an empty prompt, settings out of range, or more tokens than the
            model has positions for.
    """
    check_sampling(temperature, top_k)
    _check_lengths(prompts, max_new_tokens, model)
    if not prompts:
        return []
    ids, positions, segments = _left_padded(
        prompts, pad_id, next(model.parameters()).device
    )
    new: list[list[int]] = [[] for _ in prompts]
    running = set(range(len(prompts)))
    with training_mode(model, False), torch.inference_mode():
        for _ in range(max_new_tokens):
            logits = model(ids, positions=positions, segments=segments, last_only=True)[
                :, -1
            ]  # (B, V)
            drawn = sample(
                logits, temperature=temperature, top_k=top_k, generator=generator
            )  # (B,)
            for row in running:
                new[row].append(int(drawn[row]))
            running = {row for row in running if new[row][-1] not in stop_ids}
            if not running:
                break
            ids = torch.cat(
                [ids, drawn[:, None]], dim=1
            )  # a row that has ended goes on, unread
            positions = torch.cat([positions, positions[:, -1:] + 1], dim=1)
            segments = torch.cat([segments, torch.ones_like(drawn)[:, None]], dim=1)
    return new


def generate_text(
    model: nn.Module,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> list[str]:
    """Continue texts, each up to the end of its document.

    A prompt begins with the tokenizer's bos and a row ends at its eos, where it has
    them: as `prepare` and `encode_documents` write documents.

    Args:
        model: as for `generate`.
        tokenizer: the one that made the model's training data.
        prompts: beginnings of documents; an empty one needs a tokenizer with bos.
        max_new_tokens: how many tokens to add at most.
        temperature: see `sample`.
        top_k: see `sample`.
        generator: as for `generate`.

    Returns:
        The new text of each prompt, without special tokens.

    Raises:
        ValueError: as for `generate`, or one string instead of many.
    """
    if isinstance(prompts, str):
        raise ValueError("prompts is one string; give a list of them")
    add_bos = tokenizer.bos_id is not None
    rows = generate(
        model,
        [tokenizer.encode(prompt, add_bos=add_bos) for prompt in prompts],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        stop_ids=() if tokenizer.eos_id is None else (tokenizer.eos_id,),
        pad_id=tokenizer.pad_id or 0,
        generator=generator,
    )
    return [tokenizer.decode(row, skip_special=True) for row in rows]


def _left_padded(
    prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, positions and segments, (B, T) each, of prompts that all end in the
    last column.
    """
    longest = max(map(len, prompts))
    pads = torch.tensor([longest - len(prompt) for prompt in prompts], device=device)[
        :, None
    ]  # (B, 1)
    ids = torch.tensor(
        [[pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts],
        device=device,
    )
    positions = torch.arange(longest, device=device) - pads
    return ids, positions.clamp(min=0), (positions >= 0).long()


def _check_lengths(
    prompts: Sequence[Sequence[int]], max_new_tokens: int, model: nn.Module
) -> None:
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}; expected at least 1")
    max_seq_len: int = cast(Any, model).config.max_seq_len
    for number, prompt in enumerate(prompts):
        if not prompt:
            raise ValueError(
                f"prompt {number} is empty; begin it with the tokenizer's bos"
            )
        if len(prompt) + max_new_tokens > max_seq_len:
            raise ValueError(
                f"prompt {number} has {len(prompt)} tokens and max_new_tokens is "
                f"{max_new_tokens}: "
                f"together more than the model's max_seq_len {max_seq_len}"
            )
