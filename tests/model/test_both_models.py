"""The one signature of both models: rows that are unlike, caches, kernels, causality;
each against a row run alone.
"""

from __future__ import annotations

import copy
import math

import pytest
import torch
from small_models import GPT2_SMALL, MODELS, VOCAB, ListCache, build, close, some_ids
from torch import Tensor
from torch.nn import functional as F

from happyllm_support.model.gpt2 import GPT2
from happyllm_support.model.llama2 import Llama2

KERNELS = ("naive", "sdpa", "online")
every_model = pytest.mark.parametrize("name", MODELS)
every_kernel = pytest.mark.parametrize("kernel", KERNELS)


def rows(*lengths: int, left: bool) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Documents of these lengths, one per row, padded to the longest; their ids,
    segments, and each alone.
    """
    alone = [some_ids(1, length, seed=length) for length in lengths]
    width = max(lengths)
    ids, segments = (
        some_ids(len(lengths), width, seed=99),
        torch.zeros(len(lengths), width, dtype=torch.long),
    )
    for row, document in enumerate(alone):
        place = (
            slice(width - document.shape[1], None) if left else slice(document.shape[1])
        )
        ids[row, place], segments[row, place] = document[0], 1
    return ids, segments, alone


@every_model
def test_the_weights_of_these_tests_matter(name):
    logits = build(name)(some_ids(4, 16))
    assert logits.shape == (4, 16, VOCAB)
    assert 1 < logits.std() < 4


@every_kernel
@every_model
@pytest.mark.parametrize("left", [True, False], ids=["left", "right"])
def test_padded_rows_equal_each_row_alone(name, kernel, left):
    model = build(name, kernel=kernel)
    ids, segments, alone = rows(11, 4, 7, left=left)
    logits = model(ids, segments=segments)
    assert torch.isfinite(logits).all()
    for row, document in enumerate(alone):
        close(logits[row][segments[row] > 0], model(document)[0])
    ids[segments == 0] = (
        ids[segments == 0] + 1
    ) % VOCAB  # what stands in the padding is nobody's business
    assert torch.equal(
        model(ids, segments=segments)[segments > 0], logits[segments > 0]
    )


@every_kernel
@every_model
def test_packed_documents_equal_each_document_alone(name, kernel):
    model = build(name, kernel=kernel)
    first, second, third = (
        some_ids(1, 5, seed=2),
        some_ids(1, 7, seed=3),
        some_ids(1, 10, seed=4),
    )
    ids = torch.cat([torch.cat([first, second], dim=1), F.pad(third, (1, 1))])
    segments = torch.tensor([[7] * 5 + [3] * 7, [0] + [1] * 10 + [0]])
    logits = model(ids, segments=segments)
    close(logits[0, :5], model(first)[0])
    close(logits[0, 5:], model(second)[0])
    close(logits[1, 1:11], model(third)[0])


@every_model
def test_positions_restart_in_each_segment_unless_they_are_given(name):
    model = build(name)
    ids, segments = (
        some_ids(2, 6),
        torch.tensor([[1, 1, 1, 2, 2, 2], [0, 0, 1, 1, 1, 1]]),
    )
    restarting = torch.tensor([[0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 2, 3]])
    assert torch.equal(
        model(ids, segments=segments),
        model(ids, segments=segments, positions=restarting),
    )
    running = torch.arange(6).expand(2, 6)
    assert torch.equal(model(ids), model(ids, positions=running))
    spread = model(ids, positions=2 * running)
    assert not torch.allclose(spread, model(ids), atol=0.01), (
        "positions do not reach the model"
    )
    row = model(ids[1:], positions=2 * running[1:])
    close(spread[1], row[0])


@every_model
def test_last_only_is_the_last_column(name):
    model = build(name)
    ids, segments, _ = rows(9, 4, left=True)
    assert model(ids, segments=segments, last_only=True).shape == (2, 1, VOCAB)
    close(
        model(ids, segments=segments, last_only=True),
        model(ids, segments=segments)[:, -1:],
    )


@every_model
def test_hidden_and_head_are_the_forward_pass(name):
    model = build(name)
    ids, segments, _ = rows(9, 4, left=False)
    hidden = model.hidden(ids, segments=segments)
    assert hidden.shape == (2, 9, 24)
    assert torch.equal(model.lm_head(hidden), model(ids, segments=segments))


@every_kernel
@every_model
@pytest.mark.parametrize("split", [[9], [1] * 9, [4, 5], [3, 1, 5], [8, 1]], ids=str)
def test_a_cache_changes_nothing(name, kernel, split):
    model = build(name, kernel=kernel)
    ids = some_ids(2, 9)
    cache = ListCache(2, 3)
    columns = [model(chunk, cache=cache) for chunk in ids.split(split, dim=1)]
    close(torch.cat(columns, dim=1), model(ids))
    assert cache.writes == [0, 1, 2] * len(split), "each layer writes once, in order"
    assert cache.commits == len(split), "the model commits once per pass"
    assert torch.equal(cache.positions, torch.arange(9).expand(2, 9))
    assert torch.equal(cache.segments, torch.ones(2, 9, dtype=torch.long))


@every_kernel
@every_model
@pytest.mark.parametrize("split", [[7, 1, 1], [8, 1], [3, 3, 3]], ids=str)
def test_a_cache_of_left_padded_rows_changes_nothing(name, kernel, split):
    model = build(name, kernel=kernel)
    ids, segments, alone = rows(9, 5, left=True)
    cache = ListCache(2, 3)
    chunks = zip(ids.split(split, dim=1), segments.split(split, dim=1), strict=True)
    logits = torch.cat([model(i, segments=s, cache=cache) for i, s in chunks], dim=1)
    for row, document in enumerate(alone):
        close(logits[row, -document.shape[1] :], model(document)[0])
    assert cache.positions[1, 4:].tolist() == [0, 1, 2, 3, 4]


@every_model
def test_after_a_padded_prompt_new_tokens_need_no_segments(name):
    model = build(name)
    for left in (True, False):
        ids, segments, alone = rows(9, 5, left=left)
        cache = ListCache(2, 3)
        model(ids, segments=segments, cache=cache)
        new = some_ids(2, 3, seed=8)
        logits = model(new, cache=cache)
        for row, document in enumerate(alone):
            close(
                logits[row],
                model(torch.cat([document, new[row : row + 1]], dim=1))[0, -3:],
            )


@every_model
def test_a_cache_of_packed_documents_continues_the_document_of_each_new_token(name):
    model = build(name)
    first, second = some_ids(1, 8, seed=2), some_ids(1, 6, seed=3)
    cache = ListCache(1, 3)
    ids, segments = (
        torch.cat([first[:, :6], second[:, :3]], dim=1),
        torch.tensor([[1] * 6 + [2] * 3]),
    )
    model(ids, segments=segments, cache=cache)
    logits = model(
        torch.cat([second[:, 3:], first[:, 6:]], 1),
        segments=torch.tensor([[2, 2, 2, 1, 1]]),
        cache=cache,
    )
    close(logits[0, :3], model(second)[0, 3:])
    close(logits[0, 3:], model(first)[0, 6:])


@every_model
def test_positions_given_with_a_cache_are_taken(name):
    model = build(name)
    ids, positions = (
        some_ids(2, 6),
        torch.tensor([[0, 2, 4, 6, 8, 10], [1, 2, 3, 5, 8, 13]]),
    )
    cache = ListCache(2, 3)
    parts = [
        model(ids[:, s], positions=positions[:, s], cache=cache)
        for s in (slice(0, 4), slice(4, 6))
    ]
    close(torch.cat(parts, dim=1), model(ids, positions=positions))
    longer, continued = (
        torch.cat([ids, ids[:, :1]], 1),
        torch.cat([positions, positions[:, -1:] + 1], dim=1),
    )
    close(model(ids[:, :1], cache=cache), model(longer, positions=continued)[:, -1:])


@every_model
def test_kernels_give_equal_logits_and_gradients(name):
    ids, segments, _ = rows(12, 5, left=True)
    targets = some_ids(2, 12, seed=5).masked_fill(segments == 0, -100)
    outcome = {}
    for kernel in KERNELS:
        for case in (None, segments):
            model = build(name, kernel=kernel)
            logits = model(ids, segments=case)
            F.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
            outcome[kernel, case is None] = (
                logits,
                {n: p.grad for n, p in model.named_parameters()},
            )
    for kernel in ("sdpa", "online"):
        for plain in (True, False):
            logits, gradients = outcome[kernel, plain]
            expected_logits, expected = outcome["naive", plain]
            close(logits[segments > 0], expected_logits[segments > 0])
            assert gradients.keys() == expected.keys()
            size = max(g.abs().max().item() for g in expected.values())
            for key, gradient in gradients.items():
                assert (gradient - expected[key]).abs().max() < 1e-10 * size, key


@every_kernel
@every_model
def test_no_logit_depends_on_a_later_token(name, kernel):
    model = build(name, kernel=kernel)
    captured = []
    model.tok_emb.register_forward_hook(
        lambda module, inputs, out: captured.append(out.requires_grad_())
    )
    logits = model(some_ids(1, 6))
    for t in range(6):
        (influence,) = torch.autograd.grad(
            logits[0, t].square().sum(), captured[0], retain_graph=True
        )
        influence = influence[0].abs().sum(-1)
        assert (influence[: t + 1] > 1e-3).all() and (influence[t + 1 :] == 0).all(), (
            t,
            influence,
        )


@every_kernel
@every_model
def test_padding_gives_and_takes_no_gradient(name, kernel):
    model = build(name, kernel=kernel, dtype=torch.float32)
    ids, segments, _ = rows(9, 4, left=True)
    captured = []
    model.tok_emb.register_forward_hook(
        lambda module, inputs, out: captured.append(out.requires_grad_())
    )
    logits = model(ids, segments=segments)
    loss = F.cross_entropy(logits[segments > 0], ids[segments > 0])
    gradients = torch.autograd.grad(loss, [captured[0], *model.parameters()])
    assert all(torch.isfinite(g).all() for g in gradients)
    influence = gradients[0].abs().sum(-1)
    assert (influence[segments == 0] == 0).all() and (influence[segments > 0] > 0).all()


@every_model
def test_gradients_of_padding_alone_are_finite(name):
    for kernel in KERNELS:
        model = build(name, kernel=kernel, dtype=torch.float32)
        logits = model(some_ids(2, 5), segments=torch.tensor([[0] * 5, [1] * 5]))
        gradients = torch.autograd.grad(logits.square().sum(), list(model.parameters()))
        assert torch.isfinite(logits).all() and all(
            torch.isfinite(g).all() for g in gradients
        ), kernel


@every_model
def test_dropout_acts_in_training_only_and_in_its_three_places(name):
    model, without = build(name, dropout=0.3), build(name)
    ids = some_ids(2, 8)
    assert torch.equal(model(ids), without(ids))
    model.train()
    assert not torch.allclose(model(ids), model(ids))
    assert {
        p for b in model.blocks for p in (b.dropout.p, b.attn.dropout, model.dropout.p)
    } == {0.3}
    without.train()
    assert torch.equal(without(ids), model.eval()(ids)), "dropout 0 drops nothing"

    def only(
        embedding: float = 0.0, block: float = 0.0, weights: float = 0.0
    ) -> Tensor:
        torch.manual_seed(0)
        model.train()
        model.dropout.p = embedding
        for part in model.blocks:
            part.dropout.p, part.attn.dropout = block, weights
        return model(ids)

    assert torch.equal(only(), without(ids))
    assert torch.equal(only(embedding=1.0)[:, 0], only(embedding=1.0)[:, 0].flip(0)), (
        "tokens are dropped whole"
    )
    places = torch.arange(8)[None]
    embedded = model.tok_emb(ids) + (model.pos_emb(places) if name == "gpt2" else 0)
    close(only(block=1.0), model.lm_head(model.final_norm(embedded)))
    assert not torch.allclose(only(weights=0.5), without(ids))


@every_model
def test_initial_weights(name):
    big = {
        "d_model": 96,
        "n_layer": 8,
        "vocab_size": 500,
        "init_std": 0.05,
        "max_seq_len": 64,
    }
    big |= (
        {}
        if name == "gpt2"
        else {"d_ff": 256, "attention_bias": True, "mlp_bias": True}
    )
    fresh = type(build(name))(
        build(name, **big).config, generator=torch.Generator().manual_seed(3)
    )
    seen = set()
    for key, parameter in fresh.named_parameters():
        values = parameter.detach()
        if key.endswith("bias"):
            assert (values == 0).all(), key
        elif parameter.ndim == 1:
            assert (values == 1).all(), key
        else:
            kind = (
                "residual"
                if "o_proj" in key or "down_proj" in key
                else "pos_emb"
                if "pos_emb" in key
                else "normal"
            )
            expected = {
                "residual": 0.05 / math.sqrt(16),
                "pos_emb": 0.025,
                "normal": 0.05,
            }[kind]
            assert values.std().item() == pytest.approx(expected, rel=0.04), key
            assert abs(values.mean().item()) < 0.1 * expected, key
            seen.add(kind)
    assert seen == {"residual", "normal"} | ({"pos_emb"} if name == "gpt2" else set())


@every_model
def test_a_generator_decides_the_initial_weights(name):
    config = build(name).config
    make = [
        type(build(name))(config, generator=torch.Generator().manual_seed(seed))
        for seed in (3, 3, 4)
    ]
    first, same, other = (
        [p.detach() for p in model.parameters() if p.ndim == 2] for model in make
    )
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    make[2].initialise(torch.Generator().manual_seed(3))
    assert all(
        torch.equal(a, b)
        for a, b in zip(make[0].parameters(), make[2].parameters(), strict=True)
    )


@every_model
def test_a_new_model_guesses_uniformly(name):
    config = build(name, vocab_size=2000, d_model=48).config
    model = type(build(name))(config, generator=torch.Generator().manual_seed(0))
    ids = torch.randint(2000, (4, 32), generator=torch.Generator().manual_seed(1))
    logits = model(ids[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).item()
    assert loss == pytest.approx(math.log(2000), abs=0.05)
    assert logits.std() > 0.05, "all logits alike"


@pytest.mark.parametrize("name", ["gpt2", "llama2-tied"])
def test_a_tied_head_is_the_embedding_and_stays_it(name):
    changes = {} if name == "gpt2" else {"tie_embeddings": True}
    model = build(name.split("-")[0], **changes)
    assert model.lm_head.weight is model.tok_emb.weight
    twin = copy.deepcopy(model)
    assert (
        twin.lm_head.weight is twin.tok_emb.weight
        and twin.tok_emb.weight is not model.tok_emb.weight
    )
    ids = some_ids(2, 8)
    other = build(name.split("-")[0], **changes)
    with torch.no_grad():
        other.tok_emb.weight.mul_(2)
    assert not torch.allclose(other(ids), model(ids))
    other.load_state_dict(model.state_dict())
    assert other.lm_head.weight is other.tok_emb.weight
    assert torch.equal(other(ids), model(ids))
    with torch.device("meta"):
        empty = type(model)(model.config)
    empty.load_state_dict(model.state_dict(), assign=True)
    assert empty.lm_head.weight is not empty.tok_emb.weight, (
        "assigning parts them: this test proves nothing now"
    )
    empty.tie_weights()
    assert empty.lm_head.weight is empty.tok_emb.weight
    assert empty.num_parameters() == model.num_parameters()
    assert torch.equal(empty.eval()(ids), model(ids))


def test_an_untied_head_is_its_own():
    model = build("llama2")
    assert model.lm_head.weight is not model.tok_emb.weight
    assert (
        model.num_parameters()
        == build("llama2", tie_embeddings=True).num_parameters() + VOCAB * 24
    )
    model.tie_weights()
    assert model.lm_head.weight is not model.tok_emb.weight


@every_model
def test_bad_ids_are_refused_in_one_line(name):
    model = build(name)
    with pytest.raises(
        ValueError,
        match=r"^ids reach from 3 to 37; expected 0 to vocab_size - 1, which is 36$",
    ):
        model(torch.tensor([[3, 37]]))
    with pytest.raises(
        ValueError,
        match=r"^a sequence of 33 tokens is longer than the model's max_seq_len 32$",
    ):
        model(some_ids(1, GPT2_SMALL["max_seq_len"] + 1))
    assert model(some_ids(1, 32)).shape == (1, 32, VOCAB)


def test_each_model_is_deterministic_and_leaves_its_input_alone():
    for name in MODELS:
        model, ids = build(name), some_ids(2, 8)
        kept = ids.clone()
        assert torch.equal(model(ids), model(ids)) and torch.equal(ids, kept)


@every_model
def test_meta_models_take_no_memory(name):
    with torch.device("meta"):
        model = type(build(name))(build(name).config)
    real = {
        key
        for key, tensor in [*model.named_parameters(), *model.named_buffers()]
        if not tensor.is_meta
    }
    assert real == ({"rotary.inv_freq"} if name == "llama2" else set()), (
        "frequencies are never on meta"
    )
    assert model.num_parameters() == build(name).num_parameters()


@pytest.mark.parametrize("name", ["gpt2", "llama2-tied"])
def test_weights_that_are_drawn_after_a_detour_through_meta_are_tied(name):
    """`to_empty` parts what was tied; drawing the weights puts it together."""
    changes = {} if name == "gpt2" else {"tie_embeddings": True}
    config = build(name.split("-")[0], **changes).config
    kind = GPT2 if name == "gpt2" else Llama2
    with torch.device("meta"):
        model = kind(config)
    model.to_empty(device="cpu")
    model.initialise(torch.Generator().manual_seed(3))
    assert model.lm_head.weight is model.tok_emb.weight
    right = kind(config, torch.Generator().manual_seed(3))
    assert torch.equal(model(some_ids(2, 8)), right(some_ids(2, 8)))


@pytest.mark.parametrize("name", ["gpt2", "llama2-tied"])
def test_a_head_that_is_wrapped_gets_no_second_weight(name):
    changes = {} if name == "gpt2" else {"tie_embeddings": True}
    model = build(name.split("-")[0], **changes)
    model.lm_head = torch.nn.Sequential(model.lm_head)
    before = dict(model.named_parameters())
    with pytest.raises(
        ValueError, match=r"^lm_head is a Sequential; expected nn\.Linear"
    ):
        model.tie_weights()
    assert dict(model.named_parameters()) == before


@every_model
def test_a_model_with_its_own_generator_leaves_the_global_one_alone(name):
    model = build(name)
    before = torch.get_rng_state()
    type(model)(model.config, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
    type(model)(model.config)
    assert not torch.equal(torch.get_rng_state(), before)
