"""Great Expectations suites: what a valid pair, set of pairs and scored pair are."""

from data_checks.checks import GreatExpectationsChecks

__all__ = ["GreatExpectationsChecks"]
