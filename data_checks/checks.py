"""Running the suites, and writing their Data Docs without the text of any row."""

import logging
import os
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

# Great Expectations sends usage events unless this is set before it is imported.
os.environ["GX_ANALYTICS_ENABLED"] = "false"

import great_expectations as gx
import pandas as pd

from bdpo.schemas import RowFailure, SetFailure
from data_checks import suites

# It announces a temporary folder for every context.
logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)

_COMPLETE = {
    "result_format": "COMPLETE",
    "unexpected_index_column_names": ["row"],
    "include_unexpected_rows": False,
    "partial_unexpected_count": 0,
}
_Suite = Callable[[], gx.ExpectationSuite]
_COUNTS = {"result_format": "BASIC", "partial_unexpected_count": 0}


class GreatExpectationsChecks:
    """`bdpo.schemas.Checks` by Great Expectations, in memory.

    Failures come from one context; Data Docs from another, which keeps counts and
    never values, so that no page repeats what a row says.
    """

    def __init__(self) -> None:
        """Nothing is started before the first check."""
        self._docs: gx.data_context.EphemeralDataContext | None = None

    def raw_pairs(self, frame: pd.DataFrame, *, max_chars: int) -> list[RowFailure]:
        """Row rules on candidate pairs (columns of PAIRS but `pair_id` and `split`)."""
        prompts = frame["prompt"]
        derived = pd.DataFrame(
            {
                "row": range(len(frame)),
                "prompt_text": ["\n".join(m["content"] for m in prompt) for prompt in prompts],
                "last_turn": [prompt[-1]["content"] for prompt in prompts],
                "chosen": frame["chosen"].to_numpy(),
                "rejected": frame["rejected"].to_numpy(),
            }
        )
        longer = [max(map(len, sides)) for sides in zip(derived["chosen"], derived["rejected"], strict=True)]
        derived["num_chars"] = derived["prompt_text"].str.len().to_numpy() + longer
        same = [a.strip() == b.strip() for a, b in zip(derived["chosen"], derived["rejected"], strict=True)]
        derived["sides"] = ["same" if s else "different" for s in same]
        return self._rows(partial(suites.raw_pairs, max_chars=max_chars), derived)

    def pair_set(
        self, *, pairs: int, rows: int, quarantined: int, min_pairs: int, max_quarantined_fraction: float
    ) -> list[SetFailure]:
        """Set rules on what ingestion accepted and refused: `quarantined` of `rows`, `pairs` from the others."""
        fraction = quarantined / rows if rows else 0.0
        counts = pd.DataFrame({"row": [0], "pairs": [pairs], "quarantined_fraction": [fraction]})
        suite = partial(suites.pair_set, min_pairs=min_pairs, max_quarantined_fraction=max_quarantined_fraction)
        observed = {
            "number of pairs": f"{pairs}",
            "share of quarantined rows": f"{fraction:.3f} ({quarantined} of {rows})",
        }
        return [SetFailure(f.rule, observed[f.rule], f.reason) for f in self._rows(suite, counts)]

    def scored_pairs(self, frame: pd.DataFrame) -> list[RowFailure]:
        """Row rules on scored pairs (numeric columns of SCORED_PAIRS): finite, not positive, counted."""
        return self._rows(suites.scored_pairs, frame.assign(row=range(len(frame))))

    def write_docs(self, folder: Path) -> Path:
        """Write the Data Docs of what was checked since the last call; the path of their index page."""
        context = self._docs or _context()
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
        self._docs = None
        return folder / "index.html"

    def _rows(self, suite: _Suite, frame: pd.DataFrame) -> list[RowFailure]:
        if self._docs is None:
            self._docs = _context()
        _validate(self._docs, suite, frame, _COUNTS)
        failures = []
        for result in _validate(_context(), suite, frame, _COMPLETE).results:
            config = result.expectation_config
            if result.exception_info and result.exception_info.get("raised_exception"):
                raise RuntimeError(f"expectation {config.type} could not be run: {result.exception_info}")
            for unexpected in result.result.get("unexpected_index_list") or ():
                failures.append(RowFailure(int(unexpected["row"]), config.meta["rule"], config.notes))
        return failures


def _context() -> gx.data_context.EphemeralDataContext:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context


def _validate(
    context: gx.data_context.EphemeralDataContext, build: _Suite, frame: pd.DataFrame, result_format: object
) -> gx.core.ExpectationSuiteValidationResult:
    suite = build()
    if suite.name in {known.name for known in context.validation_definitions.all()}:
        definition = context.validation_definitions.get(suite.name)
    else:
        asset = context.data_sources.add_pandas(suite.name).add_dataframe_asset(suite.name)
        batch = asset.add_batch_definition_whole_dataframe("all")
        suite = context.suites.add(suite)
        definition = context.validation_definitions.add(
            gx.ValidationDefinition(name=suite.name, data=batch, suite=suite)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return definition.run(batch_parameters={"dataframe": frame}, result_format=result_format)
