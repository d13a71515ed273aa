"""Generation: read the prompts once, then token after token, several rows at a time.

    logits = prefill(model, cache, ids, segments)     all prompts, their last column
    logits = decode_step(model, cache, new_ids)       one more token per row
    for ids in stream(model, prompts, ...): ...       what each row draws, as it comes
    generate(model, prompts, ...)                     all of it at the end

Prompts of unequal length are padded on the left, so that all rows continue in the same
column:

    ids          pad  pad   7    4  | new
                  9    3    5    8  | new
    positions     0    0    0    1  |  2
                  0    1    2    3  |  4
    segments      0    0    1    1  |  1
                  1    1    1    1  |  1

Padding (segment 0) is not seen by tokens and the positions are those of the prompt
alone, so each row gets what it would get alone. The exception is RoPE scaling of the
kind "dynamic": its frequencies follow the longest row, and keys in the cache keep those
of their time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from happyllm_support.inference.kv_cache import ContiguousCache
from happyllm_support.inference.sampling import check_sampling, sample
from happyllm_support.model.cache import Cache
from happyllm_support.model.language_model import (
    LanguageModel,
    config_of,
    device_of,
)
from happyllm_support.model.modes import training_mode
from happyllm_support.text.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from happyllm_support.inference.sampling import Generators

    Model = LanguageModel | nn.Module


@torch.no_grad()
def prefill(
    model: Model,
    cache: Cache | None,
    ids: Int64[Tensor, "B T"],
    segments: Int64[Tensor, "B T"] | None = None,
    *,
    chunk: int | None = None,
) -> Float[Tensor, "B V"]:
    """Read prompts, without dropout, into a cache.

    Args:
        model: what reads.
        cache: extended by T tokens per row; None: nothing is kept.
        ids: the prompts, ending in the same column.
        segments: 0 where a row is padded on the left, else 1; None: no padding.
        chunk: read at most that many columns at a time, which bounds memory and changes
            nothing; None: all at once.

    Returns:
        Logits of the token after the last column.

    Raises:
        ValueError: as the model, or a chunk below 1.
    """
    width = ids.shape[1] if chunk is None else chunk
    if width < 1 or (chunk is not None and cache is None):
        raise ValueError(
            f"chunk is {chunk}; expected at least 1 column, and a cache that keeps the "
            "chunks before"
        )
    logits = torch.empty(0)
    with training_mode(model, False):
        for start in range(0, ids.shape[1], width):
            part = slice(start, start + width)
            own = None if segments is None else segments[:, part]
            logits = model(ids[:, part], segments=own, cache=cache, last_only=True)
    return logits[:, -1]


@torch.no_grad()
def decode_step(
    model: Model, cache: Cache, ids: Int64[Tensor, " B"]
) -> Float[Tensor, "B V"]:
    """Read one more token per row, without dropout.

    Args:
        model: what reads; a compiled one reads every step in the same program.
        cache: extended by a token per row.
        ids: the token of each row, that `prefill` or the last step led to.

    Returns:
        Logits of the token after it.

    Raises:
        ValueError: as the model.
    """
    with training_mode(model, False):
        return model(ids[:, None], cache=cache, last_only=True)[:, -1]


def stream(
    model: Model,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    stop_ids: Collection[int] = (),
    pad_id: int = 0,
    generator: Generators = None,
    use_cache: bool = True,
) -> Iterator[list[int | None]]:
    """Yield what each row has drawn, step by step; arguments as for `generate`.

    Yields:
        The new id of each prompt, None for rows that have ended before.

    Raises:
        ValueError: as `generate`, before the first step.
    """
    check_sampling(temperature, top_k)
    check_lengths(prompts, max_new_tokens, config_of(model).max_seq_len)

    def steps() -> Iterator[list[int | None]]:
        ids, segments = left_padded(prompts, pad_id, device_of(model))
        cache = None
        if use_cache:
            capacity = ids.shape[1] + max_new_tokens - 1  # the last draw is not read
            cache = ContiguousCache.for_model(model, len(prompts), capacity)
        logits = prefill(model, cache, ids, segments)  # (B, V)
        running = [True] * len(prompts)
        for step in range(max_new_tokens):
            drawn = sample(
                logits, temperature=temperature, top_k=top_k, generator=generator
            )
            new = cast("list[int]", drawn.tolist())
            yield [
                token if on else None for token, on in zip(new, running, strict=True)
            ]
            running = [
                on and token not in stop_ids
                for token, on in zip(new, running, strict=True)
            ]
            if step == max_new_tokens - 1 or not any(running):
                return
            if cache is not None:  # a row that has ended goes on, unread
                logits = decode_step(model, cache, drawn)
            else:
                ids = torch.cat([ids, drawn[:, None]], dim=1)
                segments = torch.cat([segments, torch.ones_like(ids[:, :1])], dim=1)
                logits = prefill(model, None, ids, segments)

    return steps() if prompts else iter(())


def generate(
    model: Model,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    stop_ids: Collection[int] = (),
    pad_id: int = 0,
    generator: Generators = None,
    use_cache: bool = True,
) -> list[list[int]]:
    """Continue each prompt, without dropout; the model is left in its mode.

    With temperature 0, or with a generator per row, each row is what the prompt alone
    would give, except under "dynamic" RoPE scaling. Otherwise the rows share one stream
    of random numbers, and a row depends on its place in the batch.

    Args:
        model: GPT-2, LLaMA2, or whatever has their signature.
        prompts: ids, at least one each.
        max_new_tokens: how many to add at most. The last one needs no position: a
            prompt of 8 and one new token fit a model of 8 positions.
        temperature: see `sampling.probs`.
        top_k: see there.
        stop_ids: a row ends with the first of these that it draws, which is the last of
            its new ids.
        pad_id: what stands left of shorter prompts; any id of the vocabulary will do.
        generator: source of randomness on the device of the model, one for all rows or
            one for each; None is torch's own.
        use_cache: keep keys and values of what was read; else every step reads all of
            it anew.

    Returns:
        The new ids of each prompt.

    Raises:
        ValueError: an empty prompt, settings out of range, or more tokens than the
            model has positions for.
    """
    new: list[list[int]] = [[] for _ in prompts]
    for step in stream(
        model,
        prompts,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        stop_ids=stop_ids,
        pad_id=pad_id,
        generator=generator,
        use_cache=use_cache,
    ):
        for row, token in zip(new, step, strict=True):
            if token is not None:
                row.append(token)
    return new


def generate_text(
    model: Model,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: Generators = None,
    use_cache: bool = True,
) -> list[str]:
    """Continue texts, each up to the end of its document.

    A prompt begins with the tokenizer's bos and a row ends at its eos, where it has
    them: as `prepare` and `encode_documents` write documents.

    Args:
        model: as for `generate`.
        tokenizer: the one that made the model's training data.
        prompts: beginnings of documents; an empty one needs a tokenizer with bos.
        max_new_tokens: how many tokens to add at most.
        temperature: see `sampling.probs`.
        top_k: see `sampling.probs`.
        generator: as for `generate`.
        use_cache: as for `generate`.

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
        use_cache=use_cache,
    )
    return [tokenizer.decode(row, skip_special=True) for row in rows]


def left_padded(
    prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[Int64[Tensor, "B T"], Int64[Tensor, "B T"]]:
    """Return ids and segments of prompts that all end in the last column."""
    longest = max(map(len, prompts))
    pads = [longest - len(prompt) for prompt in prompts]
    rows = [[pad_id] * n + list(p) for n, p in zip(pads, prompts, strict=True)]
    segments = [[0] * n + [1] * (longest - n) for n in pads]
    return torch.tensor(rows, device=device), torch.tensor(segments, device=device)


def check_lengths(
    prompts: Sequence[Sequence[int]], max_new_tokens: int, max_seq_len: int
) -> None:
    """Raise ValueError for a prompt that cannot be continued that far."""
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}; expected at least 1")
    for number, prompt in enumerate(prompts):
        if isinstance(prompt, str) or any(isinstance(token, str) for token in prompt):
            raise ValueError(
                f"prompt {number} is text; expected ids (generate_text takes texts)"
            )
        if not prompt:
            raise ValueError(
                f"prompt {number} is empty; begin it with the tokenizer's bos"
            )
        if len(prompt) + max_new_tokens - 1 > max_seq_len:
            raise ValueError(
                f"prompt {number} has {len(prompt)} tokens and max_new_tokens is "
                f"{max_new_tokens}: together more than the model's max_seq_len "
                f"{max_seq_len} allows; the last new token needs no position"
            )
