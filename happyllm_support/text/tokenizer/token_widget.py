"""A tokenizer to play with in a page: type text, move a slider, and see the merges join
its bytes.

The page holds the merges and thirty lines of JavaScript that encode as `encoder.py`
does, so it needs no kernel and no network. Without scripts (as on a Git host) it shows
the tokens of its first text.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from importlib import resources

from happyllm_support.text.tokenizer.bpe import BPEModel
from happyllm_support.text.tokenizer.encoder import BPEEncoder
from happyllm_support.text.tokenizer.pretokenize import PATTERNS

MAX_MERGES = 4096  # 40 kB in the page


class TokenWidget:
    """Displays itself in a notebook as a text field, a slider over the merges, and the
    tokens.

    Args:
        model: at most 4,096 merges, with one of the built-in patterns (scripts in a
            page know no others).
        text: what the field holds in the beginning.

    Raises:
        ValueError: too many merges, or a pattern of your own.
    """

    def __init__(self, model: BPEModel, text: str) -> None:
        names = [name for name, pattern in PATTERNS.items() if pattern == model.pattern]
        if not names:
            raise ValueError(
                f"pattern is {model.pattern[:40]!r}; expected {' or '.join(PATTERNS)}, "
                "the ones that the widget knows"
            )
        if len(model.merges) > MAX_MERGES:
            raise ValueError(
                f"{len(model.merges):,} merges are too many for a page; expected at "
                f"most {MAX_MERGES:,}"
            )
        self._model = model
        self._text = text
        self._data = {
            "pattern": names[0],
            "bytes": list(model.byte_ids),
            "merges": [list(p) for p in model.merges],
        }

    def __repr__(self) -> str:
        return f"TokenWidget({len(self._model.merges)} merges, {self._text!r})"

    def _repr_html_(self) -> str:
        ids = BPEEncoder(self._model).encode_ordinary(self._text)
        data = json.dumps(self._data, separators=(",", ":")).replace("<", "\\u003c")
        name = (
            "hl-tokens-"
            + hashlib.sha256(f"{data}{self._text}".encode()).hexdigest()[:10]
        )
        template = (
            resources.files("happyllm_support.text.tokenizer")
            .joinpath("token_widget.html")
            .read_text("utf-8")
        )
        values = {
            "NAME": name,
            "TEXT": html.escape(self._text),
            "N_MERGES": str(len(self._model.merges)),
            "N_TOKENS": str(len(ids)),
            "CHIPS": "".join(
                chip(self._model.token_bytes[token], token) for token in ids
            ),
            "DATA": data,
        }
        # in one pass: the text may hold such a key
        return re.sub("@([A-Z_]+)@", lambda key: values[key[1]], template)


def chip(token: bytes, token_id: int) -> str:
    """Return one token as HTML: its id, and its text, or bytes that are none."""
    try:
        text = token.decode("utf-8").replace(" ", "␣").replace("\n", "⏎")
    except UnicodeDecodeError:
        text = token.hex(" ")
    return f"<span><b>{html.escape(text)}</b><i>{token_id}</i></span>"
