"""No row is lost, and none is shown where its text does not belong."""

import json
import logging
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from data_checks import GreatExpectationsChecks
from tests.data.ingested import GOOD, run
from tests.paths import ROOT, shared_data
from tests.tiny_run import write_jsonl


def test_no_text_of_a_row_is_logged_or_shown_in_docs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "zebracadabra"
    write_jsonl(tmp_path / "x.jsonl", [GOOD, GOOD | {"chosen": f"{secret} \x07"}])
    run(tmp_path / "x.jsonl", tmp_path / "out", checks=GreatExpectationsChecks())
    assert secret not in caplog.text
    pages = list((tmp_path / "out" / "data_docs").rglob("*.html"))
    assert pages
    assert not any(secret in page.read_text() for page in pages)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELD = JSON | st.just(GOOD["chosen"]) | st.lists(st.fixed_dictionaries({"role": st.text(), "content": st.text()}))
ROW = st.fixed_dictionaries({}, optional={"prompt": FIELD, "chosen": FIELD, "rejected": FIELD, "category": FIELD})
LINE = ROW.map(lambda row: json.dumps(row).encode()) | st.binary(max_size=40).map(
    lambda raw: raw.replace(b"\n", b"").replace(b"\r", b"")
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINE, max_size=30))
@example([b'{"prompt": null}', b'{"prompt": null}', b"\t"])  # a block of its own, with no row in it
def test_no_input_loses_a_row(tmp_path: Path, lines: list[bytes]) -> None:
    lines = [json.dumps(GOOD).encode(), *lines]
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(lines))
    summary = run(tmp_path / "x.jsonl", tmp_path / "out", format="preference")
    assert summary["rows"] == sum(bool(line.strip()) for line in lines)


def test_the_hh_file_is_accounted_for(tmp_path: Path) -> None:
    summary = run(shared_data("hh_rlhf/harmless-base-test.jsonl.gz"), tmp_path / "out")
    assert (summary["rows"], summary["pairs"]) == (2312, 2272)
    assert summary["by_rule"] == {
        "malformed_transcript": 28,
        "prompts_differ": 4,
        "roles_do_not_alternate": 4,
        "blank_chosen": 4,
    }


def test_the_demonstration_data_shows_the_quarantine(tmp_path: Path) -> None:
    summary = run(ROOT / "configs" / "demo_data" / "pairs.jsonl", tmp_path / "out")
    assert (summary["rows"], summary["pairs"], summary["num_categories"]) == (401, 395, 12)
    assert summary["by_rule"] == {
        "contradictory_labels": 2,
        "missing_field": 1,
        "blank_chosen": 1,
        "identical_sides": 1,
        "duplicate": 1,
    }
