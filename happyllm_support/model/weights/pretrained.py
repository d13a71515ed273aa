"""Models from folders and back: Hugging Face's through safetensors, Meta's read.

    model = load_pretrained(home() / "gpt2")    # after `happyllm data fetch gpt2`
    save_pretrained(model, "my-gpt2")           # `transformers` reads it

Loading builds the model on the meta device, where it costs nothing, and puts the file's
tensors in the place of its parameters: nothing is initialised first, and on the CPU
parameters stay views of the file until changed. Copied are GPT-2's queries, keys and
values, which are one tensor there, and what has to be cast or, in 16 bits, transposed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from happyllm_support.model.gpt2 import GPT2, GPT2Config
from happyllm_support.model.llama2 import Llama2, Llama2Config
from happyllm_support.model.weights.config_fields import ConfigFields
from happyllm_support.model.weights.huggingface_gpt2 import (
    fold_attention_scale,
    gpt2_config,
    gpt2_fields,
    gpt2_layout,
)
from happyllm_support.model.weights.huggingface_llama import (
    llama2_config,
    llama2_fields,
    llama2_layout,
)
from happyllm_support.model.weights.meta_llama import (
    PARAMS_NAME,
    meta_config,
    meta_layout,
)
from happyllm_support.model.weights.safetensors_reading import (
    StoredTensors,
    open_folder,
    require_folder,
)
from happyllm_support.model.weights.safetensors_writing import CONFIG_NAME, write_folder
from happyllm_support.model.weights.tensor_layout import read_parameters, stored_tensors

Model = TypeVar("Model", GPT2, Llama2)
Folder = str | os.PathLike[str]
DEFAULT_SHARD_BYTES = 5_000_000_000


def load_pretrained(
    folder: Folder,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> GPT2 | Llama2:
    """Load the model of a folder, in evaluation mode: GPT-2 or LLaMA.

    Args:
        folder: holds config.json and safetensors files as Hugging Face writes them, or
            Meta's params.json and `consolidated*.safetensors`.
        dtype: of the parameters; None keeps the file's.
        device: where the model goes.

    Raises:
        ValueError: no model in the folder, one of another architecture or with a
            setting that we do not have, a file that is cut off, tensors that are
            missing, unknown, misshapen or not finite; one line that names the file.
    """
    folder = checked_folder(folder)
    if not (folder / CONFIG_NAME).exists() and (folder / PARAMS_NAME).exists():
        return load_meta(folder, dtype=dtype, device=device)
    fields = ConfigFields.read(folder / CONFIG_NAME)
    load = {"gpt2": load_gpt2, "llama": load_llama}.get(fields.text("model_type"))
    if load is None:
        raise fields.error("model_type", "expected gpt2 or llama")
    return load(folder, dtype=dtype, device=device)


def load_gpt2(
    folder: Folder,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> GPT2:
    """Load a GPT-2 of Hugging Face's; arguments and errors as in `load_pretrained`."""
    check_device(device)
    fields = _fields(folder, "gpt2")
    config = gpt2_config(fields)
    stored = open_folder(folder)
    check_layers(fields, config.n_layer, stored)
    layout = gpt2_layout(config)
    parameters = read_parameters(stored, layout, dtype=dtype, device=device)
    fold_attention_scale(fields, parameters, config)
    return _build(GPT2, config, parameters, device)


def load_llama(
    folder: Folder,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> Llama2:
    """Load a LLaMA of Hugging Face's; arguments and errors as in `load_pretrained`."""
    check_device(device)
    fields = _fields(folder, "llama")
    config = llama2_config(fields)
    stored = open_folder(folder)
    check_layers(fields, config.n_layer, stored)
    layout = llama2_layout(config)
    parameters = read_parameters(stored, layout, dtype=dtype, device=device)
    return _build(Llama2, config, parameters, device)


def load_meta(
    folder: Folder,
    *,
    max_seq_len: int = 4096,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> Llama2:
    """Load a LLaMA from Meta's layout, `params.json` and `consolidated*.safetensors`.

    Args:
        folder: the folder. Meta's files are pickled (.pth), which we do not open:
            convert them first.
        max_seq_len: which the folder does not say: 2,048 for LLaMA, 4,096 for LLaMA2.
        dtype: see `load_pretrained`, as for the rest and the errors.
        device: see there.
    """
    check_device(device)
    fields = ConfigFields.read(checked_folder(folder) / PARAMS_NAME)
    stored = open_folder(folder, "consolidated*.safetensors")
    config = meta_config(fields, stored, max_seq_len=max_seq_len)
    check_layers(fields, config.n_layer, stored)
    layout = meta_layout(config)
    parameters = read_parameters(stored, layout, dtype=dtype, device=device)
    return _build(Llama2, config, parameters, device)


def save_pretrained(
    model: GPT2 | Llama2,
    folder: Folder,
    *,
    config_fields: Mapping[str, Any] | None = None,
    max_shard_bytes: int = DEFAULT_SHARD_BYTES,
    overwrite: bool = False,
) -> None:
    """Write Hugging Face's folder, which appears when it is complete; `transformers`
    and `load_pretrained` read it.

    RoPE scaling of the kind "ntk" is written as the larger `rope_theta` that it amounts
    to.

    Args:
        model: any dtype, any device.
        folder: the folder to make.
        config_fields: more for config.json, such as `{"eos_token_id": 2}`, which a
            model does not know.
        max_shard_bytes: a larger model is written in several files of at most this
            size, with an index.
        overwrite: replace a model that is there; anything else is never replaced.

    Raises:
        ValueError: a model with other parameters than its configuration says (adapters,
            quantized weights), one without weights (meta), several dtypes, something in
            the folder's place that may not be replaced.
        OSError: the system's error (a full disk, no permission), with one line that
            names `folder`.
    """
    if isinstance(model, GPT2):
        fields, layout = gpt2_fields(model.config), gpt2_layout(model.config)
    else:
        fields, layout = llama2_fields(model.config), llama2_layout(model.config)
    parameters: dict[str, Tensor] = model.state_dict()
    tensors = stored_tensors(parameters, layout)
    dtypes = {
        str(parameter.dtype).removeprefix("torch.") for parameter in parameters.values()
    }
    if len(dtypes) > 1:
        raise ValueError(
            f"this model has parameters in {' and '.join(sorted(dtypes))}; convert it "
            "to one with .to()"
        )
    clash = sorted(name for name in config_fields or {} if fields.get(name) is not None)
    if clash:
        raise ValueError(
            f"config_fields has {', '.join(clash)}, which the model itself decides"
        )
    sizes = {
        name: sum(parameters[target].nbytes for target in entry.targets)
        for name, entry in layout.tensors.items()
    }
    write_folder(
        folder,
        {**fields, "dtype": dtypes.pop(), **(config_fields or {})},
        tensors,
        sizes,
        max_shard_bytes=max_shard_bytes,
        overwrite=overwrite,
    )


def checked_folder(folder: Folder) -> Path:
    """The path of a folder that exists.

    Raises:
        ValueError: there is none, or something else than a path was given.
    """
    if not isinstance(folder, str | os.PathLike):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"folder is {folder!r}; expected the path of a model's folder")
    require_folder(Path(folder))
    return Path(folder)


def check_layers(fields: ConfigFields, n_layer: int, stored: StoredTensors) -> None:
    """Raise ValueError for more layers than files can hold, before a table is made."""
    if n_layer > len(stored.infos):
        raise ValueError(
            f"{fields.path} asks for {n_layer:,} layers, and the files beside it hold "
            f"{len(stored.infos):,} tensors; expected the files of one model"
        )


def check_device(device: torch.device | str) -> None:
    """Raise ValueError for a device that cannot hold weights here."""
    try:
        if torch.empty(0, device=device).is_meta or device is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise ValueError(
                f"device is {device!r}, which holds no numbers; expected cpu, or cuda "
                "where there is a GPU"
            )
    except (RuntimeError, AssertionError):
        raise ValueError(
            f"device {str(device)!r} cannot be used here; expected cpu, or cuda where "
            "there is a GPU"
        ) from None


def _fields(folder: Folder, model_type: str) -> ConfigFields:
    fields = ConfigFields.read(checked_folder(folder) / CONFIG_NAME)
    if fields.text("model_type") != model_type:
        raise fields.error("model_type", f"expected {model_type}")
    return fields


def _build(
    architecture: Callable[[Any], Model],
    config: GPT2Config | Llama2Config,
    parameters: dict[str, Tensor],
    device: torch.device | str,
) -> Model:
    """Make the model on the meta device and put the parameters in their places."""
    with torch.device("meta"):
        model = architecture(config)
    if "lm_head.weight" not in parameters:
        parameters["lm_head.weight"] = parameters["tok_emb.weight"]
    model.load_state_dict(parameters, strict=True, assign=True)
    model.tie_weights()
    return model.to(device).eval()  # what is not in the files, the rotary frequencies
