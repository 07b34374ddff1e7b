"""What `bdpo query` prints."""

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
