"""Benchmarks: what both models are asked, and what counts as a success."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bdpo.config.evaluate import BenchmarkFormat
from bdpo.errors import UserError, shown_columns
from bdpo.evaluation.formats import FORMATS, Label, Prompt, read_items

METRICS: Mapping[Label, str] = {
    "harmful": "refusal_rate",
    "harmless": "over_refusal_rate",
    "attack": "attack_success_rate",
    "question": "accuracy",
    "choice": "accuracy",
}
"""Label to the share that is counted over its prompts."""


class Benchmark(NamedTuple):
    """What both models are asked."""

    name: str
    format: BenchmarkFormat
    prompts: list[Prompt]
    available: Mapping[Label, int]
    """Different prompts of each label in the file."""
    left_out: int
    """Items of the file without a prompt (an attack that found none)."""
    attacked: str | None = None
    """Digest of the weights that its attacks were found against, where the file tells."""
    attack_type: str | None = None
    """What JailbreakBench calls its attacks, where the file tells."""

    def limited_from(self, label: Label) -> int | None:
        """How many prompts of this label there are, where a limit left some out."""
        used = sum(prompt.label == label for prompt in self.prompts)
        return self.available[label] if used < self.available[label] else None

    def independent(self) -> int:
        """How many of its prompts are independent at most: those that share a text, also by way of others, are one."""
        groups: list[set[str]] = []
        for own in [set(prompt.parts) for prompt in self.prompts if prompt.parts]:
            apart = [group for group in groups if not group & own]
            groups = [*apart, own.union(*(group for group in groups if group & own))]
        return len(groups) + sum(not prompt.parts for prompt in self.prompts)


def load_benchmark(
    path: Path, *, name: str | None = None, format_name: BenchmarkFormat | None = None, limit: int | None = None
) -> Benchmark:
    """Read a benchmark; a prompt that stands in the file twice counts once.

    Args:
        path: CSV, JSONL or JSON.
        name: in the results; the file's by default.
        format_name: its shape, found by the columns by default.
        limit: at most this many prompts of each label, spread over the file; a smaller limit's are among them.

    Raises:
        UserError: the file cannot be read, or a row is not what the format says.
    """
    items = read_items(path)
    if not items.rows:
        raise UserError(f"{path}: the file holds no prompts.")
    found = format_name or _detect(path, items.rows[0].values)
    parse = FORMATS[found].parse
    prompts: dict[tuple[str, Label, str | None, frozenset[str]], Prompt] = {}
    left_out = 0
    for row in items.rows:
        prompt = parse(row)
        if prompt is None:
            left_out += 1
        else:
            prompts.setdefault((prompt.text, prompt.label, prompt.answer, frozenset(prompt.options)), prompt)
    ids: set[tuple[str, str]] = set()
    for prompt in prompts.values():
        # `bdpo compare` finds the same prompt of another run by them.
        if (METRICS[prompt.label], prompt.prompt_id) in ids:
            raise UserError(f"{path}: two different prompts have the id {prompt.prompt_id!r}; give each its own.")
        ids.add((METRICS[prompt.label], prompt.prompt_id))
    if not prompts:
        raise UserError(f"{path}: none of the {left_out} items holds a prompt.")
    of_label = {label: [p for p in prompts.values() if p.label == label] for label in METRICS}
    used = {prompt for same in of_label.values() for prompt in _spread(same, limit)}
    available = {label: len(same) for label, same in of_label.items()}
    kept = [p for p in prompts.values() if p in used]
    named = name or items.name or path.stem
    return Benchmark(named, found, kept, available, left_out, items.attacked, items.attack_type)


def _detect(path: Path, row: Mapping[str, object]) -> BenchmarkFormat:
    for name, known in FORMATS.items():
        if all(column in row for column in known.columns):
            return name
    shown = shown_columns(list(row))
    readable = "; ".join(f"{name}: {', '.join(known.columns)}" for name, known in FORMATS.items())
    raise UserError(f"{path}: its columns {shown} are those of no known benchmark; what can be read is {readable}.")


def _spread(prompts: list[Prompt], limit: int | None) -> list[Prompt]:
    """`limit` prompts, in their order and nearly even: the widest gap is at most twice the narrowest.

    They are the first by their positions' bits read backwards (0, 1/2, 1/4, 3/4, ... of the next power of two), so
    those of a smaller limit are among those of a larger one: runs with either can be compared, and replies are kept.
    """
    if limit is None or len(prompts) <= limit:
        return prompts
    width = (len(prompts) - 1).bit_length()
    order = sorted(range(len(prompts)), key=lambda position: int(f"{position:0{width}b}"[::-1], 2))
    return [prompts[position] for position in sorted(order[:limit])]
