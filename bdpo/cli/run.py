"""`bdpo run`, `plan` and `up`."""

import logging
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from bdpo.cli.arguments import ConfigArgument, SetOption
from bdpo.terminal import TerminalProgress, plain_console

if TYPE_CHECKING:
    from bdpo.pipeline import StageResult


class StageName(StrEnum):
    """The stages, in their order."""

    ingest = "ingest"
    score = "score"
    train = "train"
    evaluate = "evaluate"


def run(
    config: ConfigArgument,
    only: Annotated[StageName | None, typer.Option(help="Run this stage alone.")] = None,
    force: Annotated[
        list[StageName] | None,
        typer.Option(help="Compute this stage anew though it is cached (score: every pair); again for more."),
    ] = None,
    overrides: SetOption = None,
    with_inputs: Annotated[bool, typer.Option("--with-inputs", help="With --only: run missing inputs first.")] = False,
    share: Annotated[
        str | None, typer.Option(metavar="I/N", help="With --only score: this part of the work alone, such as 2/4.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Prefect's own log.")] = False,
) -> None:
    """Run the stages; those whose artifact is there are skipped."""
    from bdpo.config import load_config

    # Settings are checked before anything is started.
    artifacts = load_config(config, overrides or []).artifacts
    _prefect_environment(verbose)
    from flows.flow import run_here

    console = plain_console()
    with TerminalProgress(console).shown() as progress:
        results = run_here(
            str(config),
            overrides or [],
            only.value if only else None,
            [stage.value for stage in force or []],
            with_inputs,
            share,
            progress,
        )
    _show_results(console, results, artifacts)


def plan(config: ConfigArgument, overrides: SetOption = None) -> None:
    """Say for each stage whether it is cached, remote, partial, stale or not needed, and why.

    Content decides that, so a model or judge of the hub and published benchmarks are fetched first, whole.
    """
    from bdpo.config import load_config
    from bdpo.pipeline import Pipeline
    from data_checks import GreatExpectationsChecks

    pipeline = Pipeline(load_config(config, overrides or []), checks=GreatExpectationsChecks())
    table = Table()
    for name in ("stage", "state", "why", "artifact"):
        # Nothing of a reason or a name is cut off on a narrow terminal.
        table.add_column(name, overflow="fold")
    for planned in pipeline.plan():
        table.add_row(planned.stage, planned.state, "\n".join(planned.reasons), str(planned.folder.name))
    plain_console().print(table)


def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Prefect server, on 127.0.0.1.")] = 4200,
    project: Annotated[Path, typer.Option(help="Folder that holds prefect.yaml.")] = Path(),
) -> None:
    """Start a Prefect server, a process worker and the deployments of prefect.yaml; Ctrl-C ends them."""
    _prefect_environment(verbose=True)
    from flows.up import serve

    serve(port, project)


def _prefect_environment(verbose: bool) -> None:
    """Settings that Prefect reads when it is imported; what the user has set stays."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_CLI_PROMPT", "false")
    # The servers that are started here are asked on this machine, not through a proxy.
    beside = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if beside.strip() != "*":
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [beside, "127.0.0.1", "localhost"]))
    if not verbose:
        # The terminal shows our own progress and one sentence for a mistake; the server still gets every line.
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
        os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
        # Of a server that is away Prefect's threads would each write a page; the run says it in a sentence.
        os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")
        logging.raiseExceptions = False


def _show_results(console: Console, results: "list[StageResult]", artifacts: Path) -> None:
    for result in results:
        how = "fetched" if result.fetched_from else "cached" if result.cached else f"computed in {result.seconds:.0f} s"
        console.print(f"{result.stage:<9} {how:<20} {result.artifact}", soft_wrap=True)
    rows = results[-1].summary.get("table") if results else None
    if rows:
        table = Table(*rows[0], title="base against aligned model")
        for row in rows:
            table.add_row(*map(str, row.values()))
        console.print(table)
    policy = next((r.artifact / "policy" for r in results if r.stage == "train"), None)
    if policy is not None:
        console.print(f"model     {policy}", soft_wrap=True)
    evaluated = next((r for r in results if r.stage == "evaluate"), None)
    if evaluated is not None:
        console.print(evaluated.summary["verdict"])
        report = evaluated.artifact / evaluated.summary["report"]
        console.print(f"report    {report}", soft_wrap=True)
    console.print(f"catalogue {artifacts / 'bdpo.duckdb'}", soft_wrap=True)
