"""What is committed, whether it is still there, and whether two folders hold the same artifacts."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from bdpo.artifacts.digest import digest_value
from bdpo.artifacts.duck import connect
from bdpo.artifacts.manifest import Manifest, find_damage, read_manifest
from bdpo.errors import UserError
from bdpo.fingerprints import STAGES

_TIMES = {"seconds", "pairs_per_s", "tokens_per_s"}
_HISTORY = {"resumed_from_step", "sequences_scored", "sequences_reused", "tokens_scored", "generated_tokens"}
"""Figures that say how much a run found done; they differ after a fault, and should."""
_DATED = ("data_docs/", "tensorboard/", "report.html", "policy/README.md")
"""Files that hold times of day, or the folder's own path."""
_SCORES = "scores.duckdb"
"""DuckDB gives each of its files a number of its own; their rows are compared."""


class Committed(NamedTuple):
    """What no fault may lose."""

    artifacts: dict[str, str]
    """`<stage>/<fingerprint>` of whole artifacts to their content digest."""
    pieces: frozenset[str]
    """Shards of scores and batches of completions, whole by their own name."""
    step: int
    """Of the newest whole checkpoint of an unfinished training; 0 without one."""


def committed(root: Path) -> Committed:
    """Look at a folder of artifacts."""
    artifacts: dict[str, str] = {}
    for stage in STAGES:
        for path in (root / stage).glob("*/manifest.json"):
            manifest = read_manifest(path.parent) if path.parent.suffix == "" else None
            if manifest is not None and find_damage(path.parent, manifest) is None:
                artifacts[f"{stage}/{path.parent.name}"] = manifest.content
    pieces = (p for p in (root / "cache").glob("*/*/*.parquet") if p.stem == hashlib.sha256(p.read_bytes()).hexdigest())
    done = (root / "train").glob("*.partial/scratch/checkpoints/step-*/complete.json")
    steps = [int(path.parent.name[5:]) for path in done if path.parent.suffix == "" and _is_whole(path)]
    return Committed(artifacts, frozenset(str(p.relative_to(root)) for p in pieces), max(steps, default=0))


def _is_whole(complete: Path) -> bool:
    try:
        written = json.loads(complete.read_text())
        files = written["record"]["files"]
        return written["sha256"] == digest_value(written["record"]) and all(
            hashlib.sha256((complete.parent / name).read_bytes()).hexdigest() == entry["sha256"]
            for name, entry in files.items()
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def lost(before: Committed, root: Path) -> list[str]:
    """What was committed and is no longer; to be asked of a run that has completed."""
    now = committed(root)
    problems = [f"{name} is not what it was" for name, d in before.artifacts.items() if now.artifacts.get(name) != d]
    problems += [f"{name} is gone" for name in sorted(before.pieces - now.pieces)]
    if before.step:
        steps = [m.summary["resumed_from_step"] for m in _manifests(root, "train")]
        if max(steps, default=0) < before.step:
            problems.append(f"the checkpoint of step {before.step} was there, and training went on from {steps}")
    return problems


def differences(root: Path, undisturbed: Path, stages: tuple[str, ...] = STAGES) -> list[str]:
    """In what the artifacts of two folders differ, beyond times and paths."""
    found = []
    for stage in stages:
        other = _manifests(undisturbed, stage)
        one = [m for m in _manifests(root, stage) if m.fingerprint in [o.fingerprint for o in other]]
        if len(one) != 1 or len(other) != 1:
            found.append(f"{stage}: there is no whole artifact of that name")
            continue
        damage = find_damage(root / stage / one[0].fingerprint, one[0])
        found += [f"{stage}: {damage}"] if damage else []
        mine, theirs = _facts(one[0], root), _facts(other[0], undisturbed)
        found += [
            f"{stage}: {name} is {mine.get(name)!r}, undisturbed {theirs.get(name)!r}"
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        ]
    return found


def _manifests(root: Path, stage: str) -> list[Manifest]:
    folders = (path.parent for path in (root / stage).glob("*/manifest.json") if path.parent.suffix == "")
    return [manifest for manifest in map(read_manifest, folders) if manifest is not None]


def _facts(manifest: Manifest, root: Path) -> dict[str, Any]:
    summary = {f"figure {n}": v for n, v in manifest.summary.items() if n not in _TIMES | _HISTORY}
    files = {f"file {n}": e.sha256 for n, e in manifest.files.items() if not n.startswith((*_DATED, _SCORES))}
    if _SCORES in manifest.files:
        files[f"rows of {_SCORES}"] = _rows(root / manifest.stage / manifest.fingerprint / _SCORES)
    dated = {f"file {n}": "there" for n in manifest.files if n.startswith(_DATED) and "/validations/" not in n}
    return {"fingerprint": manifest.fingerprint, "content": manifest.content} | summary | files | dated


def _rows(scores: Path) -> str:
    """Digest of the rows that people ask for, or why there are none."""
    try:
        with connect(scores, read_only=True) as connection:
            rows = [
                connection.execute(f"select * from {name} order by 1").fetchall()
                for name in ("sequences", "scored_pairs")
            ]
    except (UserError, duckdb.Error) as error:
        return str(error)
    return hashlib.sha256(repr(rows).encode()).hexdigest()
