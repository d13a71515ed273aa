"""Hugging Face's `tokenizer.json`, written and read.

What is exported gives the same ids there; what is imported is refused where it could
not give the same ids here.

Source: huggingface/tokenizers (the layout of `tokenizer.json`, `AddedVocabulary`).
"""

from __future__ import annotations

import os
from itertools import product
from typing import Any, cast

from happyllm_support.files import atomic_write_json, read_json
from happyllm_support.text.tokenizer.formats.gpt2_files import (
    check_vocabulary,
    model_from_strings,
    token_to_string,
)
from happyllm_support.text.tokenizer.pretokenize import GPT2_PATTERN
from happyllm_support.text.tokenizer.tokenizer import Tokenizer


def to_huggingface(tokenizer: Tokenizer, path: str | os.PathLike[str]) -> None:
    """Write the tokenizer as Hugging Face's `tokenizer.json`, whole or not at all.

    `tokenizers.Tokenizer.from_file(path)` then gives our ids. There, special tokens are
    always recognised in text, as with `allowed_special="all"` here.
    """
    model = tokenizer.model
    strings = [
        token_to_string(token) for token in model.token_bytes[: 256 + len(model.merges)]
    ]
    specials = tokenizer.special_tokens
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(text, token) for text, token in specials.items()],
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(model.pattern),
        "post_processor": None,
        "decoder": _byte_level(use_regex=False),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {string: token for token, string in enumerate(strings)} | specials,
            "merges": [[strings[left], strings[right]] for left, right in model.merges],
        },
    }
    atomic_write_json(path, content)


def from_huggingface(path: str | os.PathLike[str]) -> Tokenizer:
    """Read a byte-level BPE tokenizer from Hugging Face's `tokenizer.json`.

    Raises:
        ValueError: another kind of tokenizer, a step that we do not have (a normalizer,
            an added space, special tokens that swallow spaces), ids laid out in another
            way than bytes, merges, special tokens, or a damaged file; one line that
            names the file.
    """
    content = read_json(path, "a Hugging Face tokenizer")
    model = _object(content, "model", path)
    if model.get("type", "BPE") != "BPE":
        raise ValueError(
            f"{path} holds a {model.get('type')!r} model; expected byte-level 'BPE'"
        )
    if content.get("normalizer") is not None:
        raise ValueError(
            f"{path} normalizes text with {_kind(content['normalizer'])!r}; expected "
            "no normalizer"
        )
    for option in (
        "dropout",
        "unk_token",
        "continuing_subword_prefix",
        "end_of_word_suffix",
        "byte_fallback",
    ):
        if model.get(option):
            raise ValueError(
                f"{path} uses {option} = {model[option]!r}; expected byte-level BPE "
                "without it"
            )
    pattern = _pattern_of(content.get("pre_tokenizer"), path)
    added = _added_tokens(_list(content, "added_tokens", path), path)
    vocabulary = check_vocabulary(_object(model, "vocab", path) | added, str(path))
    merges = [
        _merge(merge, number, path)
        for number, merge in enumerate(_list(model, "merges", path), start=1)
    ]
    return Tokenizer(
        model_from_strings(
            vocabulary, merges, pattern, str(path), is_special=added.__contains__
        )
    )


def _pre_tokenizer(pattern: str) -> dict[str, Any]:
    if pattern == GPT2_PATTERN:
        return _byte_level(use_regex=True)  # built in there, and faster
    split = {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(use_regex=False)]}


def _byte_level(*, use_regex: bool) -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def _added_token(text: str, token: int) -> dict[str, Any]:
    flags = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    return {"id": token, "content": text, **flags}


def _added_tokens(entries: list[Any], path: str | os.PathLike[str]) -> dict[str, int]:
    """Read the special tokens, and refuse what would find them elsewhere in a text than
    we do: as they are written, wherever they stand, the longest of those that begin
    first.
    """
    added: dict[str, int] = {}
    found_first: dict[bool, list[str]] = {True: [], False: []}
    for entry in entries:
        match entry:
            case {"content": str(text), "id": int(token)}:
                added[text] = token
                found_first[not entry.get("normalized")].append(text)
            case _:
                raise ValueError(f"{path}: added token {entry!r} has no content and id")
        for field in ("lstrip", "rstrip", "single_word"):
            if entry.get(field):
                raise ValueError(
                    f"{path}: added token {text!r} has {field} = {entry[field]!r}; "
                    "expected false, for what stands around it is text like any other"
                )
    for first, second in product(found_first[True], found_first[False]):
        if _overlap(first, second):
            raise ValueError(
                f"{path}: added token {second!r} has normalized = True and overlaps "
                f"{first!r}, which has not; expected the same for both"
            )
    return added


def _overlap(one: str, other: str) -> bool:
    """Whether some text holds both, with characters that belong to both."""
    return (
        one in other
        or other in one
        or any(
            one.endswith(other[:n]) or other.endswith(one[:n])
            for n in range(1, min(len(one), len(other)))
        )
    )


def _pattern_of(pre_tokenizer: Any, path: str | os.PathLike[str]) -> str:
    """Read the pattern out of a byte-level pre-tokenizer, alone or after a split by a
    regular expression.
    """
    match pre_tokenizer:
        case {"type": "ByteLevel", "add_prefix_space": False}:
            if pre_tokenizer.get("use_regex", True):
                return GPT2_PATTERN
        case {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": str(pattern)},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        }:
            return pattern
        case _:
            pass
    raise ValueError(
        f"{path} cuts text with {_kind(pre_tokenizer)!r}; expected ByteLevel without "
        "added space, alone or after a Split by a regular expression"
    )


def _merge(merge: Any, number: int, path: str | os.PathLike[str]) -> tuple[str, str]:
    match merge.split(" ") if isinstance(merge, str) else merge:
        case [str(left), str(right)] if left and right:
            return left, right
        case _:
            raise ValueError(
                f"{path}: merge {number} is {merge!r}; expected a pair of tokens"
            )


def _object(
    content: dict[str, Any], key: str, path: str | os.PathLike[str]
) -> dict[str, Any]:
    value = content.get(key)
    if not isinstance(value, dict):
        raise ValueError(
            f"{path} is not a Hugging Face tokenizer: it has no {key!r} object"
        )
    return cast("dict[str, Any]", value)


def _list(content: dict[str, Any], key: str, path: str | os.PathLike[str]) -> list[Any]:
    value = content.get(key, [])
    if not isinstance(value, list):
        raise ValueError(
            f"{path} is not a Hugging Face tokenizer: its {key!r} is no list"
        )
    return cast("list[Any]", value)


def _kind(step: Any) -> Any:
    return cast("dict[str, Any]", step).get("type") if isinstance(step, dict) else step
