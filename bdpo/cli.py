"""The commands of `bdpo`."""

import json
import logging
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bdpo.errors import UserError

if TYPE_CHECKING:
    from bdpo.pipeline import StageResult

app = typer.Typer(
    help="Balanced DPO: preference rows to a safety-aligned model with evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class StageName(StrEnum):
    """The stages, in their order."""

    ingest = "ingest"
    score = "score"
    train = "train"
    evaluate = "evaluate"


class Format(StrEnum):
    """How `bdpo query` prints."""

    table = "table"
    csv = "csv"
    json = "json"


class JudgeName(StrEnum):
    """The judges of `bdpo judge`."""

    rules = "rules"
    endpoint = "endpoint"
    wildguard = "wildguard"
    harmbench = "harmbench"
    strongreject = "strongreject"
    llama_guard = "llama_guard"


class AttackName(StrEnum):
    """The attacks of `bdpo attack`."""

    gcg = "gcg"
    pair = "pair"


class DtypeName(StrEnum):
    """Arithmetic of a model."""

    float32 = "float32"
    bfloat16 = "bfloat16"


ConfigArgument = Annotated[Path, typer.Argument(help="A YAML config, such as configs/demo.yaml.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Another value for a field: train.beta=0.2.")
]


@app.command()
def run(
    config: ConfigArgument,
    only: Annotated[StageName | None, typer.Option(help="Run this stage alone.")] = None,
    force: Annotated[list[StageName] | None, typer.Option(help="Compute this stage though it is cached.")] = None,
    overrides: SetOption = None,
    with_inputs: Annotated[bool, typer.Option("--with-inputs", help="With --only: run missing inputs first.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Prefect's own log.")] = False,
) -> None:
    """Run the stages; those whose artifact is there are skipped."""
    from bdpo.config import load_config

    # Settings are checked before anything is started.
    artifacts = load_config(config, overrides or []).artifacts
    _prefect_environment(verbose)
    from bdpo.terminal import TerminalProgress
    from flows.flow import run_here

    console = Console(stderr=False)
    with TerminalProgress(console).shown() as progress:
        results = run_here(
            str(config),
            overrides or [],
            only.value if only else None,
            [stage.value for stage in force or []],
            with_inputs,
            progress,
        )
    _show_results(console, results, artifacts)


@app.command()
def plan(config: ConfigArgument, overrides: SetOption = None) -> None:
    """Say for each stage whether it is cached, remote, partial, stale or not needed, and why."""
    from bdpo.config import load_config
    from bdpo.pipeline import Pipeline
    from data_checks import GreatExpectationsChecks

    pipeline = Pipeline(load_config(config, overrides or []), checks=GreatExpectationsChecks())
    table = Table("stage", "state", "why", "artifact")
    for planned in pipeline.plan():
        table.add_row(planned.stage, planned.state, "\n".join(planned.reasons), str(planned.folder.name))
    Console().print(table)


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="SQL over the views of the catalogue.")],
    output: Annotated[Format, typer.Option("--format", help="How to print the rows.")] = Format.table,
    artifacts: Annotated[Path, typer.Option(help="The folder of artifacts.")] = Path("artifacts"),
) -> None:
    """Run SQL on the catalogue."""
    from bdpo.artifacts.catalogue import query_catalogue

    names, rows = query_catalogue(artifacts, sql)
    if output is Format.json:
        records = (dict(zip(names, row, strict=True)) for row in rows)
        typer.echo("[" + ",\n ".join(json.dumps(r, default=str, ensure_ascii=False) for r in records) + "]")
    elif output is Format.csv:
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
    else:
        table = Table()
        for name in names:
            # Nothing of a value is cut off on a narrow terminal.
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*("" if value is None else str(value) for value in row))
        Console(markup=False, emoji=False, highlight=False).print(table)


@app.command()
def judge(
    completions: Annotated[Path, typer.Argument(help="CSV or JSONL with the columns prompt and completion.")],
    output: Annotated[Path, typer.Option(help="Gets the same rows with verdict and reason; .csv or .jsonl.")],
    judge: Annotated[JudgeName, typer.Option(help="Who decides.")] = JudgeName.rules,
    url: Annotated[str | None, typer.Option(help="With --judge endpoint: its base address.")] = None,
    model: Annotated[
        str | None, typer.Option(help="An endpoint's name of the judge; a classifier's folder or hub name.")
    ] = None,
    artifacts: Annotated[Path, typer.Option(help="Where a model's answers are kept.")] = Path("artifacts"),
) -> None:
    """Judge the completions of a file: refusal or compliance, and why."""
    from bdpo.config.evaluate import ClassifierSettings, EndpointSettings
    from bdpo.evaluation.judge_file import judge_file
    from bdpo.evaluation.judging import make_judge

    if (judge is JudgeName.endpoint) != (url is not None):
        raise UserError("--judge endpoint needs --url, and no other judge takes it.")
    if (judge is JudgeName.rules) != (model is None):
        raise UserError(f"--judge {judge.value} {'takes no' if judge is JudgeName.rules else 'needs'} --model.")
    settings: str | EndpointSettings | ClassifierSettings = "rules"
    if url is not None and model is not None:
        settings = EndpointSettings(url=url, model=model)
    elif model is not None:
        settings = ClassifierSettings.model_validate({"kind": judge.value, "path": model})
    counts = judge_file(completions, output, make_judge(settings, artifacts / "cache" / "judge"))
    shown = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n or verdict != "unscored")
    num = sum(counts.values())
    typer.echo(f"{num} completion{'s' if num != 1 else ''} judged by {judge.value}: {shown}; written to {output}")


@app.command()
def attack(
    method: Annotated[AttackName, typer.Argument(help="gcg: a suffix by gradients; pair: an attacker model.")],
    goals: Annotated[Path, typer.Argument(help="CSV or JSONL with goal and target, such as AdvBench.")],
    output: Annotated[Path, typer.Option(help="Gets the attempts, as JSON that a benchmark reads.")],
    model: Annotated[str, typer.Option(help="The attacked model: a policy's folder, a hub name, embedded.")],
    url: Annotated[str | None, typer.Option(help="pair: base address of the attacker's endpoint.")] = None,
    attacker: Annotated[str | None, typer.Option(help="pair: the attacker's name there.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many goals.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="gcg: steps of the search.")] = 250,
    search_width: Annotated[int, typer.Option(min=1, help="gcg: suffixes tried a step.")] = 512,
    streams: Annotated[int, typer.Option(min=1, help="pair: conversations a goal.")] = 3,
    iterations: Annotated[int, typer.Option(min=1, help="pair: prompts a conversation.")] = 3,
    dtype: Annotated[DtypeName, typer.Option(help="Arithmetic of the attacked model.")] = DtypeName.bfloat16,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest reply.")] = 64,
) -> None:
    """Attack a model live, and say how often it complies."""
    from bdpo.evaluation.attacks.command import AttackPlan
    from bdpo.evaluation.attacks.command import attack as run_attack
    from bdpo.evaluation.chat_endpoint import ChatEndpoint
    from bdpo.evaluation.summary import percent
    from bdpo.terminal import TerminalProgress

    if (method is AttackName.pair) != (url is not None and attacker is not None) or (url is None) != (attacker is None):
        raise UserError("pair needs --url and --attacker, and gcg takes neither.")
    chat = ChatEndpoint(url, attacker, role="attacker") if url is not None and attacker is not None else None
    plan = AttackPlan(
        method.value,
        model,
        dtype=dtype.value,
        limit=limit,
        steps=steps,
        search_width=search_width,
        streams=streams,
        iterations=iterations,
        max_new_tokens=max_new_tokens,
    )
    console = Console(markup=False, emoji=False, highlight=False)
    with TerminalProgress(console).shown() as progress:
        found = run_attack(goals, output, plan, chat, progress)
    console.print(f"success of {method.value} in per cent: {percent(found)}; written to {output}", soft_wrap=True)


@app.command()
def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Names of evaluated runs; the first is what others are held against.")
    ],
    artifacts: Annotated[Path, typer.Option(help="The folder of artifacts.")] = Path("artifacts"),
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
    Console(markup=False, emoji=False, highlight=False).print(table)
    if output is not None:
        write_rows(output, comparison.records)


@app.command()
def ablate(
    config: Annotated[Path, typer.Argument(help="A YAML config with a section `ablation`.")],
    overrides: SetOption = None,
) -> None:
    """Train several methods on the same pairs and scores, each at its best learning rate, and compare them."""
    from bdpo.ablation import ablate as run_ablation
    from bdpo.config import load_config
    from bdpo.evaluation.tables import write_rows
    from bdpo.terminal import TerminalProgress
    from data_checks import GreatExpectationsChecks

    settings = load_config(config, overrides or [])
    console = Console(markup=False, emoji=False, highlight=False)
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


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Port of the Prefect server, on 127.0.0.1.")] = 4200,
    project: Annotated[Path, typer.Option(help="Folder that holds prefect.yaml.")] = Path(),
) -> None:
    """Start a Prefect server, a process worker and the deployments of prefect.yaml; Ctrl-C ends them."""
    _prefect_environment(verbose=True)
    from flows.up import serve

    serve(port, project)


def main() -> None:
    """Entry point: one sentence and exit code 1 for a user's mistake."""
    sys.exit(_guarded(app))


def _guarded(command: Callable[[], Any]) -> int | str | None:
    try:
        command()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:
            sys.stderr.write("Interrupted. What was finished is kept; the same command goes on from there.\n")
        return ended.code
    return 0


_INTERRUPTED = 130
"""What typer makes of Ctrl-C: 128 and the number of SIGINT."""


def _prefect_environment(verbose: bool) -> None:
    """Settings that Prefect reads when it is imported; what the user has set stays."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_CLI_PROMPT", "false")
    # A busy machine starts the temporary server slowly; Prefect would give up after 20 seconds, with a traceback.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
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
        console.print(f"{result.stage:<9} {how:<20} {result.artifact}", markup=False, highlight=False, soft_wrap=True)
    rows = results[-1].summary.get("table") if results else None
    if rows:
        table = Table(*rows[0], title="base against aligned model")
        for row in rows:
            table.add_row(*map(str, row.values()))
        console.print(table)
    policy = next((r.artifact / "policy" for r in results if r.stage == "train"), None)
    if policy is not None:
        console.print(f"model     {policy}", markup=False, highlight=False, soft_wrap=True)
    evaluated = next((r for r in results if r.stage == "evaluate"), None)
    if evaluated is not None:
        console.print(evaluated.summary["verdict"], markup=False, highlight=False)
        report = evaluated.artifact / evaluated.summary["report"]
        console.print(f"report    {report}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"catalogue {artifacts / 'bdpo.duckdb'}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
