import io

import pytest
from small_bpe import MIXED

from happyllm_support.text.tokenizer.formats.sentencepiece import SentencePieceTokenizer

sentencepiece = pytest.importorskip("sentencepiece")


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def model(request, tmp_path_factory):
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(MIXED.splitlines() * 5),
        model_writer=file,
        model_type=request.param,
        vocab_size=400,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    path = tmp_path_factory.mktemp("sp") / f"{request.param}.model"
    path.write_bytes(file.getvalue())
    return SentencePieceTokenizer(path)


def test_it_encodes_and_decodes(model):
    ids = model.encode("the cat 看见了 the dog")
    assert model.decode(ids) == "the cat 看见了 the dog"
    assert [model.pieces[token] for token in ids] == model.encode_as_pieces(
        "the cat 看见了 the dog"
    )
    assert (
        model.encode_as_pieces("the cat")[0].startswith("▁")
        and len(model.pieces) == model.vocab_size
    )


def test_scores_are_ranks_of_merges_or_logarithms_that_decide_the_cut(model):
    if model.scores[259] == 0:  # BPE: the first merge
        assert model.scores[259:262] == [0, -1, -2]
        return
    score = dict(zip(model.pieces, model.scores, strict=True))
    text = "▁the▁cat"
    cuts = [[[]]] + [[] for _ in text]  # all cuts of the first k characters
    for end in range(1, len(text) + 1):
        for begin in range(end):
            if text[begin:end] in score:
                cuts[end] += [[*cut, text[begin:end]] for cut in cuts[begin]]
    totals = sorted(sum(score[piece] for piece in cut) for cut in cuts[-1])
    chosen = sum(score[piece] for piece in model.encode_as_pieces("the cat"))
    assert totals[0] < totals[-1] - 1 and chosen == pytest.approx(totals[-1], abs=1e-3)


def test_unknown_characters_fall_back_to_bytes(model):
    assert model.byte_fallback and model.unk_id not in model.encode("龘")
    assert model.encode_as_pieces("龘")[-3:] == ["<0xE9>", "<0xBE>", "<0x98>"]
    assert model.decode(model.encode("龘")) == "龘"


@pytest.mark.parametrize("token", [-1, 10_000])
def test_ids_out_of_range(model, token):
    with pytest.raises(
        ValueError,
        match=rf"id {token} is out of range; expected 0 to {model.vocab_size - 1}, as",
    ):
        model.decode([token])


@pytest.mark.parametrize("content", [b"", b"no model", b"\x00" * 100])
def test_other_files_are_refused(tmp_path, content, capfd):
    (tmp_path / "x.model").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.model is not a SentencePiece model"):
        SentencePieceTokenizer(tmp_path / "x.model")
    with pytest.raises(FileNotFoundError, match="none"):
        SentencePieceTokenizer(tmp_path / "none.model")
