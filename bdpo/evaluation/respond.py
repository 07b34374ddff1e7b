"""What one model does with all prompts and with the held-out pairs."""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bdpo.artifacts.digest import digest_value
from bdpo.artifacts.store import SCRATCH, note_progress
from bdpo.config import ModelSettings
from bdpo.evaluation.choices import likeliest, option_logps
from bdpo.evaluation.formats import Prompt
from bdpo.evaluation.generation import (
    Completion,
    CompletionStore,
    Decoding,
    chat_end_ids,
    completion_key,
    generate_missing,
)
from bdpo.evaluation.padding import try_padding
from bdpo.evaluation.preference import score_held_out
from bdpo.layout.chat import cut_prompt, tokenize_prompt
from bdpo.layout.rendering import Untokenizable
from bdpo.layout.rows import Layout
from bdpo.logprobs.proof import choose_layout
from bdpo.models.gpus import shown_device
from bdpo.models.loading import load_reference, load_tokenizer
from bdpo.models.source import ModelSource
from bdpo.progress import Progress
from bdpo.versions import GENERATION, LOGPROBS


class Task(NamedTuple):
    """A prompt and how long its completion may be."""

    prompt: Prompt
    max_new_tokens: int


class Reply(NamedTuple):
    """What a model made of one prompt."""

    key: str
    text: str | None
    """Its completion; of a choice the option taken; None where it cannot be asked."""
    n_tokens: int
    """Generated; 0 for a choice."""
    cut: bool = False
    """Whether its prompt is longer than `max_prompt_length` and was asked without its beginning."""
    problem: str | None = None
    """Why there is no text."""


class _Question(NamedTuple):
    """A prompt to be completed, as the model sees it."""

    key: str
    """Names the completion."""
    ids: tuple[int, ...]
    cut: bool
    """As of `Reply`."""


class Answers(NamedTuple):
    """What one model did."""

    replies: list[Reply]
    """One a task, in order."""
    held_out: Mapping[str, tuple[float, float]]
    """pair_id to the summed log-probs of the chosen and the rejected response."""
    generated_tokens: int
    seconds: float


class Respondent:
    """One model, loaded only when something is not cached."""

    def __init__(
        self,
        role: str,
        source: ModelSource,
        settings: ModelSettings,
        cache: Path,
        workdir: Path,
        progress: Progress,
        engine: Literal["transformers", "vllm"] = "transformers",
        ends_of: Path | None = None,
    ) -> None:
        """Take the model's files.

        Args:
            role: for messages.
            source: its own folder and digests.
            settings: truncation, dtype and attention.
            cache: folder of what all runs share.
            workdir: of the stage.
            progress: where to show what happens.
            engine: what generates.
            ends_of: folder of the model whose end tokens count; its own by default.
        """
        self._ends_of = ends_of or source.folder
        self._engine = engine
        self._role = role
        self._source = source
        self._settings = settings
        self._cache = cache
        self._workdir = workdir
        self._progress = progress

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self._source.folder, trust_remote_code=self._settings.trust_remote_code)

    @cached_property
    def _ends(self) -> tuple[int, ...]:
        return chat_end_ids(self._ends_of, self._tokenizer, trust_remote_code=self._settings.trust_remote_code)

    @cached_property
    def _model(self) -> PreTrainedModel:
        model = load_reference(self._source, self._settings)
        self._progress.say(f"evaluate: the {self._role} model is on {shown_device(model)}")
        return model

    @cached_property
    def _layout(self) -> Layout:
        return choose_layout(self._model, self._progress.say, max_length=self._settings.max_length)

    @cached_property
    def _takes_padding(self) -> bool:
        trial = try_padding(self._model)
        if trial.is_rounding(self._model.dtype):
            return True
        self._progress.say(
            f"evaluate: only prompts of one length are completed together, because {self._model.config.model_type} "
            f"reads padding as text: log-probs moved by {trial.padded:.2g} nats in the trial"
        )
        return False

    def answer(self, tasks: Sequence[Task], pairs: Sequence[dict[str, Any]], *, batch_size: int) -> Answers:
        """Complete the prompts, choose among options, rank the pairs; what is cached is not done again.

        Args:
            tasks: prompts of all benchmarks.
            pairs: held-out pairs to rank.
            batch_size: prompts generated and saved together.
        """
        replies: list[Reply | None] = [None] * len(tasks)
        num_tokens, seconds = 0, 0.0
        lengths = {task.max_new_tokens for task in tasks if task.prompt.label != "choice"}
        for length in sorted(lengths):
            places = [i for i, t in enumerate(tasks) if t.prompt.label != "choice" and t.max_new_tokens == length]
            tokens, spent = self._complete([tasks[i].prompt for i in places], places, replies, length, batch_size)
            num_tokens, seconds = num_tokens + tokens, seconds + spent
        places = [i for i, task in enumerate(tasks) if task.prompt.label == "choice"]
        for place, reply in zip(places, self._choose([tasks[i].prompt for i in places]), strict=True):
            replies[place] = reply
        held_out = self._rank(list(pairs)) if pairs else {}
        whole = [reply for reply in replies if reply is not None]
        assert len(whole) == len(tasks), "every task has its reply"
        if cut := sum(reply.cut for reply in whole):
            self._progress.say(
                f"evaluate: {cut} of {len(whole)} prompts are longer than model.max_prompt_length, "
                f"{self._settings.max_prompt_length} tokens: the {self._role} model is asked without their beginning"
            )
        return Answers(whole, held_out, num_tokens, seconds)

    def _complete(
        self,
        prompts: list[Prompt],
        places: list[int],
        replies: list[Reply | None],
        max_new_tokens: int,
        batch_size: int,
    ) -> tuple[int, float]:
        """Fill in the completions; tokens generated now, and the seconds that took."""
        source, settings = self._source, self._settings
        decoding = Decoding(
            source.weights_digest,
            source.tokenizer_digest,
            settings.dtype,
            settings.attention,
            max_new_tokens,
            self._ends,
            self._engine,
        ).digest
        questions = [self._question(prompt, decoding) for prompt in prompts]
        ids = {question.key: question.ids for question in questions if isinstance(question, _Question)}
        store = CompletionStore(self._cache / decoding)
        with store.lock(
            lambda: self._progress.say("evaluate: another process completes prompts with this model; waiting")
        ):
            done, num_tokens, seconds = self._fill(store, ids, max_new_tokens, batch_size)
        for place, prompt, question in zip(places, prompts, questions, strict=True):
            if isinstance(question, Untokenizable):
                replies[place] = Reply(digest_value([decoding, prompt.text]), None, 0, problem=question.reason)
            else:
                completion = done[question.key]
                replies[place] = Reply(question.key, completion.text, completion.n_tokens, question.cut)
        return num_tokens, seconds

    def _question(self, prompt: Prompt, decoding: str) -> _Question | Untokenizable:
        """What the model is asked; the chat template's objection where it refuses the prompt."""
        try:
            tokens = tokenize_prompt(self._tokenizer, prompt.messages)
        except Untokenizable as problem:
            return problem
        longest = self._settings.max_prompt_length
        ids = cut_prompt(tokens, longest, self._tokenizer.bos_token_id)
        return _Question(completion_key(ids, decoding), ids, len(tokens) > longest)

    def _fill(
        self, store: CompletionStore, ids: Mapping[str, tuple[int, ...]], max_new_tokens: int, batch_size: int
    ) -> tuple[dict[str, Completion], int, float]:
        """All completions, those that were missing generated; tokens generated now, and the seconds that took."""
        if damaged := store.sweep():
            self._progress.say(f"evaluate: {damaged} damaged or unfinished batches deleted, to be generated again")
        done = store.read()
        missing = {key: tokens for key, tokens in ids.items() if key not in done}
        num_tokens, seconds = 0, 0.0
        if missing:
            self._progress.begin(f"evaluate: {self._role} model", len(ids), "completions", done=len(ids) - len(missing))
            generated = self._generate(missing, max_new_tokens, batch_size)
            started = time.monotonic()
            for batch in generated:
                store.write(batch)
                done |= batch
                num_tokens += sum(completion.n_tokens for completion in batch.values())
                seconds = time.monotonic() - started
                self._progress.advance(len(batch), tokens_per_s=num_tokens / seconds)
                finished = sum(key in done for key in ids)
                note_progress(self._workdir, finished, len(ids), f"completions of the {self._role} model")
        return done, num_tokens, seconds

    def _generate(
        self,
        missing: Mapping[str, tuple[int, ...]],
        max_new_tokens: int,
        batch_size: int,
    ) -> Iterator[dict[str, Completion]]:
        """Completions a batch at a time; the model is loaded before the first is asked for."""
        if self._engine == "vllm":
            from bdpo.evaluation.vllm_engine import vllm_completions

            return vllm_completions(
                self._source.folder,
                missing,
                dtype=self._settings.dtype,
                ends=self._ends,
                max_new_tokens=max_new_tokens,
                batch_size=batch_size,
                trust_remote_code=self._settings.trust_remote_code,
            )
        return generate_missing(
            self._model,
            self._tokenizer,
            missing,
            ends=self._ends,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            padded=self._takes_padding,
        )

    def _choose(self, prompts: list[Prompt]) -> list[Reply]:
        if not prompts:
            return []
        settings, source = self._settings, self._source
        identity = [source.weights_digest, source.tokenizer_digest, settings.dtype, settings.attention]
        lengths = [settings.max_length, settings.max_prompt_length]
        scorer = digest_value(["choices without thoughts, after BOS", *identity, *lengths, GENERATION, LOGPROBS])
        self._progress.begin(f"evaluate: choices of the {self._role} model", len(prompts), "choices")
        found = option_logps(
            lambda: (self._model, self._layout),
            self._tokenizer,
            prompts,
            self._cache / scorer,
            max_length=settings.max_length,
            max_prompt_length=settings.max_prompt_length,
            advance=self._progress.advance,
        )
        return [
            Reply(
                digest_value([scorer, prompt.messages, list(prompt.options)]),
                likeliest(prompt, own.logps) if own.logps else None,
                0,
                own.cut,
                own.problem,
            )
            for prompt, own in zip(prompts, found, strict=True)
        ]

    def _rank(self, pairs: list[dict[str, Any]]) -> Mapping[str, tuple[float, float]]:
        self._progress.begin(f"evaluate: held-out pairs, {self._role} model", len(pairs), "pairs")
        return score_held_out(
            self._model,
            self._layout,
            self._tokenizer,
            pairs,
            self._workdir / SCRATCH / "held_out" / self._role,
            max_length=self._settings.max_length,
            max_prompt_length=self._settings.max_prompt_length,
            advance=self._progress.advance,
        )
