"""Our tokenizer file: one JSON object with everything that decides ids, and a
fingerprint over it.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from typing import Any, cast

from happyllm_support.files import atomic_write_text, read_json
from happyllm_support.text.tokenizer.bpe import BPEModel, TrainingReport

FORMAT = "happyllm tokenizer"
VERSION = 1


def fingerprint(model: BPEModel) -> str:
    """SHA-256, in hexadecimal, over all that decides ids: byte ids, merges, pattern and
    special tokens.
    """
    specials = sorted(model.special_tokens.items(), key=lambda item: item[1])
    content = json.dumps(
        [model.byte_ids, model.merges, model.pattern, specials], separators=(",", ":")
    )
    return hashlib.sha256(content.encode("ascii")).hexdigest()


def save_model(model: BPEModel, path: str | os.PathLike[str]) -> None:
    """Write `model` to `path`, whole or not at all; the merges stand one a line."""
    head = {
        "format": FORMAT,
        "version": VERSION,
        "fingerprint": fingerprint(model),
        "pattern": model.pattern,
        "special_tokens": model.special_tokens,
        "byte_ids": None if model.byte_ids == tuple(range(256)) else model.byte_ids,
        "training": asdict(model.report) if model.report else None,
    }
    lines = [
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in head.items()
    ]
    merges = ",\n".join(f"[{left}, {right}]" for left, right in model.merges)
    atomic_write_text(
        path, "{\n" + ",\n".join(lines) + f',\n"merges": [\n{merges}\n]\n}}\n'
    )


def load_model(path: str | os.PathLike[str]) -> BPEModel:
    """Read what `save_model` wrote.

    Raises:
        ValueError: not our file, another version, a value of the wrong kind, merges
            that cannot be, or a file that was changed after it was saved; one line that
            names the file.
    """
    content = read_json(path, "a tokenizer file")
    if content.get("format") != FORMAT:
        hint = (
            "; Hugging Face's tokenizer.json is read by from_huggingface"
            if "added_tokens" in content
            else ""
        )
        found = content.get("format")
        raise ValueError(
            f"{path} is not a tokenizer file: its format is {found!r}, not "
            f"{FORMAT!r}{hint}"
        )
    if content.get("version") != VERSION:
        raise ValueError(
            f"{path} has version {content.get('version')!r}; this program reads "
            f"version {VERSION}"
        )
    try:
        model = _model_from(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if content.get("fingerprint") != fingerprint(model):
        raise ValueError(
            f"{path} was changed after it was saved: its fingerprint does not match "
            "its content"
        )
    return model


def _model_from(content: dict[str, Any]) -> BPEModel:
    merges = _pairs(content.get("merges"))
    pattern = content.get("pattern")
    if not isinstance(pattern, str):
        raise ValueError(f"pattern is {pattern!r}; expected a regular expression")
    byte_ids = content.get("byte_ids")
    if byte_ids is None:
        byte_ids = list(range(256))
    elif not isinstance(byte_ids, list) or not all(
        type(i) is int for i in cast("list[Any]", byte_ids)
    ):
        raise ValueError("byte_ids is no list of ids; expected null or 0 to 255")
    specials = content.get("special_tokens")
    if not isinstance(specials, dict) or not all(
        type(i) is int for i in cast("dict[str, Any]", specials).values()
    ):
        raise ValueError("special_tokens is no vocabulary; expected text -> id")
    training = content.get("training")
    try:
        report = TrainingReport(**training) if training else None
    except TypeError:
        raise ValueError(
            f"training is {training!r}; expected null or a training report"
        ) from None
    return BPEModel(
        merges=merges,
        pattern=pattern,
        special_tokens=cast("dict[str, int]", specials),
        byte_ids=tuple(cast("list[int]", byte_ids)),
        report=report,
    )


def _pairs(value: Any) -> tuple[tuple[int, int], ...]:
    if not isinstance(value, list):
        raise ValueError("merges is no list; expected pairs of ids")
    pairs: list[tuple[int, int]] = []
    for rank, pair in enumerate(cast("list[Any]", value)):
        match pair:
            # not bool, which is an int as well
            case [left, right] if type(left) is int and type(right) is int:
                pairs.append((left, right))
            case _:
                raise ValueError(f"merge {rank} is {pair!r}; expected a pair of ids")
    return tuple(pairs)
