"""BeaverTails: single responses labelled safe or not, which become pairs within a prompt."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from bdpo.data.formats.fields import boolean, check_unicode, required, text
from bdpo.data.formats.turns import user
from bdpo.data.rows import Candidate, Parsed, RawRow, RowProblem, is_blank


class Response(NamedTuple):
    """One response and its labels."""

    prompt: str
    response: str
    safe: bool
    category: str | None
    """The first harm that it is labelled with."""
    meta: dict[str, Any]
    """Every harm that it is labelled with, and the row's other fields."""


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
    return Response(prompt, response, safe, harms[0] if harms else None, {"harms": harms, **rest})


def pair_responses(prompts: Iterable[list[tuple[RawRow, Response]]]) -> Iterator[Parsed]:
    """Pair responses to the same prompt: the first safe one with the first unsafe one, and so on.

    Every row comes out once: one of the two of a pair, or refused as `duplicate` (the prompt has that
    response already), `contradictory_labels` (it has it as safe and as unsafe) or `unpaired_response`.

    Args:
        prompts: the rows of each prompt, and their responses.

    Yields:
        Pairs and refusals, prompt by prompt.
    """
    for responses in prompts:
        yield from _pair(responses)


def _pair(responses: list[tuple[RawRow, Response]]) -> Iterator[Parsed]:
    labels: dict[str, set[bool]] = {}
    for _, response in responses:
        labels.setdefault(response.response.strip(), set()).add(response.safe)
    first: dict[str, RawRow] = {}
    usable: dict[bool, list[tuple[RawRow, Response]]] = {True: [], False: []}
    for raw, response in responses:
        said = response.response.strip()
        if len(labels[said]) > 1:
            problem = RowProblem("contradictory_labels", "the response is here as safe and as unsafe")
            yield Parsed((raw,), problem)
        elif said in first:
            earlier = first[said]
            yield Parsed((raw,), RowProblem("duplicate", f"the same response as {earlier.file}:{earlier.line}"))
        else:
            first[said] = raw
            usable[response.safe].append((raw, response))
    num_pairs = min(map(len, usable.values()))
    for (safe_raw, safe), (unsafe_raw, unsafe) in zip(usable[True][:num_pairs], usable[False][:num_pairs], strict=True):
        yield Parsed((safe_raw, unsafe_raw), _candidate(safe, unsafe))
    for safe_label, name in ((True, "unsafe"), (False, "safe")):
        for raw, _ in usable[safe_label][num_pairs:]:
            problem = RowProblem("unpaired_response", f"no {name} response to its prompt is left to pair it with")
            yield Parsed((raw,), problem)


def _candidate(safe: Response, unsafe: Response) -> Candidate:
    return Candidate(
        prompt=user(safe.prompt),
        chosen=safe.response,
        rejected=unsafe.response,
        category=unsafe.category,
        chosen_safe=True,
        rejected_safe=False,
        meta={"chosen": safe.meta, "rejected": unsafe.meta},
    )
