"""Which sequences pairs ask for, and how they share their prompts."""

from dataclasses import fields, replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdpo.layout.chat import TokenizedPair
from bdpo.layout.rows import Layout, Row
from bdpo.logprobs import keys
from bdpo.logprobs.keys import Scorer
from bdpo.scoring.sequences import TokenSequence, name_sequences, share_prompts

NULL = (9,)
MAX_LENGTH = 1000
IDS = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple)


def test_a_pair_asks_for_four_sequences() -> None:
    (keys,), sequences = name_sequences([TokenizedPair((1, 2), (3,), (4, 5))], NULL, "scorer", max_length=MAX_LENGTH)
    assert [sequences[key] for key in keys] == [
        TokenSequence((1, 2), (3,)),
        TokenSequence((1, 2), (4, 5)),
        TokenSequence(NULL, (3,)),
        TokenSequence(NULL, (4, 5)),
    ]


def test_what_pairs_have_in_common_is_asked_for_once() -> None:
    """Two pairs with one prompt and one response in common: three responses, with the prompt and without."""
    pairs = [TokenizedPair((1, 2), (3,), (4, 5)), TokenizedPair((1, 2), (4, 5), (6,))]
    keys, sequences = name_sequences(pairs, NULL, "scorer", max_length=MAX_LENGTH)
    assert len(sequences) == 6
    assert keys[0].rejected_key == keys[1].chosen_key
    shared = share_prompts(sequences, token_budget=512, layout=Layout.PACKED)
    rows = {row.row.prompt_ids: row.row for row in shared}
    assert len(shared) == len(rows) == 2, "each distinct prompt is computed once"
    assert set(rows[1, 2].responses) == set(rows[NULL].responses) == {(3,), (4, 5), (6,)}


def test_the_boundary_between_prompt_and_response_is_part_of_the_key() -> None:
    keys, _ = name_sequences(
        [TokenizedPair((1, 2), (3,), (2, 3)), TokenizedPair((1,), (2, 3), (3,))], NULL, "scorer", max_length=MAX_LENGTH
    )
    assert keys[0].chosen_key != keys[1].chosen_key


def test_another_scorer_gives_other_keys() -> None:
    pair = TokenizedPair((1, 2), (3,), (4, 5))
    (one,), _ = name_sequences([pair], NULL, "one", max_length=MAX_LENGTH)
    (other,), _ = name_sequences([pair], NULL, "other", max_length=MAX_LENGTH)
    assert not set(one) & set(other)


def test_all_that_a_log_prob_depends_on_is_in_the_scorers_name(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer(weights_digest="w", dtype="float32", attention="sdpa", trust_remote_code=False, compiled=False)
    changed = (
        {"weights_digest": "v"},
        {"dtype": "bfloat16"},
        {"attention": "eager"},
        {"trust_remote_code": True},
        {"compiled": True},
    )
    digests = [scorer.digest, *(replace(scorer, **change).digest for change in changed)]
    monkeypatch.setattr(keys, "LOGPROBS", "another version")
    digests.append(scorer.digest)
    assert len(set(digests)) == 7
    assert {field.name for field in fields(scorer)} == {name for change in changed for name in change}


def test_a_null_prompt_that_is_longer_than_the_prompt_is_cut_from_its_start_where_the_response_leaves_less_room() -> (
    None
):
    """As where the template's own system turn is longer than the row's: no sequence exceeds 6 tokens."""
    pair = TokenizedPair((1, 2), (3, 3, 3, 3), (4, 5))
    (keys,), sequences = name_sequences([pair], (6, 7, 8, 9), "scorer", max_length=6)
    assert [sequences[key] for key in keys] == [
        TokenSequence((1, 2), (3, 3, 3, 3)),
        TokenSequence((1, 2), (4, 5)),
        TokenSequence((8, 9), (3, 3, 3, 3)),
        TokenSequence((6, 7, 8, 9), (4, 5)),
    ]
    (keys,), sequences = name_sequences([pair], (6, 7, 8, 9), "scorer", max_length=6, bos=6)
    assert sequences[keys.null_chosen_key] == TokenSequence((6, 9), (3, 3, 3, 3))


def test_many_responses_to_a_prompt_fill_rows_up_to_a_length() -> None:
    """A prompt of 112 tokens leaves 400: four responses of 100, longest first; then (400 // 90) four of at most 90."""
    prompt = (1,) * 112
    lengths = [100, 50, 100, 90, 100, 80, 100, 70]
    sequences = {f"key{i}": TokenSequence(prompt, (2,) * (length - 1) + (i,)) for i, length in enumerate(lengths)}
    rows = share_prompts(sequences, token_budget=512, layout=Layout.PACKED)
    assert sorted([len(response) for response in row.row.responses] for row in rows) == [
        [90, 80, 70, 50],
        [100, 100, 100, 100],
    ]
    plain = share_prompts(sequences, token_budget=512, layout=Layout.PLAIN)
    assert sorted(row.keys for row in plain) == sorted((key,) for key in sequences)
    assert all(row.row == Row(prompt, tuple(sequences[key].response_ids for key in row.keys)) for row in rows)


@given(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=20), st.integers(1, 400), st.sampled_from(Layout), st.data())
def test_where_rows_are_done_the_rest_form_the_rows_that_they_would_have_formed(
    texts: list[tuple[tuple[int, ...], tuple[int, ...]]], token_budget: int, layout: Layout, data: st.DataObject
) -> None:
    pairs = [TokenizedPair(prompt * 60, response, (*response, 4)) for prompt, response in texts]
    _, sequences = name_sequences(pairs, NULL, "scorer", max_length=MAX_LENGTH)
    share = partial(share_prompts, token_budget=token_budget, layout=layout)
    rows = share(sequences)
    assert sorted(key for row in rows for key in row.keys) == sorted(sequences)
    done = data.draw(st.sets(st.sampled_from([row.keys for row in rows])))
    left = {key: sequence for key, sequence in sequences.items() if not any(key in keys for keys in done)}
    assert share(left) == [row for row in rows if row.keys not in done]
