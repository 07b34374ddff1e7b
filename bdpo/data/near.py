"""Pairs that are nearly the same: candidates by MinHash and locality-sensitive hashing, each looked at exactly.

Two pairs are near-duplicates where the last turn, the whole prompt and each of the two
responses share so many runs of words, as Jaccard similarity.  A band is made of MinHash
values of the prompt and of others of both responses together, so two such pairs have
one in common with a chance of at least `_RECALL` (but for a pair whose two responses,
nearly the same, were changed in different places), and pairs that share the prompt
alone, or the responses alone, hardly ever have.
"""

from collections.abc import Mapping, Sequence
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
_RECALL = 0.99


def band_width(threshold: float) -> int:
    """Most MinHash values a band, with which pairs that are as similar as `threshold` meet with `_RECALL`; 3 at 0.5."""
    for width in range(_PERMUTATIONS, 1, -1):
        if 1 - (1 - threshold**width) ** (_PERMUTATIONS // width) >= _RECALL:
            return width
    return 1


def bands(pairs: Sequence[Candidate], threshold: float) -> NDArray[np.int64]:
    """(N, bands) of any values: what two near-duplicates are likely to have one of in common."""
    width = band_width(threshold)
    num = _PERMUTATIONS // width
    of_prompt = width // 2
    prompts = [list(_prompt(pair.prompt)) for pair in pairs]
    responses = [list(_runs(pair.chosen, pair.rejected)) for pair in pairs]
    both = (_min_hashes(prompts, num, of_prompt, seed=0), _min_hashes(responses, num, width - of_prompt, seed=1))
    values = np.concatenate(both, axis=2)
    hashed = np.tile(np.arange(num, dtype=np.uint64), len(pairs))
    for i in range(width):
        hashed = hash_array(hashed ^ values[:, :, i].ravel())
    return hashed.reshape(len(pairs), num).view(np.int64)


def _min_hashes(sets: Sequence[list[str]], num: int, width: int, *, seed: int) -> NDArray[np.uint64]:
    """(N, num, width) MinHash values of N sets."""
    values = np.array(rensa.RMinHash.digests_from_token_sets(sets, num * width, seed), dtype=np.uint64)
    return values.reshape(len(sets), num, width)


def similar(one: Mapping[str, Any], other: Mapping[str, Any], threshold: float) -> bool:
    """Whether two rows of PAIRS are near-duplicates, whichever side they prefer."""

    def alike(some: set[str], others: set[str]) -> bool:
        return len(some & others) / len(some | others) >= threshold

    if not alike(_runs(one["prompt"][-1]["content"]), _runs(other["prompt"][-1]["content"])):
        return False
    # Side by side: of both together a long response is nearly all, whatever a short one says.
    mine, theirs = ([_runs(pair["chosen"]), _runs(pair["rejected"])] for pair in (one, other))
    if not (all(map(alike, mine, theirs)) or all(map(alike, mine, reversed(theirs)))):
        return False
    return alike(_prompt(one["prompt"]), _prompt(other["prompt"]))


def _prompt(messages: Sequence[Mapping[str, str]]) -> set[str]:
    return _runs(*(message["content"] for message in messages))


def _runs(*texts: str) -> set[str]:
    found: set[str] = set()
    for text in texts:
        said = words(text)
        found.update(runs(said, _WORDS) or [" ".join(said)])
    return found
