"""What `bdpo query` prints."""

import csv
import io
import json
from pathlib import Path

import pytest

from bdpo.artifacts.catalogue import rebuild_catalogue
from bdpo.cli.query import Format, query
from bdpo.errors import UserError


def printed(root: Path, sql: str, capsys: pytest.CaptureFixture[str]) -> str:
    rebuild_catalogue(root, {}, {})
    query(sql, Format.json, root)
    return capsys.readouterr().out


def test_json_is_json_whatever_the_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "select 1.5::double as x, ['nan'::double, 2] as y, map {date '2026-01-02': 'inf'::double} as z, null as n"

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    (row,) = json.loads(printed(tmp_path, sql, capsys), parse_constant=refuse)
    assert row == {"x": 1.5, "y": ["nan", 2.0], "z": {"2026-01-02": "inf"}, "n": None}


_KINDS = """select 1.25::decimal(9, 2) as amount, 3.00::decimal(9, 2) as whole, sum(2::bigint) as total,
    '1e37'::decimal(38) as most, encode('é') || '\\xFF'::blob as row, ['é', null] as list,
    {'a': [encode('ü')], 'b': 0.5} as both"""


def test_numbers_are_numbers_and_blobs_are_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = json.loads(printed(tmp_path, _KINDS, capsys))
    both = {"a": ["ü"], "b": 0.5}
    assert row == {
        "amount": 1.25,
        "whole": 3,
        "total": 2,
        "most": 10**37,
        "row": "é\\xff",
        "list": ["é", None],
        "both": both,
    }


def test_a_cell_holds_text_or_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuild_catalogue(tmp_path, {}, {})
    query(_KINDS, Format.csv, tmp_path)
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""))
    expected = {
        "amount": "1.25",
        "whole": "3.00",
        "total": "2",
        "most": str(10**37),
        "row": "é\\xff",
        "list": '["é", null]',
    }
    assert row == {**expected, "both": '{"a": ["ü"], "b": 0.5}'}
    monkeypatch.setenv("COLUMNS", "200")
    query(_KINDS, Format.table, tmp_path)
    shown = capsys.readouterr().out
    assert all(f" {text} " in shown for text in row.values())


def test_what_would_end_a_row_of_csv_is_quoted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rebuild_catalogue(tmp_path, {}, {})
    query(
        "select 'a' || chr(13) || 'b' as x, 'c' || chr(10) || 'd' as y, 'e' || chr(13) || chr(10) as z",
        Format.csv,
        tmp_path,
    )
    assert capsys.readouterr().out == 'x,y,z\n"a\rb","c\nd","e\r\n"\n'


def test_two_columns_of_one_name_are_not_made_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="two columns are named a; for JSON give one another name"):
        printed(tmp_path, "select 1 as a, 2 as b, 3 as a", capsys)


def test_a_row_of_more_columns_than_the_terminal_has_room_for_is_a_table_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rebuild_catalogue(tmp_path, {}, {})
    figures = ", ".join(f"0.24249400665524085::double as figure_{i}" for i in range(20))
    query(f"select {figures} from range(2)", Format.table, tmp_path)
    wide = capsys.readouterr().out
    assert wide.count("0.24249400665524085") == 40
    assert [line for line in wide.splitlines() if "row 2" in line]
    query("select " + ", ".join(f"{i} as c{i}" for i in range(12)), Format.table, tmp_path)
    assert "row 1" not in capsys.readouterr().out


@pytest.mark.parametrize("output", [Format.csv, Format.json])
def test_a_terminal_shows_what_a_program_gets_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, output: Format
) -> None:
    """To a terminal each of these is a command, and JSON escapes the first alone."""
    commands = "\x1b[2J\x9b2J\u202e"
    rebuild_catalogue(tmp_path, {}, {})
    sql = "select 'Yes: ' || chr(27) || '[2J' || chr(155) || '2J' || chr(8238) as said"
    query(sql, output, tmp_path)
    written = capsys.readouterr().out
    said = written.splitlines()[1] if output is Format.csv else json.loads(written)[0]["said"]
    assert said == f"Yes: {commands}"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    query(sql, output, tmp_path)
    shown = capsys.readouterr().out
    assert "Yes: " in shown
    assert not set(commands) & set(shown) - set("[2J")


def test_of_several_questions_none_is_answered_in_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="these are 2 statements; ask one `select` at a time"):
        printed(tmp_path, "select 1 as a; select 2 as a", capsys)
    assert json.loads(printed(tmp_path, "set timezone = 'UTC'; select 2 as a;", capsys)) == [{"a": 2}]
