"""Other processes that want the same: a DuckDB file held open, a second run, and a clock that jumps under one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from bdpo.artifacts.catalogue import query_catalogue
from tests.faults.evidence import differences
from tests.faults.subject import PATIENCE_S, fork
from tests.faults.trial import DONE, Trial

CLOCK_SOURCE = Path(__file__).with_name("clock.c")


def locked(trial: Trial) -> None:
    """Another process holds a DuckDB file for writing: the catalogue, or the scores."""
    trial.lay(DONE if trial.fault.target == "scores" else None)
    if trial.fault.target == "scores":
        (path,) = trial.root.glob("score/*/scores.duckdb")
        (path.parent / "scored_pairs.parquet").unlink()  # so that the stage is computed again
    else:
        path = trial.root / "bdpo.duckdb"
    trial.before = trial.before._replace(artifacts={})
    with _held(path, trial.folder):
        trial.report.moment = f"{path.relative_to(trial.root)} is held while the stage runs"
        run = trial.start()
        trial.note(run, run.wait(), ("completed", "sentence"))
        if trial.fault.target == "query":
            with _held(path, trial.folder):
                asked = fork(lambda: _ask(trial.root), trial.folder / "query.log")
                trial.note(asked, asked.wait(), ("sentence",))
    trial.carry_on()
    asked = fork(lambda: _ask(trial.root), trial.folder / "query.log")
    ended = asked.wait()
    if ended.means != "completed":
        trial.report.problems.append(f"a query afterwards: {ended}")


def _ask(root: Path) -> None:
    query_catalogue(root, "select count(*) from runs")


@contextmanager
def _held(path: Path, folder: Path) -> Iterator[None]:
    """A process that has a DuckDB file open for writing."""
    sign = folder / "held"
    sign.unlink(missing_ok=True)

    def hold() -> None:
        with duckdb.connect(str(path)) as connection:
            connection.execute("create or replace temp table held as select 1")
            sign.touch()
            time.sleep(PATIENCE_S)

    holder = fork(hold, folder / "holder.log")
    while not sign.exists():
        assert not holder.poll(), holder.log.read_text()
        time.sleep(0.01)
    try:
        yield
    finally:
        holder.end()


def two_runs(trial: Trial) -> None:
    """The same command twice at once; of `one-killed` the first is killed while the other waits or works."""
    first = trial.catch()
    second = trial.start()
    if trial.fault.target == "one-killed":
        pause = trial.random.uniform(0.0, 1.0)
        time.sleep(pause)
        first.note_children()
        killed = not first.poll()
        if killed:
            os.kill(first.pid, signal.SIGKILL)
        trial.report.moment += f"; the first {'killed' if killed else 'had ended'} {pause:.2f} s after the second began"
    for run in (first, second):
        run.note_children()
        allowed = ("completed", "killed") if run is first and trial.fault.target == "one-killed" else ("completed",)
        trial.note(run, run.wait(), allowed)
    trial.report.problems += differences(trial.root, trial.bases / DONE / "artifacts", trial.stages)
    trial.carry_on()


def two_configs(trial: Trial) -> None:
    """Two configs that share scores and completions at once: the second evaluates with another confidence."""
    first = trial.catch()
    second = trial.start("evaluate.confidence=0.9")
    for run in (first, second):
        run.note_children()
        trial.note(run, run.wait(), ("completed",))
    trial.carry_on()


def clock(trial: Trial) -> None:
    """The wall clock jumps by hours or days at a seeded moment; the shim `clock.c` stands for the system's clock."""
    trial.lay()
    library, state = trial.folder / "clock.so", trial.folder / "clock.state"
    subprocess.run(["/usr/bin/env", "cc", "-shared", "-fPIC", "-O1", "-o", library, CLOCK_SOURCE, "-ldl"], check=True)
    state.write_bytes(bytes(8))
    log = trial.folder / "clock.log"
    code = "import sys; from pathlib import Path; from tests.faults.subject import do_stages as do"
    command = [sys.executable, "-c", f"{code}; do(Path(sys.argv[1]), sys.argv[2:], ())", trial.config, *trial.stages]
    environment = os.environ | {"LD_PRELOAD": str(library), "BDPO_CLOCK": str(state)}

    def work() -> None:
        os.execve(sys.executable, list(map(str, command)), environment)  # noqa: S606

    number = trial.random.randint(0, trial.scale.changes)
    jump = trial.random.choice((-1, 1)) * trial.random.choice((90, 3_700, 90_000, 40_000_000))
    run = fork(work, log)
    trial.wait_until(run, number)
    state.write_bytes(jump.to_bytes(8, sys.byteorder, signed=True))
    trial.report.moment = f"by {jump:+d} s after change {number} of about {trial.scale.changes}"
    run.note_children()
    if trial.fault.target == "and-kill" and not run.poll():
        time.sleep(trial.random.uniform(0.0, 0.5))
        run.note_children()
        os.kill(run.pid, signal.SIGKILL)
    trial.note(run, run.wait(), ("completed", "killed") if trial.fault.target == "and-kill" else ("completed",))
    trial.carry_on()
