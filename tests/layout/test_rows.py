"""Token rows to tensors, with expectations written out by hand."""

import pytest
import torch

from bdpo.layout.rows import Layout, Row, collate, group_rows

TWO = Row((5, 6), ((7, 8), (9, 4, 3)))
"""[5 6 | 7 8 | 9 4 3]: the last token of a response is never an input."""
ONE = Row((5,), ((2,),))


def test_rows_of_different_length_are_padded_on_the_right() -> None:
    batch = collate([TWO, ONE], Layout.BRANCHED)
    assert batch.input_ids.tolist() == [[5, 6, 7, 9, 4], [5, 0, 0, 0, 0]]
    assert batch.targets.tolist() == [7, 8, 9, 4, 3, 2]
    # What predicts them: 6, 7, 6, 9, 4 of the first row; 5 of the second, which begins at 5.
    assert batch.sources.tolist() == [1, 2, 1, 3, 4, 5]
    assert batch.response_lengths == [2, 3, 1]


def test_padding_is_seen_by_nothing_that_counts_and_always_sees_something() -> None:
    mask = collate([TWO, ONE], Layout.BRANCHED).attention_mask
    assert mask is not None
    assert mask.shape == (2, 1, 5, 5)
    assert mask[1, 0, :, 0].all(), "each query of the short row sees the prompt"
    assert not mask[1, 0, 0, 1:].any()
    assert not mask[0, 0].triu(1).any()
    assert mask.any(-1).all()


def test_padding_that_stands_in_the_text_changes_no_mask() -> None:
    """Masks are by length: a row of zeros, the padding id, is a row like any other."""
    zeros = collate([Row((0, 0), ((0, 0), (0, 0, 0))), Row((0,), ((0,),))], Layout.BRANCHED)
    others = collate([TWO, ONE], Layout.BRANCHED)
    assert zeros.attention_mask is not None
    assert others.attention_mask is not None
    assert torch.equal(zeros.attention_mask, others.attention_mask)
    assert torch.equal(zeros.sources, others.sources)


def test_plain_rows_by_hand() -> None:
    batch = collate([TWO, ONE], Layout.PLAIN)
    assert batch.input_ids.tolist() == [[5, 6, 7, 0], [5, 6, 9, 4], [5, 0, 0, 0]]
    assert batch.position_ids is None
    assert batch.attention_mask is None
    assert batch.targets.tolist() == [7, 8, 9, 4, 3, 2]
    assert batch.sources.tolist() == [1, 2, 5, 6, 7, 8]


def test_rows_of_one_response_each_need_no_mask() -> None:
    batch = collate([Row((1, 2), ((3, 4),)), ONE], Layout.BRANCHED)
    assert batch.attention_mask is None
    assert batch.position_ids is None


def test_groups_by_hand() -> None:
    """Widths 5, 1, 5, 2 and a budget of 10: two of five, then what is left."""
    rows = [TWO, ONE, TWO, Row((1, 2), ((3,),))]
    assert group_rows(rows, 10, Layout.BRANCHED) == [[0, 2], [3, 1]]
    assert group_rows(rows, 9, Layout.BRANCHED) == [[0], [2], [3, 1]]
    assert group_rows(rows, 1, Layout.BRANCHED) == [[0], [2], [3], [1]]


def test_a_group_with_work_enough_ends_where_rows_get_much_shorter() -> None:
    """300 joins 400, which is less than 512 tokens alone; 260, less than 7/8 of 400, begins a group.

    So does 200, for 260 and 230 are 520 tokens with padding.
    """
    rows = [Row((1,) * width, ((1,),)) for width in (200, 230, 260, 300, 400)]
    assert group_rows(rows, 4096, Layout.BRANCHED) == [[4, 3], [2, 1], [0]]
    assert group_rows(rows[:3], 4096, Layout.BRANCHED) == [[2, 1], [0]]
    assert group_rows(rows, 600, Layout.BRANCHED) == [[4], [3, 2], [1, 0]]


def test_plain_rows_of_one_prompt_stay_together() -> None:
    """TWO is two rows of 2 + 1 and 2 + 2 input tokens: 8 with padding, beyond a budget of 7, and yet one group."""
    assert group_rows([TWO, ONE], 7, Layout.PLAIN) == [[0], [1]]
    assert group_rows([TWO, ONE], 12, Layout.PLAIN) == [[0, 1]]


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="needs rows"):
        collate([], Layout.BRANCHED)
