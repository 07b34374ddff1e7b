"""The catalogue: one DuckDB file with views over every artifact.

It holds no data of its own.  After every stage it is built anew beside the old
one and renamed over it, so a reader never meets a writer, and a lost or damaged
catalogue costs nothing.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from bdpo.artifacts.duck import connect, exact_files, file_of, literal, log_of, made_whole
from bdpo.artifacts.locks import hold
from bdpo.artifacts.manifest import MANIFEST
from bdpo.artifacts.store import write_atomically
from bdpo.errors import UserError

CATALOGUE = "bdpo.duckdb"
_RUNS = "runs"
_READABLE_SINCE = "v1.0.0"
"""Of DuckDB: users' own command lines and notebooks have older ones, and views want nothing newer."""
_PATIENCE_S = 1.0
"""How long a query waits for a catalogue that somebody opened for writing; bdpo itself never holds it."""


@dataclass(frozen=True)
class View:
    """A view of the catalogue over one file of every artifact of a stage."""

    name: str
    stage: str
    file: str


class Columns(NamedTuple):
    """What a view shows of its file."""

    every: str = "*"
    """Select list over the file's columns."""
    latest: str | None = None
    """More for the plain view alone: what follows from the settings of the latest run."""


VIEWS = (
    View("pairs", "ingest", "pairs.parquet"),
    View("quarantine", "ingest", "quarantine.parquet"),
    View("scored_pairs", "score", "scored_pairs.parquet"),
    View("train_metrics", "train", "metrics.parquet"),
    View("generations", "evaluate", "generations.parquet"),
    View("judgements", "evaluate", "judgements.parquet"),
    View("eval_summary", "evaluate", "eval_summary.parquet"),
    View("contamination", "evaluate", "contamination.parquet"),
)


_STAGE_OF = {view.name: view.stage for view in VIEWS} | {"mi_summary": "score"}

_MI_SUMMARY = """
create view {view} as
with sides as (
    select {artifact} split, unnest(['chosen', 'rejected', 'difference']) as side,
        unnest([mi_chosen, mi_rejected, imbalance]) as mi
    from {scored}
)
select
    {artifact} coalesce(split, 'all') as split, side, count(*) as num_pairs,
    avg(mi) as mean, stddev_pop(mi) as std, min(mi) as min,
    quantile_cont(mi, 0.05) as q05, quantile_cont(mi, 0.25) as q25, median(mi) as median,
    quantile_cont(mi, 0.75) as q75, quantile_cont(mi, 0.95) as q95, max(mi) as max,
    avg((mi < 0)::int) as share_negative, avg(abs(mi)) as mean_abs
from sides
group by grouping sets (({artifact} split, side), ({artifact} side))
order by all
"""
"""Mutual information in nats a token, by split and over all pairs: of each side, and chosen minus rejected.

`artifact` is a column for the view over all of them, with a comma.
"""


def note_run(root: Path, run_id: str, record: Mapping[str, Any]) -> None:
    """Write or renew the record of a run, one row of the view `runs`."""
    folder = root / _RUNS
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{run_id}.json", json.dumps({"run_id": run_id, **record}, indent=2) + "\n")


def run_records(root: Path) -> list[dict[str, Any]]:
    """What `note_run` wrote of every run, the oldest first; a damaged record is left out."""
    records = (_record(path) for path in sorted((root / _RUNS).glob("*.json")))
    return [record for record in records if record is not None]


def new_run_id(name: str) -> str:
    """An id that sorts by time: `20261124T123456.123456Z-demo`."""
    return f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%S.%fZ')}-{name}"


def rebuild_catalogue(root: Path, current: Mapping[Any, str], select: Mapping[str, Columns]) -> Path:
    """Build the catalogue from what lies below `root` and rename it into place.

    A file that is damaged is left out, for one of them would make a view fail for all; the stage that needs
    its artifact finds the damage and is computed again.

    Args:
        root: the folder of artifacts.
        current: stage to the fingerprint that the plain views show (`scored_pairs`); the views `all_*`
            show every whole artifact, with its fingerprint in a column `artifact`.
        select: view to the columns that it shows instead of all.

    Returns:
        The catalogue's path.
    """
    # One after the other, for containers that share the folder may share process ids too, and who ends last has to
    # have seen what all others made.
    with hold(root / f".{CATALOGUE}.lock", lambda: None):
        return _rebuild(root, current, select)


def _rebuild(root: Path, current: Mapping[Any, str], select: Mapping[str, Columns]) -> Path:
    path = root / CATALOGUE
    temporary = root / f".{CATALOGUE}.tmp"
    _discard(temporary)  # what a killed run left
    try:
        with made_whole(temporary, readable_since=_READABLE_SINCE) as connection:
            connection.begin()  # as one, or the disk would be waited for after each view
            _create_views(connection, root, current, select)
            known = (str(root.resolve()), json.dumps(current), json.dumps(select))
            columns = ", ".join(f"{literal(text)} as {name}" for name, text in zip(_BUILT, known, strict=True))
            connection.execute(f"create view {_BUILT_FROM} as select {columns}")
            connection.commit()
        # What a user's session that was killed had yet to write into the old one, and belongs to that alone.
        log_of(path).unlink(missing_ok=True)
        temporary.replace(path)
    finally:
        _discard(temporary)
    return path


_BUILT_FROM = "catalogue_root"
_BUILT = ("root", "current_artifacts", "select_lists")
"""What the views were made from.  Their paths are absolute, so that DuckDB alone finds the files from any folder; for a
store that was copied or moved since, `query_catalogue` makes them anew."""


def _create_views(
    connection: duckdb.DuckDBPyConnection, root: Path, current: Mapping[Any, str], select: Mapping[str, Columns]
) -> None:
    """The views over what lies below `root`; arguments as `rebuild_catalogue`."""
    # Files are tried on a connection of their own, for an error there would end the transaction.
    with connection.cursor() as reader:
        for view in VIEWS:
            every, latest = select.get(view.name, Columns())
            columns = every if latest is None else f"{every}, {latest}"
            whole = sorted(p.parent for p in (root / view.stage).glob(f"*/{MANIFEST}") if p.parent.suffix == "")
            candidates = [folder / view.file for folder in whole if (folder / view.file).is_file()]
            files = [file for file in candidates if _is_readable(reader, file, columns)]
            shown = root / view.stage / current.get(view.stage, "-") / view.file
            if shown in files:
                source = f"read_parquet({_exact([shown])})"
                connection.execute(f"create view {view.name} as select {columns} from {source}")
                if view.name == "scored_pairs":
                    connection.execute(_MI_SUMMARY.format(view="mi_summary", scored=view.name, artifact=""))
            if files:
                source = f"read_parquet({_exact(files)}, union_by_name = true, filename = true)"
                own = "* exclude (filename)" if every == "*" else every
                every = f"select parse_path(filename)[-2] as artifact, {own} from {source}"
                connection.execute(f"create view all_{view.name} as {every}")
                if view.name == "scored_pairs":
                    connection.execute(
                        _MI_SUMMARY.format(view="all_mi_summary", scored="all_scored_pairs", artifact="artifact,")
                    )
    runs = [path for path in sorted((root / _RUNS).glob("*.json")) if _record(path) is not None]
    if runs:
        columns = ", ".join(f"{name}: '{kind}'" for name, kind in _RUN_COLUMNS.items())
        source = f"read_json({_exact(runs)}, columns = {{{columns}}})"
        connection.execute(f"create view runs as select * from {source} order by run_id desc")


def _discard(database: Path) -> None:
    """Delete a DuckDB file and its log, if there are any."""
    for path in (database, log_of(database)):
        path.unlink(missing_ok=True)


_RUN_COLUMNS = {
    "run_id": "VARCHAR",
    "name": "VARCHAR",
    "started": "TIMESTAMPTZ",
    "finished": "TIMESTAMPTZ",
    "status": "VARCHAR",
    "ingest": "VARCHAR",
    "score": "VARCHAR",
    "train": "VARCHAR",
    "evaluate": "VARCHAR",
    "cached": "VARCHAR[]",
    "error": "VARCHAR",
    "config": "JSON",
}


def _is_readable(connection: duckdb.DuckDBPyConnection, file: Path, columns: str) -> bool:
    """Whether a Parquet file has the columns that a view selects; its rows are not read."""
    try:
        connection.execute(f"select {columns} from read_parquet({_exact([file])}) limit 0")
    except duckdb.Error:
        return False
    return True


def _record(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_bytes())
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _exact(files: list[Path]) -> str:
    return exact_files(*(file.resolve() for file in files))


def query_catalogue(root: Path, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run a query on the catalogue, read-only.

    Args:
        root: the folder of artifacts.
        sql: one `select`; settings may stand before it.

    Returns:
        Column names and rows.

    Raises:
        UserError: there is no catalogue, another process holds it for writing, or the SQL is wrong or asks twice.
    """
    path = root / CATALOGUE
    if not path.is_file():
        raise UserError(f"{path}: there is no catalogue; run `bdpo run CONFIG` first, or name its folder: --artifacts.")
    with connect(path, read_only=True, timeout_s=_PATIENCE_S) as stored, _where_it_is(stored, root) as connection:
        try:
            statements = connection.extract_statements(sql)
            if not statements:
                raise UserError("query: there is no SQL in it, such as `select * from runs`.")
            # DuckDB runs them all and hands out the last one's rows alone.
            if any(statement.type == duckdb.StatementType.SELECT for statement in statements[:-1]):
                raise UserError(f"query: these are {len(statements)} statements; ask one `select` at a time.")
            result = connection.execute(sql)
            return [column[0] for column in result.description or ()], result.fetchall()
        except duckdb.Error as error:
            views = connection.execute(
                "select view_name, sql from duckdb_views() where not internal and view_name <> ? order by 1",
                [_BUILT_FROM],
            ).fetchall()
            reason = " ".join(str(error).split("\n\n")[0].split())
            gone = re.search(r'No files found that match the pattern "(.+)"', reason)
            if gone and any(literal(gone[1]) in sql for _, sql in views):
                raise UserError(
                    f"{path}: this catalogue shows {file_of(gone[1])}, which is not there any more; if artifacts were "
                    "deleted, `bdpo run CONFIG` with this folder as `artifacts` builds it anew."
                ) from None
            names = [name for name, _ in views]
            absent = re.search(r"Table with name (\w+) does not exist", reason)
            if absent and (stage := _STAGE_OF.get(absent[1].lower())):
                reason = f"the latest run has no artifact of the stage {stage}, which {absent[1]} would show"
                earlier = f"all_{absent[1].lower()}"
                reason += f"; {earlier} shows those of other runs" if earlier in names else ""
            raise UserError(f"query: {reason} (views: {', '.join(names)})") from None


@contextmanager
def _where_it_is(stored: duckdb.DuckDBPyConnection, root: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The catalogue; of a store that was copied or moved one in memory, over what lies there now.

    Nothing is written: the copy may lie on a disk that is read-only.
    """
    made = stored.execute("select 1 from duckdb_views() where view_name = ?", [_BUILT_FROM]).fetchall()
    [built] = stored.execute(f"select {', '.join(_BUILT)} from {_BUILT_FROM}").fetchall() if made else [None]
    if built is None or built[0] == str(root.resolve()):  # an older bdpo wrote down no root
        yield stored
        return
    select = {view: Columns(*columns) for view, columns in json.loads(built[2]).items()}
    with connect(_IN_MEMORY) as connection:
        _create_views(connection, root, json.loads(built[1]), select)
        yield connection


_IN_MEMORY = Path(":memory:")
