import pytest
from hypothesis import given, settings
from small_bpe import MIXED, small_model, small_tokenizer, texts

from happyllm_support.text.tokenizer.bpe import BPEModel
from happyllm_support.text.tokenizer.formats.tiktoken import to_tiktoken
from happyllm_support.text.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="module", params=["bilingual", "gpt2"])
def exported(request):
    ours = small_tokenizer(request.param)
    return ours, to_tiktoken(ours)


def test_ids_are_equal_on_hard_text(exported):
    ours, tiktoken = exported

    @settings(max_examples=400, deadline=None)
    @given(texts)
    def check(text):
        assert tiktoken.encode_ordinary(text) == ours.encode(text)
        ids = ours.encode(text, allowed_special="all")
        assert tiktoken.encode(text, allowed_special="all") == ids
        assert tiktoken.decode(ids) == text

    check()


def test_special_tokens_go_along(exported):
    ours, tiktoken = exported
    assert tiktoken.n_vocab == ours.vocab_size
    assert tiktoken.name == f"happyllm-{ours.fingerprint[:12]}"
    for text, token in ours.special_tokens.items():
        assert tiktoken.encode(text, allowed_special="all") == [token]


def test_text_between_matches_is_kept_in_tiktoken_too():
    ours = Tokenizer(small_model(r"\p{L}+o? \p{L}+", 400))
    encoding = to_tiktoken(ours)
    ids = encoding.encode_ordinary(MIXED)
    assert ours.backend == "tiktoken" and encoding.decode(ids) == MIXED
    assert ids == Tokenizer(ours.model, "python").encode(MIXED)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"\p{L}*", "can match the empty string"),
        (r"\m\w+|\s|\S", "tiktoken cannot compile"),
    ],
)
def test_patterns_that_tiktoken_cannot_run(pattern, message):
    with pytest.raises(ValueError, match=message) as caught:
        to_tiktoken(Tokenizer(BPEModel(merges=(), pattern=pattern), "python"))
    assert "\n" not in str(caught.value)
