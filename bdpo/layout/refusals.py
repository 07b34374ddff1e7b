"""Which of many pairs `tokenize_pair` would refuse, without tokenising them.

Ingestion asks this of every row and keeps no token.  A special token cuts a text
in two pieces that the tokenizer never looks across, so where prompt plus response
begins with the prompt's text, what lies before the last special token of the
prompt has the same tokens in both.  The question is decided by what follows:
the template's words before the response and the response.  Only responses that
begin with as many same tokens as the longest prompt leaves room for need the
prompt as well: it decides where they are cut.

Proofs spare most of that.  A template that only copies what is said is
rendered once a sequence of roles (`bdpo.layout.templates`).  And a tokenizer that
splits at spaces (`bdpo.layout.words`) has decided after a response's first word:
where its tokens follow those of the prompt and do not begin with the end of the
turn, no later word changes that.  Where it has a token for every byte of theirs
too, responses that differ within the room that any prompt leaves have other tokens.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import count
from typing import NamedTuple
from unicodedata import is_normalized

from transformers import PreTrainedTokenizerBase

from bdpo.layout.chat import end_of_turn, require_different, response_ids, tokenize_pair
from bdpo.layout.rendering import Message, Untokenizable, encode, find_thoughts, render, why_not_prefix
from bdpo.layout.spelled import find_spelled
from bdpo.layout.templates import Copying, read_copying
from bdpo.layout.words import first_word, lost_bytes, splits_at_spaces

_REMEMBERED = 100_000
"""First words, and sequences of roles, that are remembered at a time."""
_LONGEST_CHARACTER = 4
"""Bytes of UTF-8."""
_NAME = "Bdpo"
"""How contents begin that stand for any other."""


class Sides(NamedTuple):
    """A prompt's messages and the contents of its two responses."""

    prompt: Sequence[Message]
    chosen: str
    rejected: str


class _Tail(NamedTuple):
    """What follows the last special token of a prompt, it included: with a response `before + response + after`."""

    prompt: str
    before: str
    after: str


class _Texts(NamedTuple):
    """Of one pair: the prompt, and the prompt with each response."""

    prompt: str
    chosen: str
    rejected: str
    is_tail: bool
    """Whether they are tails, of a prompt that begins alike in all three."""


class RefusalFinder:
    """Says what `tokenize_pair` would raise, and remembers what decided it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, max_length: int, max_prompt_length: int) -> None:
        """Look at the tokenizer and its template.

        Args:
            tokenizer: has a chat template; it is not to be changed afterwards.
            max_length: longest prompt plus response, in tokens.
            max_prompt_length: longest prompt, in tokens.
        """
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._max_prompt_length = max_prompt_length
        self._least_room = max_length - max_prompt_length
        # With two tokens of room truncation empties none: it leaves what is neither nothing nor the end alone.
        self._markers = _markers(tokenizer) if self._least_room >= 2 else ()
        self._copying = _copying(tokenizer) if self._markers else None
        splits = self._copying is not None and splits_at_spaces(tokenizer)
        lost = lost_bytes(tokenizer) if splits else None
        self._by_words, self._lost = lost is not None, lost or b""
        self._tails: dict[tuple[str, ...], _Tail | Untokenizable | None] = {}
        self._words: dict[tuple[str, str], bool] = {}

    def find(self, pairs: Sequence[Sides]) -> list[Untokenizable | None]:
        """What `tokenize_pair` would raise for each pair: one problem, or None, a pair."""
        problems: list[Untokenizable | None] = [None] * len(pairs)
        for i, problem in self._exactly(pairs, self._undecided(pairs)).items():
            problems[i] = problem
        return problems

    def _undecided(self, pairs: Sequence[Sides]) -> list[tuple[int, _Tail | Untokenizable | None]]:
        """The pairs that are not shown to be laid out by their beginnings, and their tails or what refuses them."""
        undecided: list[tuple[int, _Tail | Untokenizable | None]] = []
        waiting: list[tuple[int, _Tail, tuple[str, str], tuple[str, str]]] = []
        new: dict[tuple[str, str], None] = {}
        if len(self._words) > _REMEMBERED:
            self._words.clear()
        for i, pair in enumerate(pairs):
            problem = find_spelled(self._tokenizer, *pair) or find_thoughts(self._tokenizer, *pair[1:])
            if problem is not None:
                undecided.append((i, problem))
                continue
            tail = self._tail(pair)
            chosen, rejected = (first_word(pair.chosen), first_word(pair.rejected)) if self._by_words else (None, None)
            if not isinstance(tail, _Tail) or chosen is None or rejected is None or not self._part_early(tail, pair):
                undecided.append((i, tail))
                continue
            beginnings = (tail.prompt, tail.before + chosen), (tail.prompt, tail.before + rejected)
            known = self._words.get(beginnings[0]), self._words.get(beginnings[1])
            if known == (True, True):
                continue
            new.update({beginning: None for beginning, good in zip(beginnings, known, strict=True) if good is None})
            waiting.append((i, tail, *beginnings))
        self._learn(list(new))
        undecided += [(i, tail) for i, tail, *both in waiting if not all(self._words[one] for one in both)]
        return undecided

    def _part_early(self, tail: _Tail, pair: Sides) -> bool:
        """Whether both responses differ so near their beginning that they have other tokens, wherever they are cut.

        Each token of the room that any prompt leaves holds one byte of the text at least.
        """
        characters = (self._least_room - len(f"{tail.before}{tail.after}".encode())) // _LONGEST_CHARACTER
        if characters < 1 or pair.chosen[:characters] == pair.rejected[:characters]:
            return False
        beginnings = f"{pair.chosen[:characters]}{pair.rejected[:characters]}".encode()
        if len(beginnings.translate(None, self._lost)) < len(beginnings):
            return False
        return is_normalized("NFC", pair.chosen) and is_normalized("NFC", pair.rejected)

    def _learn(self, beginnings: Sequence[tuple[str, str]]) -> None:
        """Remember, of a prompt's tail and how it goes on, whether that shows a response with a token of its own."""
        if not beginnings:
            return
        end = end_of_turn(self._tokenizer, str(self._tokenizer.chat_template))
        tails = list(dict(beginnings))
        prompts = dict(zip(tails, encode(self._tokenizer, *tails), strict=True))
        begun = encode(self._tokenizer, *(before for _, before in beginnings))
        for (tail, before), ids in zip(beginnings, begun, strict=True):
            prompt = prompts[tail]
            follows = ids[: len(prompt)] == prompt and ids[len(prompt) :][:1] not in ((), (end,))
            self._words[tail, before] = follows

    def _tail(self, pair: Sides) -> _Tail | Untokenizable | None:
        """The tail of a pair's roles; None where this pair has to be rendered."""
        if self._copying is None or not all(len(message) == 2 for message in pair.prompt):
            return None
        if self._copying.only_stripped:
            for content in (pair.chosen, pair.rejected, *(message["content"] for message in pair.prompt)):
                if not content or content[0].isspace() or content[-1].isspace():
                    return None
        roles = tuple([message["role"] for message in pair.prompt])
        if roles not in self._tails:
            if len(self._tails) > _REMEMBERED:
                self._tails.clear()
            self._tails[roles] = self._render_tail(roles)
        return self._tails[roles]

    def _render_tail(self, roles: Sequence[str]) -> _Tail | Untokenizable | None:
        names = (f"{_NAME}{i:06}X" for i in count())
        prompt = [{"role": role, "content": name} for role, name in zip(roles, names, strict=False)]
        last, response = prompt[-1]["content"], next(names)
        try:
            (asked,) = render(self._tokenizer, [prompt], generate=True)
            (answered,) = render(self._tokenizer, [_answered(prompt, response)])
        except Untokenizable as problem:
            return problem
        _, said, ending = asked.rpartition(last)
        before, *after = answered.removeprefix(asked).split(response)
        cut = max((ending.rfind(marker) for marker in self._markers), default=-1)
        if not said or cut < 0 or not answered.startswith(asked) or len(after) != 1:
            return None
        if _NAME in ending + before + after[0]:
            return None
        return _Tail(ending[cut:], ending[cut:] + before, after[0])

    def _exactly(
        self, pairs: Sequence[Sides], undecided: list[tuple[int, _Tail | Untokenizable | None]]
    ) -> dict[int, Untokenizable | None]:
        """Problems of pairs, by their tokens."""
        problems: dict[int, Untokenizable | None] = {}
        unrendered = [i for i, tail in undecided if tail is None]
        texts: dict[int, _Texts] = {}
        for i, found in zip(unrendered, self._render_all([pairs[i] for i in unrendered]), strict=True):
            if isinstance(found, Untokenizable):
                problems[i] = found
            else:
                texts[i] = found
        for i, tail in undecided:
            if isinstance(tail, Untokenizable):
                problems[i] = tail
            elif tail is not None:
                chosen, rejected = (f"{tail.before}{response}{tail.after}" for response in pairs[i][1:])
                texts[i] = _Texts(tail.prompt, chosen, rejected, is_tail=True)
        numbers: dict[str, int] = {}
        for parts in texts.values():
            for text in parts[:3]:
                numbers.setdefault(text, len(numbers))
        ids = encode(self._tokenizer, *numbers)
        for i, parts in texts.items():
            of_texts = [ids[numbers[text]] for text in parts[:3]]
            problems[i] = self._problem(pairs[i], *of_texts, is_tail=parts.is_tail)
        return problems

    def _problem(
        self,
        pair: Sides,
        prompt: tuple[int, ...],
        chosen: tuple[int, ...],
        rejected: tuple[int, ...],
        *,
        is_tail: bool,
    ) -> Untokenizable | None:
        end = end_of_turn(self._tokenizer, str(self._tokenizer.chat_template))
        room = self._max_length - (0 if is_tail else min(len(prompt), self._max_prompt_length))
        why = partial(why_not_prefix, self._tokenizer, pair.prompt)
        try:
            chosen = response_ids(chosen, prompt, end, room, "chosen", partial(why, pair.chosen))
            rejected = response_ids(rejected, prompt, end, room, "rejected", partial(why, pair.rejected))
            require_different(chosen, rejected)
            if is_tail and chosen[: self._least_room] == rejected[: self._least_room]:
                tokenize_pair(
                    self._tokenizer, *pair, max_length=self._max_length, max_prompt_length=self._max_prompt_length
                )
        except Untokenizable as problem:
            return problem
        return None

    def _render_all(self, pairs: Sequence[Sides]) -> list[_Texts | Untokenizable]:
        """The texts of pairs; several at a time, and in halves where the template refuses one."""
        if not pairs:
            return []
        try:
            prompts = render(self._tokenizer, [pair.prompt for pair in pairs], generate=True)
            chosen = render(self._tokenizer, [_answered(pair.prompt, pair.chosen) for pair in pairs])
            rejected = render(self._tokenizer, [_answered(pair.prompt, pair.rejected) for pair in pairs])
            return [self._cut(*texts) for texts in zip(prompts, chosen, rejected, strict=True)]
        except Untokenizable as problem:
            if len(pairs) == 1:
                return [problem]
        middle = len(pairs) // 2
        return self._render_all(pairs[:middle]) + self._render_all(pairs[middle:])

    def _cut(self, prompt: str, chosen: str, rejected: str) -> _Texts:
        at = max((prompt.rfind(marker) for marker in self._markers), default=-1)
        if at > 0 and chosen.startswith(prompt) and rejected.startswith(prompt):
            return _Texts(prompt[at:], chosen[at:], rejected[at:], True)
        return _Texts(prompt, chosen, rejected, False)


def _answered(prompt: Sequence[Message], response: str) -> list[Message]:
    return [*prompt, {"role": "assistant", "content": response}]


def _copying(tokenizer: PreTrainedTokenizerBase) -> Copying | None:
    """What is shown of the template that `render` uses."""
    plain = type(tokenizer).apply_chat_template is PreTrainedTokenizerBase.apply_chat_template
    template = tokenizer.chat_template
    return read_copying(template) if plain and isinstance(template, str) else None


@lru_cache(maxsize=16)
def _markers(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Special tokens that cut a text wherever they are spelled out.

    They are looked for in the text as it is, take no space beside them along, and no other token of
    the kind can begin before and end after their beginning.  None where the tokenizer is not a fast
    one or reads special tokens as plain text.
    """
    if not tokenizer.is_fast or tokenizer.split_special_tokens:
        return ()
    added = {token.content: token for token in tokenizer.added_tokens_decoder.values()}
    return tuple(
        text
        for text, token in added.items()
        if token.special
        and not (token.normalized or token.lstrip or token.rstrip or token.single_word)
        and text == text.strip()
        and not any(_covers_start(other, text) for other in added)
    )


def _covers_start(other: str, text: str) -> bool:
    """Whether `other`, found in a text, could hide a `text` that is spelled out there."""
    if other != text and other.startswith(text):
        return True
    tails = (other[i:] for i in range(1, len(other)))
    return any(tail.startswith(text) or text.startswith(tail) for tail in tails)
