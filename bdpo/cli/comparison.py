"""`bdpo compare` and `bdpo ablate`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bdpo.cli.arguments import ArtifactsOption, SetOption
from bdpo.models.allocator import explained_memory
from bdpo.terminal import NARROWEST, TerminalProgress, natural_width, plain_console, text_table


def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Names of evaluated runs; the first is what others are held against.")
    ],
    artifacts: ArtifactsOption = Path("artifacts"),
    output: Annotated[Path | None, typer.Option(help="Also write the figures there; .csv or .jsonl.")] = None,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="Level of the intervals.")] = 0.95,
) -> None:
    """Compare the aligned models of several runs on the same prompts."""
    from bdpo.evaluation.comparison import compare_runs
    from bdpo.evaluation.tables import write_rows

    with explained_memory("compare", "compare fewer runs at a time, or free memory"):
        comparison = compare_runs(artifacts, runs, confidence)
    console = plain_console()
    _print_table(console, comparison.table, None)
    console.print(
        f"In per cent, with {100 * confidence:g}% intervals. With each its difference in points from {runs[0]}; p by "
        f"McNemar's exact test, corrected by Holm for all of them.{_only_shared(comparison.partly)}"
        f"{_beware(comparison.caveats)}{_left_out(comparison.not_compared)}"
        f"{_SINGLE if comparison.trainings > 1 else ''}",
        soft_wrap=True,
    )
    if output is not None:
        write_rows(output, comparison.records)


def ablate(
    config: Annotated[Path, typer.Argument(help="A YAML config with a section `ablation`.")],
    overrides: SetOption = None,
) -> None:
    """Train several methods on the same pairs and scores, each at its best learning rate, and compare them."""
    from bdpo.ablation import ablate as run_ablation
    from bdpo.config import load_config
    from bdpo.evaluation.tables import write_rows
    from data_checks import GreatExpectationsChecks

    settings = load_config(config, overrides or [])
    console = plain_console()
    with TerminalProgress(console).shown() as progress:
        result = run_ablation(settings, checks=GreatExpectationsChecks(), progress=progress)
    trials = Table("method", "learning rate", "validation", "", title="learning rates")
    for trial in result.trials:
        shown = (trial.method, f"{trial.learning_rate:g}", f"{trial.validation:.4f}")
        trials.add_row(*shown, "chosen" if trial.chosen else "")
    console.print(trials)
    _print_table(console, result.table, "methods on the same prompts")
    console.print(
        f"In per cent, over prompts, with {100 * settings.evaluate.confidence:g}% intervals: Wilson's for a rate, "
        "Newcombe's for a difference, both rather too wide where there are several seeds. With each its difference "
        f"in points from {result.trials[0].method}; exact p by exchanging the two methods prompt by prompt, corrected "
        "by Holm for all of them. The seeds are those of these trainings: intervals and p say nothing of others."
        f"{_beware(result.caveats)}{_left_out(result.not_compared)}",
        soft_wrap=True,
    )
    target = settings.artifacts / f"{settings.name}.csv"
    write_rows(target, result.records)
    shared = (
        f"share {result.sequences} scored sequences: {result.sequences_scored} were scored now, {result.rescored} again"
    )
    without = "have no reference model, so nothing was scored"
    console.print(
        f"{result.trainings} trainings {shared if result.sequences else without}; figures in {target}", soft_wrap=True
    )


_SINGLE = (
    " Each run is one training: intervals and p say nothing of other seeds; for that, `bdpo ablate` trains each method "
    "with several."
)


def _only_shared(figures: Sequence[str]) -> str:
    """A sentence on prompts that not all runs were asked, with a space before it; nothing where all were."""
    return f" Only the prompts that all runs were asked count: {'; '.join(figures)}." if figures else ""


def _beware(caveats: Sequence[str]) -> str:
    """A sentence on what makes intervals and p say less, with a space before it; nothing where nothing does."""
    return f" What intervals and p do not know: {'; '.join(caveats)}." if caveats else ""


def _left_out(figures: Sequence[str]) -> str:
    """A sentence on what is not compared, with a space before it; nothing where all is."""
    return f" Not compared here, but in the runs' own reports: {'; '.join(figures)}." if figures else ""


def _print_table(console: Console, rows: Sequence[Mapping[str, str]], title: str | None) -> None:
    """One table; or a table a figure and a row a model, where numbers and intervals would be broken in this terminal.

    Args:
        console: where to.
        rows: of `Comparison.table`: the figure's name, which may be broken, and the models.
        title: over them.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    models = names[1:]
    cells = [[row.get(name, "") for name in names] for row in rows]
    wide = natural_width(console, text_table(models, [row[1:] for row in cells]))
    if 2 * NARROWEST + wide <= console.width:
        console.print(text_table(names, cells, title=title, show_lines=True, unbroken=models))
        return
    if title is not None:
        console.print(title)
    for figure, *found in cells:
        lines = [text.split("\n") for text in found]
        halves = [("\n".join(one[:2]), "\n".join(one[2:])) for one in lines]
        shown = [(model, *both) for model, both in zip(models, halves, strict=True)]
        heads = ("model", "%", "difference")
        console.print(text_table(heads, shown, title=figure, show_lines=True))
