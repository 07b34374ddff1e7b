"""The campaign's command."""

import argparse
import json
import random
import shutil
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from bdpo.fingerprints import STAGES
from tests.faults.bases import make_bases
from tests.faults.plan import KINDS, plan
from tests.faults.trial import Fault, Trial


def main() -> int:
    """Run what has no result yet; the number of faults that failed, 1 at most."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="The fault campaign.")
    parser.add_argument("--only", metavar="ID", help="run this one, though it has a result")
    parser.add_argument("--kinds", metavar="PREFIX", default="", help="run kinds that begin so")
    parser.add_argument("--seed", type=int, default=7, help="of moments and places")
    parser.add_argument("--work", type=Path, default=Path("artifacts/faults"), help="folder of trials and results")
    parser.add_argument("--again", action="store_true", help="run those again that failed")
    parser.add_argument("--table", action="store_true", help="print the table of what is there, and run nothing")
    options = parser.parse_args()
    work: Path = options.work.resolve()
    results = work / "results.jsonl"
    faults = plan()
    if not options.table:
        wanted = [f for f in faults if f.kind.startswith(options.kinds)]
        if options.only:
            wanted = [f for f in faults if f.id == options.only]
            if not wanted:
                parser.error(f"there is no fault {options.only}; they are in {results}, and in tests/faults/plan.py")
        else:
            done = {r["id"]: r["outcome"] for r in read(results)}
            wanted = [f for f in wanted if f.id not in done or (options.again and done[f.id] == "FAILED")]
            random.Random(options.seed).shuffle(wanted)
        campaign(wanted, options.seed, work, results)
    print_table(faults, read(results))
    return int(any(r["outcome"] == "FAILED" for r in read(results)))


def campaign(wanted: list[Fault], seed: int, work: Path, results: Path) -> None:
    """Inject faults, one after the other; a line each in the results file, and on the terminal."""
    scales = make_bases(work)
    for number, fault in enumerate(wanted):
        trial = Trial(fault, seed=seed, work=work, scales=scales)
        begun = time.monotonic()
        try:
            KINDS[fault.kind](trial)
        except Exception:
            trial.report.problems.append(traceback.format_exc())
        record = {"id": fault.id, "kind": fault.kind, "stage": fault.stage, "target": fault.target}
        record |= trial.report.record() | {"seconds": round(time.monotonic() - begun, 1)}
        with results.open("a") as file:
            file.write(json.dumps(record) + "\n")
        say(f"{number + 1}/{len(wanted)} {fault.id}: {record['outcome']}, {record['seconds']} s, {record['moment']}")
        if record["outcome"] == "FAILED":
            trial.write()
            for problem in trial.report.problems:
                say(f"    {problem.strip()[-300:]}")
            say(f"    it lies in {trial.folder}; again: python -m tests.faults --seed {seed} --only {fault.id}")
        else:
            shutil.rmtree(trial.folder)


def read(results: Path) -> list[dict[str, Any]]:
    """The last record of each fault."""
    lines = results.read_text().splitlines() if results.exists() else []
    return list({record["id"]: record for record in map(json.loads, lines)}.values())


def print_table(faults: list[Fault], records: list[dict[str, Any]]) -> None:
    """By kind and stage: how many faults, and how many of them failed."""
    columns = [*STAGES, "all"]
    say("| fault | " + " | ".join(columns) + " | in a sentence first |")
    say("| --- |" + " --- |" * (len(columns) + 1))
    counted = Counter((r["kind"], r["stage"]) for r in records)
    failed = Counter((r["kind"], r["stage"]) for r in records if r["outcome"] == "FAILED")
    for kind in KINDS:
        cells = []
        for stage in columns:
            count, bad = counted[kind, stage], failed[kind, stage]
            cells.append(f"{count}, {bad} failed" if bad else str(count or ""))
        stopped = sum(any(d[0] == "sentence" for d in r["disturbed"]) for r in records if r["kind"] == kind)
        say(f"| {kind} | " + " | ".join(cells) + f" | {stopped} |")
    bad = sum(failed.values())
    say(f"\n{len(records)} of {len(faults)} faults have a result; {len(records) - bad} as promised, {bad} failed.")


def say(line: str) -> None:
    """A line on the terminal."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
