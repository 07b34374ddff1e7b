"""Completions, greedy and batched, kept by content a batch at a time.

A completion's key is the digest of the weights, the exact prompt tokens and the
decoding settings, so another judge, another benchmark around the same prompt or a
restart generates nothing twice.

Greedy is the likeliest token, one after another.  What a model's `generation_config.json` asks for besides (a
penalty for repetitions, suppressed tokens, beams) is left aside: it is in no weights and would belong to one model
and not to another.  Its end tokens alone are taken, and are in the key.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.dataset as ds
import torch
from transformers import AutoConfig, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from bdpo.artifacts.digest import digest_file, digest_value
from bdpo.artifacts.locks import hold
from bdpo.artifacts.parquet import write_parquet
from bdpo.evaluation.ends import as_ends, configured_ends
from bdpo.layout.chat import end_of_turn
from bdpo.versions import GENERATION

_SCHEMA = pa.schema([("key", pa.string()), ("completion", pa.string()), ("n_tokens", pa.int32())])


@dataclass(frozen=True)
class Decoding:
    """Everything besides the prompt that a completion depends on."""

    weights_digest: str
    tokenizer_digest: str
    dtype: str
    attention: str
    max_new_tokens: int
    ends: tuple[int, ...]
    engine: str = "transformers"

    @property
    def digest(self) -> str:
        """Hexadecimal name, the code version included."""
        return digest_value(asdict(self) | {"generation": GENERATION})


class Completion(NamedTuple):
    """What a model said."""

    text: str
    """Without special tokens."""
    n_tokens: int
    """Generated, the end-of-turn token included."""


def completion_key(prompt_ids: Sequence[int], decoding_digest: str) -> str:
    """The name of a completion."""
    return digest_value([decoding_digest, list(prompt_ids)])


class CompletionStore:
    """Batches of completions of one model and one way of decoding, each an immutable file."""

    def __init__(self, folder: Path) -> None:
        """Take the folder, which is made if it is not there."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def lock(self, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """Be the only process that completes in this way: what another one finishes need not be done twice.

        Args:
            waiting: called once if another process holds it.
        """
        return hold(self._folder.with_suffix(".lock"), waiting)

    def sweep(self) -> int:
        """Delete files that are no whole batch; how many there were.  To be called under the lock."""
        damaged = [p for p in self._folder.iterdir() if p.suffix != ".parquet" or p.stem != digest_file(p)]
        for path in damaged:
            path.unlink()
        return len(damaged)

    def read(self) -> dict[str, Completion]:
        """All completions by key."""
        files = sorted(str(path) for path in self._folder.glob("*.parquet"))
        rows = ds.dataset(files, schema=_SCHEMA).to_table().to_pylist() if files else []
        return {row["key"]: Completion(row["completion"], row["n_tokens"]) for row in rows}

    def write(self, completions: Mapping[str, Completion]) -> None:
        """Commit a batch.  To be called under the lock."""
        rows = [{"key": key, "completion": c.text, "n_tokens": c.n_tokens} for key, c in completions.items()]
        new = self._folder / "new.tmp"
        write_parquet(pa.Table.from_pylist(rows, _SCHEMA), new)
        new.rename(self._folder / f"{digest_file(new)}.parquet")


def generate_missing(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Mapping[str, tuple[int, ...]],
    *,
    ends: Sequence[int],
    max_new_tokens: int,
    batch_size: int,
    padded: bool = True,
) -> Iterator[dict[str, Completion]]:
    """Complete prompts, those of similar length together, the longest first.

    Batches are cut from the sorted prompts from the front, so where whole batches are
    finished the remaining ones are those that would have come.

    Args:
        model: in eval mode.
        tokenizer: its tokenizer.
        prompts: key to token ids.
        ends: as of `end_ids`.
        max_new_tokens: longest completion.
        batch_size: prompts together.
        padded: whether prompts of several lengths may be together.

    Yields:
        Completions by key, one batch at a time.
    """
    order = sorted(prompts, key=lambda key: (-len(prompts[key]), key))
    groups = [order] if padded else [list(same) for _, same in groupby(order, key=lambda key: len(prompts[key]))]
    for keys in (group[start : start + batch_size] for group in groups for start in range(0, len(group), batch_size)):
        batch = [prompts[key] for key in keys]
        completions = complete(model, tokenizer, batch, ends=ends, max_new_tokens=max_new_tokens)
        yield dict(zip(keys, completions, strict=True))


def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[tuple[int, ...]],
    *,
    ends: Sequence[int],
    max_new_tokens: int,
) -> list[Completion]:
    """Greedy completions of one batch.

    Prompts are padded on the left and masked by their length, never by the id of the padding, which is
    often that of the end of a turn.

    Args:
        model: in eval mode.
        tokenizer: its tokenizer.
        prompts: token ids.
        ends: as of `end_ids`; with none a completion has all its tokens.
        max_new_tokens: longest completion.
    """
    padding = ends[0] if ends else 0
    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), padding)
    mask = torch.zeros((len(prompts), longest), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=list(ends) or None,
        pad_token_id=padding,
        use_cache=True,
    )
    with alone(config, model), torch.inference_mode():
        output = model.generate(
            input_ids=ids.to(model.device), attention_mask=mask.to(model.device), generation_config=config
        )
    return [_cut(tokenizer, row[longest:].tolist(), ends) for row in output.cpu()]


@contextmanager
def alone(config: GenerationConfig, model: PreTrainedModel) -> Iterator[None]:
    """Keep the model's own settings away: `generate` takes from them whatever `config` leaves open."""
    own = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = own


def _cut(tokenizer: PreTrainedTokenizerBase, tokens: list[int], ends: Sequence[int]) -> Completion:
    """A row's tokens up to its own end; what follows is padding."""
    stop = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    text = tokenizer.decode(tokens[:stop], skip_special_tokens=True)
    assert isinstance(text, str), "decode of one sequence gives one string"
    return Completion(text.strip(), min(stop + 1, len(tokens)))


def chat_end_ids(
    folder: Path, tokenizer: PreTrainedTokenizerBase, *, trust_remote_code: bool = False
) -> tuple[int, ...]:
    """What ends an answer in chat, sorted: `end_ids`, and what the chat template writes behind one.

    The latter is where a response ends in training and scoring.  A base model with a chat template (Qwen's) names
    only its end of text, and would go on with turns of its own making.

    Args:
        folder: of the model.
        tokenizer: its tokenizer, with a chat template.
        trust_remote_code: run Python code that comes with it.

    Raises:
        UserError: its files name something that is no token, or the template refuses a question and its answer.
    """
    ends = end_ids(folder, tokenizer, trust_remote_code=trust_remote_code)
    of_turn = end_of_turn(tokenizer, str(tokenizer.chat_template))
    return ends if of_turn is None else tuple(sorted({*ends, of_turn}))


def end_ids(folder: Path, tokenizer: PreTrainedTokenizerBase, *, trust_remote_code: bool = False) -> tuple[int, ...]:
    """What ends a turn, sorted: the model's own end tokens and the tokenizer's.

    Args:
        folder: of the model.
        tokenizer: its tokenizer.
        trust_remote_code: run Python code that comes with it.

    Raises:
        UserError: its files name something that is no token.
    """
    own = configured_ends(folder)
    if own is None:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        own = as_ends(GenerationConfig.from_model_config(config).eos_token_id, folder / "config.json")
    return tuple(sorted({*own, tokenizer.eos_token_id} - {None}))
