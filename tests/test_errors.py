"""How names of columns are quoted, and that what stands in their place where there is no header is not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bdpo.errors import UserError, first_line, shown_columns
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
