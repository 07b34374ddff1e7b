"""Pairs that are nearly the same: candidates by MinHash and locality-sensitive hashing, each looked at exactly.

Two pairs are near-duplicates where the last turn, the whole prompt and the responses
each share so many runs of words, as Jaccard similarity.  That of prompt and responses
together is then at least as high, so that bands of their MinHash have a value in
common with a chance of at least `_RECALL`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import rensa
from numpy.typing import NDArray
from pandas.util import hash_array

from bdpo.data.rows import Candidate
from bdpo.ngrams import runs, words

_WORDS = 3
"""Length of the runs; a shorter text is one run."""
_PERMUTATIONS = 128
_SEED = 0
_RECALL = 0.99


def band_width(threshold: float) -> int:
    """Most MinHash values a band, with which pairs that are as similar as `threshold` meet with `_RECALL`."""
    for width in range(_PERMUTATIONS, 1, -1):
        if 1 - (1 - threshold**width) ** (_PERMUTATIONS // width) >= _RECALL:
            return width
    return 1


def bands(pairs: Sequence[Candidate], threshold: float) -> NDArray[np.int64]:
    """(N, bands) of any values: what two near-duplicates are likely to have one of in common."""
    tokens = [[*_marked("p", _prompt(pair.prompt)), *_marked("r", _runs(pair.chosen, pair.rejected))] for pair in pairs]
    width = band_width(threshold)
    num = _PERMUTATIONS // width
    values = np.array(rensa.RMinHash.digests_from_token_sets(tokens, _PERMUTATIONS, _SEED), dtype=np.uint64)
    values = values[:, : num * width].reshape(len(pairs), num, width)
    hashed = np.tile(np.arange(num, dtype=np.uint64), len(pairs))
    for i in range(width):
        hashed = hash_array(hashed ^ values[:, :, i].ravel())
    return hashed.reshape(len(pairs), num).view(np.int64)


def similar(one: Mapping[str, Any], other: Mapping[str, Any], threshold: float) -> bool:
    """Whether two rows of PAIRS are near-duplicates, whichever side they prefer."""
    return all(_jaccard(a, b) >= threshold for a, b in zip(_parts(one), _parts(other), strict=True))


def _parts(pair: Mapping[str, Any]) -> Iterator[set[str]]:
    yield _runs(pair["prompt"][-1]["content"])
    yield _runs(pair["chosen"], pair["rejected"])
    yield _prompt(pair["prompt"])


def _jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


def _prompt(messages: Sequence[Mapping[str, str]]) -> set[str]:
    return _runs(*(message["content"] for message in messages))


def _runs(*texts: str) -> set[str]:
    found: set[str] = set()
    for text in texts:
        said = words(text)
        found.update(runs(said, _WORDS) or [" ".join(said)])
    return found


def _marked(mark: str, tokens: Iterable[str]) -> Iterator[str]:
    return (f"{mark}{token}" for token in tokens)
