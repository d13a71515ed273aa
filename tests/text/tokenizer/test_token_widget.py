"""The widget of chapter 01: what it shows without scripts, and that its scripts encode
as Python does.
"""

import random
import re

import pytest

from happyllm_support.text.tokenizer.bpe import BPEConfig, BPEModel, train_bpe
from happyllm_support.text.tokenizer.encoder import BPEEncoder
from happyllm_support.text.tokenizer.token_widget import MAX_MERGES, TokenWidget, chip

TEXT = (
    "The dog's 12 boats.\n“Go!” she said. 老人把船送给了女孩，女孩很高兴。🙂 "
    "Ünïcode café  "
)


N_MERGES = 75


def model(pattern="bilingual"):
    return train_bpe(
        [TEXT * 3],
        BPEConfig(vocab_size=256 + N_MERGES, pattern=pattern, special_tokens=()),
    )


def test_without_scripts_it_shows_the_tokens_of_its_text():
    page = TokenWidget(model(), "the dog")._repr_html_()
    ids = BPEEncoder(model()).encode_ordinary("the dog")
    assert re.findall(r"<i>(\d+)</i>", page) == [str(token) for token in ids]
    assert f"{len(ids)} tokens with all {N_MERGES} merges" in page


def test_a_token_is_shown_as_text_or_as_bytes():
    assert chip(b" a<", 7) == "<span><b>␣a&lt;</b><i>7</i></span>"
    assert chip(b"\xe8\xaf", 300) == "<span><b>e8 af</b><i>300</i></span>"


def test_the_text_cannot_leave_its_place_in_the_page():
    page = TokenWidget(
        model(), '@DATA@</textarea><script>alert("x")</script>'
    )._repr_html_()
    assert page.count("<script>") == page.count("</script>") == 1
    assert (
        page.count('"pattern":"bilingual"') == 1 and "@DATA@&lt;/textarea&gt;" in page
    )
    assert "http" not in page


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (BPEModel(merges=(), pattern=r"\S+|\s+"), r"\+'; expected gpt2 or bilingual"),
        (
            BPEModel(merges=((97, 98),) * (MAX_MERGES + 1), pattern="gpt2"),
            "4,097 merges are too many",
        ),
    ],
)
def test_what_a_page_cannot_do_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        TokenWidget(bad, "text")


@pytest.mark.browser
@pytest.mark.parametrize("pattern", ["bilingual", "gpt2"])
def test_the_script_encodes_as_python_does(pattern, browser):
    trained = model(pattern)
    rng = random.Random(0)
    texts = [
        TEXT,
        "",
        *(
            "".join(rng.choices(TEXT + " \t'’1\ń", k=rng.randrange(1, 40)))
            for _ in range(300)
        ),
    ]
    page = browser.new_page()
    page.set_content(f"<body>{TokenWidget(trained, TEXT)._repr_html_()}</body>")
    for used in (N_MERGES, 7):
        part = BPEModel(merges=trained.merges[:used], pattern=trained.pattern)
        expected = [BPEEncoder(part).encode_ordinary(text) for text in texts]
        script = (
            "([texts, n]) => texts.map(text => "
            "document.querySelector('.hl-tokens').encodeWith(text, n))"
        )
        assert page.evaluate(script, [texts, used]) == expected
    page.locator("input").fill("0")
    assert page.locator(".hl-chips span").count() == len(TEXT.encode())
    page.locator("textarea").fill("老")
    assert page.locator(".hl-chips b").all_inner_texts() == ["e8", "80", "81"]
    assert (
        page.locator("p").inner_text()
        == f"3 tokens with 0 of {N_MERGES} merges, 3.00 per character"
    )
    page.close()
