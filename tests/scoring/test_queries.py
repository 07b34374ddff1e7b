"""The catalogue's summary of mutual information, and the queries that the README shows."""

import statistics
from pathlib import Path
from typing import Any

import pytest

from bdpo.artifacts.catalogue import query_catalogue, rebuild_catalogue
from bdpo.artifacts.manifest import MANIFEST
from tests.scoring.stored import WEIGHTS, store

MOST_IMBALANCED = """
select pair_id, category, round(mi_chosen, 3) as mi_chosen, round(mi_rejected, 3) as mi_rejected,
    round(imbalance, 3) as imbalance
from scored_pairs order by abs(imbalance) desc limit 10
"""
BY_CATEGORY = """
select category, count(*) as pairs, avg(abs(imbalance)) as mean_abs_imbalance,
    avg((imbalance > 0)::int) as chosen_comprehended_better
from scored_pairs group by category order by mean_abs_imbalance desc
"""
LENGTH = """
select width_bucket as tokens_up_to, count(*) as responses, avg(mi) as mean_mi
from (
    select pow(2, ceil(log2(tokens)))::int as width_bucket, mi
    from (
        select chosen_tokens as tokens, mi_chosen as mi from scored_pairs
        union all select rejected_tokens, mi_rejected from scored_pairs
    )
)
group by all order by tokens_up_to
"""
RANKED_WRONGLY = """
select pair_id, category, ref_chosen_logps, ref_rejected_logps
from scored_pairs where ref_chosen_logps < ref_rejected_logps
order by ref_rejected_logps - ref_chosen_logps desc
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "score" / "aa"
    store(folder)
    (folder / MANIFEST).write_text("{}")
    rebuild_catalogue(tmp_path, {"score": "aa"}, {"scored_pairs": f"* exclude (prompt), {WEIGHTS}"})
    return tmp_path


def ask(root: Path, sql: str) -> list[tuple[Any, ...]]:
    return query_catalogue(root, sql)[1]


def test_the_readme_s_queries_by_hand(root: Path) -> None:
    assert ask(root, MOST_IMBALANCED) == [
        ("c", None, -1.0, 1.5, -2.5),
        ("d", "kitchen", 0.5, 2.0, -1.5),
        ("a", "garden", 2.0, 1.0, 1.0),
        ("b", "garden", 1.0, 1.0, 0.0),
    ]
    assert ask(root, BY_CATEGORY) == [(None, 1, 2.5, 0.0), ("kitchen", 1, 1.5, 0.0), ("garden", 2, 0.5, 0.5)]
    # one token: a's and b's rejected, d's chosen; two: a's, b's and c's chosen, c's rejected; four: d's rejected
    assert ask(root, LENGTH) == [(1, 3, 2.5 / 3), (2, 4, 3.5 / 4), (4, 1, 2.0)]
    # b: -2 against -0.5; c: -4 against -3
    assert ask(root, RANKED_WRONGLY) == [("b", "garden", -2.0, -0.5), ("c", None, -4.0, -3.0)]


def test_the_summary_by_hand(root: Path) -> None:
    names = "side, pairs, mean, std, lowest, median, highest, share_negative"
    rows = ask(root, f"select {names} from mi_summary where grouped_by = 'all' order by side")
    expected = {"chosen": [2.0, 1.0, -1.0, 0.5], "difference": [1.0, 0.0, -2.5, -1.5], "rejected": [1.0, 1.0, 1.5, 2.0]}
    for row, (side, values) in zip(rows, expected.items(), strict=True):
        middle = [statistics.mean(values), statistics.stdev(values), min(values), statistics.median(values)]
        negative = sum(value < 0 for value in values) / 4
        assert row == (side, 4, *[pytest.approx(value) for value in middle], max(values), negative)


def test_quantiles_lie_between_the_order_statistics(root: Path) -> None:
    asked = "select q05, q25, q75, q95 from mi_summary where grouped_by = 'all' and side = 'chosen'"
    # of -1, 0.5, 1, 2 at position 3q: 0.15 -> -1 + 0.15 * 1.5, 0.75 -> -1 + 0.75 * 1.5, 2.25 -> 1.25, 2.85 -> 1.85
    assert ask(root, asked) == [pytest.approx((-0.775, 0.125, 1.25, 1.85))]


def test_the_summary_by_split_and_by_category(root: Path) -> None:
    rows = ask(root, "select grouped_by, value, pairs, mean, std from mi_summary where side = 'rejected' order by all")
    assert rows == [
        ("all", None, 4, 1.375, pytest.approx(statistics.stdev([1, 1, 1.5, 2]))),
        # one pair has no spread that could be told, which is not a spread of 0
        ("category", "garden", 2, 1.0, 0.0),
        ("category", "kitchen", 1, 2.0, None),
        ("category", None, 1, 1.5, None),
        ("split", "train", 3, pytest.approx(3.5 / 3), pytest.approx(statistics.stdev([1, 1, 1.5]))),
        ("split", "validation", 1, 2.0, None),
    ]


def test_a_catalogue_without_scores_has_no_summary(tmp_path: Path) -> None:
    rebuild_catalogue(tmp_path, {}, {})
    assert ask(tmp_path, "select count(*) from duckdb_views() where view_name = 'mi_summary'") == [(0,)]
