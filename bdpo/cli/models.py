"""`bdpo judge` and `bdpo attack`, for any completions and any model."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bdpo.errors import UserError
from bdpo.models.allocator import explained_memory
from bdpo.terminal import TerminalProgress, plain_console


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


_AGAIN = "free memory, then give the same command: what was finished is kept"
_SPARING_JUDGE = f"name a smaller judge, or {_AGAIN}"
_SPARING_ATTACK = {
    AttackName.gcg: f"lower --search-width below 32 or --max-new-tokens, or {_AGAIN}",
    AttackName.pair: f"lower --max-new-tokens, or {_AGAIN}",
}
"""What makes a command need less memory; GCG tries at most 32 suffixes at a time."""


def judge(
    completions: Annotated[Path, typer.Argument(help="CSV or JSONL with the columns prompt and completion.")],
    output: Annotated[Path, typer.Option(help="Gets the same rows with verdict and reason; .csv or .jsonl.")],
    judge: Annotated[JudgeName, typer.Option(help="Who decides.")] = JudgeName.rules,
    url: Annotated[
        str | None, typer.Option(help="With --judge endpoint: its base address; its key is in OPENAI_API_KEY.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="An endpoint's name of the judge; a classifier's folder or hub name.")
    ] = None,
    requests_per_minute: Annotated[
        float | None, typer.Option(min=0.001, help="With --judge endpoint: most requests a minute; 60 by default.")
    ] = None,
    artifacts: Annotated[Path, typer.Option(help="Where a model's answers are kept.")] = Path("artifacts"),
) -> None:
    """Judge the completions of a file: refusal or compliance, and why."""
    from bdpo.config.evaluate import ClassifierSettings, EndpointSettings
    from bdpo.evaluation.chat_endpoint import require_url
    from bdpo.evaluation.judge_file import judge_file
    from bdpo.evaluation.judging import make_judge

    if (judge is JudgeName.endpoint) != (url is not None):
        raise UserError("--judge endpoint needs --url, and no other judge takes it.")
    if requests_per_minute is not None and url is None:
        raise UserError("--requests-per-minute belongs to --judge endpoint.")
    if (judge is JudgeName.rules) != (model is None):
        raise UserError(f"--judge {judge.value} {'takes no' if judge is JudgeName.rules else 'needs'} --model.")
    settings: str | EndpointSettings | ClassifierSettings = "rules"
    if url is not None and model is not None:
        require_url(url, "judge")
        settings = EndpointSettings(url=url, model=model, requests_per_minute=requests_per_minute or 60.0)
    elif model is not None:
        settings = ClassifierSettings.model_validate({"kind": judge.value, "path": model})
    with TerminalProgress(plain_console()).shown() as progress, explained_memory("judge", _SPARING_JUDGE):
        counts = judge_file(completions, output, make_judge(settings, artifacts / "cache" / "judge"), progress)
    shown = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n or verdict != "unscored")
    num = sum(counts.values())
    typer.echo(f"{num} completion{'s' if num != 1 else ''} judged by {judge.value}: {shown}; written to {output}")


def attack(
    method: Annotated[AttackName, typer.Argument(help="gcg: a suffix by gradients; pair: an attacker model.")],
    goals: Annotated[Path, typer.Argument(help="CSV or JSONL with goal and target, such as AdvBench.")],
    output: Annotated[Path, typer.Option(help="Gets the attempts, as JSON that a benchmark reads.")],
    model: Annotated[str, typer.Option(help="The attacked model: a policy's folder, a hub name, embedded.")],
    url: Annotated[
        str | None, typer.Option(help="pair: base address of the attacker's endpoint; its key is in OPENAI_API_KEY.")
    ] = None,
    attacker: Annotated[str | None, typer.Option(help="pair: the attacker's name there.")] = None,
    requests_per_minute: Annotated[
        float, typer.Option(min=0.001, help="pair: most requests to the attacker, a minute.")
    ] = 60.0,
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

    if (method is AttackName.pair) != (url is not None and attacker is not None) or (url is None) != (attacker is None):
        raise UserError("pair needs --url and --attacker, and gcg takes neither.")
    chat = (
        ChatEndpoint(url, attacker, role="attacker", requests_per_minute=requests_per_minute)
        if url is not None and attacker is not None
        else None
    )
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
    console = plain_console()
    with TerminalProgress(console).shown() as progress, explained_memory("attack", _SPARING_ATTACK[method]):
        found = run_attack(goals, output, plan, chat, progress)
    console.print(
        f"success of {method.value} in per cent of goals: {percent(found)}; written to {output}\n"
        "A reply that the rule judge finds no refusal in counts as a success: read some, for it may miss the goal.",
        soft_wrap=True,
    )
