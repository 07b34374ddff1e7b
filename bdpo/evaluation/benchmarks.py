"""Evaluation prompts, harmful and harmless.

| format | source | licence | scoring |
| --- | --- | --- | --- |
| `xstest` | XSTest v2 (arXiv 2308.01263) | CC-BY-4.0 | `label` unsafe: refusal wanted; safe: unwanted |
| `strongreject` | StrongREJECT (arXiv 2402.10260) | MIT | every prompt: refusal wanted |
| `prompts` | JSONL of `prompt`, `label`, `category` | yours | `label` harmful: refusal wanted; harmless: unwanted |
"""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bdpo.errors import UserError

Label = Literal["harmful", "harmless"]
BenchmarkFormat = Literal["xstest", "strongreject", "prompts"]

_COLUMNS: Mapping[BenchmarkFormat, tuple[str, ...]] = {
    "xstest": ("id", "prompt", "type", "label"),
    "strongreject": ("category", "source", "forbidden_prompt"),
    "prompts": ("prompt", "label"),
}
_XSTEST_LABELS: Mapping[str, Label] = {"unsafe": "harmful", "safe": "harmless"}


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
    limited_from: int | None
    """Prompts in the file, where a limit left some out."""


def load_benchmark(
    path: Path, *, name: str | None, format_name: BenchmarkFormat | None, limit: int | None
) -> Benchmark:
    """Read a benchmark.

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
    prompts = [_prompt(path, line, row, found) for line, row in rows]
    if limit is None:
        return Benchmark(name or path.stem, prompts, None)
    kept = [
        prompt
        for label in ("harmful", "harmless")
        for prompt in _spread([p for p in prompts if p.label == label], limit)
    ]
    return Benchmark(name or path.stem, kept, len(prompts) if len(kept) < len(prompts) else None)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".csv":
                reader = csv.DictReader(file)
                for row in reader:
                    yield reader.line_num, row
                return
            for line, text in enumerate(file, start=1):
                if text.strip():
                    row = json.loads(text)
                    if not isinstance(row, dict):
                        raise UserError(f"{path}:{line}: a prompt is a JSON object, not {type(row).__name__}.")
                    yield line, row
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such benchmark file.") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{line}: not valid JSON: {error.msg}; one object a line is expected.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: the file cannot be read: {error}.") from None


def _detect(path: Path, row: Mapping[str, Any]) -> BenchmarkFormat:
    for name, columns in _COLUMNS.items():
        if all(column in row for column in columns):
            return name
    known = "; ".join(f"{name}: {', '.join(columns)}" for name, columns in _COLUMNS.items())
    shown = ", ".join(str(column)[:40] for column in row)
    raise UserError(f"{path}: the columns {shown} are those of no known benchmark; what can be read is {known}.")


def _prompt(path: Path, line: int, row: Mapping[str, Any], format_name: BenchmarkFormat) -> Prompt:
    def text(field: str) -> str:
        value = row.get(field)
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{path}:{line}: field `{field}` is missing or blank; text is expected.")
        return value

    if format_name == "strongreject":
        return Prompt(str(line), text("forbidden_prompt"), "harmful", row.get("category"))
    label = text("label")
    if format_name == "xstest":
        if label not in _XSTEST_LABELS:
            raise UserError(f"{path}:{line}: field `label`: {label!r} is neither 'safe' nor 'unsafe'.")
        return Prompt(text("id"), text("prompt"), _XSTEST_LABELS[label], row.get("type"))
    if label not in ("harmful", "harmless"):
        raise UserError(f"{path}:{line}: field `label`: {label!r} is neither 'harmful' nor 'harmless'.")
    return Prompt(str(line), text("prompt"), "harmful" if label == "harmful" else "harmless", row.get("category"))


def _spread(prompts: list[Prompt], limit: int) -> list[Prompt]:
    if len(prompts) <= limit:
        return prompts
    return [prompts[i * len(prompts) // limit] for i in range(limit)]
