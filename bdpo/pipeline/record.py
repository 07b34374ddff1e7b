"""What a run leaves of itself: a row of the view `runs`, and a catalogue that is up to date."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bdpo.artifacts.catalogue import Columns, new_run_id, note_run, rebuild_catalogue
from bdpo.artifacts.disk import explain_disk_error
from bdpo.balance import method_forms, weights_sql
from bdpo.fingerprints import STAGES, Stage
from bdpo.pipeline.lookup import ArtifactLookup


class RunRecord:
    """The record of one run, renewed after each of its stages: status and error are those of the last one."""

    def __init__(self, lookup: ArtifactLookup) -> None:
        """Begin a run; nothing is written yet."""
        self._lookup = lookup
        self._id = new_run_id(lookup.config.name)
        self._started = datetime.now(UTC).isoformat()
        self._fingerprints: dict[Stage, str] = {}
        self._cached: list[Stage] = []

    def stage_done(self, stage: Stage, *, cached: bool) -> None:
        """Note a stage whose artifact is whole.

        Raises:
            UserError: the disk takes no more.
        """
        self._fingerprints[stage] = self._lookup.fingerprints[stage]
        if cached:
            self._cached.append(stage)
        self._write("finished", None)

    def stage_failed(self, reason: str) -> None:
        """Note a stage that ended in an error; errors as `stage_done`."""
        self._write("failed", reason)

    def _write(self, status: str, error: str | None) -> None:
        config = self._lookup.config
        record: Mapping[str, Any] = {
            "name": config.name,
            "started": self._started,
            "finished": datetime.now(UTC).isoformat(),
            "status": status,
            **{stage: self._fingerprints.get(stage) for stage in STAGES},
            "cached": self._cached,
            "error": error,
            "config": config.model_dump(mode="json"),
        }
        forms = method_forms(config.train.method, config.train.balance, config.train.scale)
        weights = weights_sql(forms=forms, mi_floor=config.train.mi_floor, tau=config.train.tau)
        try:
            note_run(config.artifacts, self._id, record)
            columns = Columns(_SCORED_COLUMNS, latest=weights)
            rebuild_catalogue(config.artifacts, self._lookup.named(), {"scored_pairs": columns})
        except Exception as failure:
            # DuckDB has types of its own for the system's errors.
            explained = explain_disk_error(failure, config.artifacts)
            if explained is None:
                raise
            raise explained from failure


_SCORED_COLUMNS = (
    "pair_id, prompt, chosen, rejected, split, source, category, chosen_tokens, rejected_tokens, "
    "ref_chosen_logps, ref_rejected_logps, null_chosen_logps, null_rejected_logps, mi_chosen, mi_rejected, imbalance"
)
