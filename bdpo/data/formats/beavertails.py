"""BeaverTails: single responses labelled safe or not, which become pairs within a prompt."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from bdpo.data.formats.fields import boolean, check_unicode, required, text
from bdpo.data.formats.turns import user
from bdpo.data.rows import Candidate, Parsed, RawRow, RowProblem, is_blank

UNPAIRED = "unpaired_response"
"""Rule of rows that nothing is wrong with: how many there are says how many responses each prompt has."""


class Response(NamedTuple):
    """One response and its labels."""

    prompt: str
    response: str
    safe: bool
    harms: list[str]
    """Every harm that it is labelled with."""
    meta: dict[str, Any]
    """The row's other fields."""


class _Judged(NamedTuple):
    """A response as most of its annotations have it."""

    rows: tuple[RawRow, ...]
    """All of its annotations, the outvoted ones too."""
    response: Response


def parse_beavertails(row: Mapping[str, Any]) -> Response:
    """`prompt`, `response`, `is_safe` and `category`, an object of harm to true or false.

    The columns are those of PKU-Alignment/BeaverTails on the hub.

    Raises:
        RowProblem: a field is missing or has another type, or the response is blank.
    """
    prompt, response, safe = text(row, "prompt"), text(row, "response"), boolean(row, "is_safe")
    if is_blank(response):
        raise RowProblem("blank_response", "`response` holds no visible character")
    labels = required(row, "category")
    if not isinstance(labels, dict) or not all(label is None or isinstance(label, bool) for label in labels.values()):
        raise RowProblem("wrong_type", "`category` is not an object of harms that are true or false")
    harms = [str(name) for name, label in labels.items() if label]
    check_unicode(prompt, response, *harms)
    rest = {name: value for name, value in row.items() if name not in ("prompt", "response", "is_safe", "category")}
    return Response(prompt, response, safe, harms, rest)


def pair_responses(prompts: Iterable[list[tuple[RawRow, Response]]]) -> Iterator[Parsed]:
    """Pair responses to the same prompt: the first safe one with the first unsafe one, and so on.

    Rows with the same response to a prompt are annotations of it, as published: 333,963 of about 99,734 responses.
    A row that was copied cannot be told from another annotator's and counts as one.  Most of a response's annotations
    decide whether it is safe; its harms are those that they name, its other fields the first one's of them.

    Every row comes out once, with all others of its response: in a pair, or refused as `contradictory_labels` (as
    many call it safe as unsafe) or `unpaired_response`.

    Args:
        prompts: the rows of each prompt, and their responses.

    Yields:
        Pairs and refusals, prompt by prompt.
    """
    for responses in prompts:
        yield from _pair(responses)


def _pair(responses: list[tuple[RawRow, Response]]) -> Iterator[Parsed]:
    annotations: dict[str, list[tuple[RawRow, Response]]] = {}
    for raw, response in responses:
        annotations.setdefault(response.response.strip(), []).append((raw, response))
    usable: dict[bool, list[_Judged]] = {True: [], False: []}
    for alike in annotations.values():
        rows = tuple(raw for raw, _ in alike)
        num_safe = sum(response.safe for _, response in alike)
        if 2 * num_safe == len(alike):
            yield Parsed(rows, RowProblem("contradictory_labels", "as many rows call the response safe as unsafe"))
        else:
            safe = 2 * num_safe > len(alike)
            agreeing = [response for _, response in alike if response.safe == safe]
            usable[safe].append(_Judged(rows, _merged(agreeing)))
    num_pairs = min(map(len, usable.values()))
    for safe_one, unsafe_one in zip(usable[True][:num_pairs], usable[False][:num_pairs], strict=True):
        yield Parsed(safe_one.rows + unsafe_one.rows, _candidate(safe_one.response, unsafe_one.response))
    for safe_label, name in ((True, "unsafe"), (False, "safe")):
        for rows, _ in usable[safe_label][num_pairs:]:
            problem = RowProblem(UNPAIRED, f"no {name} response to its prompt is left to pair it with")
            yield Parsed(rows, problem)


def _merged(agreeing: list[Response]) -> Response:
    """The first of annotations that agree, with the harms of all, each once and in the order in which they came."""
    harms = list(dict.fromkeys(harm for response in agreeing for harm in response.harms))
    return agreeing[0]._replace(harms=harms)


def _candidate(safe: Response, unsafe: Response) -> Candidate:
    return Candidate(
        prompt=user(safe.prompt),
        chosen=safe.response,
        rejected=unsafe.response,
        category=unsafe.harms[0] if unsafe.harms else None,
        chosen_safe=True,
        rejected_safe=False,
        meta={"chosen": {"harms": safe.harms, **safe.meta}, "rejected": {"harms": unsafe.harms, **unsafe.meta}},
    )
