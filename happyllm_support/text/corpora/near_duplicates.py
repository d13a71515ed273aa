"""Finding documents that are almost the same, in one pass.

Two documents are near duplicates when their sets of character n-grams overlap, as
measured by the Jaccard similarity

    J(A, B) = |A and B| / |A or B|

MinHash estimates J from a few hundred numbers per document, and locality-sensitive
hashing looks up candidates without comparing every pair; both are the `datasketch`
library's. Characters serve Chinese, which has no spaces, as well as English.

Source: A. Broder, On the Resemblance and Containment of Documents (1997); J. Leskovec,
A. Rajaraman, J. Ullman, Mining of Massive Datasets, chapter 3.
"""

from __future__ import annotations

from typing import Any, cast

NUM_PERM = 128  # the estimate's standard error is below 1 / sqrt(128) = 0.09
SEED = 1


class NearDuplicateIndex:
    """The first document of each group of near duplicates, in their order.

    Memory grows with the number of distinct documents (about 5 kB each), not with their
    length. The result depends on the order: similarity is not transitive, and each
    document is compared with the representatives so far.
    """

    def __init__(self, threshold: float = 0.8, *, shingle: int = 5) -> None:
        """Prepare an empty index.

        Args:
            threshold: the Jaccard similarity from which documents count as near
                duplicates, in (0, 1).
            shingle: characters per n-gram, runs of white space counting as one.

        Raises:
            ValueError: a threshold or shingle out of range, or `datasketch` is not
                installed.
        """
        if not 0.0 < threshold < 1.0:
            raise ValueError(
                f"near-duplicate threshold {threshold} is out of range; expected "
                "between 0 and 1"
            )
        if shingle < 1:
            raise ValueError(
                f"shingle {shingle} is out of range; expected at least 1 character"
            )
        try:
            import datasketch
        except ImportError:
            raise ValueError(
                "near duplicates need the datasketch library; run `pip install "
                "datasketch`"
            ) from None
        self.threshold = threshold
        self.shingle = shingle
        self._minhash = cast("Any", datasketch.MinHash)
        lsh = cast("Any", datasketch.MinHashLSH)
        self._lsh = lsh(threshold=threshold, num_perm=NUM_PERM)
        self._sketches: list[Any] = []
        self._documents: list[str] = []

    def match(self, document: str, *, label: str = "") -> str | None:
        """Return the label of the earlier document that this one resembles most.

        Where there is none, remember this one and return None.

        Args:
            document: the text.
            label: what to return for later near duplicates of this document, such as
                its hash or beginning.
        """
        sketch = self._sketch(document)
        candidates: list[int] = sorted(self._lsh.query(sketch))
        similar = [
            (self._sketches[index].jaccard(sketch), -index) for index in candidates
        ]
        if similar and max(similar)[0] >= self.threshold:
            return self._documents[-max(similar)[1]]
        self._lsh.insert(len(self._sketches), sketch)
        self._sketches.append(sketch)
        self._documents.append(label)
        return None

    def _sketch(self, document: str) -> Any:
        sketch = self._minhash(num_perm=NUM_PERM, seed=SEED)
        shingles = _shingles(document, self.shingle)
        sketch.update_batch([x.encode("utf-8", "surrogatepass") for x in shingles])
        return sketch


def jaccard(left: str, right: str, *, shingle: int = 5) -> float:
    """Return what the index estimates: shared n-grams over all n-grams, exactly."""
    first, second = _shingles(left, shingle), _shingles(right, shingle)
    return len(first & second) / len(first | second)


def _shingles(document: str, n: int) -> set[str]:
    text = " ".join(document.split())
    return {text[i : i + n] for i in range(max(1, len(text) - n + 1))}
