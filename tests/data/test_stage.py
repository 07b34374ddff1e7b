"""Ingestion: every row comes out as a pair or in quarantine, with the right reason."""

import gzip
import json
import logging
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bdpo.config import IngestSettings, ModelSettings
from bdpo.data.candidates import BATCH_ROWS
from bdpo.data.stage import ingest
from bdpo.errors import UserError
from bdpo.progress import Silent
from bdpo.schemas import PAIRS, QUARANTINE
from data_checks import GreatExpectationsChecks
from tests.paths import ROOT, shared_data
from tests.tiny import tiny_tokenizer
from tests.tiny_run import pair_rows, write_jsonl

GOOD = {"prompt": "Q", "chosen": "yes", "rejected": "no"}


def run(path: Path, workdir: Path, tokenizer: Any = None, **fields: Any) -> dict[str, Any]:
    sources = fields.pop("sources", None) or [{"path": path, "format": fields.pop("format", "auto")}]
    workdir.mkdir(exist_ok=True)
    summary = ingest(
        settings=IngestSettings.model_validate({"sources": sources, "max_quarantined_fraction": 1.0, **fields}),
        model=ModelSettings(max_length=256, max_prompt_length=128),
        tokenizer=tokenizer or tiny_tokenizer(),
        workdir=workdir,
        checks=GreatExpectationsChecks(),
        progress=Silent(),
    )
    pairs, quarantine = pq.read_table(workdir / "pairs.parquet"), pq.read_table(workdir / "quarantine.parquet")
    assert pairs.schema.equals(PAIRS)
    assert quarantine.schema.equals(QUARANTINE)
    assert summary["rows"] == summary["paired_rows"] + quarantine.num_rows + sum(summary["left_out"].values())
    assert (summary["pairs"], summary["quarantined"]) == (pairs.num_rows, quarantine.num_rows)
    return summary


def refusals(workdir: Path) -> list[tuple[int, str]]:
    rows = pq.read_table(workdir / "quarantine.parquet").to_pylist()
    return sorted((row["line"], row["rule"]) for row in rows)


def test_each_row_rule_by_its_name(tmp_path: Path) -> None:
    rows: list[Any] = [
        GOOD,
        GOOD | {"chosen": " \n"},
        GOOD | {"rejected": ""},
        GOOD | {"prompt": "\t"},
        GOOD | {"chosen": "same", "rejected": " same "},
        GOOD | {"chosen": "bell \x07"},
        GOOD | {"chosen": "long " * 100},
        dict(GOOD),
        {"prompt": "P", "chosen": "a", "rejected": "b"},
        {"prompt": "P", "chosen": "b", "rejected": "a"},
        [1],
    ]
    write_jsonl(tmp_path / "x.jsonl", rows)
    with (tmp_path / "x.jsonl").open("ab") as file:
        file.write(b'{"prompt": \n\n{"chosen": "\xff"}\n{"prompt": "Q", "chosen": "\\ud800", "rejected": "x"}')
    run(tmp_path / "x.jsonl", tmp_path / "out", max_chars=200, min_pairs=1)
    assert refusals(tmp_path / "out") == [
        (2, "blank_chosen"),
        (3, "blank_rejected"),
        (4, "blank_prompt"),
        (5, "identical_sides"),
        (6, "control_character"),
        (7, "over_long"),
        (8, "duplicate"),
        (9, "contradictory_labels"),
        (10, "contradictory_labels"),
        (11, "not_an_object"),
        (12, "broken_json"),
        (14, "invalid_utf8"),
        (15, "invalid_utf8"),
    ]
    kept = {row["line"]: row["row"] for row in pq.read_table(tmp_path / "out/quarantine.parquet").to_pylist()}
    assert kept[12] == b'{"prompt": '
    assert kept[14] == b'{"chosen": "\xff"}'


def test_a_response_that_truncation_leaves_empty_is_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "x.jsonl", [GOOD, GOOD | {"prompt": "long " * 60}])
    summary = run(tmp_path / "x.jsonl", tmp_path / "out")
    # The prompt is cut to 128 tokens, which leaves room: nothing is refused.
    assert summary["quarantined"] == 0


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".csv", ".parquet", ".arrow"])
def test_every_kind_of_file_gives_the_same_pairs(tmp_path: Path, suffix: str) -> None:
    rows = [{k: row[k] for k in ("prompt", "chosen", "rejected", "category")} for row in pair_rows(12)]
    path = tmp_path / f"rows{suffix}"
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    match suffix:
        case ".jsonl":
            path.write_text(lines)
        case ".jsonl.gz":
            path.write_bytes(gzip.compress(lines.encode()))
        case ".jsonl.zst":
            with pa.output_stream(str(path), compression="zstd") as file:
                file.write(lines.encode())
        case ".arrow":
            table = pa.Table.from_pylist(rows)
            with pa.ipc.new_file(str(path), table.schema) as writer:
                writer.write_table(table)
        case ".json":
            path.write_text(json.dumps(rows))
        case ".csv":
            pa_table = pa.Table.from_pylist(rows)
            import pyarrow.csv

            pyarrow.csv.write_csv(pa_table, path)
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
    run(path, tmp_path / "out")
    found = pq.read_table(tmp_path / "out" / "pairs.parquet").to_pylist()
    assert sorted((r["prompt"][0]["content"], r["chosen"], r["rejected"], r["category"]) for r in found) == sorted(
        (row["prompt"], row["chosen"], row["rejected"], row["category"]) for row in rows
    )
    assert [row["pair_id"] for row in found] == sorted(row["pair_id"] for row in found)


def test_a_prompt_keeps_its_split_when_rows_are_added(tmp_path: Path) -> None:
    splits: list[dict[str, str]] = []
    for num in (60, 80):
        write_jsonl(tmp_path / "x.jsonl", pair_rows(num))
        run(tmp_path / "x.jsonl", tmp_path / f"out{num}", validation_fraction=0.3)
        rows = pq.read_table(tmp_path / f"out{num}" / "pairs.parquet").to_pylist()
        splits.append({row["pair_id"]: row["split"] for row in rows})
    assert splits[0].items() <= splits[1].items()
    assert set(splits[1].values()) == {"train", "validation"}


def test_a_folder_a_glob_and_a_file_each_with_their_limit(tmp_path: Path) -> None:
    rows = pair_rows(30)
    (tmp_path / "folder").mkdir()
    write_jsonl(tmp_path / "folder" / "b.jsonl", rows[:8])
    write_jsonl(tmp_path / "folder" / "a.jsonl", [{"chosen": 1}, *rows[8:12]])
    write_jsonl(tmp_path / "more.jsonl", rows[12:])
    sources = [
        {"path": tmp_path / "folder", "limit": 7, "format": "preference"},
        {"path": tmp_path / "more*.jsonl", "limit": 5, "name": "named"},
    ]
    summary = run(tmp_path, tmp_path / "out", sources=sources)
    assert (summary["rows"], summary["quarantined"]) == (12, 1)
    assert summary["by_source"] == {"a": 4, "b": 2, "named": 5}
    (refused,) = pq.read_table(tmp_path / "out" / "quarantine.parquet").to_pylist()
    assert (refused["file"], refused["line"]) == ("a.jsonl", 1)


def test_weights_and_a_sample_leave_rows_out_and_are_counted(tmp_path: Path) -> None:
    rows = [row | {"rejected_safe": i % 2 == 0} for i, row in enumerate(pair_rows(60))]
    write_jsonl(tmp_path / "x.jsonl", [*rows, GOOD | {"chosen": ""}])
    write_jsonl(tmp_path / "y.jsonl", [row | {"prompt": f"again {row['prompt']}"} for row in rows])
    sources = [{"path": tmp_path / "x.jsonl"}, {"path": tmp_path / "y.jsonl", "weight": 0.5}]
    whole = run(tmp_path, tmp_path / "whole", sources=sources)
    assert whole["left_out"]["sample"] == 0
    assert 15 < whole["left_out"]["weight"] < 45
    drawn = run(tmp_path, tmp_path / "drawn", sources=sources, sample={"safe": 4, "unsafe": 7})
    kept = pq.read_table(tmp_path / "drawn" / "pairs.parquet").to_pylist()
    assert sorted(row["rejected_safe"] for row in kept) == [False] * 7 + [True] * 4
    assert drawn["quarantined"] == whole["quarantined"] == 1
    assert drawn["left_out"] == {"weight": whole["left_out"]["weight"], "sample": whole["pairs"] - 11}


def test_single_responses_are_counted_two_a_pair(tmp_path: Path) -> None:
    def answer(prompt: str, response: str, safe: bool) -> dict[str, Any]:
        return {"prompt": prompt, "response": response, "is_safe": safe, "category": {"theft": not safe}}

    rows = [answer("Q", "good", True), answer("Q", "bad", False), answer("Q", "worse", False)]
    rows += [answer("R", "good", True), answer("R", "bell \x07", False), answer("S", "", True)]
    write_jsonl(tmp_path / "x.jsonl", rows)
    summary = run(tmp_path / "x.jsonl", tmp_path / "out")
    assert (summary["rows"], summary["pairs"], summary["paired_rows"], summary["quarantined"]) == (6, 1, 2, 4)
    # A pair that a rule refuses puts both of its rows into quarantine.
    assert refusals(tmp_path / "out") == [
        (3, "unpaired_response"),
        (4, "control_character"),
        (5, "control_character"),
        (6, "blank_response"),
    ]
    with pytest.raises(UserError, match=r"share of quarantined rows is 0\.667 \(4 of 6\)"):
        run(tmp_path / "x.jsonl", tmp_path / "other", max_quarantined_fraction=0.5)


def test_columns_of_any_name_are_mapped(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "x.jsonl", [{"question": "Q", "good": "a", "bad": "b", "n": 1}])
    columns = {"prompt": "question", "chosen": "good", "rejected": "bad"}
    run(tmp_path, tmp_path / "out", sources=[{"path": tmp_path / "x.jsonl", "columns": columns}])
    (pair,) = pq.read_table(tmp_path / "out" / "pairs.parquet").to_pylist()
    assert (pair["prompt"][0]["content"], pair["chosen"], pair["rejected"], pair["meta"]) == ("Q", "a", "b", '{"n": 1}')


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


def test_too_many_refused_rows_fail_with_numbers_and_the_rule(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "x.jsonl", [GOOD, GOOD | {"chosen": ""}, GOOD | {"rejected": ""}])
    with pytest.raises(UserError) as error:
        run(tmp_path / "x.jsonl", tmp_path / "out", max_quarantined_fraction=0.5)
    message = str(error.value)
    assert "share of quarantined rows is 0.667 (2 of 3), allowed is at most 0.5" in message
    assert "blank_chosen (1)" in message
    assert (tmp_path / "out" / "quarantine.parquet").exists()


def test_no_text_of_a_row_is_logged_or_shown_in_docs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "zebracadabra"
    write_jsonl(tmp_path / "x.jsonl", [GOOD, GOOD | {"chosen": f"{secret} \x07"}])
    run(tmp_path / "x.jsonl", tmp_path / "out")
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


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINE, max_size=30))
@example([b'{"prompt": null}', b'{"prompt": null}', b"\t"])  # a block of its own, with no row in it
def test_no_input_loses_a_row(tmp_path: Path, lines: list[bytes]) -> None:
    lines = [json.dumps(GOOD).encode(), *lines]
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(lines))
    summary = run(tmp_path / "x.jsonl", tmp_path / "out", format="preference")
    assert summary["rows"] == sum(bool(line.strip()) for line in lines)


def test_the_hh_file_is_accounted_for(tmp_path: Path) -> None:
    summary = run(shared_data("hh_rlhf/harmless-base-test.jsonl.gz"), tmp_path / "out")
    assert (summary["rows"], summary["pairs"]) == (2312, 2299)
    assert summary["by_rule"] == {"prompts_differ": 5, "roles_do_not_alternate": 4, "blank_chosen": 4}


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


def test_duplicates_are_found_across_chunks_and_sources(tmp_path: Path) -> None:
    """More rows than are held at a time: the pairs come out sorted, and the first of equals stays."""
    num = BATCH_ROWS + 500
    write_jsonl(tmp_path / "x.jsonl", [*pair_rows(num), *pair_rows(3)])
    write_jsonl(tmp_path / "y.jsonl", [{**row, "chosen": row["rejected"], "rejected": row["chosen"]}
                                       for row in pair_rows(5)[3:]])  # fmt: skip
    workdir = tmp_path / "out"
    workdir.mkdir()
    summary = ingest(
        settings=IngestSettings.model_validate(
            {"sources": [{"path": tmp_path / "x.jsonl"}, {"path": tmp_path / "y.jsonl"}]}
        ),
        model=ModelSettings(max_length=256, max_prompt_length=128),
        tokenizer=tiny_tokenizer(),
        workdir=workdir,
        checks=GreatExpectationsChecks(),
        progress=Silent(),
    )
    assert summary["rows"] == num + 5
    assert summary["by_rule"] == {"contradictory_labels": 4, "duplicate": 3}
    ids = pq.read_table(workdir / "pairs.parquet")["pair_id"].to_pylist()
    assert len(ids) == num - 2
    assert ids == sorted(set(ids))
    refused = pq.read_table(workdir / "quarantine.parquet").to_pylist()
    assert [(r["file"], r["line"], r["reason"]) for r in refused if r["rule"] == "duplicate"] == [
        ("x.jsonl", num + i, f"the same pair as x.jsonl:{i}") for i in (1, 2, 3)
    ]
    assert sorted((r["file"], r["line"]) for r in refused if r["rule"] != "duplicate") == [
        ("x.jsonl", 4), ("x.jsonl", 5), ("y.jsonl", 1), ("y.jsonl", 2)
    ]  # fmt: skip


@pytest.mark.slow
def test_all_cores_give_the_same_as_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Any] = [*pair_rows(3000), *pair_rows(5), GOOD | {"chosen": ""}, [1], GOOD | {"chosen": "\x07"}]
    write_jsonl(tmp_path / "x.jsonl", rows)
    monkeypatch.setattr("bdpo.data.blocks.BLOCK_BYTES", 20_000)
    summaries = []
    for name, alone in (("one", 10**9), ("all", 1)):
        monkeypatch.setattr("bdpo.data.preparation._ALONE_BLOCKS", alone)
        monkeypatch.setattr("bdpo.data.preparation.num_cores", lambda: 2)
        summaries.append(run(tmp_path / "x.jsonl", tmp_path / name, near_duplicates=0.9))
    assert summaries[0] == summaries[1]
    assert summaries[0]["by_rule"]["duplicate"] == 5
    for name in ("pairs.parquet", "quarantine.parquet", "dataset/train.parquet", "README.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "all" / name).read_bytes(), name


def test_other_fields_are_json_that_any_reader_takes(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(
        '{"prompt": "Q", "chosen": "a", "rejected": "b", "x": NaN, "y": [-Infinity, {"\\ud800": "\\udfff!"}], "n": 7}'
    )
    run(tmp_path / "x.jsonl", tmp_path / "out")
    (meta,) = pq.read_table(tmp_path / "out" / "pairs.parquet")["meta"].to_pylist()
    assert orjson.loads(meta) == {"x": None, "y": [None, {"\ufffd": "\ufffd!"}], "n": 7}


def test_what_cannot_be_seen_is_blank(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "x.jsonl", [GOOD, GOOD | {"chosen": "\u200b"}, GOOD | {"prompt": "\ufeff\u00a0"}])
    run(tmp_path / "x.jsonl", tmp_path / "out")
    assert refusals(tmp_path / "out") == [(2, "blank_chosen"), (3, "blank_prompt")]


def test_a_failure_says_what_became_of_the_rows(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "x.jsonl", pair_rows(20))
    with pytest.raises(UserError) as error:
        run(path, tmp_path / "out", sources=[{"path": path, "weight": 1e-9}])
    assert str(error.value) == (
        "ingest: number of pairs is 0, allowed is at least 1; of 20 rows 0 were refused; 20 were left out by `weight`."
    )
    csv = tmp_path / "x.csv"
    csv.write_text(
        "prompt,chosen,rejected\nQ,\"[{'role': 'user', 'content': 'Q'}]\",b\nR, ,b\n"
        "S,\"[{'role': 1, 'content': 2}]\",b\n"
    )
    with pytest.raises(UserError) as error:
        run(csv, tmp_path / "out")
    assert str(error.value) == (
        "ingest: number of pairs is 0, allowed is at least 1; of 3 rows 3 were refused, most often by: wrong_type (2), "
        "blank_chosen (1), as x.csv:2: `chosen` is a list of messages as Python prints it; write it as JSON; they are "
        f"in {tmp_path / 'out' / 'quarantine.parquet'}."
    )
