"""A small trained model for tests, and text that is hard on tokenizers."""

import functools
import unicodedata

from hypothesis import strategies as st

from happyllm_support.text.tokenizer.bpe import BPEConfig, train_bpe
from happyllm_support.text.tokenizer.tokenizer import Tokenizer

ENGLISH = (
    "It's a story: the cat didn't see the dog, and the dog wasn't seen by the cat. "
    "They'll meet again!\n\n"
    "In 2024 there were 1,024 houses;  the oldest (built in 1789) had   three doors.\n"
    "\tif x == 10:\n        return y\n"
)
CHINESE = (
    "我们去长安。长安城里有一只猫，猫看见了一只狗。狗没有看见猫！\n"
    "第二天，他们又见面了：“你好吗？”\n"
)
MIXED = (
    ENGLISH
    + CHINESE
    + "我有 3 只 cats，它们's 很可爱 😀😀 naïve café Ünïcode\r\n"
    + "\u3000\u3000全角\xa0空格\n"
)


@functools.cache
def small_model(pattern="bilingual", vocab_size=700):
    return train_bpe(
        [ENGLISH * 3, CHINESE * 3, MIXED],
        BPEConfig(vocab_size=vocab_size, pattern=pattern),
    )


@functools.cache
def small_tokenizer(pattern="bilingual", backend="tiktoken"):
    return Tokenizer(small_model(pattern), backend)


# Letters, marks, digits, quotes, spaces of many kinds, line ends, emoji with joiners,
# what case folding does oddly.
HARD = [
    *"aZéßſKİıʰàक्षमالع한グ語我的一〇Ⅷ½²٣09'’\"“.,;!?，。！？、《》—…$€+=<|>_-/\\^`~#😀👨",
    *"\u200d\u0301\u20e3\ufe0f\u200b\ufeff\x00\x7f\ufffd\U0010ffff",
    *" \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u1680\u2003\u2028\u3000",
    *(
        "'s",
        "'LL",
        "’re",
        " the",
        " cat",
        "  ",
        "\n\n",
        "\r\n",
        "长安",
        "<|eos|>",
        "<|pad|>",
        "<|endoftext|>",
    ),
]

# The libraries' Unicode tables are of different years; only what this Python knows is
# in all of them.
known_characters = st.characters(exclude_categories=("Cs", "Cn")).filter(
    lambda c: unicodedata.category(c) != "Cn"
)
texts = st.lists(st.one_of(st.sampled_from(HARD), known_characters), max_size=40).map(
    "".join
)
