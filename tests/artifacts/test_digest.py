"""Digests: canonical, by content, and fresh when a file changes."""

import hashlib
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdpo.artifacts.digest import digest_file, digest_files, digest_value

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_canonical_json() -> None:
    assert digest_value({"b": [1, None], "a": "é"}) == hashlib.sha256('{"a":"é","b":[1,null]}'.encode()).hexdigest()


@given(st.dictionaries(st.text(), VALUES))
def test_the_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    assert digest_value(value) == digest_value(dict(reversed(value.items())))


def test_nan_has_no_digest() -> None:
    with pytest.raises(ValueError, match="JSON"):
        digest_value(math.nan)


def test_files_go_by_name_and_content_in_any_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    assert digest_file(one) == hashlib.sha256(b"1").hexdigest()
    both = digest_files([one, two])
    assert both == digest_files([two, one])
    one.write_bytes(b"2")
    two.write_bytes(b"1")
    assert digest_files([one, two]) != both
