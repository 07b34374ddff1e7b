"""Runs of words, by which texts are compared: case, punctuation, spacing and how accents are coded do not count."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from unicodedata import normalize

import regex

OVERLAP_WORDS = 8
"""Length of a run of words that two prompts are unlikely to share by chance, where it is no stock phrase."""
_TELLING_WORDS = 3
"""So many words of such a run at least are no stock words; "a step-by-step guide on how to" has none."""
_STOCK = """
a an and are as at be but by can could d do for from how i if in is it ll m me my of on or our re s should so t that the
this to ve was we were what which will with would you your
best better create describe detailed develop examples explain explaining generate give guide help instructions list make
making need please provide sorry step steps tell tips tutorial use using want way ways write writing
"""
"""Words of grammar, and those by which help of any kind is asked for."""
_STOCK_WORDS = frozenset(_STOCK.split())
_WORD = re.compile(r"\w+")
_OTHER = re.compile("[\u0300-\u1fff\u20d0-\u20ff\u2c00-\U0010ffff]")
"""All but Latin letters that hold their accents, typographic marks and symbols: of those `_WORD` finds the same."""
_HALVES = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc\uff70"
_THIRDS = r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts without spaces, of which one character is half or a third of a word: about as many of them translate one."""
_UNSPACED = regex.compile(f"[{_HALVES}{_THIRDS}]")
_HALF = regex.compile(f"[{_HALVES}]")
_ANY_WORD = regex.compile(
    rf"[[\p{{L}}\p{{N}}]&&[{_HALVES}{_THIRDS}]]\p{{M}}*"
    rf"|[[\p{{L}}\p{{N}}_]--[{_HALVES}{_THIRDS}]][[\p{{L}}\p{{N}}\p{{M}}_]--[{_HALVES}{_THIRDS}]]*",
    regex.V1,
)
_WHOLE = 6
"""Sixths: what halves and thirds are counted in."""


def words(text: str) -> list[str]:
    """The words of a text, with the marks of their letters; of a script without spaces its characters."""
    text = text.lower()
    if text.isascii() or not _OTHER.search(text):
        return _WORD.findall(text)
    return list(_ANY_WORD.findall(normalize("NFC", text)))


def runs(said: Sequence[str], length: int) -> list[str]:
    """Every `length` words in a row, in the order of their first; none where there are fewer.

    Of Chinese and Japanese two characters make a word, of Thai, Lao, Khmer and Burmese three, marks not counted.
    """
    letters = "".join(said)
    if letters.isascii() or not _UNSPACED.search(letters):
        return [" ".join(said[i : i + length]) for i in range(len(said) - length + 1)]
    sizes = [_size(word) for word in said]
    found = []
    end = size = 0
    for start, first in enumerate(sizes):
        while size < length * _WHOLE and end < len(said):
            size += sizes[end]
            end += 1
        if size < length * _WHOLE:
            break
        found.append(" ".join(said[start:end]))
        size -= first
    return found


def overlap_runs(said: Sequence[str]) -> list[str]:
    """The runs of OVERLAP_WORDS by which a text is known again: stock phrases are left out."""
    return [
        run
        for run in runs(said, OVERLAP_WORDS)
        if sum(word not in _STOCK_WORDS for word in run.split(" ")) >= _TELLING_WORDS
    ]


class WholePrompts:
    """Finds prompts whose words are those of messages: of one, and of a dialogue's turns as many in a row."""

    def __init__(self, prompts: Iterable[Sequence[Sequence[str]]]) -> None:
        """Prepare to find them.

        Args:
            prompts: the words of each one's turns; one without any word is never found.
        """
        self._by_first: defaultdict[str, list[tuple[int, list[str]]]] = defaultdict(list)
        for number, turns in enumerate(prompts):
            if any(turns):
                joined = [" ".join(said) for said in turns]
                self._by_first[joined[0]].append((number, joined))

    def __bool__(self) -> bool:
        return bool(self._by_first)

    def find(self, messages: Sequence[Sequence[str]]) -> Iterator[int]:
        """The numbers of those that stand in the messages of a conversation, given in words; some perhaps twice."""
        joined = [" ".join(said) for said in messages]
        for i, first in enumerate(joined):
            for number, turns in self._by_first.get(first, ()):
                if joined[i : i + len(turns)] == turns:
                    yield number


def _size(word: str) -> int:
    """Sixths of a word."""
    if not _UNSPACED.match(word):
        return _WHOLE
    return _WHOLE // 2 if _HALF.match(word) else _WHOLE // 3
