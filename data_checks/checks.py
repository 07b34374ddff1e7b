"""Running the suites, and writing their Data Docs without the text of any row.

Great Expectations is imported by the first check: it takes seconds, and a cached run checks nothing.
"""

import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bdpo.schemas import DriftFigures, DriftLimits, PairSetFigures, PairSetLimits, RowFailure, SetFailure

if TYPE_CHECKING:
    import great_expectations as gx
    import pandas as pd

# It sends usage events unless this is set before it is imported.
os.environ["GX_ANALYTICS_ENABLED"] = "false"

# It announces a temporary folder for every context.
logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)


class _Raising(logging.Filter):
    """Raises what Great Expectations would log and go on without: a page that could not be rendered or written."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = sys.exception()
        if record.levelno >= logging.ERROR and error is not None:
            raise error
        return True


logging.getLogger("great_expectations.render.renderer.site_builder").addFilter(_Raising())

_COMPLETE = {
    "result_format": "COMPLETE",
    "unexpected_index_column_names": ["row"],
    "include_unexpected_rows": False,
    "partial_unexpected_count": 0,
}
_COUNTS = {"result_format": "BASIC", "partial_unexpected_count": 0}
_Suite = Callable[[], "gx.ExpectationSuite"]


class GreatExpectationsChecks:
    """`bdpo.schemas.Checks` by Great Expectations, in memory.

    What is validated are measurements, never text, and Data Docs are made of counts
    alone, so that no page repeats what a row says.
    """

    def __init__(self) -> None:
        """Nothing is started before the first check."""
        self._checked: dict[str, tuple[_Suite, list[pd.DataFrame]]] = {}

    def raw_pairs(self, frame: "pd.DataFrame", *, max_chars: int) -> list[RowFailure]:
        """Row rules on candidate pairs (columns of MEASURES)."""
        from data_checks import suites

        return self._rows("raw_pairs", partial(suites.raw_pairs, max_chars=max_chars), frame)

    def pair_set(self, figures: PairSetFigures, limits: PairSetLimits) -> list[SetFailure]:
        """Set rules on what ingestion accepted and refused."""
        from data_checks import suites

        rows = figures.rows
        quarantined = figures.quarantined / rows if rows else 0.0
        unsafe = figures.unsafe_rejected / figures.pairs if figures.pairs else 0.0
        observed = {
            "pairs": (figures.pairs, f"{figures.pairs}"),
            "quarantined_fraction": (quarantined, f"{quarantined:.3f} ({figures.quarantined} of {rows})"),
            "unsafe_rejected_fraction": (unsafe, f"{unsafe:.3f} ({figures.unsafe_rejected} of {figures.pairs})"),
            "median_response_chars": (figures.median_response_chars, f"{figures.median_response_chars:g}"),
        }
        return self._set("pair_set", partial(suites.pair_set, limits), observed)

    def pair_drift(self, figures: DriftFigures, limits: DriftLimits) -> list[SetFailure]:
        """Set rules on how far ingestion's pairs lie from an earlier artifact's."""
        from data_checks import suites

        observed = {name: (value, f"{value:.3f}") for name, value in asdict(figures).items()}
        return self._set("pair_drift", partial(suites.pair_drift, limits), observed)

    def scored_pairs(self, frame: "pd.DataFrame") -> list[RowFailure]:
        """Row rules on scored pairs (numeric columns of SCORED_PAIRS): finite, not positive, counted."""
        from data_checks import suites

        return self._rows("scored_pairs", suites.scored_pairs, frame)

    def evaluation_results(self, frame: "pd.DataFrame") -> list[RowFailure]:
        """Row rules on an evaluation's figures: counted, and shares that lie between their bounds."""
        from data_checks import suites

        return self._rows("evaluation_results", suites.evaluation_results, frame)

    def write_docs(self, folder: Path) -> Path:
        """Write the Data Docs of what was checked since the last call; the path of their index page."""
        import pandas as pd

        context = _context()
        for suite, frames in self._checked.values():
            _validate(context, suite, pd.concat(frames, ignore_index=True), _COUNTS)
        self._checked = {}
        shutil.rmtree(folder, ignore_errors=True)
        store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)}
        site = {
            "class_name": "SiteBuilder",
            "store_backend": store,
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        }
        context.add_data_docs_site("data_docs", site)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            context.build_data_docs(site_names=["data_docs"])
        return folder / "index.html"

    def _set(self, name: str, suite: _Suite, observed: Mapping[str, tuple[float, str]]) -> list[SetFailure]:
        """Failures of a suite on one row of figures, each a number and how it is shown."""
        import pandas as pd

        frame = pd.DataFrame({column: [value] for column, (value, _) in observed.items()})
        columns = {expectation.meta["rule"]: expectation.column for expectation in suite().expectations}
        failures = self._rows(name, suite, frame)
        return [SetFailure(f.rule, observed[columns[f.rule]][1], f.reason) for f in failures]

    def _rows(self, name: str, suite: _Suite, frame: "pd.DataFrame") -> list[RowFailure]:
        self._checked.setdefault(name, (suite, []))[1].append(frame)
        failures = []
        for result in _validate(_context(), suite, frame.assign(row=range(len(frame))), _COMPLETE).results:
            config = result.expectation_config
            if "unexpected_count" not in result.result:
                raise RuntimeError(f"expectation {config.type} on {config.kwargs} could not be run")
            for unexpected in result.result.get("unexpected_index_list") or ():
                failures.append(RowFailure(int(unexpected["row"]), config.meta["rule"], config.notes))
        return failures


def _context() -> "gx.data_context.EphemeralDataContext":
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context


def _validate(
    context: "gx.data_context.EphemeralDataContext", build: _Suite, frame: "pd.DataFrame", result_format: object
) -> "gx.core.ExpectationSuiteValidationResult":
    import great_expectations as gx

    suite = build()
    asset = context.data_sources.add_pandas(suite.name).add_dataframe_asset(suite.name)
    batch = asset.add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(suite)
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=suite.name, data=batch, suite=suite))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return definition.run(batch_parameters={"dataframe": frame}, result_format=result_format)
