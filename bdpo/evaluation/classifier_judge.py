"""Asking a guard or classifier model, in batches, with its answers kept by content."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from transformers import PretrainedConfig, PreTrainedModel

from bdpo.artifacts.digest import digest_value
from bdpo.config.evaluate import ClassifierSettings
from bdpo.errors import UserError
from bdpo.evaluation.classifiers import CLASSIFIERS, GRADES, question
from bdpo.evaluation.ends import configured_ends
from bdpo.evaluation.generation import Completion, CompletionStore, complete, end_ids
from bdpo.evaluation.judge_templates import templates
from bdpo.evaluation.judges import Exchange, Judgement
from bdpo.models.loading import load_for_inference, load_tokenizer
from bdpo.models.source import resolve_model
from bdpo.versions import GENERATION


class ClassifierJudge:
    """One classifier, its model loaded only when an answer is not kept."""

    def __init__(self, settings: ClassifierSettings, cache: Path) -> None:
        """Find the classifier's files.

        Args:
            settings: which one, and its arithmetic.
            cache: folder where answers are kept.

        Raises:
            UserError: its files are not there, or its tokenizer cannot be loaded.
        """
        self._settings = settings
        self._classifier = CLASSIFIERS[settings.kind]
        self._source = resolve_model(settings.path, settings.revision, field="evaluate.judge.path")
        identity = [settings.kind, self._source.weights_digest, self._source.tokenizer_digest, settings.dtype]
        asked = [template["template"] for template in templates().values()]
        ends = configured_ends(self._source.folder)
        self._digest = digest_value(["classifier", *identity, asked, self._classifier.keeps, ends, GENERATION])
        self._store = CompletionStore(cache / self._digest)
        # At once: a package or a template that it lacks is to be said before hours of generation.
        self._tokenizer = load_tokenizer(self._source.folder, needs_template=settings.kind == "llama_guard")

    @cached_property
    def _model(self) -> PreTrainedModel:
        return load_for_inference(self._source, dtype=self._settings.dtype)

    def judge(self, exchanges: Sequence[Exchange], advance: Callable[[int], None]) -> list[Judgement | None]:
        """Judge completions; None where the answer is no judgement.

        Args:
            exchanges: what was asked for and what was said, of each.
            advance: told of so many more that are judged.

        Raises:
            UserError: the classifier cannot be loaded, or is not of this kind.
        """
        with self._store.lock(lambda: None):
            self._store.sweep()
            keys = [digest_value([self._digest, *exchange]) for exchange in exchanges]
            done = self._store.read()
            missing = {key: exchange for key, exchange in zip(keys, exchanges, strict=True) if key not in done}
            advance(len(exchanges) - sum(key in missing for key in keys))
            repeated = Counter(keys)
            done |= self._answer(missing, lambda batch: advance(sum(repeated[key] for key in batch)))
        return [self._classifier.parse(done[key].text) for key in keys]

    def _answer(
        self, exchanges: Mapping[str, Exchange], advance: Callable[[Sequence[str]], None]
    ) -> dict[str, Completion]:
        """What the classifier says of each, kept a batch at a time."""
        done: dict[str, Completion] = {}
        if not exchanges:
            return done  # and no model is loaded
        model_type = str(PretrainedConfig.get_config_dict(self._source.folder)[0].get("model_type"))
        ids = {
            key: question(self._settings.kind, self._tokenizer, exchange, model_type=model_type)
            for key, exchange in exchanges.items()
        }
        order = sorted(ids, key=lambda key: (-len(ids[key]), key))
        for start in range(0, len(order), self._settings.batch_size):
            batch = order[start : start + self._settings.batch_size]
            answers = dict(zip(batch, self._ask([ids[key] for key in batch]), strict=True))
            self._store.write(answers)
            done |= answers
            advance(batch)
        return done

    def _ask(self, questions: Sequence[tuple[int, ...]]) -> list[Completion]:
        longest = self._classifier.max_new_tokens
        if longest is not None:
            ends = end_ids(self._source.folder, self._tokenizer)
            return complete(self._model, self._tokenizer, questions, ends=ends, max_new_tokens=longest)
        return [Completion(f"{score:.6f}", 0) for score in self._grade(questions)]

    def _grade(self, questions: Sequence[tuple[int, ...]]) -> list[float]:
        """Expected grade of each question, 0 to 1: the grades' probabilities are normalised among themselves.

        Raises:
            UserError: the tokenizer has no tokens for the grades, or what the model computes is not finite.
        """
        grades = [self._tokenizer.convert_tokens_to_ids(grade) for grade in GRADES]
        if len(set(grades)) < len(GRADES) or self._tokenizer.unk_token_id in grades:
            raise UserError(f"evaluate.judge.path {self._settings.path!r}: its tokenizer has no tokens for 1 to 5.")
        ids = torch.zeros((len(questions), max(map(len, questions))), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(questions):  # padded on the right, where a causal model does not look
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        device = self._model.device
        with torch.inference_mode():
            logits = self._model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
        # On the device: a batch's logits are gigabytes.
        last = logits[torch.arange(len(questions)), mask.sum(-1) - 1][:, grades].float().cpu()
        shares = last.softmax(-1)
        if not shares.isfinite().all():
            raise UserError(
                f"evaluate.judge.path {self._settings.path!r}: what this StrongREJECT judge computes in "
                f"{self._settings.dtype} are no finite numbers; are its weights whole?"
            )
        return [float(score) for score in shares @ torch.linspace(0, 1, len(GRADES))]
