"""What a policy's card says of its training."""

from pathlib import Path

import pytest

from bdpo.balance import method_forms
from bdpo.config import TrainSettings
from bdpo.models.source import ModelSource
from bdpo.training.model_card import model_card


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (3, "on 12 preference pairs, the first of 30 in the order of the seed, from `m`."),
        (8, "on 30 preference pairs, from `m`."),
        (20, "on 30 preference pairs, from `m`."),
    ],
)
def test_a_card_counts_the_pairs_that_its_weights_have_seen(step: int, said: str) -> None:
    """Batches of 4 of 30 pairs: an epoch has 8 steps, the last of 2 pairs."""
    settings = TrainSettings(batch_size=4)
    source = ModelSource("m", Path(), "", "")
    assert said in model_card(settings, method_forms("bdpo"), source, 30, step, {})
