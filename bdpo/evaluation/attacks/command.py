"""`bdpo attack`: a live attack on one model, goal by goal, with its rate of success."""

from pathlib import Path
from typing import Literal, NamedTuple

from bdpo.config.section import Dtype
from bdpo.evaluation.attacks.gcg import gcg_prompt, require_nanogcg
from bdpo.evaluation.attacks.goals import Attempt, Goal, attack_all, read_goals
from bdpo.evaluation.attacks.pair import pair
from bdpo.evaluation.chat_endpoint import ChatEndpoint
from bdpo.evaluation.generation import chat_end_ids, complete
from bdpo.evaluation.judges import judge_refusal
from bdpo.evaluation.rules.speech import is_cut_while_thinking
from bdpo.evaluation.statistics import Rate, rate
from bdpo.evaluation.tables import check_folder
from bdpo.layout.chat import cut_prompt, tokenize_prompt
from bdpo.layout.rendering import require_answers_follow
from bdpo.models.loading import load_for_inference, load_tokenizer
from bdpo.models.source import resolve_model
from bdpo.progress import Progress


class AttackPlan(NamedTuple):
    """How a model is attacked."""

    method: Literal["gcg", "pair"]
    model: str
    """`embedded`, a folder or a hub name."""
    dtype: Dtype = "bfloat16"
    limit: int | None = None
    """At most this many goals."""
    max_new_tokens: int = 64
    """Longest reply, in tokens."""
    max_prompt_length: int = 512
    """Longest prompt, in tokens."""
    steps: int = 250
    """Of GCG's search."""
    search_width: int = 512
    """GCG's suffixes a step."""
    seed: int = 0
    """Of GCG's search."""
    streams: int = 3
    """PAIR's conversations a goal."""
    iterations: int = 3
    """PAIR's prompts a conversation."""


def attack(goals: Path, target: Path, plan: AttackPlan, attacker: ChatEndpoint | None, progress: Progress) -> Rate:
    """Attack a model.

    Args:
        goals: CSV or JSONL with `goal` and `target`.
        target: gets the attempts as JSON in JailbreakBench's shape, for a benchmark of another evaluation to read.
        plan: how.
        attacker: PAIR's attacker; None for GCG.
        progress: where to show what happens.

    Returns:
        The share of goals whose reply complies, by the rule judge, with its 95% interval; goals on which PAIR's
        attacker never wrote a prompt are unscored, and so are those whose reply is cut while the model still thinks.

    Raises:
        UserError: a file, the model, the attacker or nanogcg is missing, the model's chat template makes it think, or
            gcg cannot search with its embeddings.
    """
    check_folder(target)
    wanted = read_goals(goals, plan.limit)
    if plan.method == "gcg":
        require_nanogcg()  # before a model is loaded
    source = resolve_model(plan.model, field="--model")
    tokenizer = load_tokenizer(source.folder)
    require_answers_follow(tokenizer)  # of a model that thinks in spite of all, thoughts would be attacked
    model = load_for_inference(source, dtype=plan.dtype)
    ends = chat_end_ids(source.folder, tokenizer)

    cut = 0

    def reply(prompt: str) -> str:
        nonlocal cut
        tokens = tokenize_prompt(tokenizer, [{"role": "user", "content": prompt}])
        cut += len(tokens) > plan.max_prompt_length
        ids = cut_prompt(tokens, plan.max_prompt_length, tokenizer.bos_token_id)
        return complete(model, tokenizer, [ids], ends=ends, max_new_tokens=plan.max_new_tokens)[0].text

    def complies(goal: Goal, response: str) -> bool:
        return judge_refusal(response, goal.goal).verdict == "compliance"

    def one(goal: Goal) -> Attempt:
        if attacker is not None:
            return pair(goal, attacker, reply, complies, streams=plan.streams, iterations=plan.iterations)
        prompt = gcg_prompt(model, tokenizer, goal, steps=plan.steps, search_width=plan.search_width, seed=plan.seed)
        response = reply(prompt)
        return Attempt(prompt, response, complies(goal, response), plan.steps)

    progress.begin(f"attack: {plan.method}", len(wanted), "goals")
    others = _OF_GCG if plan.method == "pair" else _OF_PAIR
    parameters = {name: value for name, value in plan._asdict().items() if name not in others}
    parameters |= {"method": plan.method.upper(), "weights": source.weights_digest} | (
        {"attacker": attacker.model} if attacker is not None else {}
    )
    attempts = attack_all(wanted, one, target, parameters=parameters, advance=lambda _: progress.advance())
    if cut:
        progress.say(
            f"attack: prompts of over {plan.max_prompt_length} tokens, which the model was asked without their "
            f"beginning: {cut}"
        )
    unasked = sum(attempt.queries == 0 for attempt in attempts)
    if unasked:
        progress.say(
            f"attack: on {unasked} of {len(attempts)} goals the attacker wrote no prompt that can be read (JSON with "
            "the field `prompt`): nothing was asked, and they count for nothing; another attacker may do better"
        )
    thinking = [is_cut_while_thinking(attempt.response) for attempt in attempts]
    if any(thinking):
        progress.say(
            f"attack: {sum(thinking)} of {len(attempts)} replies are cut while the model still thinks: they have no "
            "answer and count for nothing; raise --max-new-tokens"
        )
    scored = [attempt.queries > 0 and not cut for attempt, cut in zip(attempts, thinking, strict=True)]
    return rate([own.jailbroken if known else None for own, known in zip(attempts, scored, strict=True)], 0.95)


_OF_GCG = frozenset({"steps", "search_width", "seed"})
_OF_PAIR = frozenset({"streams", "iterations"})
"""What of a plan belongs to one method alone."""
