"""What fails the stage as a whole: a broken file, and a set of pairs outside its limits."""

import gzip
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdpo.config import IngestSettings
from bdpo.errors import UserError
from tests.data.ingested import GOOD, run
from tests.tiny import ALWAYS_THINKING, tiny_tokenizer
from tests.tiny_run import pair_rows, write_jsonl


def gzip_cut(path: Path) -> None:
    path.write_bytes(gzip.compress(b'{"prompt": "Q", "chosen": "yes", "rejected": "no"}\n' * 1000)[:-20])


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("gone.jsonl", lambda p: None, "there is no such data file"),
        ("x.jsonl", lambda p: p.mkdir(), "the folder is empty"),
        ("x.txt", lambda p: p.write_text("x"), "unknown kind of file '.txt'"),
        ("x.jsonl", lambda p: p.write_text(""), "there are no rows in it"),
        ("x.jsonl", lambda p: p.write_text('{"question": 1}\n'), "the columns `question` are those of no known format"),
        ("x.jsonl", lambda p: p.write_text("{\n{\n"), "none of the first 2 rows is a JSON object"),
        ("x.json", lambda p: p.write_text("[1, "), "not valid JSON"),
        ("x.parquet", lambda p: p.write_bytes(b"PAR1"), "the Parquet file is broken"),
        ("x.jsonl.gz", gzip_cut, "the gzip file is broken"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path / name)
    with pytest.raises(UserError) as error:
        run(tmp_path / name, tmp_path / "out")
    assert str(error.value).startswith(str(tmp_path / name))
    assert message in str(error.value)
    assert not (tmp_path / "out" / "pairs.parquet").exists()


def test_a_template_with_which_no_answer_follows_is_named_before_any_row_is_read(tmp_path: Path) -> None:
    """Each of them would have been refused."""
    with pytest.raises(
        UserError, match=r"its chat template writes .*<think>.* let both be alike in chat_template\.jinja"
    ):
        run(tmp_path / "not there.jsonl", tmp_path / "out", tiny_tokenizer(ALWAYS_THINKING))
    assert not list((tmp_path / "out").iterdir())


def test_too_many_refused_rows_fail_with_numbers_and_the_rule(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "x.jsonl", [GOOD, GOOD | {"chosen": ""}, GOOD | {"rejected": ""}])
    with pytest.raises(UserError) as error:
        run(tmp_path / "x.jsonl", tmp_path / "out", max_quarantined_fraction=0.5)
    message = str(error.value)
    assert "share of quarantined rows is 0.667 (2 of 3), allowed is at most 0.5" in message
    assert "blank_chosen (1)" in message
    assert (tmp_path / "out" / "quarantine.parquet").exists()


def test_responses_without_a_partner_are_not_among_the_rows_that_fail_it(tmp_path: Path) -> None:
    said = [
        ("Q", "yes", True),
        ("Q", "no", False),
        ("R", "a", True),
        ("R", "b", True),
        ("S", "c", True),
        ("S", " ", False),
    ]
    rows = [{"prompt": p, "response": r, "is_safe": safe, "category": {}} for p, r, safe in said]
    write_jsonl(tmp_path / "x.jsonl", rows)
    with pytest.raises(UserError) as error:
        run(tmp_path / "x.jsonl", tmp_path / "out", max_quarantined_fraction=0.1)
    message = str(error.value)
    assert "share of quarantined rows is 0.333 (1 of 3), allowed is at most 0.1; of 6 rows 1 were refused," in message
    assert "most often by: blank_response (1), as x.jsonl:6: " in message
    assert "; 3 responses had none to be paired with (unpaired_response); they are in " in message


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"min_unsafe_rejected_fraction": 0.75}, "is 0.500 (20 of 40), allowed is 0.75 to 1;"),
        ({"max_unsafe_rejected_fraction": 0.25}, "is 0.500 (20 of 40), allowed is 0 to 0.25;"),
        ({"min_median_response_chars": 1000}, "is 36, allowed is at least 1000;"),
        ({"max_median_response_chars": 10}, "is 36, allowed is 0 to 10;"),
    ],
)
def test_a_lopsided_set_fails_with_what_it_is_and_may_be(tmp_path: Path, limits: dict[str, Any], message: str) -> None:
    rows = pair_rows(40)
    lengths = [len(row[side]) for row in rows for side in ("chosen", "rejected")]
    assert statistics.median(lengths) == 36
    write_jsonl(tmp_path / "x.jsonl", rows)
    with pytest.raises(UserError) as error:
        run(tmp_path / "x.jsonl", tmp_path / "out", **limits)
    assert message in str(error.value)
    assert not (tmp_path / "out" / "pairs.parquet").exists()


def test_limits_that_no_set_can_meet_are_refused() -> None:
    sources = [{"path": "x.jsonl"}]
    for limits in (
        {"min_unsafe_rejected_fraction": 0.5, "max_unsafe_rejected_fraction": 0.4},
        {"min_median_response_chars": 11, "max_median_response_chars": 10},
    ):
        with pytest.raises(ValueError, match="no set of pairs can pass"):
            IngestSettings.model_validate({"sources": sources, **limits})
