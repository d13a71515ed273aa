"""A tokenizer of one id per byte, importable by the processes that `prepare` starts."""

import hashlib
import json


class ByteTokenizer:
    def __init__(self, offset=0, bos_id=256, eos_id=257, pad_id=258, vocab_size=300):
        self.offset, self.bos_id, self.eos_id, self.pad_id = (
            offset,
            bos_id,
            eos_id,
            pad_id,
        )
        self.vocab_size = vocab_size

    @property
    def fingerprint(self):
        return hashlib.sha256(json.dumps(vars(self)).encode()).hexdigest()

    def encode(self, text, *, add_bos=False, add_eos=False):
        if "refuse me" in text:
            raise ValueError("this text is refused")
        if "break" in text:
            raise KeyError("broken")
        ids = [byte + self.offset for byte in text.encode()]
        return [self.bos_id] * add_bos + ids + [self.eos_id] * add_eos

    def save(self, path):
        path.write_text(json.dumps(vars(self)))
