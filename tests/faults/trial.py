"""One fault: the folder it happens in, the moment at which it strikes, and what came of it."""

import json
import os
import random
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bdpo.fingerprints import STAGES, Stage
from tests.faults.evidence import committed, differences, lost
from tests.faults.subject import Ended, Run, start

GONE_S = 10.0
"""How long a process may outlive the one that it works for."""
DONE = "done"
"""The base in which all stages are whole; that before a stage is called by the stage."""


class Fault(NamedTuple):
    """A fault of the plan; where and when it strikes follows from the seed and the id."""

    kind: str
    stage: str
    target: str
    number: int

    @property
    def id(self) -> str:
        """What `--only` takes."""
        return f"{self.kind}-{self.stage}-{self.target}-{self.number}"


@dataclass(frozen=True)
class Scale:
    """How much an undisturbed stage does, as this campaign's eyes see it."""

    changes: int
    """Of files below the artifacts."""
    growth: int
    """Bytes that the artifacts grow by, at their largest."""


@dataclass
class Report:
    """What came of a fault."""

    moment: str = ""
    disturbed: list[Ended] = field(default_factory=list)
    next: Ended | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        """In a word."""
        if self.problems or self.next is None or self.next.means not in ("completed", "sentence"):
            return "FAILED"
        return "equal" if self.next.means == "completed" else "sentence"

    def record(self) -> dict[str, Any]:
        """For the results file."""
        return {
            "moment": self.moment,
            "outcome": self.outcome,
            "disturbed": [list(ended) for ended in self.disturbed],
            "next": None if self.next is None else list(self.next),
            "problems": self.problems,
        }


class Changes:
    """Counts the changes of files below a folder, as far as looking again and again sees them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._before = sizes(root)
        self.count = 0

    def look(self) -> int:
        """Look again; all changes so far."""
        now = sizes(self._root)
        self.count += len(now.items() - self._before.items()) + len(self._before.keys() - now.keys())
        self._before = now
        return self.count

    @property
    def total(self) -> int:
        """Bytes, when last looked at."""
        return sum(size for size, _ in self._before.values())


def sizes(root: Path) -> dict[str, tuple[int, int]]:
    """Path to size and time of every file below a folder."""
    found: dict[str, tuple[int, int]] = {}
    waiting = [str(root)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        stat = entry.stat(follow_symlinks=False)
                        found[entry.path] = stat.st_size, stat.st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            continue  # gone while it was looked at
    return found


class Trial:
    """A fault's own folder, on which runs are started."""

    def __init__(self, fault: Fault, *, seed: int, work: Path, scales: Mapping[str, Scale]) -> None:
        self.fault = fault
        self.random = random.Random(f"{seed}/{fault.id}")
        self.report = Report()
        self.folder = work / "trials" / fault.id
        self.config = self.folder / "config.yaml"
        self.root = self.folder / "artifacts"
        self.bases = work / "bases"
        self.scales = scales
        self.stages: tuple[Stage, ...] = tuple(s for s in STAGES if fault.stage in (s, "all"))
        self.before = committed(self.root)

    @property
    def scale(self) -> Scale:
        """Of the stages that are run."""
        scales = [self.scales[stage] for stage in self.stages]
        return Scale(sum(s.changes for s in scales), sum(s.growth for s in scales))

    def lay(self, base: str | None = None) -> None:
        """Make the folder a fresh copy of a base: by default, that in which the stage is to be done."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.bases / (base or self.stages[0]), self.folder)
        self.before = committed(self.root)

    def start(self, *overrides: str, stages: tuple[Stage, ...] | None = None) -> Run:
        """Start a run of the fault's stage."""
        return start(self.config, stages or self.stages, *overrides)

    def wait_until(self, run: Run, number: int) -> bool:
        """Wait until that many changes were seen; False if the run has ended before."""
        changes = Changes(self.root)
        while changes.look() < number:
            if run.poll():
                return False
            time.sleep(0.001)
        return not run.poll()

    def catch(self, *overrides: str) -> Run:
        """A run that has come to a moment of the seed; one that has ended before is begun anew, for an earlier one."""
        number = self.random.randint(0, self.scale.changes)
        pause = self.random.uniform(0.0, 0.03)
        while True:
            self.lay()
            run = self.start(*overrides)
            if self.wait_until(run, number):
                time.sleep(pause)
                if not run.poll():
                    self.report.moment = f"after change {number} of about {self.scale.changes}"
                    return run
            run.wait()
            number //= 2

    def note(self, run: Run, ended: Ended, allowed: tuple[str, ...] = ("killed", "completed", "sentence")) -> None:
        """Take down how the disturbed run ended, and whether something outlived it."""
        self.report.disturbed.append(ended)
        if ended.means not in allowed:
            self.report.problems.append(f"the disturbed run: {ended.means}: {ended.said}")
        self.report.problems += [f"outlived its run by {GONE_S:g} s: {left}" for left in run.survivors(GONE_S)]

    def carry_on(self, *overrides: str, stages: tuple[Stage, ...] | None = None) -> None:
        """Run again, and hold what comes out against an undisturbed run and against what was committed.

        Args:
            overrides: of settings.
            stages: by default those of the fault.
        """
        there = committed(self.root)
        run = self.start(*overrides, stages=stages)
        self.report.next = run.wait()
        if self.report.next.means not in ("completed", "sentence"):
            self.report.problems.append(f"the next run: {self.report.next.means}: {self.report.next.said}")
        if self.report.next.means == "completed":
            self.report.problems += differences(self.root, self.bases / DONE / "artifacts", stages or self.stages)
            self.report.problems += lost(there, self.root)
            self.report.problems += lost(self.before._replace(step=0), self.root)

    def write(self) -> None:
        """Leave the report in the folder."""
        (self.folder / "report.json").write_text(json.dumps(self.report.record(), indent=2) + "\n")
