"""Mistakes in the whole model, most of them in how head and embedding are tied."""

from __future__ import annotations

import torch
from torch import nn

from . import reference
from .checks import lab


@lab.mutant(
    "GPT2",
    "lm_head.weight and tok_emb.weight are two parameters: not tied, or only a copy "
    "made once",
)
class NotTied(reference.GPT2):
    def tie_weights(self):
        pass


@lab.mutant(
    "GPT2", "head and embedding share memory through .data, but are two parameters"
)
class SharedMemory(reference.GPT2):
    def tie_weights(self):
        self.lm_head.weight = nn.Parameter(self.tok_emb.weight.detach())


@lab.mutant(
    "GPT2",
    "load puts a new parameter in the place of the embedding, and the head keeps the "
    "old one",
)
class TieCutByLoad(reference.GPT2):
    def load(self, parameters):
        old = self.lm_head.weight
        super().load({name: tensor.clone() for name, tensor in parameters.items()})
        self.lm_head.weight = old


@lab.mutant(
    "GPT2", "load gives embedding and head the same numbers as two new parameters"
)
class PartedByLoad(reference.GPT2):
    def load(self, parameters):
        super().load({name: tensor.clone() for name, tensor in parameters.items()})
        self.lm_head.weight = nn.Parameter(self.tok_emb.weight.detach().clone())


@lab.mutant(
    "GPT2",
    "load insists on lm_head.weight, which the weights of a tied model do not have",
)
class StrictLoad(reference.GPT2):
    def load(self, parameters):
        self.load_state_dict(parameters)


StrictLoad.__name__ = "GPT2"  # PyTorch's message has the name of the class


@lab.mutant(
    "GPT2", "load changes nothing: the parameters themselves are not written to"
)
class LoadsNothing(reference.GPT2):
    def load(self, parameters):
        pass


@lab.mutant(
    "GPT2",
    "load writes into the parameters where gradients are recorded; torch.no_grad() is "
    "missing",
)
class LoadsWithGradients(reference.GPT2):
    def load(self, parameters):
        for name, parameter in self.named_parameters():
            parameter.copy_(parameters[name])


@lab.mutant(
    "GPT2", "the shared table is counted twice", section="Where the parameters are"
)
class CountedTwice(reference.GPT2):
    def num_parameters(self):
        return sum(tensor.numel() for tensor in self.state_dict().values())


class Rewritten(reference.GPT2):
    """The forward pass in pieces that variants replace."""

    def begin(self, ids):
        return self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]))

    def forward(self, ids):
        x = self.begin(ids)
        for block in self.blocks:
            x = block(x)
        return self.end(x)

    def end(self, x):
        return self.lm_head(self.final_norm(x))


@lab.mutant(
    "GPT2", "the head is not transposed: the stream is multiplied by the table as it is"
)
class NotTransposed(Rewritten):
    def end(self, x):
        return self.final_norm(x) @ self.tok_emb.weight


@lab.mutant(
    "GPT2",
    "the embedding serves as the head, but lm_head has a table of its own, which is "
    "never used",
)
class UnusedHead(Rewritten):
    def tie_weights(self):
        pass

    def load(self, parameters):
        self.load_state_dict(parameters, strict=False)

    def end(self, x):
        return self.final_norm(x) @ self.tok_emb.weight.T


@lab.mutant("GPT2", "the last norm is missing")
class NoFinalNorm(Rewritten):
    def end(self, x):
        return self.lm_head(x)


@lab.mutant("GPT2", "the head returns probabilities instead of logits")
class Probabilities(Rewritten):
    def end(self, x):
        return super().end(x).softmax(dim=-1)


@lab.mutant("GPT2", "the positions are not added", section="Where it stands: positions")
class NoPositions(Rewritten):
    def begin(self, ids):
        return self.tok_emb(ids)


@lab.mutant(
    "GPT2",
    "positions are counted from 1, not from 0",
    section="Where it stands: positions",
)
class PositionsFromOne(Rewritten):
    def begin(self, ids):
        return self.tok_emb(ids) + self.pos_emb(torch.arange(1, ids.shape[1] + 1))


@lab.mutant(
    "GPT2",
    "positions are counted backward from the last token",
    section="Where it stands: positions",
)
class BackwardPositions(Rewritten):
    def begin(self, ids):
        return self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]).flip(0))


@lab.mutant(
    "GPT2",
    "the table of positions is looked up with the ids",
    section="Where it stands: positions",
)
class PositionsFromIds(Rewritten):
    def begin(self, ids):
        return self.tok_emb(ids) + self.pos_emb(
            ids.clamp(max=self.pos_emb.num_embeddings - 1)
        )


@lab.mutant(
    "GPT2",
    "the embeddings are multiplied by the root of d_model, as in the first "
    "transformer but not in GPT-2",
)
class ScaledEmbedding(Rewritten):
    def begin(self, ids):
        return self.tok_emb(ids) * self.config.d_model**0.5 + self.pos_emb(
            torch.arange(ids.shape[1])
        )


@lab.mutant(
    "GPT2",
    "the blocks are one and the same: parts made once and used n_layer times, as in a "
    "list multiplied",
)
class OneBlock(reference.GPT2):
    def __init__(self, vocab_size, max_seq_len, n_layer, n_head, d_model):
        super().__init__(vocab_size, max_seq_len, n_layer, n_head, d_model)
        self.blocks = nn.ModuleList([self.blocks[0]] * n_layer)


@lab.mutant("GPT2", "only the first block is applied, the loop returns or is missing")
class FirstBlockOnly(Rewritten):
    def forward(self, ids):
        return self.end(self.blocks[0](self.begin(ids)))


@lab.mutant(
    "GPT2", "what a block returns is not assigned to x, so that the blocks do nothing"
)
class NotReassigned(Rewritten):
    def forward(self, ids):
        return self.end(self.begin(ids))


@lab.mutant(
    "GPT2",
    "both norms of a block are the same object",
    section="The block, and then all of it",
)
class SameNormTwice(reference.GPT2):
    def __init__(self, vocab_size, max_seq_len, n_layer, n_head, d_model):
        super().__init__(vocab_size, max_seq_len, n_layer, n_head, d_model)
        for block in self.blocks:
            block.mlp_norm = block.attn_norm


@lab.mutant(
    "GPT2",
    "all blocks share their norms, made once before the loop",
    section="The block, and then all of it",
)
class SharedNorms(reference.GPT2):
    def __init__(self, vocab_size, max_seq_len, n_layer, n_head, d_model):
        super().__init__(vocab_size, max_seq_len, n_layer, n_head, d_model)
        for block in self.blocks:
            block.attn_norm, block.mlp_norm = (
                self.blocks[0].attn_norm,
                self.blocks[0].mlp_norm,
            )


@lab.mutant(
    "GPT2",
    "the blocks are in a Python list, where PyTorch does not find their parameters; "
    "nn.ModuleList is needed",
)
class PythonList(reference.GPT2):
    def __init__(self, vocab_size, max_seq_len, n_layer, n_head, d_model):
        super().__init__(vocab_size, max_seq_len, n_layer, n_head, d_model)
        blocks = list(self.blocks)
        del self.blocks
        self.blocks = blocks
