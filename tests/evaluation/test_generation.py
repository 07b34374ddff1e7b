"""Batched greedy decoding is one-at-a-time greedy decoding, kept by content and killed without harm."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from transformers import PreTrainedModel

from bdpo.config import ModelSettings
from bdpo.errors import UserError
from bdpo.evaluation.ends import configured_ends
from bdpo.evaluation.formats import Prompt
from bdpo.evaluation.generation import (
    Completion,
    CompletionStore,
    Decoding,
    chat_end_ids,
    complete,
    completion_key,
    end_ids,
    generate_missing,
)
from bdpo.evaluation.respond import Respondent, Task
from bdpo.evaluation.vllm_engine import vllm_completions
from bdpo.models.embedded import embedded_model
from bdpo.models.loading import load_model, load_tokenizer
from bdpo.models.source import resolve_model
from bdpo.progress import Silent
from tests.paths import ROOT
from tests.tiny import save_tiny, tiny_model, tiny_tokenizer

PROMPTS = [tuple(range(3, 3 + n)) for n in (4, 40, 9, 17, 25)]
ENDS = (2,)


def argmax_alone(model: PreTrainedModel, prompt: tuple[int, ...], num: int, ends: tuple[int, ...]) -> list[int]:
    """Greedy decoding written out: no batch, no cache, no library."""
    ids = list(prompt)
    with torch.inference_mode():
        while len(ids) < len(prompt) + num and ids[-1] not in ends:
            ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2", "gpt_neox", "mistral", "gemma3_text"])
def test_a_batch_gives_what_each_prompt_gives_alone(architecture: str) -> None:
    model, tokenizer = tiny_model(architecture), tiny_tokenizer()
    alone = [complete(model, tokenizer, [prompt], ends=ENDS, max_new_tokens=20)[0] for prompt in PROMPTS]
    assert complete(model, tokenizer, PROMPTS, ends=ENDS, max_new_tokens=20) == alone
    assert len({c.text for c in alone}) > 1


def test_greedy_is_the_likeliest_token_whatever_the_models_own_settings_ask_for() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    own = model.generation_config
    assert own is not None
    plain = [argmax_alone(model, prompt, 20, ENDS) for prompt in PROMPTS]
    used = sorted({token for tokens in plain for token in tokens})[:5]
    own.update(repetition_penalty=1.8, no_repeat_ngram_size=2, suppress_tokens=used, num_beams=3, temperature=0.5)
    own.update(stop_strings=["a"], max_time=0.0, return_dict_in_generate=True, min_length=90, forced_eos_token_id=200)
    found = complete(model, tokenizer, PROMPTS, ends=ENDS, max_new_tokens=20)
    assert [c.n_tokens for c in found] == [len(tokens) for tokens in plain]
    assert [c.text for c in found] == [str(tokenizer.decode(t, skip_special_tokens=True)).strip() for t in plain]
    assert model.generation_config is own, "the model is given back as it came"


def test_any_of_several_ends_stops_a_completion_and_none_never() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    whole = [argmax_alone(model, prompt, 20, ()) for prompt in PROMPTS]
    ends = tuple(sorted({whole[0][3], whole[1][5]}))
    stopped = [argmax_alone(model, prompt, 20, ends) for prompt in PROMPTS]
    found = complete(model, tokenizer, PROMPTS, ends=ends, max_new_tokens=20)
    assert [c.n_tokens for c in found] == [len(tokens) for tokens in stopped]
    assert min(c.n_tokens for c in found) < 20
    assert [c.n_tokens for c in complete(model, tokenizer, PROMPTS, ends=(), max_new_tokens=20)] == [20] * 5


def test_the_ends_are_those_of_generation_config_else_of_config_and_the_tokenizers(tmp_path: Path) -> None:
    folder, tokenizer = save_tiny(tmp_path), tiny_tokenizer()
    settings = folder / "generation_config.json"
    settings.write_text(json.dumps({"eos_token_id": [40, 5], "repetition_penalty": 1.5}))
    assert (configured_ends(folder), end_ids(folder, tokenizer)) == ([5, 40], (2, 5, 40))
    model = load_model(folder, dtype="float32")
    assert model.generation_config is not None
    assert sorted(model.generation_config.eos_token_id) == [5, 40], "as transformers reads it"
    settings.write_text("{}")
    assert (configured_ends(folder), end_ids(folder, tokenizer)) == ([], (2,))
    settings.write_text('{"eos_token_id": "</s>"}')
    with pytest.raises(UserError, match=r"generation_config\.json: `eos_token_id` is '</s>', but a token's id"):
        configured_ends(folder)
    settings.unlink()
    (folder / "config.json").write_text((folder / "config.json").read_text().replace('token_id": 2', 'token_id": 9'))
    assert (configured_ends(folder), end_ids(folder, tokenizer)) == (None, (2, 9))


def test_in_chat_a_turn_ends_where_the_template_ends_it_though_the_files_name_only_the_end_of_text(
    tmp_path: Path,
) -> None:
    """As Qwen's base models, which have a chat template."""
    folder, tokenizer = save_tiny(tmp_path), tiny_tokenizer()
    tokenizer.eos_token = "<|endoftext|>"
    (folder / "generation_config.json").write_text('{"eos_token_id": 0}')
    assert end_ids(folder, tokenizer) == (0,)
    assert chat_end_ids(folder, tokenizer) == (0, 2)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    assert chat_end_ids(folder, tokenizer) == (0,), "a template without special tokens ends no turn"


def test_other_settings_of_a_folder_reuse_a_completion_and_other_ends_do_not(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model")
    other = save_tiny(tmp_path / "other")
    settings = ModelSettings(path=str(folder), dtype="float32", max_length=256, max_prompt_length=128)
    tasks = [Task(Prompt("1", "Tell me", "harmless", None), 8)]

    def key(**own: object) -> str:
        (folder / "generation_config.json").write_text(json.dumps(own))
        respondent = Respondent("base", resolve_model(str(folder)), settings, tmp_path / "c", tmp_path, Silent())
        return respondent.answer(tasks, [], batch_size=2).replies[0].key

    first = key(eos_token_id=2)
    assert key(eos_token_id=[2], repetition_penalty=1.5) == first
    assert key(eos_token_id=[2, 40]) != first
    aligned = resolve_model(str(other))
    respondent = Respondent("aligned", aligned, settings, tmp_path / "c", tmp_path, Silent(), ends_of=folder)
    assert respondent.answer(tasks, [], batch_size=2).replies[0].key == key(eos_token_id=[2, 40]), "the same weights"


def test_batches_are_sorted_by_length_and_cut_from_the_front() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    keyed = {str(len(prompt)): prompt for prompt in PROMPTS}
    batches = list(generate_missing(model, tokenizer, keyed, ends=ENDS, max_new_tokens=2, batch_size=2))
    assert [list(batch) for batch in batches] == [["40", "25"], ["17", "9"], ["4"]]


def test_the_key_covers_weights_prompt_and_decoding() -> None:
    decoding = Decoding("w", "t", "float32", "sdpa", 8, (2,))
    others = [
        Decoding("v", "t", "float32", "sdpa", 8, (2,)),
        Decoding("w", "u", "float32", "sdpa", 8, (2,)),
        Decoding("w", "t", "bfloat16", "sdpa", 8, (2,)),
        Decoding("w", "t", "float32", "eager", 8, (2,)),
        Decoding("w", "t", "float32", "sdpa", 9, (2,)),
        Decoding("w", "t", "float32", "sdpa", 8, (2, 3)),
    ]
    keys = {completion_key((1, 2), d.digest) for d in (decoding, *others)}
    assert len(keys | {completion_key((1, 3), decoding.digest)}) == 8
    assert completion_key([1, 2], decoding.digest) == completion_key((1, 2), decoding.digest)


def test_a_damaged_batch_is_swept_away(tmp_path: Path) -> None:
    store = CompletionStore(tmp_path)
    store.write({"a": Completion("one", 2)})
    store.write({"b": Completion("two", 3)})
    assert store.read() == {"a": Completion("one", 2), "b": Completion("two", 3)}
    damaged = next(path for path in tmp_path.iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-1])
    (tmp_path / "new.tmp").write_bytes(b"half")
    assert store.sweep() == 2
    assert len(store.read()) == 1


def test_a_second_process_waits_and_sweeps_nothing_that_the_first_writes(tmp_path: Path) -> None:
    first, second = CompletionStore(tmp_path / "store"), CompletionStore(tmp_path / "store")
    waits = threading.Event()
    swept: list[int] = []

    def work() -> None:
        with second.lock(waits.set):
            swept.append(second.sweep())
            second.write({"b": Completion("two", 2)})

    thread = threading.Thread(target=work)
    with first.lock(lambda: pytest.fail("nobody else has it")):
        (tmp_path / "store" / "new.tmp").write_bytes(b"under way")
        thread.start()
        assert waits.wait(timeout=30)
        first.write({"a": Completion("one", 1)})
        assert not swept
    thread.join(timeout=30)
    assert swept == [0]
    assert second.read() == {"a": Completion("one", 1), "b": Completion("two", 2)}


_ASK = """
import json, sys
from pathlib import Path
from bdpo.config import ModelSettings
from bdpo.evaluation.formats import Prompt
from bdpo.evaluation.respond import Respondent, Task
from bdpo.models.source import resolve_model
from bdpo.progress import Silent

folder, cache = Path(sys.argv[1]), Path(sys.argv[2])

class Log(Silent):
    def begin(self, task, total, unit, done=0):
        print("begin", total, done, flush=True)
    def advance(self, pieces=1, **figures):
        print("batch", pieces, flush=True)

settings = ModelSettings(path=str(folder / "model"), dtype="float32", max_length=256, max_prompt_length=128)
tasks = [Task(Prompt(str(i), f"Tell me of number {i}", "harmless", None), 150) for i in range(12)]
for _ in range(2):
    respondent = Respondent("base", resolve_model(str(folder / "model")), settings, cache, folder, Log())
    answers = respondent.answer(tasks, [], batch_size=2)
    print("texts", json.dumps([reply.text for reply in answers.replies]), flush=True)
"""


def ask(folder: Path, cache: Path, *, kill_after: int | None = None) -> list[str]:
    """The lines of a process that completes twelve prompts, two at a time, twice; killed after some batches."""
    command = [sys.executable, "-c", _ASK, str(folder), str(cache)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if kill_after is not None and lines.count("batch 2") == kill_after:
                time.sleep(0.05)  # into the next batch
                process.send_signal(signal.SIGKILL)
                kill_after = None
        process.wait(timeout=60)
    return lines


def test_a_kill_loses_one_batch_and_a_finished_model_is_asked_nothing(tmp_path: Path) -> None:
    save_tiny(tmp_path / "model")
    undisturbed = ask(tmp_path, tmp_path / "other")
    assert undisturbed[0] == "begin 12 0"
    assert undisturbed[-2] == undisturbed[-1], "nothing is generated again, whoever judges"
    killed = ask(tmp_path, tmp_path / "cache", kill_after=2)
    assert not killed[-1].startswith("texts"), "it was killed in the middle"
    kept = len(list((tmp_path / "cache").glob("*/*.parquet")))
    assert kept >= 2
    resumed = ask(tmp_path, tmp_path / "cache")
    assert resumed[0] == f"begin 12 {2 * kept}"
    assert resumed.count("batch 2") == 6 - kept
    assert resumed[-1] == undisturbed[-1]


def test_without_vllm_one_sentence(tmp_path: Path) -> None:
    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("vllm is installed")
    prompts = {"k": (3, 4)}
    with pytest.raises(UserError, match=r"^evaluate\.engine needs the package vllm, which is not installed: `pip"):
        list(vllm_completions(tmp_path, prompts, dtype="bfloat16", ends=(2,), max_new_tokens=4, batch_size=2))


def test_vllm_is_asked_for_the_files_that_transformers_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for vLLM: where Mistral's own files lie beside a model's, it prefers them unless it is told."""
    asked: dict[str, Any] = {}

    class Engine:
        def __init__(self, **arguments: Any) -> None:
            asked.update(arguments)

        def generate(self, *_: Any, **__: Any) -> list[Any]:
            return [SimpleNamespace(outputs=[SimpleNamespace(text=" said ", token_ids=[5])])]

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=Engine, SamplingParams=dict))
    done = vllm_completions(tmp_path, {"k": (3, 4)}, dtype="bfloat16", ends=(2,), max_new_tokens=4, batch_size=2)
    assert list(done) == [{"k": Completion("said", 1)}]
    assert [asked[name] for name in ("config_format", "load_format", "tokenizer_mode")] == ["hf", "safetensors", "hf"]


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}"),
            "Engine core initialization failed. See root cause above. Failed core proc(s): {}",
        ),
        (
            ValueError("1 validation error for ModelConfig\n  Value error, max_model_len (9) is greater"),
            "1 validation error for ModelConfig Value error, max_model_len (9) is greater",
        ),
    ],
)
def test_a_vllm_that_does_not_start_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, shown: str
) -> None:
    """As where another process has the GPU's memory, or the model has no room for so long a completion."""

    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=fail, SamplingParams=dict))
    done = vllm_completions(tmp_path, {"k": (3, 4)}, dtype="bfloat16", ends=(2,), max_new_tokens=4, batch_size=2)
    with pytest.raises(UserError) as refused:
        list(done)
    assert str(refused.value) == (
        f"evaluate.engine: vLLM does not start with the model in {tmp_path}: {shown}; what it wrote above may say "
        "more. It wants nine tenths of one GPU's memory for itself: free it, or set evaluate.engine=transformers."
    )


@pytest.mark.slow
def test_vllm_says_what_transformers_says() -> None:
    pytest.importorskip("vllm", reason="vllm is not installed")
    folder = embedded_model()
    tokenizer, model = load_tokenizer(folder), load_model(folder, dtype="float32", attention="sdpa")
    questions = ["What is the capital of France?", "Name three colours.", "Who wrote Hamlet?"]
    prompts = [
        tuple(tokenizer(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")["input_ids"])
        for question in questions
    ]
    (comma,) = tokenizer(",")["input_ids"]
    assert comma != tokenizer.eos_token_id
    expected = complete(model, tokenizer, prompts, ends=(comma,), max_new_tokens=24)
    batches = vllm_completions(
        folder,
        dict(zip(questions, prompts, strict=True)),
        dtype="float32",
        ends=(comma,),
        max_new_tokens=24,
        batch_size=2,
    )
    found = {key: completion for batch in batches for key, completion in batch.items()}
    assert [found[question] for question in questions] == expected
    assert min(completion.n_tokens for completion in expected) < 24, "one ends by its end"
    assert expected[0].n_tokens > 8, "the tokenizer's own end ends nothing"
    started = psutil.Process().children(recursive=True)
    left = [p for p in started if p.name().startswith("VLLM") and p.status() != psutil.STATUS_ZOMBIE]
    assert not left, "they hold a GPU's memory"
