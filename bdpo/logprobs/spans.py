"""Which tokens of a packed row attend to which, in few copies and few calls.

A prompt and its first response are one piece, causal, behind the beginning that all prompts share; a further
response is a piece that sees that beginning, its prompt and itself.  The tokens of all pieces are copied together
at once, and pieces of one size are one call.

Letters: T tokens of the packed row, C of a copy, B pieces of a size, Q queries and K keys of a piece.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bdpo.layout.rows import Packing
from bdpo.logprobs.tiles import attention_tile


class Group(NamedTuple):
    """Pieces whose attention is one call."""

    pieces: int
    """B."""
    queries: int
    """Q, a whole number of tiles."""
    keys: int
    """K, a whole number of tiles."""
    unseen: tuple[int, ...]
    """Of each piece, the keys before its first query."""


class Copies:
    """What is copied for attention, and where it lies then.

    Attributes:
        sources: (C,) int64, the token of each place; a piece is filled up with its last one, which only what is
            added sees.
        places: (T,) int64, the first place of each token, and 0 for the padding at the row's end.
        tokens: of the row without that padding.
        again: of what is copied once more, its first token, the end, and the place.
    """

    def __init__(self, sources: Tensor, places: Tensor, tokens: int, again: list[tuple[int, int, int]]) -> None:
        self.sources = sources
        self.places = places
        self.tokens = tokens
        self.again = again
        self._rows: dict[int, Tensor] = {}
        self._rows_back: dict[int, Tensor] = {}

    def to(self, device: torch.device) -> "Copies":
        """The same on another device."""
        return Copies(self.sources.to(device), self.places.to(device), self.tokens, self.again)

    def rows(self, heads: int) -> Tensor:
        """(heads * C,) int64: of (heads, C) copies, their places in (T, heads) tokens."""
        if heads not in self._rows:
            head = torch.arange(heads, device=self.sources.device)
            self._rows[heads] = (self.sources * heads + head[:, None]).flatten()
        return self._rows[heads]

    def rows_back(self, heads: int) -> Tensor:
        """(T * heads,) int64: of (T, heads) tokens, their first places in (heads, C) copies."""
        if heads not in self._rows_back:
            head = torch.arange(heads, device=self.places.device)
            self._rows_back[heads] = (self.places[:, None] + head * len(self.sources)).flatten()
        return self._rows_back[heads]


class Spans:
    """How a packed row attends, for all layers: the copies, the calls, and their masks.

    Args:
        packing: how the row is made up.
        length: T.
        like: gives dtype and device of the attention; layers may be on other devices of the same kind.
    """

    groups: list[Group]
    """In the order of the copies."""

    def __init__(self, packing: Packing, length: int, like: Tensor) -> None:
        pieces = list(_pieces(packing))
        tile = attention_tile(like)
        sizes = [(_in_tiles(piece.queries, tile), _in_tiles(piece.keys, tile)) for piece in pieces]
        alike: dict[tuple[int, int, bool], list[int]] = defaultdict(list)
        for number, (piece, (queries, keys)) in enumerate(zip(pieces, sizes, strict=True)):
            alike[queries, keys, _unseen(piece) == 0].append(number)
        self.groups = [
            Group(len(numbers), queries, keys, tuple(_unseen(pieces[number]) for number in numbers))
            for (queries, keys, _), numbers in alike.items()
        ]
        order = [number for numbers in alike.values() for number in numbers]
        of_queries = [piece.queries for piece in pieces], [queries for queries, _ in sizes]
        of_keys = [piece.keys for piece in pieces], [keys for _, keys in sizes]
        self._copies = {torch.device("cpu"): (_copies(*of_queries, order, length), _copies(*of_keys, order, length))}
        self._masks: dict[tuple[int, int | None, torch.device], Tensor] = {}

    def copies(self, device: torch.device) -> tuple[Copies, Copies]:
        """Of queries, and of keys and values."""
        if device not in self._copies:
            of_queries, of_keys = self._copies[torch.device("cpu")]
            self._copies[device] = of_queries.to(device), of_keys.to(device)
        return self._copies[device]

    def mask(self, number: int, window: int | None, like: Tensor) -> Tensor | None:
        """An addend for a call, by which each query sees the keys before it and its own.

        Args:
            number: of the group.
            window: of so many keys only, its own included; None for all.
            like: gives dtype and device.

        Returns:
            (B, 1, Q, K), or None where plain causal attention says the same.
        """
        _, queries, keys, unseen = self.groups[number]
        if window is not None and window >= keys:
            window = None
        if not any(unseen) and window is None:
            return None
        name = number, window, like.device
        found = self._masks.get(name)
        if found is None:
            before = torch.tensor(unseen, device=like.device)[:, None, None, None]
            # What is added to a piece sees something, too: a row of nothing is no number, and spoils gradients.
            position = (before + torch.arange(queries, device=like.device)[:, None]).clamp(max=keys - 1)
            key = torch.arange(keys, device=like.device)
            hidden = key > position
            if window is not None:
                hidden |= key <= position - window
            found = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, -torch.inf)
            self._masks[name] = found
        return found


class _Piece(NamedTuple):
    """Tokens whose attention is one; the keys end with the queries."""

    queries: tuple[range, ...]
    keys: tuple[range, ...]


def _pieces(packing: Packing) -> Iterator[_Piece]:
    beginning = range(packing.beginning)
    end = packing.beginning
    for span in packing.spans:
        prompt = range(end, end + span.prompt)
        end = prompt.stop + span.responses[0]
        whole = beginning, range(prompt.start, end)
        yield _Piece(whole, whole)
        for inputs in span.responses[1:]:
            own = range(end, end + inputs)
            end = own.stop
            if inputs:
                yield _Piece((own,), (beginning, prompt, own))


def _unseen(piece: _Piece) -> int:
    return sum(map(len, piece.keys)) - sum(map(len, piece.queries))


def _in_tiles(ranges: tuple[range, ...], tile: int) -> int:
    length = sum(map(len, ranges))
    return length + -length % tile


def _copies(pieces: Sequence[tuple[range, ...]], sizes: Sequence[int], order: Sequence[int], length: int) -> Copies:
    """Copies of ranges of tokens, the pieces in the given order.

    Args:
        pieces: in the order of the row, in which ranges are either new or part of one before.
        sizes: of each piece, up to whole tiles.
        order: of their copies.
        length: T.
    """
    ends = np.cumsum([sizes[number] for number in order])
    starts = {number: int(end) - sizes[number] for number, end in zip(order, ends, strict=True)}
    sources = np.empty(ends[-1], dtype=np.int64)
    places = np.zeros(length, dtype=np.int64)
    again = []
    tokens = 0
    for number, (ranges, size) in enumerate(zip(pieces, sizes, strict=True)):
        place = starts[number]
        sources[place : place + size] = ranges[-1][-1]
        for part in filter(len, ranges):
            stop = place + len(part)
            sources[place:stop] = part
            if part.start >= tokens:
                places[part.start : part.stop] = np.arange(place, stop)
                tokens = part.stop
            else:
                again.append((part.start, part.stop, place))
            place = stop
    return Copies(torch.from_numpy(sources), torch.from_numpy(places), tokens, again)
