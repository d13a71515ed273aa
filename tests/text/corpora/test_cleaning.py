import pytest

from happyllm_support.text.corpora.cleaning import CleaningConfig, clean, script_of

LONG = (
    "It was the best of times, it was the worst of times, it was the age of "
    "wisdom, "
    "it was the age of foolishness."
)


def run(documents, **options):
    kept, report = clean(documents, CleaningConfig(**options))
    return list(kept), report


def test_control_and_zero_width_characters_are_removed_and_counted():
    kept, report = run(
        [
            "a\x00b\tc\r\nd\re\x7f\x85",
            "\ufeffx\u200by\u2060",
            "clean \u200d",
            "half \ud800 pair",
        ]
    )
    assert kept == ["ab\tc\nd\ne", "xy", "clean \u200d", "half  pair"]
    assert report.repaired == 3
    removed = "U+0000 U+007F U+0085 U+FEFF U+200B U+2060 U+D800"
    assert report.characters_removed == dict.fromkeys(removed.split(), 1)
    assert run(["a\x00"], strip_control=False)[0] == ["a\x00"]


def test_normalization_is_optional():
    decomposed = "e\u0301Ａ"
    assert run([decomposed])[0] == [decomposed]
    assert run([decomposed], normalization="NFC")[0] == ["éＡ"]
    assert run([decomposed], normalization="NFKC")[0] == ["éA"]


def test_length_bounds_are_inclusive_and_ignore_outer_space():
    documents = ["ab", " abc \n", "abcd", "abcde", "abcdef"]
    kept, report = run(documents, min_chars=3, max_chars=5)
    assert kept == documents[1:4]
    assert (
        report.removed["too short"].documents
        == report.removed["too long"].documents
        == 1
    )
    assert run(["", " \n"])[0] == []


def test_exact_duplicates_are_found_after_the_repair():
    kept, report = run(["one", "two", "one", "o\x00ne", "One"])
    assert kept == ["one", "two", "One"]
    assert report.removed["exact duplicate"].documents == 2
    assert report.removed["exact duplicate"].bytes == len("one") + len("o\x00ne")
    assert run(["one", "one"], exact_duplicates=False)[0] == ["one", "one"]


def test_near_duplicates_name_what_they_resemble():
    edited = LONG.replace("wisdom", "reason")
    kept, report = run([LONG, "another text altogether", edited], near_duplicates=0.5)
    assert kept == [LONG, "another text altogether"]
    assert report.removed["near duplicate"].documents == 1
    assert report.examples["near duplicate"] == [f"{edited[:59]}… ~ {LONG[:59]}…"]
    assert len(run([LONG, edited])[0]) == 2


@pytest.mark.parametrize(
    ("document", "script"),
    [
        ("The cat sat on the mat.", "latin"),
        ("猫坐在垫子上。", "han"),
        ("我用 Python 写程序，很有意思，也很方便。", "mixed"),
        ("GPT-2 是语言模型" + "，它由一个很大的网络组成，读很多书" * 3, "han"),
        ("0123 4567 + 89 = ?", "other"),
        ("Привет, мир", "other"),
        ("", "other"),
    ],
)
def test_script(document, script):
    assert script_of(document) == script


def test_scripts_are_reported_and_filtered():
    documents = ["English text", "中文", "1 2 3", "more English"]
    kept, report = run(documents)
    assert kept == documents
    assert {name: tally.documents for name, tally in report.scripts.items()} == {
        "han": 1, "latin": 2, "mixed": 0, "other": 1,
    }  # fmt: skip
    assert report.scripts["han"].bytes == 6
    kept, report = run(documents, scripts=("han", "mixed"))
    assert kept == ["中文"] and report.removed["script"].documents == 3


def test_report_adds_up_and_shows_examples():
    documents = [
        "x",
        "x" * 200,
        LONG,
        LONG,
        LONG + "!",
        "短",
        "一二三四五六七八九十",
        "y",
        "z",
        "w",
    ]
    kept, report = run(
        documents,
        min_chars=5,
        max_chars=150,
        near_duplicates=0.8,
        scripts=("latin",),
        examples=2,
    )
    assert kept == [LONG]
    assert {reason: tally.documents for reason, tally in report.removed.items()} == {
        "too short": 5,
        "too long": 1,
        "script": 1,
        "exact duplicate": 1,
        "near duplicate": 1,
    }
    assert report.examples["too short"] == ["x", "短"]
    removed = sum(tally.bytes for tally in report.removed.values())
    assert (
        report.received.bytes
        == sum(len(d.encode()) for d in documents)
        == removed + report.kept.bytes
    )
    lines = str(report).splitlines()
    assert lines[0].split() == [
        "received",
        "10",
        "documents",
        str(report.received.bytes),
        "bytes",
    ]
    assert any(line.startswith("near duplicate") for line in lines)


def test_streaming_and_deterministic():
    def endless():
        number = 0
        while True:
            yield f"document {number} {LONG}"
            number += 1

    kept, report = clean(endless())
    assert [next(kept).split()[1] for _ in range(3)] == ["0", "1", "2"]
    assert report.received.documents == 3
    documents = [f"{LONG} {i % 7} {i}" for i in range(60)]
    first, second = (run(documents, near_duplicates=0.9) for _ in range(2))
    assert first == second and 1 <= len(first[0]) < 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_chars": -1}, "cannot be negative"),
        ({"min_chars": 9, "max_chars": 8}, "max_chars 8 is below min_chars 9"),
        (
            {"normalization": "nfc"},
            "unknown normalization 'nfc'; choose NFC, NFKC or None",
        ),
        (
            {"scripts": ("english",)},
            r"unknown scripts \['english'\]; choose from han, latin",
        ),
        ({"scripts": ()}, "choose from han, latin"),
        ({"near_duplicates": 1.5}, "near_duplicates 1.5 is out of range"),
    ],
)
def test_config_errors(options, message):
    with pytest.raises(ValueError, match=message):
        CleaningConfig(**options)


def test_missing_library_is_said_before_reading(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasketch", None)
    with pytest.raises(ValueError, match="datasketch"):
        clean(["x"], CleaningConfig(near_duplicates=0.5))
