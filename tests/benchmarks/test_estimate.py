"""The formula of ESTIMATES.md: by hand, against published sizes, and against a real step."""

import pytest

from benchmarks.estimate import SHAPES, measure, state_bytes, train_seconds


def test_the_shapes_have_their_published_numbers_of_weights() -> None:
    """TinyLlama 1.1B, Qwen2.5 1.5B and 3B, Llama 2 7B and 70B, as their safetensors index counts them.

    Of Qwen2.5 less the biases of queries, keys and values, of a layer 1536 + 2 * 256 and 2048 + 2 * 256 numbers.
    """
    qwen = [1_543_714_304 - 28 * 2048, 3_085_938_688 - 36 * 2560]
    assert [shape.weights for shape in SHAPES] == [1_100_048_384, *qwen, 6_738_415_616, 68_976_648_192]


@pytest.mark.parametrize(
    ("stage", "world", "expected"),
    [
        (0, 1, 18),  # 2 + 4 + 4 + 8
        (1, 4, 15),  # 2 + 4 + 12 / 4, and 6 of buckets
        (2, 4, 12.5),  # 2 + 18 / 4 + 6
        (3, 4, 13),  # 20 / 4 + 2 together + 6
    ],
)
def test_bytes_a_weight(stage: int, world: int, expected: float) -> None:
    assert state_bytes(1000, stage=stage, world=world) == 1000 * expected


def test_of_a_large_model_the_buckets_are_a_part() -> None:
    """7e10 weights on 32 processes at ZeRO 3: 20 / 32 of a byte each, 2e9 together and 3e9 of buckets."""
    assert state_bytes(7 * 10**10, stage=3, world=32) == 7e10 * 20 / 32 + 2e9 + 3e9


def test_time_is_shared_out() -> None:
    shape = SHAPES[-2]
    assert train_seconds(shape, 1e6, world=8, flops=1e14, utilisation=0.5) == pytest.approx(
        8 * 6_738_415_616 * 1e6 / (8 * 1e14 * 0.5)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "world"), [(1, 1), (1, 2), (2, 2)])
def test_a_real_step_takes_what_the_formula_says(stage: int, world: int) -> None:
    assert abs(measure(4, 256, 704, stage=stage, world=world).deviation) < 0.25
