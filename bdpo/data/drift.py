"""How far a set of pairs lies from an earlier one, by the usual measures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bdpo.artifacts.duck import exact_files
from bdpo.errors import UserError, first_line
from bdpo.schemas import PAIRS, DriftFigures

_COMPARED = ("chosen", "rejected", "rejected_safe", "category")
_LEAST_SHARE = 1e-4
"""What a category that is missing on one side counts as, so that its index stays finite."""


def measure_drift(connection: Any, pairs: str, previous: Path) -> DriftFigures:
    """Compare pairs with those of an earlier artifact.

    Args:
        connection: of DuckDB.
        pairs: SQL of rows with `chosen_chars`, `rejected_chars`, `rejected_safe`, `category`.
        previous: folder of an earlier artifact of ingestion.

    Raises:
        UserError: there are no such pairs.
    """
    path = previous / "pairs.parquet"
    _require_pairs(path)
    earlier = (
        "(select length(chosen) as chosen_chars, length(rejected) as rejected_chars, rejected_safe, category "
        f"from read_parquet({exact_files(path)}))"
    )
    both = f"(select 0 as side, * from {earlier} union all select 1, * from {pairs})"
    lengths = connection.execute(
        "select chars, count(*) filter (where side = 0) as earlier, count(*) filter (where side = 1) as now from "
        f"(select side, unnest([chosen_chars, rejected_chars]) as chars from {both}) group by chars order by chars"
    ).fetchnumpy()
    unsafe = connection.execute(
        "select coalesce(avg((rejected_safe is not distinct from false)::int) filter (where side = 0), 0), "
        f"coalesce(avg((rejected_safe is not distinct from false)::int) filter (where side = 1), 0) from {both}"
    ).fetchone()
    categories = connection.execute(
        "select category, count(*) filter (where side = 0), count(*) filter (where side = 1) "
        f"from {both} group by category"
    ).fetchall()
    return DriftFigures(
        response_length_ks=_kolmogorov_smirnov(lengths),
        unsafe_rejected_change=abs(unsafe[1] - unsafe[0]),
        category_psi=population_stability([row[1] for row in categories], [row[2] for row in categories]),
    )


def _require_pairs(path: Path) -> None:
    no_artifact = f"ingest.drift.previous: {path.parent} is no artifact of ingestion"
    if not path.is_file():
        raise UserError(f"{no_artifact}: it holds no {path.name}.")
    try:
        found = pq.read_schema(path)
    except pa.ArrowInvalid as error:
        raise UserError(f"{no_artifact}: its {path.name} is broken ({first_line(error)}).") from error
    for name in _COMPARED:
        if name not in found.names or found.field(name).type != PAIRS.field(name).type:
            raise UserError(f"{no_artifact}: its {path.name} has no column `{name}` of {PAIRS.field(name).type}.")


def population_stability(earlier: list[int], now: list[int]) -> float:
    """The population stability index of counts: the sum of (q - p) ln(q / p) over shares p before and q now."""
    shares = [np.maximum(np.array(counts) / max(sum(counts), 1), _LEAST_SHARE) for counts in (earlier, now)]
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def _kolmogorov_smirnov(counts: Mapping[str, Any]) -> float:
    """The greatest distance of two distribution functions, from counts a value in ascending order."""
    functions = [np.cumsum(counts[side]) / max(counts[side].sum(), 1) for side in ("earlier", "now")]
    return float(np.max(np.abs(functions[1] - functions[0]), initial=0.0))
