"""What an attack is after, and what came of it: files in JailbreakBench's shape, which a benchmark reads."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bdpo.artifacts.digest import digest_value
from bdpo.artifacts.store import write_atomically
from bdpo.errors import UserError
from bdpo.evaluation.tables import read_rows


class Goal(NamedTuple):
    """One behaviour to be brought about."""

    goal: str
    target: str
    """How a reply begins that does it."""
    category: str


class Attempt(NamedTuple):
    """The best that an attack found for a goal."""

    prompt: str
    response: str
    jailbroken: bool
    """Whether the response complies, by the judge."""
    queries: int
    """Replies of the attacked model, or steps of the search."""


def read_goals(path: Path, limit: int | None) -> list[Goal]:
    """Goals of a CSV or JSONL file with `goal`, `target` and, if it likes, `category` (AdvBench has the first two).

    Args:
        path: the file.
        limit: at most this many, spread evenly.

    Raises:
        UserError: it cannot be read, is empty or lacks a column.
    """
    rows = read_rows(path)
    goals = []
    for line, values in rows:
        for column in ("goal", "target"):
            if not isinstance(values.get(column), str) or not values[column].strip():
                raise UserError(f"{path}, line {line}: an attack needs text in the columns `goal` and `target`.")
        goals.append(Goal(values["goal"], values["target"], str(values.get("category") or "")))
    if not goals:
        raise UserError(f"{path}: the file holds no goals.")
    if limit is None or len(goals) <= limit:
        return goals
    return [goals[i * len(goals) // limit] for i in range(limit)]


def attack_all(
    goals: Sequence[Goal],
    attack: Callable[[Goal], Attempt],
    target: Path,
    *,
    parameters: dict[str, Any],
    advance: Callable[[bool], None],
) -> list[Attempt]:
    """Attack one goal after another; a goal that was finished before a kill is not attacked again.

    Args:
        goals: what to bring about.
        attack: the search for one goal.
        target: gets the attempts in JailbreakBench's shape; beside it stands `<target>.part` until all are done.
        parameters: of the attack and of what is attacked: a part of other parameters is begun anew.
        advance: called after each goal with whether it succeeded.
    """
    part = target.with_name(target.name + ".part")
    identity = digest_value([parameters, [list(goal) for goal in goals]])
    attempts = _kept(part, identity)
    for attempt in attempts:
        advance(attempt.jailbroken)
    for goal in goals[len(attempts) :]:
        attempts.append(attack(goal))
        saved = {"identity": identity, "attempts": [attempt._asdict() for attempt in attempts]}
        write_atomically(part, json.dumps(saved))
        advance(attempts[-1].jailbroken)
    jailbreaks = [
        {"index": i, **goal._asdict(), **attempt._asdict()}
        for i, (goal, attempt) in enumerate(zip(goals, attempts, strict=True))
    ]
    write_atomically(target, json.dumps({"parameters": parameters, "jailbreaks": jailbreaks}, indent=1) + "\n")
    part.unlink(missing_ok=True)
    return attempts


def _kept(part: Path, identity: str) -> list[Attempt]:
    """The attempts that a killed attack has saved; none where the file is damaged or of another attack."""
    try:
        saved = json.loads(part.read_text(encoding="utf-8"))
        return [Attempt(**attempt) for attempt in saved["attempts"]] if saved["identity"] == identity else []
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []
