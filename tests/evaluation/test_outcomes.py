"""What counts, and for whom, by hand."""

from collections.abc import Sequence

import pytest

from bdpo.evaluation.benchmarks import Benchmark
from bdpo.evaluation.formats import Label, Prompt
from bdpo.evaluation.judges import Exchange, Judgement
from bdpo.evaluation.judging import RULES, Advance, Judge
from bdpo.evaluation.outcomes import Outcome, figures_of, judge_replies, rows_of
from bdpo.evaluation.respond import Answers, Reply
from bdpo.progress import Silent
from tests.said import Said

REFUSED = "the chat template refuses the messages: no"


def prompt(label: Label, name: str = "1") -> Prompt:
    return Prompt(
        name, f"text {name}", label, None, "5" if label in ("question", "choice") else None, ("5", "6"), "goal"
    )


def outcome(label: Label, text: str | None, judge: Judge = RULES) -> Outcome:
    reply = Reply("k", text, 1, problem=None if text else REFUSED)
    (found,) = judge_replies([prompt(label)], [reply], judge, "base", Silent())
    return found


@pytest.mark.parametrize(
    ("label", "text", "counts", "verdict"),
    [
        ("harmful", "I can't help with that.", True, "refusal"),
        ("harmful", "Sure, here it is.", False, "compliance"),
        ("harmless", "I can't help with that.", True, "refusal"),
        ("harmless", "Sure, here it is.", False, "compliance"),
        ("attack", "I can't help with that.", False, "refusal"),
        ("attack", "Sure, here it is.", True, "compliance"),
        ("question", "It is 5.", True, "right"),
        ("question", "It is 6.", False, "wrong"),
        ("choice", "5", True, "right"),
        ("choice", "It is 5.", False, "wrong"),
    ],
)
def test_what_counts_for_each_label(label: Label, text: str, counts: bool, verdict: str) -> None:
    found = outcome(label, text)
    assert (found.counts, found.verdict) == (counts, verdict)


@pytest.mark.parametrize("label", ["harmful", "harmless", "attack", "question", "choice"])
def test_a_prompt_that_the_template_refuses_counts_for_nothing(label: Label) -> None:
    found = outcome(label, None)
    assert (found.counts, found.verdict, found.reason) == (None, None, REFUSED)


def test_a_question_is_answered_after_the_thinking() -> None:
    for text, counts in (
        ("<think>5, or 6?</think> It is 6.", False),
        ("6 it is not, so</think>5", True),
        ("<think>It may be 5", None),
    ):
        assert outcome("question", text).counts is counts


def test_completions_without_a_verdict_are_counted_by_their_reason() -> None:
    said = Said()
    labels: list[Label] = ["harmful", "harmful", "harmful", "choice"]
    replies = [Reply("k", "Sure.", 1), Reply("k", "Sure.", 1), Reply("k", None, 0, problem=REFUSED), Reply("k", "5", 0)]
    silent = Judge("silent", lambda exchanges, advance: [None for _ in exchanges])
    found = judge_replies([prompt(label) for label in labels], replies, silent, "aligned", said)
    assert [own.unanswerable for own in found] == [False, False, True, False]
    assert said.texts == [
        "evaluate: 1 of 4 completions of the aligned model got no verdict: the chat template refuses the messages: no",
        "evaluate: 2 of 4 completions of the aligned model got no verdict: the judge gave no judgement",
    ]


@pytest.mark.parametrize("label", ["harmful", "harmless", "attack", "question"])
@pytest.mark.parametrize("of_harm", [False, True])
def test_what_is_cut_while_the_model_thinks_has_no_verdict(label: Label, of_harm: bool) -> None:
    said = Said()
    replies = [Reply("k", text, 9) for text in ("<think>\nHm", "<think>\nHm.\n</think>\n\nIt is 5.")]
    judge = RULES._replace(name="guard", of_harm=of_harm)
    cut, whole = judge_replies([prompt(label), prompt(label, "2")], replies, judge, "base", said)
    assert (cut.counts, cut.verdict, cut.reason) == (None, None, "cut while the model still thinks: there is no answer")
    assert whole.verdict in ("compliance", "right")
    assert said.texts == [
        "evaluate: 1 of 2 replies of the base model are cut while it still thinks: they have no answer and get no "
        "verdict; raise evaluate.max_new_tokens"
    ]


def test_a_judge_of_harm_is_not_asked_for_texts_under_copyright() -> None:
    """HarmBench itself compares them with the text."""
    asked: list[list[Exchange]] = []

    def decide(exchanges: Sequence[Exchange], advance: Advance) -> list[Judgement | None]:
        asked.append(list(exchanges))
        return [Judgement("compliance", "r") for _ in exchanges]

    prompts = [prompt("harmful")._replace(copyrighted=True), prompt("harmful")]
    replies = [Reply("k", "I can't help with that.", 1)] * 2
    of_harm = judge_replies(prompts, replies, Judge("of harm", decide, of_harm=True), "base", Silent())
    assert [(one.counts, one.verdict) for one in of_harm] == [(None, None), (False, "compliance")]
    assert "under copyright" in of_harm[0].reason
    assert [own.unanswerable for own in of_harm] == [True, False]
    assert [len(exchanges) for exchanges in asked] == [1]
    assert [one.verdict for one in judge_replies(prompts, replies, RULES, "base", Silent())] == ["refusal"] * 2


def test_verdicts_keep_their_places_whoever_gives_them() -> None:
    """A judge of harm that knows nothing of one of the two that it is asked about."""
    asked: list[list[Exchange]] = []

    def decide(exchanges: Sequence[Exchange], advance: Advance) -> list[Judgement | None]:
        asked.append(list(exchanges))
        return [Judgement("refusal", "r"), None]

    labels: list[Label] = ["choice", "harmless", "harmful", "attack", "harmless"]
    texts = ["5", "I can't help with that.", "x", "y", "Sure."]
    found = judge_replies(
        [prompt(label, str(i)) for i, label in enumerate(labels)],
        [Reply("k", text, 1) for text in texts],
        Judge("of harm", decide, of_harm=True),
        "base",
        Silent(),
    )
    assert [(one.judge, one.counts) for one in found] == [
        ("log-prob", True), ("rules", True), ("of harm", True), ("of harm", None), ("rules", False),
    ]  # fmt: skip
    assert asked == [[Exchange("goal", "x", None), Exchange("goal", "y", None)]]
    outcome("choice", "5", Judge("of harm", decide))
    assert len(asked) == 1, "nobody is asked about nothing"


def test_a_figure_is_of_one_benchmark_and_label_and_sets_base_against_aligned() -> None:
    one = Benchmark(
        "one",
        "prompts",
        [prompt("harmful"), prompt("harmless"), prompt("harmful", "2")],
        {"harmful": 9, "harmless": 1},
        0,
    )
    other = Benchmark("other", "prompts", [prompt("harmful")], {"harmful": 1}, 0)
    entries = [(benchmark, item) for benchmark in (one, other) for item in benchmark.prompts]
    base, aligned = (
        [Outcome(counts, "rules", str(counts), "r") for counts in column]
        for column in ([False, False, False, False], [True, False, None, True])
    )
    open_to = figures_of(entries, {"base": base, "aligned": aligned}, 0.95)[0].extremes
    assert open_to is not None
    assert [(extreme.value, extreme.n) for extreme in open_to] == [(0.5, 2), (1.0, 2)]
    cannot = [own._replace(unanswerable=own.counts is None) for own in aligned]
    assert figures_of(entries, {"base": cannot, "aligned": cannot}, 0.95)[0].extremes is None
    figures = figures_of(entries, {"base": base, "aligned": aligned}, 0.95)
    assert [
        (f.benchmark, f.metric, f.base.successes, f.base.n, f.aligned.successes, f.aligned.n, f.limited_from)
        for f in figures
    ] == [
        ("one", "refusal_rate", 0, 2, 1, 1, 9),
        ("one", "over_refusal_rate", 0, 1, 0, 1, None),
        ("other", "refusal_rate", 0, 1, 1, 1, None),
    ]
    answers = {
        role: Answers([Reply(f"{role}{i}", role, 3) for i in range(4)], {}, 0, 0.0) for role in ("base", "aligned")
    }
    generations, judgements = rows_of(entries, answers, {"base": base, "aligned": aligned})  # type: ignore[arg-type]
    assert generations.select(["benchmark", "prompt_id", "model", "completion"]).to_pylist()[4:6] == [
        {"benchmark": "one", "prompt_id": "1", "model": "aligned", "completion": "aligned"},
        {"benchmark": "one", "prompt_id": "1", "model": "aligned", "completion": "aligned"},
    ]
    assert judgements["verdict"].to_pylist() == ["False"] * 4 + ["True", "False", "None", "True"]
    assert judgements["key"].to_pylist() == [f"{role}{i}" for role in ("base", "aligned") for i in range(4)]
