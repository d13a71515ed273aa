import json

import pytest
from small_bpe import small_model

from happyllm_support.text.tokenizer.bpe import BPEModel
from happyllm_support.text.tokenizer.tokenizer_file import (
    fingerprint,
    load_model,
    save_model,
)


def test_everything_comes_back(tmp_path):
    for model in (
        small_model(),
        BPEModel(
            merges=(),
            pattern=r"[\p{L}'’\"]+|\S|\s",
            special_tokens={"<|字|>": 257, '"': 256},
        ),
        BPEModel(merges=((3, 4),), pattern="gpt2", byte_ids=(*range(1, 256), 0)),
    ):
        save_model(model, tmp_path / "t.json")
        assert load_model(tmp_path / "t.json") == model
        assert load_model(tmp_path / "t.json").report == model.report
        json.loads((tmp_path / "t.json").read_text("utf-8"))


def test_the_fingerprint_covers_what_decides_ids_and_nothing_else():
    base = {
        "merges": ((97, 98), (98, 97)),
        "pattern": "gpt2",
        "special_tokens": {"<a>": 258, "<b>": 259},
    }
    other = [
        base | {"merges": ((98, 97), (97, 98))},
        base | {"pattern": "bilingual"},
        base | {"special_tokens": {"<a>": 259, "<b>": 258}},
        base | {"byte_ids": (*range(1, 256), 0)},
    ]
    prints = {fingerprint(BPEModel(**content)) for content in (base, *other)}
    assert len(prints) == 5 and all(len(p) == 64 for p in prints)
    same = base | {
        "special_tokens": {"<b>": 259, "<a>": 258},
        "report": small_model().report,
    }
    assert fingerprint(BPEModel(**same)) == fingerprint(BPEModel(**base))


def edited(**changes):
    return lambda text: json.dumps(json.loads(text) | changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text[: len(text) // 2],
            r"t\.json is not a tokenizer file: no valid JSON at line \d+, column \d+",
        ),
        (lambda text: "", r"t\.json is not a tokenizer file: no valid JSON at line 1"),
        (
            lambda text: "7",
            r"t\.json is not a tokenizer file: a JSON object is expected, not int",
        ),
        (
            lambda text: "{}",
            r"t\.json is not a tokenizer file: its format is None, not 'happyllm",
        ),
        (
            lambda text: '{"added_tokens": []}',
            r"tokenizer\.json is read by from_huggingface",
        ),
        (edited(version=2), r"t\.json has version 2; this program reads version 1"),
        (
            edited(merges=[[97, 300]]),
            r"t\.json: merge 0 joins ids \(97, 300\), but only ids below 256 exist",
        ),
        (
            edited(merges=[[97, 98, 99]]),
            r"t\.json: merge 0 is \[97, 98, 99\]; expected a pair of ids",
        ),
        (
            edited(merges=[[97, True]]),
            r"t\.json: merge 0 is \[97, True\]; expected a pair of ids",
        ),
        (edited(merges=None), r"t\.json: merges is no list; expected pairs"),
        (edited(pattern=5), r"t\.json: pattern is 5; expected a regular expression"),
        (edited(pattern="("), r"t\.json: bad regular expression '\('"),
        (
            edited(byte_ids=[1, 2]),
            r"t\.json: byte_ids is wrong; expected each of 0 to 255",
        ),
        (edited(byte_ids="x"), r"t\.json: byte_ids is no list of ids; expected null"),
        (
            edited(special_tokens=["a"]),
            r"t\.json: special_tokens is no vocabulary; expected text",
        ),
        (
            edited(special_tokens={"<|eos|>": 5}),
            r"t\.json: special tokens are \{.*\}; expected the ids from",
        ),
        (
            edited(training={"x": 1}),
            r"t\.json: training is \{'x': 1\}; expected null or a training report",
        ),
        (
            edited(pattern=r"\S+|\s+"),
            r"t\.json was changed after it was saved: its fingerprint",
        ),
    ],
)
def test_files_that_are_not_ours(tmp_path, change, message):
    path = tmp_path / "t.json"
    save_model(small_model(), path)
    path.write_text(change(path.read_text("utf-8")), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_not_utf8_and_not_there(tmp_path):
    (tmp_path / "t.json").write_bytes(b'{"a\xff')
    with pytest.raises(
        ValueError, match=r"t\.json is not UTF-8: byte 0xff at offset 3"
    ):
        load_model(tmp_path / "t.json")
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        load_model(tmp_path / "none.json")
