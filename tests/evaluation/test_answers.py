"""Exact rules for answers."""

import pytest

from bdpo.evaluation.answers import is_number, last_number_is, stands_in
from bdpo.evaluation.benchmarks import load_benchmark
from tests.paths import shared_data


@pytest.mark.parametrize(
    ("completion", "answer", "right"),
    [
        ("16 - 7 = 9, and 9 * 2 = 18.", "18", True),
        ("The answer is $1,200.00", "1200", True),
        ("It is 18 at first, then 20", "18", False),
        ("no number", "18", False),
        ("It is -3", "-3", True),
        ("Her loss is -$10.", "-10", True),
        ("So x = \u221210.", "-10", True),
        ("So x = \u221210.", "10", False),
        ("so **-10**", "-10", True),
        ("20-2 = 18; of 15-18", "18", True),
        ("It costs $5-$10", "10", True),
        ("They are 1,2,3,18", "18", True),
        ("1,200,000", "1200000", True),
        ("1,00,000", "100000", True),
        ("It costs $.50", "0.5", True),
        ("It costs $.50", "50", False),
        ("25 * .01 = .25", "25", False),
        ("so -.5", "-0.5", True),
        ("in No.5", "5", True),
        ("up to ...5", "5", True),
        ("", "18", False),
        (r"\boxed{1{,}234}", "1234", True),
        (r"so \$1\,234{,}567.", "1234567", True),
        ("so 1\u202f234", "1,234", True),
        (r"f(1\,23)", "23", True),
    ],
)
def test_the_last_number_by_hand(completion: str, answer: str, right: bool) -> None:
    assert last_number_is(completion, answer) is right


@pytest.mark.parametrize(
    ("completion", "answer", "right"),
    [
        ("That was Ada Lovelace, of course.", "ada  lovelace", True),
        ("Jos\u00e9 wrote it", "Jose", True),
        ("Adam did", "Ada", False),
        ("", "Ada", False),
        ("Lovelace, Ada", "Ada Lovelace", False),
        ("It was founded in 1978 by 3 people.", "1978", True),
        ("120000 people", "120,000", True),
        ("14.5 metres", "14", False),
        ("in 1979", "1978", False),
        ("about 120000 euros", "120,000 euros", True),
        ("about 120,000 euros", "120000 euros", True),
        ("12,0000 euros", "120000 euros", False),
        ("on the 2nd of March, 2019", "March 2, 2019", True),
        ("on March 2nd 2019", "2 March 2019", True),
        ("on 3 March 2019", "March 2, 2019", False),
        ("the 4th floor", "4 floor", True),
    ],
)
def test_words_by_hand(completion: str, answer: str, right: bool) -> None:
    assert stands_in(completion, answer) is right


def test_every_solution_of_gsm8k_ends_in_its_own_answer() -> None:
    prompts = load_benchmark(shared_data("gsm8k/test.jsonl")).prompts
    answers = [prompt.answer or "" for prompt in prompts]
    assert all(is_number(answer) and last_number_is(f"The answer is {answer}.", answer) for answer in answers)
