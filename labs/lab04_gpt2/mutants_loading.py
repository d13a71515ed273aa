"""Mistakes in translating a Conv1D checkpoint."""

from __future__ import annotations

from .checks import lab


def rows(n_layer):
    """Their names and ours, and what kind of tensor it is."""
    yield "wte.weight", "tok_emb.weight", "as it is"
    yield "wpe.weight", "pos_emb.weight", "as it is"
    for i in range(n_layer):
        for kind, how in (("weight", "turned"), ("bias", "as it is")):
            yield f"h.{i}.ln_1.{kind}", f"blocks.{i}.attn_norm.{kind}", "as it is"
            yield (
                f"h.{i}.attn.c_attn.{kind}",
                f"blocks.{i}.attn.?_proj.{kind}",
                f"split {how}",
            )
            yield f"h.{i}.attn.c_proj.{kind}", f"blocks.{i}.attn.o_proj.{kind}", how
            yield f"h.{i}.ln_2.{kind}", f"blocks.{i}.mlp_norm.{kind}", "as it is"
            yield f"h.{i}.mlp.c_fc.{kind}", f"blocks.{i}.mlp.up_proj.{kind}", how
            yield f"h.{i}.mlp.c_proj.{kind}", f"blocks.{i}.mlp.down_proj.{kind}", how
    yield "ln_f.weight", "final_norm.weight", "as it is"
    yield "ln_f.bias", "final_norm.bias", "as it is"


class Translation:
    """A right translation in pieces that variants replace."""

    def __call__(self, tensors, n_layer):
        stored = {self.short(name): tensor for name, tensor in tensors.items()}
        ours = {}
        for there, here, how in self.rows(n_layer):
            if there not in stored:
                self.missing(there)
                continue
            tensor = stored.pop(there)
            if how.startswith("split"):
                for part, piece in zip(self.order, self.split(tensor), strict=True):
                    ours[here.replace("?", part)] = piece
            else:
                ours[here] = (
                    self.turn(tensor, here)
                    if how == "turned"
                    else self.keep(tensor, here)
                )
        for name in stored:
            self.left_over(name, ours, stored[name])
        return ours

    order = "qkv"
    rows = staticmethod(rows)

    def short(self, name):
        return name.removeprefix("transformer.")

    def turn(self, weight, here):
        return weight.T

    def keep(self, tensor, here):
        return tensor

    def split(self, fused):
        return (fused.T if fused.ndim == 2 else fused).chunk(3)

    def missing(self, name):
        raise ValueError(name)

    def left_over(self, name, ours, tensor):
        if (
            not name.endswith((".attn.bias", ".attn.masked_bias"))
            and name != "lm_head.weight"
        ):
            raise ValueError(name)


def translation(says, **settings):
    """Declare a variant of `Translation`; what is declared is a function, as the lab
    asks for one.
    """

    def declare(kind):
        def load_conv1d(tensors, n_layer):
            return kind()(tensors, n_layer)

        load_conv1d.__name__ = kind.__name__
        lab.mutant("load_conv1d", says, **settings)(load_conv1d)
        return kind

    return declare


@translation(
    "no weight of a Conv1D is transposed, and c_attn is split along its columns"
)
class NothingTurned(Translation):
    def turn(self, weight, here):
        return weight

    def split(self, fused):
        return fused.chunk(3, dim=-1)


@translation(
    "no weight of a Conv1D is transposed, and c_attn is cut along its rows, which are "
    "inputs"
)
class NothingTurnedRowsCut(Translation):
    def turn(self, weight, here):
        return weight

    def split(self, fused):
        return fused.chunk(3, dim=0)


@translation(
    "c_attn.weight is cut along its rows, which are inputs, and the pieces are "
    "transposed"
)
class RowsCut(Translation):
    def split(self, fused):
        return [
            piece.T if fused.ndim == 2 else piece for piece in fused.chunk(3, dim=0)
        ]


@translation(
    "c_attn.weight is cut along its rows, which are inputs, and never transposed"
)
class RowsCutOnly(Translation):
    def split(self, fused):
        return fused.chunk(3, dim=0)


@translation("o_proj is not transposed, which nobody notices because it is square")
class SquareNotTurned(Translation):
    def turn(self, weight, here):
        return weight if "o_proj" in here else weight.T


@translation("q, k and v are cut out of c_attn, and not transposed after that")
class PartsNotTurned(Translation):
    def split(self, fused):
        return fused.chunk(3, dim=-1)


@translation(
    "weights are brought into the shape (out, in) by reshape, which does not transpose"
)
class Reshaped(Translation):
    def turn(self, weight, here):
        return weight.reshape(weight.shape[1], weight.shape[0])

    def split(self, fused):
        return (
            fused.reshape(fused.shape[1], fused.shape[0]) if fused.ndim == 2 else fused
        ).chunk(3)


@translation("the embedding tables are transposed too, although they are no Conv1D")
class TablesTurned(Translation):
    def keep(self, tensor, here):
        return tensor.T if tensor.ndim == 2 else tensor


@translation("q and k are exchanged")
class KQV(Translation):
    order = "kqv"


@translation("c_attn is read as v, k, q")
class VKQ(Translation):
    order = "vkq"


@translation("k and v are exchanged")
class QVK(Translation):
    order = "qvk"


@translation("every third column of c_attn is taken for q, instead of its first third")
class Interleaved(Translation):
    def split(self, fused):
        return [(fused.T if fused.ndim == 2 else fused)[n::3] for n in range(3)]


@translation("the bias of c_attn is not split: q, k and v each get all of it")
class BiasNotSplit(Translation):
    def split(self, fused):
        return fused.T.chunk(3) if fused.ndim == 2 else [fused] * 3


@translation("the norms ln_1 and ln_2 of a block are exchanged")
class NormsSwapped(Translation):
    @staticmethod
    def rows(n_layer):
        other = {"ln_1": "ln_2", "ln_2": "ln_1"}
        for there, here, how in rows(n_layer):
            parts = [other.get(part, part) for part in there.split(".")]
            yield ".".join(parts), here, how


@translation(
    "blocks are taken in the alphabetical order of their names, in which h.10 comes "
    "before h.2"
)
class Alphabetical(Translation):
    @staticmethod
    def rows(n_layer):
        order = sorted(map(str, range(n_layer)))
        for there, here, how in rows(n_layer):
            parts = here.split(".")
            if parts[0] == "blocks":
                parts[1] = str(order.index(parts[1]))
            yield there, ".".join(parts), how


@translation("tensors that nobody knows are ignored")
class UnknownIgnored(Translation):
    def left_over(self, name, ours, tensor):
        pass


@translation(
    "every name that ends with attn.bias is ignored, and c_attn.bias is such a name"
)
class BiasSwallowed(Translation):
    def left_over(self, name, ours, tensor):
        if not name.endswith("attn.bias"):
            super().left_over(name, ours, tensor)


@translation(
    "c_attn.bias is dropped with the masks, because its name ends with attn.bias too"
)
class BiasDropped(Translation):
    @staticmethod
    def rows(n_layer):
        return (row for row in rows(n_layer) if not row[0].endswith("attn.bias"))

    def left_over(self, name, ours, tensor):
        if not name.endswith("attn.bias"):
            super().left_over(name, ours, tensor)


@translation("missing tensors are ignored")
class MissingIgnored(Translation):
    def missing(self, name):
        pass


@translation("the causal mask, h.0.attn.bias, is taken for an unknown tensor")
class MaskRefused(Translation):
    def left_over(self, name, ours, tensor):
        if name != "lm_head.weight":
            raise ValueError(name)


@translation("the causal masks stay in the result")
class MaskKept(Translation):
    def left_over(self, name, ours, tensor):
        if name.endswith((".attn.bias", ".attn.masked_bias")):
            ours[name.replace("h.", "blocks.", 1)] = tensor
        else:
            super().left_over(name, ours, tensor)


@translation("lm_head.weight stays in the result, although the head is the embedding")
class HeadKept(Translation):
    def left_over(self, name, ours, tensor):
        super().left_over(name, ours, tensor)
        if name == "lm_head.weight":
            ours[name] = tensor


@translation("the prefix transformer. is not taken off")
class PrefixKept(Translation):
    def short(self, name):
        return name

    def left_over(self, name, ours, tensor):
        super().left_over(name.removeprefix("transformer."), ours, tensor)


@lab.mutant(
    "load_conv1d",
    "what has been read is taken out of the caller's dict, with pop or del",
)
def emptied(tensors, n_layer):
    translated = Translation()(tensors, n_layer)
    tensors.clear()
    return translated


@lab.mutant("load_conv1d", "the caller's tensors are transposed in place, with t_()")
def turned_in_place(tensors, n_layer):
    for name, tensor in tensors.items():
        if ".c_" in name and tensor.ndim == 2:
            tensor.t_()
    straight = {
        name: t.T if ".c_" in name and t.ndim == 2 else t for name, t in tensors.items()
    }
    return Translation()(straight, n_layer)
