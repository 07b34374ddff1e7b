"""Ingestion: every row comes out as a pair or in quarantine, with the right reason."""

import csv
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bdpo.config import IngestSettings, ModelSettings
from bdpo.data.candidates import BATCH_ROWS
from bdpo.data.files import DataFile, data_files
from bdpo.data.stage import ingest
from bdpo.errors import UserError
from bdpo.progress import Silent
from tests.data.ingested import GOOD, refusals, run
from tests.rules_alone import RulesAlone
from tests.tiny import tiny_tokenizer
from tests.tiny_run import pair_rows, write_jsonl


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
        file.write(b'\n{"prompt": "R", "chosen": "yes<|im_end|>", "rejected": "no<|im_end|>"}')
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
        (16, "special_token"),
    ]
    kept = {row["line"]: row["row"] for row in pq.read_table(tmp_path / "out/quarantine.parquet").to_pylist()}
    assert kept[12] == b'{"prompt": '
    assert kept[14] == b'{"chosen": "\xff"}'


def test_a_long_prompt_is_cut_and_leaves_room_for_the_responses(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "x.jsonl", [GOOD, GOOD | {"prompt": "long " * 60}])
    assert run(tmp_path / "x.jsonl", tmp_path / "out")["quarantined"] == 0


def test_a_pair_that_truncation_makes_identical_is_refused(tmp_path: Path) -> None:
    """It would carry no preference, and its tie would count as a wrong ranking."""
    begin = "long " * 60
    alike = GOOD | {"chosen": f"{begin}yes", "rejected": f"{begin}no"}
    write_jsonl(tmp_path / "x.jsonl", [GOOD, alike, GOOD | {"chosen": f"y{begin}", "rejected": f"n{begin}"}])
    run(tmp_path / "x.jsonl", tmp_path / "out", min_pairs=1)
    assert refusals(tmp_path / "out") == [(2, "identical_tokens")]


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


@pytest.mark.parametrize(
    "content",
    ["sep=;\nprompt;chosen;rejected\nQ;a;b\n", "prompt,chosen,rejected,,\nQ,a,b,,\n",
     'prompt;chosen;rejected;"seen, or not"\nQ;a;b;\n'],
    ids=["sep", "nameless", "comma in a name"],
)  # fmt: skip
def test_csv_of_spreadsheets_gives_pairs(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.csv").write_text(content)
    assert run(tmp_path / "x.csv", tmp_path / "out", min_pairs=1)["pairs"] == 1


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


def test_files_of_one_name_are_told_apart_by_their_source(tmp_path: Path) -> None:
    rows = pair_rows(6)
    for folder, its_rows in (("a", rows[:4]), ("b", [*rows[4:], rows[1]])):
        (tmp_path / folder).mkdir()
        write_jsonl(tmp_path / folder / "x.jsonl", its_rows)
    write_jsonl(tmp_path / "v1.0.train.jsonl", [rows[4]])
    write_jsonl(tmp_path / "v1.1.jsonl", pair_rows(7)[6:])
    paths = ["a/x.jsonl", "b/*.jsonl", "v1.0.train.jsonl", "v1.1.jsonl"]
    summary = run(tmp_path, tmp_path / "out", sources=[{"path": tmp_path / path} for path in paths])
    assert summary["by_source"] == {"sources.0/x": 4, "sources.1/x": 2, "v1.1": 1}
    refused = pq.read_table(tmp_path / "out" / "quarantine.parquet").to_pylist()
    assert [(row["file"], row["line"], row["reason"]) for row in refused] == [
        ("sources.1/x.jsonl", 3, "the same pair as sources.0/x.jsonl:2"),
        ("v1.0.train.jsonl", 1, "the same pair as sources.1/x.jsonl:1"),
    ]


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
    with pytest.raises(UserError, match=r"share of quarantined rows is 0\.600 \(3 of 5\)"):
        run(tmp_path / "x.jsonl", tmp_path / "other", max_quarantined_fraction=0.5)


def test_responses_that_have_no_other_to_pair_with_are_no_sign_of_bad_rows(tmp_path: Path) -> None:
    """Of 30 prompts with three responses each 20 have one that is unsafe: 50 of 90 rows have none left to pair with."""
    rows = [
        {"prompt": f"Q{i}", "response": f"{name} {i}", "is_safe": name != "bad" or i < 10, "category": {}}
        for i in range(30)
        for name in ("good", "fine", "bad")
    ]
    write_jsonl(tmp_path / "x.jsonl", rows)
    limit = IngestSettings.model_fields["max_quarantined_fraction"].default
    summary = run(tmp_path / "x.jsonl", tmp_path / "out", max_quarantined_fraction=limit)
    assert (summary["rows"], summary["pairs"], summary["paired_rows"], summary["quarantined"]) == (90, 20, 40, 50)
    assert summary["by_rule"] == {"unpaired_response": 50}
    assert len(refusals(tmp_path / "out")) == 50


def test_pku_without_safety_labels_is_found_and_its_blank_responses_refused(tmp_path: Path) -> None:
    row = {"prompt": "Q", "response_0": "zero", "response_1": "one", "better_response_id": 1, "prompt_sha256": "0"}
    write_jsonl(tmp_path / "x.jsonl", [row, row | {"response_1": " "}, row | {"response_0": "\n"}])
    run(tmp_path / "x.jsonl", tmp_path / "out")
    (pair,) = pq.read_table(tmp_path / "out" / "pairs.parquet").to_pylist()
    assert (pair["chosen"], pair["rejected"], pair["chosen_safe"], pair["rejected_safe"]) == ("one", "zero", None, None)
    assert refusals(tmp_path / "out") == [(2, "blank_chosen"), (3, "blank_rejected")]


def test_every_annotation_of_a_response_is_counted_however_many_there_are(tmp_path: Path) -> None:
    def answer(response: str, safe: bool) -> dict[str, Any]:
        return {"prompt": "Q", "response": response, "is_safe": safe, "category": {"theft": not safe}}

    rows = [answer("good", True), answer("bad", False)] * 150 + [answer("good", False)] * 100
    rows += [answer("tied", True), answer("tied", False)]
    write_jsonl(tmp_path / "x.jsonl", rows)
    summary = run(tmp_path / "x.jsonl", tmp_path / "out", max_quarantined_fraction=0.01)
    assert (summary["rows"], summary["pairs"], summary["paired_rows"]) == (402, 1, 400)
    assert refusals(tmp_path / "out") == [(401, "contradictory_labels"), (402, "contradictory_labels")]


def test_columns_of_any_name_are_mapped(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "x.jsonl", [{"question": "Q", "good": "a", "bad": "b", "n": 1}])
    columns = {"prompt": "question", "chosen": "good", "rejected": "bad"}
    run(tmp_path, tmp_path / "out", sources=[{"path": tmp_path / "x.jsonl", "columns": columns}])
    (pair,) = pq.read_table(tmp_path / "out" / "pairs.parquet").to_pylist()
    assert (pair["prompt"][0]["content"], pair["chosen"], pair["rejected"], pair["meta"]) == ("Q", "a", "b", '{"n": 1}')


def test_a_column_that_only_late_rows_have_is_read_and_one_that_none_has_is_named(tmp_path: Path) -> None:
    rows = [{"prompt": f"Q{i}", "chosen": "a", "rejected": "b"} for i in range(120)]
    rows[110]["harm"] = "theft"
    write_jsonl(tmp_path / "x.jsonl", rows)
    path = tmp_path / "x.jsonl"
    summary = run(tmp_path, tmp_path / "out", sources=[{"path": path, "columns": {"category": "harm"}}])
    assert (summary["pairs"], summary["num_categories"]) == (120, 1)
    with pytest.raises(UserError, match=r"x\.jsonl: `columns\.category` is 'harn', which none of its rows has"):
        run(tmp_path, tmp_path / "other", sources=[{"path": path, "columns": {"category": "harn"}}])


def test_numbers_of_a_database_are_numbers(tmp_path: Path) -> None:
    """A Parquet file's DECIMAL columns."""
    said = [[{"role": "user", "content": "Q"}, {"role": "assistant", "content": side}] for side in ("good", "bad")]
    row: dict[str, Any] = {
        "chosen": said[0],
        "rejected": said[1],
        "chosen_safe": Decimal(1),
        "rejected_safe": Decimal(0),
    }
    table = pa.Table.from_pylist([row | {"score_chosen": Decimal("8.50"), "score_rejected": Decimal("7.25")}])
    pq.write_table(table, tmp_path / "x.parquet")
    assert table.schema.field("score_chosen").type == pa.decimal128(3, 2)
    run(tmp_path / "x.parquet", tmp_path / "out")
    (pair,) = pq.read_table(tmp_path / "out" / "pairs.parquet").to_pylist()
    assert (pair["chosen"], pair["chosen_safe"], pair["rejected_safe"]) == ("good", True, False)
    assert json.loads(pair["meta"]) == {"score_chosen": "8.50", "score_rejected": "7.25"}


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
        checks=RulesAlone(),
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


def test_equal_pairs_of_which_a_response_is_labelled_safe_and_unsafe_contradict_each_other(tmp_path: Path) -> None:
    """Whichever came first would decide what a sample or SafeDPO makes of the pair."""
    other: dict[str, Any] = {"prompt": "R", "chosen": "a", "rejected": "b"}
    labelled: list[Any] = [GOOD | {"rejected_safe": True}, GOOD | {"rejected_safe": False}]
    rows = [GOOD, *labelled, other | {"chosen_safe": True}, other, other | {"n": 1}]
    write_jsonl(tmp_path / "x.jsonl", rows)
    summary = run(tmp_path / "x.jsonl", tmp_path / "out")
    assert summary["by_rule"] == {"contradictory_labels": 3, "duplicate": 2}
    assert refusals(tmp_path / "out") == [
        *((line, "contradictory_labels") for line in (1, 2, 3)), (5, "duplicate"), (6, "duplicate")
    ]  # fmt: skip
    first = pq.read_table(tmp_path / "out" / "quarantine.parquet").to_pylist()[0]
    assert first["reason"] == "the pair is here with a response labelled safe and labelled unsafe"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "csv", "beavertails"])
def test_all_cores_give_the_same_as_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Rows that are refused before a process has them go there too."""
    path = tmp_path / f"x.{'csv' if kind == 'csv' else 'jsonl'}"
    match kind:
        case "jsonl":
            others: list[Any] = [*pair_rows(5), GOOD | {"chosen": ""}, [1], GOOD | {"chosen": "A\x07"}]
            write_jsonl(path, [*pair_rows(3000), *others])
            refused = {"duplicate": 5, "blank_chosen": 1, "not_an_object": 1, "control_character": 1}
        case "csv":
            rows = [[row[name] for name in ("prompt", "chosen", "rejected")] for row in pair_rows(3000)]
            with path.open("w", newline="") as file:
                csv.writer(file).writerows([["prompt", "chosen", "rejected"], *rows, ["too", "short"]])
            refused = {"wrong_number_of_fields": 1}
        case _:
            labelled = [(f"Q {i}", f"{safe} {i}", safe) for i in range(1000) for safe in (True, False)]
            answers = [*labelled, ("alone", "alone", True)]
            write_jsonl(path, [{"prompt": q, "response": a, "is_safe": s, "category": {}} for q, a, s in answers])
            refused = {"unpaired_response": 1}
    monkeypatch.setattr("bdpo.data.blocks.BLOCK_BYTES", 20_000)
    monkeypatch.setattr("bdpo.data.responses.BLOCK_ROWS", 100)
    summaries = []
    for name, alone_blocks in (("one", 10**9), ("all", 1)):
        monkeypatch.setattr("bdpo.data.preparation._ALONE_BLOCKS", alone_blocks)
        monkeypatch.setattr("bdpo.data.preparation.num_cores", lambda: 2)
        summaries.append(run(path, tmp_path / name, near_duplicates=0.9))
    assert summaries[0] == summaries[1]
    assert summaries[0]["by_rule"] == refused
    for name in ("pairs.parquet", "quarantine.parquet", "dataset/train.parquet", "README.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "all" / name).read_bytes(), name


def test_other_fields_are_json_that_any_reader_takes(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(
        '{"prompt": "Q", "chosen": "a", "rejected": "b", "x": NaN, "y": [-Infinity, {"\\ud800": "\\udfff!"}], "n": 7}'
    )
    run(tmp_path / "x.jsonl", tmp_path / "out")
    (meta,) = pq.read_table(tmp_path / "out" / "pairs.parquet")["meta"].to_pylist()
    assert orjson.loads(meta) == {"x": None, "y": [None, {"\ufffd": "\ufffd!"}], "n": 7}


def test_other_fields_may_be_as_deep_as_a_row_may(tmp_path: Path) -> None:
    deep = "[" * 800 + 'NaN, "\\ud800", 1e999' + "]" * 800
    (tmp_path / "x.jsonl").write_text(f'{{"prompt": "Q", "chosen": "a", "rejected": "b", "x": {deep}}}')
    run(tmp_path / "x.jsonl", tmp_path / "out")
    (meta,) = pq.read_table(tmp_path / "out" / "pairs.parquet")["meta"].to_pylist()
    assert meta == '{"x": ' + "[" * 800 + 'null, "\\ufffd", null' + "]" * 800 + "}"


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


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is added while it is read has part neither in the names nor in the rows."""
    (tmp_path / "in").mkdir()
    write_jsonl(tmp_path / "in" / "x.jsonl", [GOOD])
    listed: list[Path] = []

    def counted(path: Path) -> list[DataFile]:
        listed.append(path)
        return data_files(path)

    monkeypatch.setattr("bdpo.data.stage.data_files", counted)
    assert run(tmp_path / "in", tmp_path / "out", min_pairs=1)["pairs"] == 1
    assert listed == [tmp_path / "in"]
