"""`bdpo compare` and `bdpo ablate`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from bdpo.cli.arguments import ArtifactsOption, SetOption
from bdpo.terminal import TerminalProgress, plain_console


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

    comparison = compare_runs(artifacts, runs, confidence)
    table = Table(*comparison.table[0])
    for row in comparison.table:
        table.add_row(*row.values())
    plain_console().print(table)
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
    trials = Table("method", "learning rate", "best validation", "", title="learning rates")
    for trial in result.trials:
        trials.add_row(trial.method, f"{trial.learning_rate:g}", f"{trial.best:.4f}", "chosen" if trial.chosen else "")
    console.print(trials)
    table = Table(*dict.fromkeys(name for row in result.table for name in row), title="methods on the same prompts")
    for row in result.table:
        table.add_row(*row.values())
    console.print(table)
    target = settings.artifacts / f"{settings.name}.csv"
    write_rows(target, result.records)
    console.print(
        f"{result.trainings} trainings share {result.sequences} scored sequences: "
        f"{result.sequences_scored} were scored now, {result.rescored} again; figures in {target}",
        soft_wrap=True,
    )
