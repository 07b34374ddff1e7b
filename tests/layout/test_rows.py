"""Token rows to tensors, with expectations written out by hand."""

import pytest
import torch

from bdpo.layout.rows import Layout, Packing, Row, Span, collate, group_rows

TWO = Row((5, 6), ((7, 8), (9, 4, 3)))
"""[5 6 | 7 8 | 9 4 3]: the last token of a response is never an input."""
ONE = Row((5,), ((2,),))


def test_packed_rows_by_hand() -> None:
    """[5 6 | 7 | 9 4] and [5 |]: end to end, positions of each response go on from its own prompt."""
    batch = collate([TWO, ONE], Layout.PACKED)
    assert batch.input_ids.tolist() == [[5, 6, 7, 9, 4, 5]]
    assert batch.position_ids is not None
    assert batch.position_ids.tolist() == [[0, 1, 2, 2, 3, 0]]
    assert batch.targets.tolist() == [7, 8, 9, 4, 3, 2]
    # What predicts them: 6, 7, 6, 9, 4 of the first row; the 5 of the second.
    assert batch.sources.tolist() == [1, 2, 1, 3, 4, 5]
    assert batch.response_lengths == [2, 3, 1]
    assert batch.packing == Packing(0, (Span(2, (1, 2)), Span(1, (0,))))


def test_what_all_prompts_begin_with_stands_once() -> None:
    """Eight tokens in common, and of each prompt the last at least is its own: [1..8 | 9 | 4 | 9 3]."""
    common = tuple(range(1, 9))
    batch = collate([Row((*common, 9), ((4, 5),)), Row((*common, 9, 3), ((7,),))], Layout.PACKED)
    assert batch.input_ids.tolist() == [[*common, 9, 4, 9, 3]]
    assert batch.position_ids is not None
    assert batch.position_ids.tolist() == [[*range(8), 8, 9, 8, 9]]
    assert batch.packing == Packing(8, (Span(1, (1,)), Span(2, (0,))))
    assert batch.sources.tolist() == [8, 9, 11]
    seven = collate([Row((*common[1:], 9), ((4, 5),)), Row((*common[1:], 9, 3), ((7,),))], Layout.PACKED)
    assert seven.packing == Packing(0, (Span(8, (1,)), Span(9, (0,))))
    assert collate([Row((*common, 9), ((4, 5),))], Layout.PACKED).packing == Packing(0, (Span(9, (1,)),))


def test_padding_that_stands_in_the_text_changes_nothing() -> None:
    """Spans and places are by length: a row of zeros, the padding id, is a row like any other."""
    for layout in Layout:
        zeros = collate([Row((0, 0), ((0, 0), (0, 0, 0))), Row((0,), ((0,),))], layout)
        others = collate([TWO, ONE], layout)
        assert zeros.packing == others.packing
        assert torch.equal(zeros.sources, others.sources)


def test_plain_rows_by_hand() -> None:
    batch = collate([TWO, ONE], Layout.PLAIN)
    assert batch.input_ids.tolist() == [[5, 6, 7, 0], [5, 6, 9, 4], [5, 0, 0, 0]]
    assert batch.position_ids is None
    assert batch.packing is None
    assert batch.targets.tolist() == [7, 8, 9, 4, 3, 2]
    assert batch.sources.tolist() == [1, 2, 5, 6, 7, 8]


def test_groups_by_hand() -> None:
    """Widths 5, 1, 5, 2: nothing is padding, so 12 tokens take both of five and the two; 13 all."""
    rows = [TWO, ONE, TWO, Row((1, 2), ((3,),))]
    assert group_rows(rows, 13, Layout.PACKED) == [[0, 2, 3, 1]]
    assert group_rows(rows, 12, Layout.PACKED) == [[0, 2, 3], [1]]
    assert group_rows(rows, 9, Layout.PACKED) == [[0], [2, 3, 1]]
    assert group_rows(rows, 1, Layout.PACKED) == [[0], [2], [3], [1]]


def test_a_padded_group_with_work_enough_ends_where_rows_get_much_shorter() -> None:
    """300 joins 400, which is less than 512 tokens alone; 260, less than 7/8 of 400, begins a group.

    So does 200, for 260 and 230 are 520 tokens with padding.
    """
    rows = [Row((1,) * width, ((1,),)) for width in (200, 230, 260, 300, 400)]
    assert group_rows(rows, 4096, Layout.PLAIN) == [[4, 3], [2, 1], [0]]
    assert group_rows(rows[:3], 4096, Layout.PLAIN) == [[2, 1], [0]]
    assert group_rows(rows, 600, Layout.PLAIN) == [[4], [3, 2], [1, 0]]


def test_plain_rows_of_one_prompt_stay_together() -> None:
    """TWO is two rows of 2 + 1 and 2 + 2 input tokens: 8 with padding, beyond a budget of 7, and yet one group."""
    assert group_rows([TWO, ONE], 7, Layout.PLAIN) == [[0], [1]]
    assert group_rows([TWO, ONE], 12, Layout.PLAIN) == [[0, 1]]


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("rows", [[], [TWO, Row((), ((1,),))], [TWO, Row((5,), ())], [TWO, Row((5,), ((2,), ()))]])
def test_a_batch_of_nothing_is_refused(rows: list[Row], layout: Layout) -> None:
    with pytest.raises(ValueError, match="needs rows"):
        collate(rows, layout)
