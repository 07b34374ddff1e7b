"""The line of progress that Prefect's log gets."""

import pytest

from flows.progress import progress_line


@pytest.mark.parametrize(
    ("done", "computed", "line"),
    [
        (30, 30, "30 of 90 steps, 0.5 a second, 0:02:00 left"),
        # What an earlier run had done says nothing of the rate.
        (80, 20, "80 of 90 steps, 0.333 a second, 0:00:30 left"),
        (60, 0, "60 of 90 steps, 0 a second"),
    ],
)
def test_the_rate_is_of_what_was_computed_now(done: int, computed: int, line: str) -> None:
    assert progress_line(done, 90, "steps", computed, 60.0) == line
