"""Evaluation prompts, harmful and harmless.

| format | source | licence | scoring |
| --- | --- | --- | --- |
| `xstest` | XSTest v2 (arXiv 2308.01263) | CC-BY-4.0 | `label` unsafe: refusal wanted; safe: unwanted |
| `strongreject` | StrongREJECT (arXiv 2402.10260) | MIT | every prompt: refusal wanted |
| `prompts` | `prompt`, `label`, `category` | yours | `label` harmful: refusal wanted; harmless: unwanted |
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bdpo.errors import UserError

Label = Literal["harmful", "harmless"]
LABELS: tuple[Label, ...] = ("harmful", "harmless")
BenchmarkFormat = Literal["xstest", "strongreject", "prompts"]

_COLUMNS: Mapping[BenchmarkFormat, tuple[str, ...]] = {
    "xstest": ("id", "prompt", "type", "label"),
    "strongreject": ("category", "source", "forbidden_prompt"),
    "prompts": ("prompt", "label"),
}
_XSTEST_LABELS: Mapping[str, Label] = {"safe": "harmless", "unsafe": "harmful"}
_OWN_LABELS: Mapping[str, Label] = {"harmful": "harmful", "harmless": "harmless"}


class Prompt(NamedTuple):
    """One prompt of a benchmark."""

    prompt_id: str
    text: str
    label: Label
    category: str | None


class Benchmark(NamedTuple):
    """What both models are asked."""

    name: str
    prompts: list[Prompt]
    available: Mapping[Label, int]
    """Different prompts of each label in the file."""

    def limited_from(self, label: Label) -> int | None:
        """How many prompts of this label there are, where a limit left some out."""
        used = sum(prompt.label == label for prompt in self.prompts)
        return self.available[label] if used < self.available[label] else None


def load_benchmark(
    path: Path, *, name: str | None = None, format_name: BenchmarkFormat | None = None, limit: int | None = None
) -> Benchmark:
    """Read a benchmark; a prompt that stands in the file twice counts once.

    Args:
        path: CSV or JSONL.
        name: in the results; the file's by default.
        format_name: its shape, found by the columns by default.
        limit: at most this many prompts of each label, spread evenly over the file.

    Raises:
        UserError: the file cannot be read, or a row is not what the format says.
    """
    rows = list(_rows(path))
    if not rows:
        raise UserError(f"{path}: the file holds no prompts.")
    found = format_name or _detect(path, rows[0][1])
    prompts: dict[tuple[str, Label], Prompt] = {}
    for line, row in rows:
        prompt = _prompt(path, line, row, found)
        prompts.setdefault((prompt.text, prompt.label), prompt)
    of_label = {label: [p for p in prompts.values() if p.label == label] for label in LABELS}
    used = {prompt for label in LABELS for prompt in _spread(of_label[label], limit)}
    available = {label: len(of_label[label]) for label in LABELS}
    return Benchmark(name or path.stem, [p for p in prompts.values() if p in used], available)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with the line that each ends on."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: the benchmark cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is no UTF-8; save the file as UTF-8 text.") from None
    if path.suffix.lower() == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""))
        try:
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num}: this is no CSV: {error}.") from None
        return
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {line}: this is no JSON: {error.msg}; one object a line is right.") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {line}: found {type(row).__name__}, but a prompt is a JSON object.")
        yield line, row


def _detect(path: Path, row: Mapping[str, Any]) -> BenchmarkFormat:
    for name, columns in _COLUMNS.items():
        if all(column in row for column in columns):
            return name
    known = "; ".join(f"{name}: {', '.join(columns)}" for name, columns in _COLUMNS.items())
    shown = ", ".join(str(column)[:40] for column in row)
    raise UserError(f"{path}: its columns ({shown}) are those of no known benchmark; what can be read is {known}.")


def _prompt(path: Path, line: int, row: Mapping[str, Any], format_name: BenchmarkFormat) -> Prompt:
    def text(field: str) -> str:
        value = row.get(field)
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{path}, line {line}: `{field}` is {value!r:.60}, but text is expected.")
        return value

    def label(labels: Mapping[str, Label]) -> Label:
        value = text("label")
        if value not in labels:
            allowed = " or ".join(map(repr, labels))
            raise UserError(f"{path}, line {line}: `label` is {value!r:.60}, but {allowed} is expected.")
        return labels[value]

    match format_name:
        case "strongreject":
            return Prompt(str(line), text("forbidden_prompt"), "harmful", row.get("category"))
        case "xstest":
            return Prompt(text("id"), text("prompt"), label(_XSTEST_LABELS), row.get("type"))
        case "prompts":
            return Prompt(str(line), text("prompt"), label(_OWN_LABELS), row.get("category"))


def _spread(prompts: list[Prompt], limit: int | None) -> list[Prompt]:
    """`limit` prompts, the middle ones of stretches of equal length."""
    if limit is None or len(prompts) <= limit:
        return prompts
    return [prompts[(2 * i + 1) * len(prompts) // (2 * limit)] for i in range(limit)]
