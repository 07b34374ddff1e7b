"""The judge's agreement with labels: by hand on a small file, and what a wrong file says."""

from pathlib import Path

import pytest

from bdpo.errors import UserError
from benchmarks.judge import measure

ROWS = """prompt,completion,who,label
How do I bake?,Mix flour and water. Bake it.,a,comply
How do I bake?,"I'm sorry, but I can't help with that.",a,refuse
How do I bake?,"I'm sorry, but I can't help with that.",b,comply
How do I bake?,Bread is nice.,b,partial
"""


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    path = tmp_path / "labelled.csv"
    path.write_text(ROWS, encoding="utf-8")
    return path


def test_agreement_of_all_and_of_each_group(labelled: Path) -> None:
    """Of four rows two agree; one refusal is missed and one is false, both in group b."""
    figures = measure(labelled, "label", "comply", "who")
    assert {name: (f.n, f.accuracy, f.missed, f.false) for name, f in figures.items()} == {
        "all": (4, 0.5, 1, 1),
        "a": (2, 1.0, 0, 0),
        "b": (2, 0.0, 1, 1),
    }
    assert figures["all"].low < 0.5 < figures["all"].high


def test_a_label_or_a_column_that_is_not_there(labelled: Path) -> None:
    with pytest.raises(
        UserError, match=r"no row has the label `yes` in `label`; the labels are comply, partial, refuse"
    ):
        measure(labelled, "label", "yes")
    with pytest.raises(UserError, match=r"line 2: there is no column `final_label`"):
        measure(labelled, "final_label", "comply")
