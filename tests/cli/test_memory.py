"""Want of memory in the commands that run no stage: one sentence that says what to lower."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from bdpo.cli import app
from bdpo.errors import UserError

COMMANDS = {
    "bdpo.evaluation.comparison.compare_runs": (["compare", "a", "b"], "compare: .*; compare fewer runs at a time"),
    "bdpo.evaluation.judge_file.judge_file": (["judge", "x.csv", "--output", "y.csv"], "judge: .*; name a smaller"),
    "bdpo.evaluation.attacks.command.attack": (
        ["attack", "gcg", "goals.csv", "--output", "y.json", "--model", "embedded"],
        "attack: .*; lower --search-width below 32 or --max-new-tokens",
    ),
}


@pytest.mark.parametrize("inner", COMMANDS)
def test_want_of_memory_is_a_sentence(inner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, said = COMMANDS[inner]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inner, lambda *_: torch.empty(2**60))
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, UserError)
    assert str(error).startswith(f"{arguments[0]}: there is too little memory (")
    with pytest.raises(UserError, match=said):
        raise error
