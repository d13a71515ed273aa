"""How the tensors of a file become the parameters of a model, and back: a table, read
in both directions.

Each row says what one stored tensor is: `h.0.attn.c_attn.weight` holds the transposed
weights of q_proj, k_proj and v_proj side by side. Loading walks through the file,
saving through the table, and both account for every tensor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from happyllm_support.model.positions import (
    half_split_to_interleaved,
    interleaved_to_half_split,
)
from happyllm_support.model.weights.safetensors_reading import (
    DTYPES,
    StoredTensors,
    first_few,
)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One tensor of a file.

    Attributes:
        shape: as it is stored.
        targets: the parameters that it holds, one below the other along the first axis
            (after `transposed`).
        transposed: stored as (in, out), as GPT-2's Conv1D is; ours are (out, in).
        head_dim: D when its rows are heads of interleaved channels, which become
            half-split; else None.
    """

    shape: tuple[int, ...]
    targets: tuple[str, ...]
    transposed: bool = False
    head_dim: int | None = None

    def take_apart(self, tensor: Tensor) -> dict[str, Tensor]:
        """The parameters that a stored tensor holds, each dense: fused optimizers walk
        through memory as it lies.
        """
        n = len(self.targets)
        if self.transposed:  # (in, n out) -> n of (in, out)
            parts = (
                list(tensor.view(tensor.shape[0], n, -1).transpose(0, 1).contiguous())
                if n > 1
                else [tensor]
            )
        else:
            parts = list(tensor.chunk(n))
        if self.head_dim is not None:
            parts = [interleaved_to_half_split(part, self.head_dim) for part in parts]
        if self.transposed:
            parts = [_turned(part) for part in parts]
        return dict(zip(self.targets, parts, strict=True))

    def put_together(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The inverse: what is stored for these parameters, dense and on the CPU."""
        parts = [parameters[target].detach().cpu() for target in self.targets]
        tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
        if self.head_dim is not None:
            tensor = half_split_to_interleaved(tensor, self.head_dim)
        return (tensor.t() if self.transposed else tensor).contiguous()


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The stored tensors of a model.

    Attributes:
        what: the model, for errors: `GPT-2 with 12 layers`.
        tensors: by canonical name; what is missing from a file is reported under it.
        canonical: the name in `tensors` for a name in a file, which may have a prefix
            or not.
        ignored: matches the canonical names of tensors that hold no parameter (masks,
            rotary frequencies).
        head: canonical name of the head; optional where it is tied, and then equal to
            `embedding`.
        embedding: canonical name of the embedding.
        tied: whether embedding and head are one tensor.
    """

    what: str
    tensors: dict[str, Stored]
    canonical: Callable[[str], str]
    ignored: re.Pattern[str]
    head: str
    embedding: str
    tied: bool


def read_parameters(
    stored: StoredTensors,
    layout: Layout,
    *,
    dtype: torch.dtype | None,
    device: torch.device | str,
) -> dict[str, Tensor]:
    """Read a folder into the parameters of a model, every tensor of it accounted for.

    Args:
        stored: the folder.
        layout: what it should hold.
        dtype: what all parameters are cast to; None keeps the file's.
        device: where they go.

    Returns:
        The state dict, without the head when that is tied.

    Raises:
        ValueError: missing, unknown or misshapen tensors (all in one line), a dtype
            that is none for weights, several dtypes when None was asked for, a head
            that is called tied and differs.
    """
    names = _check_tensors(stored, layout)
    _check_dtypes(stored, names, dtype)
    with_head = {
        *names,
        *(
            name
            for name in stored.infos
            if layout.tied and layout.canonical(name) == layout.head
        ),
    }
    parameters: dict[str, Tensor] = {}
    heads: dict[str, Tensor] = {}
    for name, tensor in stored.read(with_head, device):
        canonical = layout.canonical(name)
        if layout.tied and canonical in (layout.head, layout.embedding):
            heads[name] = tensor
        if name in names:
            check_finite(tensor, name, stored.infos[name].path)
            parts = layout.tensors[canonical].take_apart(tensor)
            parameters |= {
                target: part if dtype is None else _cast(part, dtype)
                for target, part in parts.items()
            }
    if len(heads) == 2 and not _equal(*heads.values()):
        both = " and ".join(sorted(heads))
        raise ValueError(
            f"{stored.folder}: {both} differ, but config.json says that they are one "
            "(tie_word_embeddings); "
            "say false there, or remove the tensor that is not meant"
        )
    return parameters


def check_finite(tensor: Tensor, name: str, path: Path) -> None:
    """Raise ValueError for weights that would make every logit NaN, in one reading."""
    if tensor.is_meta or bool(tensor.sum(dtype=torch.float32).isfinite()):
        return
    wrong = int((~tensor.isfinite()).sum())
    if wrong:  # else the sum of large numbers left the range
        raise ValueError(
            f"{path}: {wrong:,} of the {tensor.numel():,} numbers of {name} are not "
            "finite (NaN or infinity); expected weights"
        )


def stored_tensors(
    parameters: Mapping[str, Tensor], layout: Layout
) -> dict[str, Callable[[], Tensor]]:
    """What to write for a model, each tensor made when it is asked for, so that no
    second copy of the model exists.

    Raises:
        ValueError: the model has other parameters than the layout knows (adapters,
            quantized weights) or none at all (meta), or a tied head that has been
            parted from the embedding.
    """
    known = {target for entry in layout.tensors.values() for target in entry.targets}
    head, embedding = "lm_head.weight", layout.tensors[layout.embedding].targets[0]
    extra = set(parameters) - known - ({head} if layout.tied else set[str]())
    if extra or known - set(parameters):
        found = (
            f"has {first_few(sorted(extra))}"
            if extra
            else f"lacks {first_few(sorted(known - set(parameters)))}"
        )
        raise ValueError(
            f"this model {found}, which a {layout.what} has not; merge adapters and "
            "undo quantization first"
        )
    if any(parameter.is_meta for parameter in parameters.values()):
        raise ValueError("this model is on the meta device and has no weights to save")
    if (
        layout.tied
        and head in parameters
        and not torch.equal(parameters[head], parameters[embedding])
    ):
        raise ValueError(
            f"{head} and {embedding} differ, but the configuration ties them; call "
            "tie_weights() first"
        )
    return {
        name: (
            lambda entry=entry: entry.put_together(
                {target: parameters[target] for target in entry.targets}
            )
        )
        for name, entry in layout.tensors.items()
    }


def _turned(tensor: Tensor) -> Tensor:
    """The transpose, in fp32 as a view.

    The view costs nothing to load, and in fp32 it multiplies one row or hundreds
    exactly as fast as a contiguous weight, 4 to 64 rows up to 1.5 times faster. In bf16
    it multiplies few rows up to 1.6 times more slowly.
    """
    return tensor.t() if tensor.dtype == torch.float32 else tensor.t().contiguous()


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return (
        tensor
        if tensor.dtype == dtype
        else tensor.to(dtype, memory_format=torch.contiguous_format)
    )


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


def _check_tensors(stored: StoredTensors, layout: Layout) -> set[str]:
    """The names in the file of what the layout wants; one line for everything that is
    wrong.
    """
    wanted: dict[str, str] = {}
    unknown: list[str] = []
    for name in stored.infos:
        canonical = layout.canonical(name)
        if canonical in wanted:
            raise ValueError(
                f"{stored.folder} holds {wanted[canonical]} and {name}, the same "
                "tensor with two names"
            )
        if canonical in layout.tensors:
            wanted[canonical] = name
        elif not layout.ignored.fullmatch(canonical) and not (
            layout.tied and canonical == layout.head
        ):
            unknown.append(name)
    missing = [name for name in layout.tensors if name not in wanted]
    misshapen: list[str] = []
    for canonical, name in wanted.items():
        found, expected = stored.infos[name].shape, layout.tensors[canonical].shape
        if found != expected:
            misshapen.append(f"{name} is {found}, not {expected}")
    kinds = (
        ("missing", missing),
        ("unknown", unknown),
        ("of another shape", misshapen),
    )
    faults = [
        f"{len(names):,} {kind} ({first_few(names)})" for kind, names in kinds if names
    ]
    if faults:
        raise ValueError(
            f"{stored.folder} does not hold the tensors of a {layout.what}: "
            f"{'; '.join(faults)}"
        )
    return set(wanted.values())


def _check_dtypes(
    stored: StoredTensors, names: set[str], dtype: torch.dtype | None
) -> None:
    if dtype is not None and dtype not in DTYPES.values():
        raise ValueError(
            f"dtype is {dtype}; weights can be "
            f"{', '.join(str(allowed) for allowed in DTYPES.values())}"
        )
    by_dtype = {stored.infos[name].dtype: name for name in sorted(names, reverse=True)}
    for found, name in by_dtype.items():
        if found not in DTYPES:
            raise ValueError(
                f"{stored.infos[name].path}: {name} is stored as {found}; "
                f"{', '.join(DTYPES)} can be read"
            )
    if dtype is None and len(by_dtype) > 1:
        which = " and ".join(f"{name} in {found}" for found, name in by_dtype.items())
        raise ValueError(
            f"{stored.folder} holds {which}; choose one with dtype=torch.float32 or "
            "another"
        )
