import pytest
import torch

from happyllm_support.inference.generation import (
    decode_step,
    generate,
    generate_text,
    left_padded,
    prefill,
    stream,
)
from happyllm_support.inference.kv_cache import ContiguousCache
from happyllm_support.model.gpt2 import GPT2, GPT2Config
from happyllm_support.model.llama2 import Llama2, Llama2Config
from happyllm_support.model.modes import set_dropout
from happyllm_support.text.tokenizer.bpe import BPEConfig, train_bpe
from happyllm_support.text.tokenizer.tokenizer import Tokenizer

VOCAB = 31
SMALL = {
    "vocab_size": VOCAB,
    "max_seq_len": 20,
    "n_layer": 2,
    "n_head": 2,
    "d_model": 16,
}
PROMPTS = [[3, 1, 4, 1, 5, 9, 2], [6], [2, 6, 30]]


def loud(model):
    """Weights so large that every token and every position changes what comes next."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.6, generator=random)
    return model


def gpt2(**options):
    return loud(GPT2(GPT2Config(**SMALL | options)))


def llama(**options):
    return loud(Llama2(Llama2Config(**SMALL | {"n_kv_head": 1, "d_ff": 24} | options)))


BOTH = pytest.mark.parametrize("make", [gpt2, llama])


def greedy(model, prompts, n=9, **options):
    return generate(model, prompts, max_new_tokens=n, temperature=0.0, **options)


def by_hand(model, prompt, n):
    """One token after another from nothing but the ids."""
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(n):
            ids.append(int(model.eval()(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


@BOTH
def test_unequal_prompts_in_a_batch_give_what_each_gives_alone(make):
    model = make()
    expected = [by_hand(model, prompt, 9) for prompt in PROMPTS]
    assert greedy(model, PROMPTS) == expected
    assert [greedy(model, [prompt])[0] for prompt in PROMPTS] == expected
    assert (
        greedy(model, PROMPTS, pad_id=17) == expected
    )  # what padding holds is seen by nothing
    assert greedy(model, PROMPTS[::-1]) == expected[::-1]
    assert len({tuple(row) for row in expected}) == 3 and all(
        len(set(row)) > 2 for row in expected
    )


@BOTH
def test_padding_that_is_attended_or_counted_would_be_noticed(make):
    """The test above can fail: the same rows without segments, or without positions,
    give other tokens.
    """
    model = make().eval()
    ids = torch.tensor([[0, 0, 0, 0, 0, 0, 6]])
    positions, segments = (
        torch.tensor([[0, 0, 0, 0, 0, 0, 0]]),
        torch.tensor([[0, 0, 0, 0, 0, 0, 1]]),
    )
    with torch.no_grad():
        right = model(ids, positions=positions, segments=segments)[0, -1]
        attended = model(ids, positions=positions)[0, -1]
        torch.testing.assert_close(
            right, model(torch.tensor([[6]]))[0, -1], rtol=1e-4, atol=1e-4
        )
    assert (right - attended).abs().max() > 0.1


@BOTH
def test_sampling_one_row_follows_the_models_probabilities(make):
    model = make()
    with torch.no_grad():
        logits = model.eval()(torch.tensor([PROMPTS[0]]))[0, -1]
    probs = torch.softmax(logits / 3.0, 0)
    rows = generate(
        model,
        [PROMPTS[0]] * 4000,
        max_new_tokens=1,
        temperature=3.0,
        generator=torch.Generator().manual_seed(0),
    )
    counts = torch.bincount(torch.tensor(rows).flatten(), minlength=VOCAB)
    spread = (4000 * probs * (1 - probs)).sqrt()
    assert ((counts - 4000 * probs).abs() < 4.5 * spread + 1).all()
    assert (counts > 50).sum() > 2


def test_the_generator_decides_and_top_k_is_passed_on():
    model = gpt2()

    def run(seed, **options):
        generator = torch.Generator().manual_seed(seed)
        return generate(
            model,
            PROMPTS,
            max_new_tokens=9,
            temperature=5.0,
            generator=generator,
            **options,
        )

    assert run(1) == run(1) != run(2)
    assert run(1, top_k=1) == greedy(model, PROMPTS)
    assert run(1, top_k=2) != run(1)


@BOTH
def test_each_row_stops_at_its_own_stop(make):
    model = make()
    free = greedy(model, PROMPTS)
    stops = {free[0][2], free[1][5]}

    def cut(row):
        ends = [i for i, token in enumerate(row) if token in stops]
        return row[: ends[0] + 1] if ends else row

    stopped = greedy(model, PROMPTS, stop_ids=stops)
    assert (
        stopped == [cut(row) for row in free] and len({len(row) for row in stopped}) > 1
    )
    assert greedy(model, PROMPTS, stop_ids=range(VOCAB)) == [row[:1] for row in free]


class Counted(torch.nn.Module):
    """A model that notes how it is called."""

    def __init__(self, model):
        super().__init__()
        self.model, self.config, self.calls = model, model.config, []

    def forward(self, ids, **options):
        facts = options["last_only"], torch.is_grad_enabled(), self.training
        self.calls.append((tuple(ids.shape), *facts))
        return self.model(ids, **options)


def test_prompts_are_read_once_and_then_a_token_at_a_time():
    model = Counted(gpt2()).train()
    set_dropout(model, 0.5)
    model.model.blocks[1].eval()
    before = [module.training for module in model.modules()]
    assert greedy(model, PROMPTS, 3) == greedy(gpt2(), PROMPTS, 3)
    assert model.calls == [
        (shape, True, False, False) for shape in ((3, 7), (3, 1), (3, 1))
    ]
    assert [module.training for module in model.modules()] == before
    assert len(set(before)) == 2
    model.calls.clear()
    greedy(model, PROMPTS, stop_ids=range(VOCAB))
    assert len(model.calls) == 1, "no step too many"
    model.calls.clear()
    greedy(model, PROMPTS, 3, use_cache=False)
    assert [shape for shape, *_ in model.calls] == [(3, 7), (3, 8), (3, 9)]
    with pytest.raises(ValueError, match=r"which is 30"):
        greedy(model, [[1, 99]])
    assert [module.training for module in model.modules()] == before


@BOTH
def test_the_cache_changes_no_token(make):
    model = make()
    assert greedy(model, PROMPTS) == greedy(model, PROMPTS, use_cache=False)


@BOTH
@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 50])
def test_prefill_in_chunks_and_steps_equal_the_whole_text(make, chunk):
    model = make().double()
    ids, segments = left_padded([*PROMPTS], 5, torch.device("cpu"))
    new = torch.tensor([[4, 5], [6, 7], [8, 9]])
    whole_ids = torch.cat([ids, new], dim=1)
    whole_segments = torch.cat([segments, torch.ones_like(new)], dim=1)
    with torch.no_grad():
        expected = model(whole_ids, segments=whole_segments)[:, -3:]
    cache = ContiguousCache.for_model(model, 3, 9)
    steps = [prefill(model, cache, ids, segments, chunk=chunk)]
    steps += [decode_step(model, cache, column) for column in new.T]
    found = torch.stack(steps, dim=1)
    assert (found - expected).abs().max() < 1e-10 * expected.std()
    assert not found.requires_grad and model.training
    with pytest.raises(
        ValueError, match=r"^the cache has 9 places per row, 9 of them "
    ):
        decode_step(model, cache, new[:, 0])


def test_a_chunk_needs_columns_and_a_cache():
    model = gpt2()
    cache = ContiguousCache.for_model(model, 1, 9)
    for kept, chunk in ((cache, 0), (cache, -1), (None, 2)):
        with pytest.raises(
            ValueError, match=rf"^chunk is {chunk}; expected at least 1"
        ):
            prefill(model, kept, torch.tensor([[1, 2, 3]]), chunk=chunk)


def test_a_stream_yields_tokens_as_they_are_drawn():
    model = Counted(gpt2())
    expected = greedy(model, PROMPTS, 4)
    model.calls.clear()
    steps = stream(model, PROMPTS, max_new_tokens=4, temperature=0.0)
    assert model.calls == [], "nothing is read before the first token is asked for"
    first = next(steps)
    assert first == [row[0] for row in expected] and len(model.calls) == 1
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert [list(row) for row in zip(first, *steps, strict=True)] == expected
    stop = expected[1][1]
    steps = list(
        stream(model, PROMPTS, max_new_tokens=4, temperature=0.0, stop_ids=[stop])
    )
    assert [step[1] for step in steps] == [*expected[1][:2], *[None] * (len(steps) - 2)]
    with pytest.raises(ValueError, match=r"max_new_tokens is 0"):
        stream(model, PROMPTS, max_new_tokens=0)  # at once, not at the first token


def test_with_a_generator_per_row_a_row_does_not_depend_on_its_neighbours():
    model = gpt2()

    def run(prompts, seeds):
        own = [torch.Generator().manual_seed(seed) for seed in seeds]
        options = {"max_new_tokens": 9, "temperature": 3.0, "generator": own}
        return generate(model, prompts, **options)

    together = run(PROMPTS, [1, 2, 3])
    assert [
        run([p], [s])[0] for p, s in zip(PROMPTS, [1, 2, 3], strict=True)
    ] == together
    assert run(PROMPTS[::-1], [3, 2, 1]) == together[::-1]
    assert run(PROMPTS, [1, 2, 4])[:2] == together[:2]
    assert run(PROMPTS, [1, 2, 4])[2] != together[2]
    with pytest.raises(
        ValueError, match=r"^2 generators for 3 rows; expected one each$"
    ):
        run(PROMPTS, [1, 2])


@BOTH
@pytest.mark.parametrize("use_cache", [True, False])
def test_the_last_position_can_be_used_and_no_further_one(make, use_cache):
    model = make()
    assert len(greedy(model, [[1] * 20], 1, use_cache=use_cache)[0]) == 1
    rows = greedy(model, [[1] * 18, [2]], 3, use_cache=use_cache)
    assert [len(row) for row in rows] == [3, 3]
    message = (
        "prompt 1 has 19 tokens and max_new_tokens is 3: together more than the "
        "model's max_seq_len 20 allows; the last new token needs no position"
    )
    with pytest.raises(ValueError, match=rf"^{message}$"):
        greedy(model, [[2], [1] * 19], 3, use_cache=use_cache)


def test_mistakes_are_named():
    model = gpt2()
    assert greedy(model, []) == []
    with pytest.raises(
        ValueError, match=r"prompt 1 is empty; begin it with the tokenizer's bos"
    ):
        greedy(model, [[1], []])
    with pytest.raises(ValueError, match=r"max_new_tokens is 0; expected at least 1"):
        greedy(model, PROMPTS, 0)
    for text in ("ab", [["a", "b"]]):
        with pytest.raises(ValueError, match=r"^prompt 0 is text; expected ids"):
            greedy(model, text)
    with pytest.raises(ValueError, match=r"temperature is -1"):
        generate(model, [], max_new_tokens=1, temperature=-1)
    with pytest.raises(ValueError, match=r"top_k is 32; expected at most 31"):
        greedy(model, PROMPTS, top_k=32)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(
        train_bpe(["the cat and the dog", "猫和狗"] * 9, BPEConfig(vocab_size=270))
    )


def text_model(tokenizer):
    return gpt2(vocab_size=tokenizer.vocab_size, max_seq_len=40)


def test_text_is_continued_from_bos_to_eos_without_special_tokens(tokenizer):
    model = text_model(tokenizer)
    prompts = ["the", "", "猫和狗 and"]
    rows = [tokenizer.encode(prompt, add_bos=True) for prompt in prompts]
    free = greedy(model, rows, 12)
    texts = generate_text(model, tokenizer, prompts, max_new_tokens=12, temperature=0.0)
    assert texts == [
        tokenizer.decode(row, skip_special=True) for row in free
    ]  # no eos so far
    assert all(texts)

    class Ends(
        Counted
    ):  # eos becomes the most probable token when row 0 has 4 new ones
        def forward(self, ids, **options):
            logits = super().forward(ids, **options)
            if len(self.calls) == 5:
                logits[0, -1, tokenizer.eos_id] = 1e9
            return logits

    ended = generate_text(
        Ends(model), tokenizer, prompts, max_new_tokens=12, temperature=0.0
    )
    assert ended == [tokenizer.decode(free[0][:4], skip_special=True), *texts[1:]]


def test_a_tokenizer_without_bos_and_eos_just_goes_on():
    bare = Tokenizer(
        train_bpe(
            ["the cat and the dog"] * 9, BPEConfig(vocab_size=260, special_tokens=())
        )
    )
    model = text_model(bare)
    texts = generate_text(
        model, bare, ["the", "dog"], max_new_tokens=5, temperature=0.0
    )
    assert texts == [
        bare.decode(row)
        for row in greedy(model, [bare.encode("the"), bare.encode("dog")], 5)
    ]
    with pytest.raises(ValueError, match=r"prompt 0 is empty"):
        generate_text(model, bare, [""], max_new_tokens=5)


def test_one_string_is_no_list_of_prompts(tokenizer):
    with pytest.raises(ValueError, match=r"prompts is one string; give a list of them"):
        generate_text(text_model(tokenizer), tokenizer, "the cat", max_new_tokens=2)
