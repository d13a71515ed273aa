"""Writing a model's folder: config.json and safetensors files, sharded when large,
whole or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from happyllm_support.files import atomic_folder, atomic_write_json
from happyllm_support.model.weights.safetensors_reading import (
    INDEX_NAME,
    SINGLE_NAME,
    first_few,
)

CONFIG_NAME = "config.json"
_METADATA = {"format": "pt"}  # transformers looks for it


def write_folder(
    folder: str | os.PathLike[str],
    config: Mapping[str, Any],
    tensors: Mapping[str, Callable[[], Tensor]],
    sizes: Mapping[str, int],
    *,
    max_shard_bytes: int,
    overwrite: bool,
) -> None:
    """Write a folder that appears under its name when it is complete.

    Args:
        folder: the folder to make.
        config: config.json.
        tensors: for each name a function that makes the tensor; at most one shard of
            them exists at a time.
        sizes: bytes of each.
        max_shard_bytes: a file ends before the tensor that would take it past this; one
            tensor is never cut.
        overwrite: replace a model that is there.

    Raises:
        ValueError: something that may not be replaced is there, or `max_shard_bytes` is
            not positive.
        OSError: the system's error (a full disk, no permission), with one line that
            names `folder`.
    """
    shards = plan_shards(sizes, max_shard_bytes)
    with atomic_folder(
        folder, lambda path: _check_replaceable(path, overwrite)
    ) as temporary:
        weight_map: dict[str, str] = {}
        for number, names in enumerate(shards, start=1):
            file = (
                SINGLE_NAME
                if len(shards) == 1
                else f"model-{number:05}-of-{len(shards):05}.safetensors"
            )
            _write_file({name: tensors[name]() for name in names}, temporary / file)
            weight_map |= dict.fromkeys(names, file)
        if len(shards) > 1:
            index = {
                "metadata": {"total_size": sum(sizes.values())},
                "weight_map": weight_map,
            }
            atomic_write_json(temporary / INDEX_NAME, index)
        atomic_write_json(temporary / CONFIG_NAME, dict(config))


def plan_shards(sizes: Mapping[str, int], max_bytes: int) -> list[list[str]]:
    """Distribute tensors over files in their order: {"a": 3, "b": 3, "c": 9}, 6 ->
    [["a", "b"], ["c"]].

    Raises:
        ValueError: `max_bytes` is not positive.
    """
    if max_bytes < 1:
        raise ValueError(f"max_shard_bytes is {max_bytes}; expected at least 1")
    shards: list[list[str]] = [[]]
    used = 0
    for name, size in sizes.items():
        if shards[-1] and used + size > max_bytes:
            shards.append([])
            used = 0
        shards[-1].append(name)
        used += size
    return shards


def _write_file(tensors: dict[str, Tensor], path: Path) -> None:
    storages: set[int] = set()
    for (
        name,
        tensor,
    ) in tensors.items():  # safetensors refuses tensors that share memory
        if (storage := tensor.untyped_storage().data_ptr()) in storages:
            tensors[name] = tensor.clone()
        storages.add(storage)
    save_file(tensors, path, metadata=_METADATA)
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _check_replaceable(path: Path, overwrite: bool) -> None:
    """Only an empty folder, or a model and nothing beside it, may be replaced."""
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        raise ValueError(f"{path} is no folder; choose another name for the model")
    found = {file.name for file in path.iterdir()}
    if not found:
        return
    if not overwrite:
        raise ValueError(
            f"{path} exists; choose another folder, or ask for it to be replaced with "
            "overwrite"
        )
    ours = {CONFIG_NAME, SINGLE_NAME, *_shards(path)}
    if foreign := sorted(found - ours):
        raise ValueError(
            f"{path} holds {first_few(foreign)}, no part of a model's folder; move it "
            "or choose another folder"
        )
    if CONFIG_NAME not in found:
        raise ValueError(
            f"{path} holds no model and is not replaced; move it or choose another "
            "folder"
        )


def _shards(path: Path) -> set[str]:
    try:
        index: Any = json.loads((path / INDEX_NAME).read_bytes())
        return {INDEX_NAME, *map(str, index["weight_map"].values())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()  # then its files count as foreign
