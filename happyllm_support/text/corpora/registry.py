"""The corpora that have a name: where each comes from, what it may be used for, and
what proves that it arrived whole.

Sizes and hashes of files in public Git repositories were taken from the files
themselves at the commit in the URL; the others are those that the publishers or widely
used tools pin (named beside each entry). Layout below `HAPPYLLM_HOME`:
`tinyshakespeare.txt`, `wikitext-2/valid.txt`, `gpt2/encoder.json` and so on, as each
`RemoteFile.path` says.
"""

from __future__ import annotations

from urllib.parse import quote

from happyllm_support.text.corpora.download import RemoteFile
from happyllm_support.text.corpora.named_corpus import Corpus

_PYTORCH_EXAMPLES = (
    "https://raw.githubusercontent.com/pytorch/examples/d5678bc8ac0cdd79dbd5e44d4130271018bcec4e"
    "/word_language_model/data/wikitext-2"
)
_CHINESE_POETRY = "https://raw.githubusercontent.com/chinese-poetry/chinese-poetry/99ebbef7e1345c0985c44b9fd96a3f9e776f117b"
_TINYSTORIES = "https://huggingface.co/datasets/roneneldan/TinyStories/resolve/f54c09fd23315a6f9c86f9dc80f725de7d8f9c64"
_GPT2 = "https://huggingface.co/openai-community/gpt2/resolve/607a30d783dfa663caf39e06633721c8d4cfcd7e"
_OPENAI = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main"
_MERITY = (
    "S. Merity, C. Xiong, J. Bradbury, R. Socher: Pointer Sentinel Mixture "
    "Models (2016), arXiv:1609.07843"
)
_RADFORD = (
    "A. Radford et al.: Language Models are Unsupervised Multitask Learners "
    "(2019), github.com/openai/gpt-2"
)
_POETRY_PROJECT = "github.com/chinese-poetry/chinese-poetry (2016 and later)"

# Size and hash as pinned by Hugging Face `datasets` (dataset_infos.json) and Apple's
# mlx-data.
_WIKITEXT_103_ZIP = RemoteFile(
    path="wikitext-103/wikitext-103-v1.zip",
    size=190_229_076,
    digest="sha256:242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590",
    urls=("https://wikitext.smerity.com/wikitext-103-v1.zip",),
)

# ci.song.0.json, ci.song.1000.json, ... ci.song.21000.json
_SONG_LYRICS = (
    (406936, "7761bc5ef50305753ea3dcea9e1ef3164e153e3ee366169e9c5a9a7d85b21b22"),
    (368986, "5f79a2d9011e6d414f04e51176c5d4f4c762fd784dce98b035968367b6f2ef4e"),
    (389037, "f700d8e14df62d371dfba7ce18bf1641c304540907b26b68d356c4b6b256fe8d"),
    (417829, "1791391a8a2ca855e133f7ea48bf0c104b3890d628ae2929f9378960a66c1427"),
    (395848, "48c3e33bab920e17929ea08300c4c5ca72b246669ed5767e5cb985d894514150"),
    (388016, "1e10ee4be18e225c2efa0bb8d58691ebb6d40cd83588f308d9635a37392bdadd"),
    (390822, "8ff2b21b4e92a435f72da04fcb935a6a3498e839cde5c837ea418871f133c248"),
    (415095, "8fe3f7ac40ab7d6c80cdd42305e848c1dc51cff26bc42b335ddfdfaccd48d1ba"),
    (390756, "8d9c26a4aa62264d2eea853944e47a1420dd94e7465bee7c3e52cec2cf8bd653"),
    (397207, "bd6a4d90b17ef195f32e38dfa483b0d39d671db3cdd5b462b292aac6916f26a6"),
    (401864, "8d37b015132bf9776fb41c44d445572d2cd9bf5e250dde213596c480e5962545"),
    (414634, "9a4f5082638f82339afbde99f1af7bae1719207f77d5516cb8f6d370c9c1d0c9"),
    (417329, "a89094fed6b3003c171a9036052ff6a289367b4dd68d97c000b5f5e90ea2df2f"),
    (435352, "dd51b268dec508d44a18e2d4a84edd109ff8c532b6eace4160ea88674f62515c"),
    (498986, "9d7410bcaebc31685e3d999c6af218a3583fd8e9f57cacf640c66607121e2dbf"),
    (502382, "5e441c85494955290138ed8561decb3f302d3628fe390cea3477e1d446039525"),
    (478885, "d003d66c58e40fab1d2a40f17f6149eef53a126c7e54b035153ceae4fe707742"),
    (472066, "b46b9f908b5bb0a3b4dd18f268c233a50b8b794d6ab1ec79afcb3612792f0574"),
    (481281, "751cf8ee2a925f4957d010e6f4bf46cc9e0a90a176cfb731185ba43ecb72b14b"),
    (341771, "c6becb6a81cc04e25564f501ff768482b6c328d976c48e2003c8b8bd94ef4612"),
    (434930, "1dfc08051969ab2ecdfa3eea8b29bf79d3dfe9ad1133127f25f622c2b14348c2"),
    (18904, "3344ba453ae7840339944ce29e4295b5b668d79f79210a99e6e1a58ee874dbc5"),
)


def _plain(path: str, size: int, sha256: str, *urls: str) -> RemoteFile:
    return RemoteFile(path=path, size=size, digest=f"sha256:{sha256}", urls=urls)


def _story_world(name: str, language: str, description: str) -> Corpus:
    return Corpus(
        name=name,
        kind="built in",
        language=language,
        licence="Apache-2.0 (part of this package)",
        description=description,
        citation="This course, chapter 02",
        content="generated",
        size_note="any number of stories",
    )


def _wikitext_103(part: str, sha1: str) -> RemoteFile:
    # Hashes of the members as pinned by GluonNLP.
    member = f"wikitext-103/wiki.{part}.tokens"
    return RemoteFile(
        path=f"wikitext-103/{part}.txt",
        digest=f"sha1:{sha1}",
        archive=_WIKITEXT_103_ZIP,
        member=member,
    )


_GPT2_VOCABULARY = Corpus(
    name="gpt2-vocabulary",
    kind="download",
    language="English",
    licence="MIT (modified)",
    description="GPT-2's vocabulary and merges.",
    citation=_RADFORD,
    content="model",
    parts={
        "encoder.json": _plain(
            "gpt2/encoder.json",
            1_042_301,
            "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
            f"{_OPENAI}/encoder.json",
            f"{_GPT2}/vocab.json",
        ),
        "vocab.bpe": _plain(
            "gpt2/vocab.bpe",
            456_318,
            "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
            f"{_OPENAI}/vocab.bpe",
            f"{_GPT2}/merges.txt",
        ),
    },
)
_GPT2_WEIGHTS = Corpus(
    name="gpt2-weights",
    kind="download",
    language="English",
    licence="MIT (modified)",
    description="GPT-2's smallest model, 124 million parameters in fp32, and its "
    "configuration.",
    citation=_RADFORD,
    content="model",
    parts={
        "config.json": _plain(
            "gpt2/config.json",
            665,
            "0daed7749b4f02b8f76240d5444551d7b08712dab4d0adb8239c56ba823bb7b4",
            f"{_GPT2}/config.json",
        ),
        "model.safetensors": _plain(
            "gpt2/model.safetensors",
            548_105_171,
            "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
            f"{_GPT2}/model.safetensors",
        ),
    },
)
_GPT2_ALL = Corpus(
    name="gpt2",
    kind="download",
    language="English",
    licence="MIT (modified)",
    description="Both of the following: all that it takes to run GPT-2.",
    citation=_RADFORD,
    content="model",
    parts=_GPT2_WEIGHTS.parts | _GPT2_VOCABULARY.parts,
)

_ENTRIES = (
    _story_world(
        "storyworld-en",
        "English",
        "Short stories from the course's own grammar, of exactly known entropy.",
    ),
    _story_world(
        "storyworld-zh",
        "Chinese",
        "The same stories in Chinese, from the same derivations.",
    ),
    _story_world(
        "storyworld", "English, Chinese", "The story world in both languages."
    ),
    Corpus(
        name="python-docs",
        kind="with Python",
        language="English",
        licence="Python Software Foundation License 2",
        description="The language reference and the standard library's docstrings "
        "that come with this Python.",
        citation="Python Software Foundation, docs.python.org",
        content="generated",
        size_note="about 2 MB, changes with each release of Python",
    ),
    Corpus(
        name="tinyshakespeare",
        kind="download",
        language="English",
        licence="public domain",
        description="40,000 lines of Shakespeare's plays; a document is a speech.",
        citation="A. Karpathy: char-rnn (2015), github.com/karpathy/char-rnn",
        parts={
            "input": _plain(
                "tinyshakespeare.txt",
                1_115_394,
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
                "/data/tinyshakespeare/input.txt",
            )
        },
    ),
    Corpus(
        name="wikitext-2",
        kind="download",
        language="English",
        licence="CC BY-SA 3.0",
        description="2 million words of Wikipedia's good articles, rare words as "
        "<unk>; a document is an article.",
        citation=_MERITY,
        split="article",
        default=("train",),
        parts={
            "train": _plain(
                "wikitext-2/train.txt",
                10_797_148,
                "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
                f"{_PYTORCH_EXAMPLES}/train.txt",
            ),
            "valid": _plain(
                "wikitext-2/valid.txt",
                1_121_681,
                "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
                f"{_PYTORCH_EXAMPLES}/valid.txt",
            ),
            "test": _plain(
                "wikitext-2/test.txt",
                1_256_449,
                "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
                f"{_PYTORCH_EXAMPLES}/test.txt",
            ),
        },
    ),
    Corpus(
        name="wikitext-103",
        kind="download",
        language="English",
        licence="CC BY-SA 3.0",
        description="100 million words of Wikipedia's good articles; a document is an "
        "article. 540 MB unpacked.",
        citation=_MERITY,
        split="article",
        default=("train",),
        parts={
            "train": _wikitext_103("train", "b7497e2dfe77e72cfef5e3dbc61b7b53712ac211"),
            "valid": _wikitext_103("valid", "c326ac59dc587676d58c422eb8a03e119582f92b"),
            "test": _wikitext_103("test", "8a5befc548865cec54ed4273cf87dbbad60d1e47"),
        },
    ),
    Corpus(
        name="TinyStories",
        kind="download",
        language="English",
        licence="CDLA-Sharing-1.0",
        description="2.7 million children's stories written by GPT-4, in the words of "
        "a four-year-old.",
        citation="R. Eldan, Y. Li: TinyStories (2023), arXiv:2305.07759",
        separator="<|endoftext|>",
        default=("train",),
        parts={
            "train": _plain(
                "TinyStories/train.txt",
                2_227_753_162,
                "6418d412de72888f52b5142c761ac21a582f7d1166f0bfbdb5f03ccfdec90443",
                f"{_TINYSTORIES}/TinyStoriesV2-GPT4-train.txt",
            ),
            "valid": _plain(
                "TinyStories/valid.txt",
                22_502_601,
                "6874bae9a4c1a4e7edcf0e53b86c17817e9cf881fc75ff2368da457b80c0585d",
                f"{_TINYSTORIES}/TinyStoriesV2-GPT4-valid.txt",
            ),
        },
    ),
    Corpus(
        name="yuanqu",
        kind="download",
        language="Chinese",
        licence="MIT",
        description="11,057 songs and arias of Yuan drama (元曲), with stage "
        "directions, in simplified characters.",
        citation=_POETRY_PROJECT,
        content="poems",
        parts={
            "yuanqu": _plain(
                "yuanqu/yuanqu.json",
                4_188_599,
                "c2be37d2349cec99ec7f2d7c4107eb08bbb3ac869221db24531c8ffed2a88b12",
                f"{_CHINESE_POETRY}/{quote('元曲')}/yuanqu.json",
            )
        },
    ),
    Corpus(
        name="songci",
        kind="download",
        language="Chinese",
        licence="MIT",
        description="21,050 lyrics of the Song dynasty (宋词), in simplified "
        "characters.",
        citation=_POETRY_PROJECT,
        content="poems",
        parts={
            f"{1000 * i}": _plain(
                f"songci/{1000 * i}.json",
                size,
                sha256,
                f"{_CHINESE_POETRY}/{quote('宋词')}/ci.song.{1000 * i}.json",
            )
            for i, (size, sha256) in enumerate(_SONG_LYRICS)
        },
    ),
    Corpus(
        name="chinese-poetry",
        kind="local",
        language="Chinese",
        licence="MIT",
        description="10 MB of classical poetry with notes, put together from the "
        "project of that name.",
        citation=_POETRY_PROJECT,
        parts={
            "poetry": _plain(
                "chinese-poetry/poetry.txt",
                10_522_485,
                "b389a30ac155504e62269109ab9a4bbda4c3d1651440dfcab9e6793483addf4d",
            )
        },
    ),
    _GPT2_ALL,
    _GPT2_VOCABULARY,
    _GPT2_WEIGHTS,
)

REGISTRY: dict[str, Corpus] = {corpus.name: corpus for corpus in _ENTRIES}
