"""Token ids from Parquet are the tuples that were written, and few objects."""

import random
import tracemalloc

import pyarrow as pa
import pytest

from bdpo.layout.ids import id_tuples


@pytest.mark.parametrize("at_a_time", [1, 2, 7])
def test_lists_come_back_as_tuples(at_a_time: int) -> None:
    lists = [[5, 70_000], [], [0], [5, 70_000], [9, 5, 151_000], []]
    column = pa.chunked_array(
        [pa.array(lists[i : i + at_a_time], pa.list_(pa.int32())) for i in range(0, 6, at_a_time)]
    )
    found = id_tuples(column)
    assert found == [tuple(ids) for ids in lists]
    assert {type(i) for ids in found for i in ids} == {int}
    assert found[0] is found[3]
    assert found[0][0] is found[4][1]
    assert id_tuples(column.filter(pa.array([i > 2 for i in range(6)]))) == found[3:]
    assert id_tuples(column.slice(4)) == found[4:]
    assert id_tuples(column[:0]) == []


def test_an_id_takes_eight_bytes() -> None:
    chance = random.Random(0)
    column = pa.chunked_array([pa.array([chance.choices(range(1000, 4000), k=500) for _ in range(400)])])
    tracemalloc.start()
    try:
        found = id_tuples(column)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 8 * 200_000 < held < 10 * 200_000, len(found)
