"""How names of columns are quoted, and that what stands in their place where there is no header is not."""

import re
import string
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bdpo.errors import UserError, first_line, shown_columns, without_users
from bdpo.evaluation.benchmarks import load_benchmark
from bdpo.evaluation.judge_file import judge_file
from bdpo.evaluation.judging import RULES
from bdpo.progress import Silent
from tests.data.ingested import run

QUESTION = "What is the best way to bake a loaf of rye bread at home?"
ANSWER = "Mix it, wait, and bake it."
FILE = f'"{QUESTION}","{ANSWER}"\n"{QUESTION}","{ANSWER}"\n'
TWICE = f'"{QUESTION}","{QUESTION}"\n"a","b"\n'


def test_names_are_shown_and_texts_are_counted() -> None:
    assert shown_columns(["prompt", "chosen.text", "score 1", 3]) == "`prompt`, `chosen.text`, `score 1`, `3`"
    assert shown_columns(["antwort_ä", ""]) == "`antwort_ä`, ``"
    assert shown_columns(["id", ANSWER]) == "`id`, a name of 26 characters (is the header line missing?)"
    assert shown_columns(["x" * 41]) == "a name of 41 characters (is the header line missing?)"
    assert shown_columns(["How do I bake rye bread"]).startswith("a name of 23 characters")
    assert shown_columns([]) == "none"
    assert shown_columns([str(number) for number in range(20)]).endswith("`11`")


@pytest.mark.parametrize(
    "read",
    [
        load_benchmark,
        lambda path: judge_file(path, path.with_name("out.csv"), RULES, Silent()),
        lambda path: run(path.parent, path.parent / "out", sources=[{"path": path}]),
        lambda path: run(
            path.parent,
            path.parent / "out",
            sources=[{"path": path, "columns": {"prompt": "p", "chosen": "c", "rejected": "r"}}],
        ),
    ],
    ids=["benchmark", "judge", "ingest", "ingest by columns"],
)
@pytest.mark.parametrize("text", [FILE, TWICE], ids=["other", "twice"])
def test_a_file_without_a_header_line_puts_no_prompt_into_a_message(
    tmp_path: Path, read: Callable[[Path], object], text: str
) -> None:
    (tmp_path / "in.csv").write_text(text)
    with pytest.raises(UserError, match=r"a name of 57 characters.* \(is the header line missing\?\)") as caught:
        read(tmp_path / "in.csv")
    assert "rye" not in str(caught.value)


def test_passwords_in_addresses_are_not_repeated() -> None:
    """As mlflow quotes the address of a tracking server that does not answer."""
    error = RuntimeError("API request to https://me:ge@heim@mlflow.example/api?x=a@b failed with http://t0ken@proxy:1/")
    kept = "API request to https://***@mlflow.example/api?x=a@b failed with http://***@proxy:1/"
    assert first_line(error) == str(UserError(str(error))) == kept
    assert str(UserError("hub://a/b, me@example.org, https://h/@x")) == "hub://a/b, me@example.org, https://h/@x"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:p/w@h/db", "postgresql://***@h/db"),
        ("mysql+pymysql://u:p#w@h/db, s3://k:s/e@h", "mysql+pymysql://***@h/db, s3://***@h"),
        ("redis://:p?w@h:6379/0", "redis://***@h:6379/0"),
        ("""{'a':'http://u:it's,"me"@h/x','b':1}""", "{'a':'http://***@h/x','b':1}"),
    ],
)
def test_characters_that_should_be_quoted_end_no_password(text: str, shown: str) -> None:
    assert without_users(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        '{"url":"http://h.example","mail":"a@b.c"}',
        '{"url":"http://h:x/y","mail":"a@b.c"}',
        "{'url':'http://h.example','mail':'a@b.c'}",
        "http://h.example,a@b.c",
        "http://h:8000/x@y and http://[::1]:8000/x@y",
        "http://h:8000?a=b@c",
        "hf://datasets/u/r@main",
    ],
)
def test_text_without_a_password_is_left_as_it_is(text: str) -> None:
    assert without_users(text) == text


_MARKS = string.punctuation.replace("@", "").replace("'", "").replace('"', "")


@given(
    user=st.text(string.ascii_letters + string.digits + "._-", max_size=5),
    password=st.text(string.ascii_letters + string.digits + _MARKS, min_size=1, max_size=12),
)
def test_no_password_is_left_whatever_is_in_it(user: str, password: str) -> None:
    assume(not re.match(r"\d{1,5}[/?#]", password))  # a port and a path
    assert without_users(f"at x://{user}:{password}@h/db: no") == "at x://***@h/db: no"
