"""Which completions are as long as they may be, by hand."""

from bdpo.evaluation.benchmarks import Benchmark
from bdpo.evaluation.cut_off import CutOff, find_cut_off, say_cut_answers
from bdpo.evaluation.formats import Label, Prompt
from bdpo.evaluation.outcomes import Role
from bdpo.evaluation.respond import Answers, Reply
from tests.said import Said


def benchmark(name: str, *labels: Label) -> Benchmark:
    return Benchmark(name, "prompts", [Prompt(str(i), "p", label, None) for i, label in enumerate(labels)], {}, 0)


def answers(*lengths: int) -> Answers:
    return Answers([Reply("k", "t", length) for length in lengths], {}, 0, 0.0)


def test_those_at_the_limit_of_their_own_benchmark_are_counted_by_figure() -> None:
    """A choice generates nothing; one end short of its limit came to its end."""
    known = [benchmark("sums", "question", "question"), benchmark("own", "harmful", "harmless", "harmful", "choice")]
    entries = [(own, prompt) for own in known for prompt in own.prompts]
    given: dict[Role, Answers] = {"base": answers(256, 255, 64, 64, 64, 0), "aligned": answers(8, 64, 63, 64, 64, 0)}
    found = find_cut_off(entries, given, {"sums": 256, "own": 64})
    assert found == [
        CutOff("sums", "question", 2, 256, {"base": 1, "aligned": 0}),
        CutOff("own", "harmful", 2, 64, {"base": 2, "aligned": 1}),
        CutOff("own", "harmless", 1, 64, {"base": 1, "aligned": 1}),
    ]
    said = Said()
    say_cut_answers(found, said)
    assert said.texts == [
        "evaluate: of 2 answers to sums, 1 by the base model and 0 by the aligned one reach the limit of 256 tokens; "
        "what would come later counts as wrong, so raise the benchmark's max_new_tokens"
    ]


def test_nothing_is_said_where_all_came_to_their_end() -> None:
    own = benchmark("sums", "question")
    given: dict[Role, Answers] = {"base": answers(3), "aligned": answers(4)}
    assert find_cut_off([(own, own.prompts[0])], given, {"sums": 5}) == []
