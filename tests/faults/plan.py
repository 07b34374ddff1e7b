"""Which faults there are, and what injects each."""

import signal
from collections.abc import Callable, Mapping

from bdpo.fingerprints import STAGES
from tests.faults import damage, disks, kills, rivals, servers, terminal
from tests.faults.trial import Fault, Trial

KINDS: Mapping[str, Callable[[Trial], None]] = {
    "kill": kills.kill(signal.SIGKILL),
    "term": kills.kill(signal.SIGTERM),
    "interrupt": kills.kill(signal.SIGINT),
    "flip": damage.flip,
    "truncate": damage.truncate,
    "flip-input": damage.outside,
    "truncate-input": damage.outside,
    "flip-rows": damage.cut_rows,
    "truncate-rows": damage.cut_rows,
    "disk-full": disks.full,
    "read-only": disks.read_only,
    "locked": rivals.locked,
    "two-runs": rivals.two_runs,
    "two-configs": rivals.two_configs,
    "clock": rivals.clock,
    "server-killed": servers.server,
    "worker-killed": servers.worker,
    "command-interrupt": terminal.signalled(signal.SIGINT),
    "command-term": terminal.signalled(signal.SIGTERM),
    "command-hangup": terminal.signalled(signal.SIGHUP),
    "command-kill": terminal.signalled(signal.SIGKILL, whole_group=False),
}

_TARGETS = {
    "ingest": ("parent", "ingest-worker"),
    "score": ("parent", "score-worker"),
    "train": ("parent", "launcher", "node-launcher", "train-worker"),
    "evaluate": ("parent",),
}
_CUT = (".parquet", ".duckdb", ".safetensors", ".pt", "manifest.json", "complete.json")
_NUMBERS = {"kill": {"parent": 6}, "term": {"parent": 4}, "interrupt": {"parent": 2}}
_CHILD = {"kill": 4, "term": 2, "interrupt": 0}


def plan() -> list[Fault]:
    """All faults, those of one kind spread over the stages."""
    faults: list[Fault] = []

    def add(kind: str, stage: str, target: str, number: int) -> None:
        faults.extend(Fault(kind, stage, target, n) for n in range(number))

    for stage in STAGES:
        for target in _TARGETS[stage]:
            for kind in ("kill", "term", "interrupt"):
                add(kind, stage, target, _NUMBERS[kind].get(target, _CHILD[kind]))
        for pattern in damage.patterns(stage):
            add("flip", stage, damage.file_name(pattern), 2 if stage != "train" else 1)
            if pattern.endswith(_CUT):
                add("truncate", stage, damage.file_name(pattern), 1)
        add("disk-full", stage, "room", 4 if stage != "train" else 3)
        add("disk-full", stage, "moment", 3 if stage != "train" else 2)
        for target in ("artifacts", "stage", "moment"):
            add("read-only", stage, target, 2 if target == "moment" else 1)
        if stage in ("score", "evaluate"):
            add("read-only", stage, "cache", 1)
        if stage != "train":
            add("read-only", stage, "other-user", 1)
        add("locked", stage, "query" if stage == "ingest" else "catalogue", 1)
        add("two-runs", stage, "both", 2)
        add("two-runs", stage, "one-killed", 2)
        add("clock", stage, "alone", 2)
        add("clock", stage, "and-kill", 1)
        add("server-killed", stage, "for-good", 2)
        add("server-killed", stage, "comes-back", 1)
        add("worker-killed", stage, "mid-stage", 1)
        for how in ("interrupt", "term", "hangup"):
            add(f"command-{how}", stage, "group", 2 if how == "interrupt" else 1)
        add("command-kill", stage, "alone", 1)
    for pattern in damage.SHARED:
        add("flip", "all", damage.file_name(pattern), 2)
        add("truncate", "all", damage.file_name(pattern), 1)
    add("locked", "score", "scores", 2)
    add("two-configs", "evaluate", "both", 4)
    for kind in ("flip", "truncate"):
        add(f"{kind}-input", "score", "model", 2)
        add(f"{kind}-input", "evaluate", "prompts", 2)
        add(f"{kind}-rows", "ingest", "parquet", 2)
    return faults
