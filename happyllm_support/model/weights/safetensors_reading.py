"""Reading a folder of safetensors files: one file, or shards with an index, checked
before a tensor is touched.

A safetensors file is 8 bytes that say how long the header is, the header (JSON: dtype,
shape and place of each tensor) and the bytes of the tensors. The header alone tells
whether the file is whole and what is in it, so that a folder is refused before
gigabytes have been read, and tensors are mapped into memory, not copied.

Source: github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from happyllm_support.files import home, read_json

SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
PICKLED = ("*.pth", "*.pt", "*.bin", "*.ckpt")
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""The stored dtypes that weights may have."""
_MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """What the header says of one tensor."""

    shape: tuple[int, ...]
    dtype: str
    """In the format's spelling, such as BF16."""
    path: Path
    """The file that holds it."""


@dataclass(frozen=True, kw_only=True)
class StoredTensors:
    """The tensors of a folder, by name."""

    folder: Path
    infos: dict[str, TensorInfo]

    def read(
        self, names: set[str], device: torch.device | str = "cpu"
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the named tensors file by file; on the CPU they are views of the file,
        read when they are used.
        """
        for path in dict.fromkeys(info.path for info in self.infos.values()):
            with cast(
                "Any", safe_open(path, framework="pt", device=str(device))
            ) as file:
                for name, info in self.infos.items():
                    if info.path == path and name in names:
                        yield name, file.get_tensor(name)


def open_folder(
    folder: str | os.PathLike[str], pattern: str = SINGLE_NAME
) -> StoredTensors:
    """Look through the headers of a folder's safetensors files.

    Args:
        folder: holds `model.safetensors`, or shards and `model.safetensors.index.json`.
        pattern: the name of the files, when it is another; all that match are read.

    Raises:
        ValueError: no such folder or no safetensors file in it, a shard of the index
            that is not there, a file that is cut off or none of that format, a tensor
            in two files; the line names the file.
    """
    folder = Path(folder)
    require_folder(folder)
    index = folder / INDEX_NAME
    if (
        pattern == SINGLE_NAME
        and not (folder / SINGLE_NAME).exists()
        and index.exists()
    ):
        return _open_shards(folder, index)
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise ValueError(_nothing_to_read(folder, pattern))
    infos: dict[str, TensorInfo] = {}
    for path in paths:
        for name, info in read_header(path).items():
            if name in infos:
                raise ValueError(
                    f"{path} and {infos[name].path.name} both hold {name}: slices for "
                    "several GPUs, or two models; "
                    "join them into one file first"
                )
            infos[name] = info
    return StoredTensors(folder=folder, infos=infos)


def require_folder(folder: Path) -> None:
    """Refuse what is no folder, and say how GPT-2's is fetched.

    Raises:
        ValueError: there is none.
    """
    if folder.is_dir():
        return
    hint = "; run `happyllm data fetch gpt2`" if folder == home() / "gpt2" else ""
    if folder.exists():
        raise ValueError(
            f"{folder} is a file; name the folder that holds config.json and the "
            "safetensors files"
        )
    raise ValueError(f"no such folder: {folder}{hint}")


def _open_shards(folder: Path, index: Path) -> StoredTensors:
    weight_map: Any = read_json(index, "an index of shards").get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{index} is not an index of shards: it has no weight_map")
    shard_of = cast("dict[str, Any]", weight_map)
    shards = sorted({str(shard) for shard in shard_of.values()})
    for shard in shards:
        if Path(shard).name != shard or not (folder / shard).is_file():
            raise ValueError(
                f"{index} names the shard {shard}, which is not in the folder; get all "
                f"{len(shards)} shards"
            )
    infos: dict[str, TensorInfo] = {}
    for shard in shards:
        found = read_header(folder / shard)
        listed = {name for name, where in shard_of.items() if where == shard}
        for kind, names in (
            ("lacks", listed - set(found)),
            ("holds besides", set(found) - listed),
        ):
            if names:
                raise ValueError(
                    f"{folder / shard} {kind} what {INDEX_NAME} says: "
                    f"{first_few(sorted(names))}"
                )
        infos |= found
    return StoredTensors(folder=folder, infos=infos)


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Read the header of one safetensors file and check that the file is whole.

    Raises:
        ValueError: it is cut off, no safetensors file, or a folder.
    """
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder; a safetensors file of that name was expected"
        )
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        if start == b"version ":
            raise ValueError(
                f"{path} is a pointer of Git LFS, not the file; get it with `git lfs "
                "pull`"
            )
        length = int.from_bytes(start, "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
            raise ValueError(
                f"{path} is not a whole safetensors file: {size:,} bytes, and a header "
                f"of {length:,}; get it again"
            )
        header = file.read(length)
    infos: dict[str, TensorInfo] = {}
    end = 0
    try:
        entries: dict[str, Any] = json.loads(header)
        for name, entry in entries.items():
            if name != "__metadata__":
                infos[name] = TensorInfo(
                    shape=tuple(entry["shape"]), dtype=str(entry["dtype"]), path=path
                )
                end = max(end, int(entry["data_offsets"][1]))
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        RecursionError,
    ):
        raise ValueError(
            f"{path} is not a safetensors file: its header cannot be read"
        ) from None
    if size < 8 + length + end:
        raise ValueError(
            f"{path} is cut off: {size:,} bytes, {8 + length + end:,} are announced; "
            "get it again"
        )
    try:
        with safe_open(path, framework="pt"):
            return infos
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not an intact safetensors file: "
            f"{str(error).partition(chr(10))[0]}"
        ) from None


def first_few(names: list[str], most: int = 3) -> str:
    """The first few of many names: `a, b, c and 4 more`."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def _nothing_to_read(folder: Path, pattern: str) -> str:
    if index := next(
        (
            path
            for path in sorted(folder.glob("*.index.json"))
            if "safetensors" in path.name
        ),
        None,
    ):
        return f"{index} is an index without its {pattern}; rename it to {INDEX_NAME}"
    pickled = sorted(path.name for kind in PICKLED for path in folder.glob(kind))
    if pickled:
        return (
            f"{folder} holds its weights pickled only ({first_few(pickled)}), which "
            "can run code when opened; convert them with "
            "`safetensors.torch.save_file(torch.load(path, weights_only=True), "
            "name)`, name ending in .safetensors"
        )
    other = sorted(path.name for path in folder.glob("*.safetensors"))
    beside = f"; there is {first_few(other)}" if other else ""
    return f"no {pattern} in {folder}{beside}"
