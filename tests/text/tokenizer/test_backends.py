import pytest
from small_bpe import MIXED, small_model

from happyllm_support.text.tokenizer import backends
from happyllm_support.text.tokenizer.backends import OrdinaryEncoder
from happyllm_support.text.tokenizer.bpe import BPEModel
from happyllm_support.text.tokenizer.encoder import BPEEncoder
from happyllm_support.text.tokenizer.pretokenize import GPT2_PATTERN
from happyllm_support.text.tokenizer.tokenizer import Tokenizer


@pytest.mark.parametrize(
    "text",
    [
        " " * 1_000_000 + "x",
        "x\n" + "\n" * 1_100_000 + "x",
        "\u3000 \t" * 400_000,
        "a " * 300_000,
    ],
)
def test_a_million_spaces(text, capfd):
    for pattern in ("bilingual", "gpt2"):
        tokenizer = Tokenizer(small_model(pattern))
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert list(tokenizer.encode_iterable([text[:7], text[7:]])) == ids
    assert capfd.readouterr().err == ""  # a panic would have printed a stack trace


def test_long_runs_take_the_way_that_cannot_panic(monkeypatch):
    monkeypatch.setattr(backends, "_LONG_RUN", 10)
    encoder = OrdinaryEncoder(small_model(), "tiktoken")
    plain = OrdinaryEncoder(small_model(), "python")
    monkeypatch.setattr(
        encoder, "_encode", lambda text: pytest.fail("sent to tiktoken")
    )
    for text in ("x" + " " * 30, "the cat\n" * 3 + "\n" * 40 + "the", "\t" * 25):
        assert encoder.encode(text) == plain.encode(text)
    with pytest.raises(ValueError, match="position 30"):
        encoder.encode(" " * 30 + "\ud800")


def test_a_panic_is_answered_by_our_encoder(monkeypatch):
    class PanicException(BaseException):
        pass

    def panic(text):
        raise PanicException

    def interrupt(text):
        raise KeyboardInterrupt

    tokenizer = Tokenizer(small_model())
    expected = tokenizer.encode(MIXED)
    monkeypatch.setattr(tokenizer._ordinary, "_encode", panic)
    assert (
        tokenizer.encode(MIXED) == expected == list(tokenizer.encode_iterable([MIXED]))
    )
    monkeypatch.setattr(tokenizer._ordinary, "_encode", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tokenizer.encode(MIXED)


def test_backends_that_cannot_be(caplog):
    with pytest.raises(
        ValueError, match="backend is 'rust'; expected 'tiktoken' or 'python'"
    ):
        Tokenizer(small_model(), "rust")
    nullable = BPEModel(merges=(), pattern=r"\p{L}*")
    tokenizer = Tokenizer(nullable)
    assert tokenizer.backend == "python" and "can match the empty string" in caplog.text
    assert tokenizer.decode(tokenizer.encode("a, b")) == "a, b"


def test_the_default_really_runs_in_tiktoken(monkeypatch):
    monkeypatch.setattr(
        BPEEncoder, "encode_ordinary", lambda self, text: pytest.fail("ran in Python")
    )
    assert Tokenizer(BPEModel(merges=((97, 98),), pattern=GPT2_PATTERN)).encode(
        "abc"
    ) == [256, 99]
