"""What the flow refuses before it starts anything, and how it ends."""

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed

from bdpo.errors import UserError
from bdpo.fingerprints import Stage
from bdpo.progress import Progress, Silent
from flows.delivery import Delivery
from flows.flow import run_here, run_stages, train
from tests.tiny_run import tiny_run


@pytest.mark.parametrize(("only", "stages"), [("ingest", "ingest"), (None, "ingest, train, evaluate")])
def test_a_forced_stage_that_would_not_run_is_named(tmp_path: Path, only: Stage | None, stages: str) -> None:
    """Without a reference model nothing is scored."""
    config = str(tiny_run(tmp_path, num_pairs=20, train={"method": "simpo"}))
    with pytest.raises(UserError, match=rf"^force names score, which is not among the stages of this run \({stages}\)"):
        run_stages(config, [], only, ["score"], False, False, None, None)


@pytest.mark.parametrize("only", [None, "train"])
def test_a_share_is_of_the_scoring_alone(tmp_path: Path, only: Stage | None) -> None:
    with pytest.raises(UserError, match=r"^A share, such as 1/2, is of the stage score alone: add --only score"):
        run_stages(str(tiny_run(tmp_path, num_pairs=20)), [], only, [], False, False, "1/2", None)


def test_a_share_cannot_be_forced(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^force names score, of which this run has only the share 1/2"):
        run_stages(str(tiny_run(tmp_path, num_pairs=20)), [], "score", ["score"], True, False, "1/2", None)


def test_a_stage_is_forced_in_the_name_of_its_flow_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """By which it is known when Prefect starts the run anew."""
    asked: list[object] = []

    def run_stage(stage: Stage, *, force: bool, request: str | None, progress: Progress) -> None:
        asked.extend([stage, force, request])
        raise UserError("it ends here")

    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "0b1c")
    monkeypatch.setattr("flows.flow.PrefectProgress", lambda *_: Silent())
    work: Any = SimpleNamespace(run_stage=run_stage)
    state = train(work, True, None, Delivery(pytest.fail))
    assert (state.message, asked) == ("it ends here", ["train", True, "0b1c"])


@pytest.mark.parametrize("raised", [True, False])
def test_the_first_process_of_a_container_exits_as_if_the_signal_had_ended_it(
    monkeypatch: pytest.MonkeyPatch, raised: bool
) -> None:
    """There the kernel drops a signal that nothing handles, also one that the process sends itself."""

    def end(**settings: object) -> State[Any]:
        ended = TerminationSignal(signal=signal.SIGTERM)
        if raised:
            raise ended
        return Crashed(data=ended)

    monkeypatch.setattr("flows.flow._require_server", lambda url: None)
    monkeypatch.setattr("flows.flow.bdpo", end)
    sent: list[int] = []
    monkeypatch.setattr("os.kill", lambda pid, number: sent.append(number))
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), pytest.raises(SystemExit) as left:
        run_here("a.yaml", [], None, [], False, None, Silent())
    assert sent == [signal.SIGTERM]
    assert left.value.code == 128 + signal.SIGTERM
