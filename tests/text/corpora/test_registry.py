import re

import pytest

from happyllm_support.text.corpora.registry import REGISTRY

FILES = [
    (f"{corpus.name}/{part}", file)
    for corpus in REGISTRY.values()
    for part, file in corpus.parts.items()
]


@pytest.mark.parametrize(("name", "file"), FILES, ids=[name for name, _ in FILES])
def test_every_file_is_pinned(name, file):
    for each in filter(None, (file, file.archive)):
        assert re.fullmatch(r"sha256:[0-9a-f]{64}|sha1:[0-9a-f]{40}", each.digest)
        assert not each.path.startswith(("/", ".")) and ".." not in each.path.split("/")
        assert (
            each.digest.startswith("sha256:") or each.archive
        )  # what is downloaded has a SHA-256 and a size
        assert each.size or each.archive
        for url in each.urls:
            assert (
                url.startswith("https://")
                and url.isascii()
                and "/main/" not in url.replace("encodings/main/", "")
            )


def test_paths_are_distinct_and_entries_complete():
    paths = [
        file.path for name, file in FILES if not name.startswith("gpt2/")
    ]  # which repeats two others
    assert len(set(paths)) == len(paths)
    for name, corpus in REGISTRY.items():
        assert (
            name == corpus.name
            and corpus.licence
            and corpus.description.endswith(".")
            and corpus.citation
        )
        assert corpus.size_note or corpus.size
        assert set(corpus.default) <= set(corpus.parts)
        assert bool(corpus.parts) == (corpus.content != "generated")
        has_urls = [bool((file.archive or file).urls) for file in corpus.parts.values()]
        assert all(has_urls) if corpus.kind == "download" else not any(has_urls)


def test_sizes():
    assert REGISTRY["wikitext-2"].size == 10_797_148 + 1_121_681 + 1_256_449
    assert (
        REGISTRY["wikitext-103"].size == 190_229_076
    )  # the archive counts once, its members not at all
    assert REGISTRY["storyworld"].size is None


def test_gpt2_is_its_weights_and_its_vocabulary():
    both = REGISTRY["gpt2-weights"].parts | REGISTRY["gpt2-vocabulary"].parts
    assert REGISTRY["gpt2"].parts == both and len(both) == 4
    assert {file.path.partition("/")[0] for file in both.values()} == {
        "gpt2"
    }  # one folder holds them
    assert REGISTRY["gpt2"].size == 665 + 548_105_171 + 1_042_301 + 456_318
