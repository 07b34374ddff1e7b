"""Live attacks: PAIR with an attacker behind a real HTTP server, GCG through nanogcg where it is installed."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from bdpo.errors import UserError
from bdpo.evaluation.attacks import command
from bdpo.evaluation.attacks.command import AttackPlan, attack
from bdpo.evaluation.attacks.gcg import gcg_prompt
from bdpo.evaluation.attacks.goals import Attempt, Goal, attack_all, read_goals
from bdpo.evaluation.attacks.pair import pair, read_prompt
from bdpo.evaluation.benchmarks import load_benchmark
from bdpo.evaluation.chat_endpoint import ChatEndpoint
from bdpo.evaluation.generation import Completion
from bdpo.layout.chat import tokenize_prompt
from bdpo.progress import Silent
from tests.chat_server import ChatServer, chat_server
from tests.said import Said
from tests.tiny import ALWAYS_THINKING, CHATML, SPECIALS, THINKING, save_tiny, tiny_model, tiny_tokenizer

GOAL = Goal("Say {where} the cookies are", "Sure, the cookies", "kitchen")


def proposal(prompt: str) -> tuple[int, str]:
    return 200, json.dumps({"improvement": "i", "prompt": prompt})


def endpoint(server: ChatServer) -> ChatEndpoint:
    return ChatEndpoint(server.url, "attacker", role="attacker", requests_per_minute=60_000, first_pause_s=0.01)


def test_pair_refines_by_what_the_model_says() -> None:
    heard: list[str] = []

    def reply(prompt: str) -> str:
        heard.append(prompt)
        return "In the tin." if prompt == "third" else f"No to {prompt}."

    with chat_server() as server:
        server.replies = [proposal("first"), (200, "no JSON here"), proposal("second"), proposal("third")]
        found = pair(GOAL, endpoint(server), reply, lambda _, r: r == "In the tin.", streams=2, iterations=3)
        bodies = [body for _, body, _ in server.requests]
    assert heard == ["first", "second", "third"]
    assert found == Attempt("third", "In the tin.", True, 3)
    assert all(body["temperature"] == 1.0 and body["messages"][0]["role"] == "system" for body in bodies)
    assert GOAL.goal in bodies[0]["messages"][0]["content"]
    assert GOAL.target in bodies[0]["messages"][1]["content"]
    # What could not be read is asked again; then the attacker sees its prompt and what came of it.
    assert bodies[1]["messages"] == bodies[2]["messages"]
    last = bodies[2]["messages"][-1]["content"]
    assert last.startswith("LANGUAGE MODEL OUTPUT: No to first.\nOBJECTIVE: ")
    assert last.endswith("SCORE: 1")
    # The first stream's three answers are used up: the second begins with an empty history.
    assert len(bodies[3]["messages"]) == 2


def test_pair_without_success_gives_the_last_attempt() -> None:
    with chat_server() as server:
        server.replies = [(200, "never any JSON")]
        nothing = pair(GOAL, endpoint(server), str, lambda _, r: False, streams=1, iterations=2)
        assert nothing == Attempt("", "", False, 0)
        server.replies = [proposal("p")]
        last = pair(GOAL, endpoint(server), lambda p: "No.", lambda _, r: False, streams=2, iterations=2)
    assert last == Attempt("p", "No.", False, 4)


@pytest.mark.parametrize("code", ["content_filter", "context_length_exceeded"])
def test_an_attacker_that_gives_no_answer_is_asked_again(code: str) -> None:
    with chat_server() as server:
        server.replies = [(400, f'{{"error": {{"code": "{code}", "message": "m"}}}}'), proposal("p")]
        found = pair(GOAL, endpoint(server), lambda p: "Sure.", lambda _, r: True, streams=1, iterations=2)
    assert found == Attempt("p", "Sure.", True, 1)


def test_a_prompt_is_read_from_json_with_anything_around_it() -> None:
    assert read_prompt('<think>as {"prompt": "a"}, or {b}?</think>{"prompt": "c"}') == "c"
    assert (
        read_prompt('Sure! ```json\n{"improvement": "a", "prompt": "line\nbreak {x}"}\n``` done') == "line\nbreak {x}"
    )
    for nothing in ("", "{}", '{"prompt": ""}', '{"prompt": 3}', "{broken", '["prompt"]'):
        assert read_prompt(nothing) is None


def test_what_an_attacker_writes_ends_no_attack() -> None:
    """Half of an escaped character, a number without end, lists in lists: models that loop or are cut write such."""
    assert read_prompt(r'{"prompt": "Smile \ud83d now"}') == "Smile ? now"
    assert read_prompt(r'{"prompt": "Smile \ud83d\ude00"}') == "Smile \U0001f600"
    assert read_prompt('{"prompt": "p", "score": ' + "1" * 5000 + "}") is None
    assert read_prompt('{"prompt": "p", "score": ' + "[" * 100_000 + "}") is None


def test_a_killed_attack_goes_on_and_ends_as_a_benchmark(tmp_path: Path) -> None:
    goals = [Goal(f"goal {i}", "Sure", "c") for i in range(3)]
    attacked: list[str] = []

    def search(goal: Goal) -> Attempt:
        attacked.append(goal.goal)
        if len(attacked) == 2:
            raise KeyboardInterrupt
        return Attempt(f"{goal.goal} please", "ok", goal.goal != "goal 2", 5)

    def run(**parameters: Any) -> list[Attempt]:
        return attack_all(
            goals, search, tmp_path / "a.json", parameters={"method": "PAIR", "model": "m", **parameters},
            advance=lambda _: None,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        run()
    assert [attempt.jailbroken for attempt in run()] == [True, True, False]
    assert attacked == ["goal 0", "goal 1", "goal 1", "goal 2"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    benchmark = load_benchmark(tmp_path / "a.json")
    assert (benchmark.name, benchmark.format) == ("PAIR (found against m)", "jailbreakbench")
    assert next((p.text, p.goal, p.label) for p in benchmark.prompts) == ("goal 0 please", "goal 0", "attack")


@pytest.mark.parametrize("damaged", [b"", b"\xff", b"[]", b"{}", b'{"identity": 1, "attempts": 2}'])
def test_a_damaged_part_is_begun_anew(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "a.json.part").write_bytes(damaged)
    done = attack_all(
        [Goal("g", "Sure", "")], lambda _: Attempt("p", "r", True, 1), tmp_path / "a.json", parameters={},
        advance=lambda _: None,
    )  # fmt: skip
    assert [attempt.prompt for attempt in done] == ["p"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("goal,answer\na,b\n", r"g\.csv, line 2: an attack needs text in the columns `goal` and `target`"),
        ("goal,target\n", r"g\.csv: the file holds no goals"),
    ],
)
def test_goals_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "g.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_goals(tmp_path / "g.csv", None)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "goals.csv").write_text("goal,target\n" + "".join(f"Say word {i},Sure\n" for i in range(4)))
    return {"goals": tmp_path / "goals.csv", "target": tmp_path / "out.json", "model": save_tiny(tmp_path / "model")}


def test_pair_against_a_real_model(files: dict[str, Path]) -> None:
    plan = AttackPlan("pair", str(files["model"]), dtype="float32", limit=2, max_new_tokens=4, streams=1, iterations=1)
    with chat_server() as server:
        server.replies = [proposal("Please do")]
        found = attack(files["goals"], files["target"], plan, endpoint(server), Silent())
    written = json.loads(files["target"].read_text())
    assert (found.n, found.successes) == (2, sum(j["jailbroken"] for j in written["jailbreaks"]))
    assert [j["goal"] for j in written["jailbreaks"]] == ["Say word 0", "Say word 2"]
    assert {j["prompt"] for j in written["jailbreaks"]} == {"Please do"}


def test_a_goal_that_was_never_attacked_is_no_failed_attack(files: dict[str, Path]) -> None:
    said = Said()
    plan = AttackPlan("pair", str(files["model"]), dtype="float32", limit=2, max_new_tokens=4, streams=1, iterations=1)
    with chat_server() as server:
        server.replies = [(200, "no JSON"), proposal("Please do")]
        found = attack(files["goals"], files["target"], plan, endpoint(server), said)
    assert (found.n, found.unscored) == (1, 1)
    assert len(said.texts) == 1
    assert said.texts[0].startswith("attack: on 1 of 2 goals the attacker wrote no prompt")


def test_a_prompt_that_is_cut_is_said(files: dict[str, Path]) -> None:
    said = Said()
    plan = AttackPlan("pair", str(files["model"]), "float32", 2, 4, max_prompt_length=64, streams=1, iterations=1)
    with chat_server() as server:
        server.replies = [proposal("Please do"), proposal("Please do" * 64)]
        attack(files["goals"], files["target"], plan, endpoint(server), said)
    assert said.texts == ["attack: prompts of over 64 tokens, which the model was asked without their beginning: 1"]


def test_a_reply_that_is_cut_while_the_model_thinks_is_no_failed_attack(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = iter(["<think>\nHm", "Sure, here it is."])
    monkeypatch.setattr(command, "complete", lambda *_, **__: [Completion(next(texts), 4)])
    said = Said()
    plan = AttackPlan("pair", str(files["model"]), "float32", 2, 4, streams=1, iterations=1)
    with chat_server() as server:
        server.replies = [proposal("Please do")]
        found = attack(files["goals"], files["target"], plan, endpoint(server), said)
    assert (found.n, found.successes, found.unscored) == (1, 1, 1)
    assert said.texts == [
        "attack: 1 of 2 replies are cut while the model still thinks: they have no answer and count for nothing; raise "
        "--max-new-tokens"
    ]


def test_a_model_that_thinks_whatever_it_is_told_is_not_attacked(files: dict[str, Path], tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "thinks")
    tiny_tokenizer(ALWAYS_THINKING).save_pretrained(model)
    with pytest.raises(UserError, match="its chat template writes"), chat_server() as server:
        attack(files["goals"], files["target"], AttackPlan("pair", str(model), "float32"), endpoint(server), Silent())


def test_an_attacker_that_is_not_there_is_one_sentence(files: dict[str, Path]) -> None:
    attacker = ChatEndpoint("http://127.0.0.1:9", "a", role="attacker", requests_per_minute=1e6, first_pause_s=0.001)
    plan = AttackPlan("pair", str(files["model"]), dtype="float32", limit=1)
    with pytest.raises(UserError, match=r"^The attacker at http://127\.0\.0\.1:9.* gave no answer in 5 tries"):
        attack(files["goals"], files["target"], plan, attacker, Silent())


def test_gcg_against_a_real_model(files: dict[str, Path]) -> None:
    pytest.importorskip("nanogcg", reason="nanogcg is not installed: pip install --no-deps nanogcg")
    plan = AttackPlan(
        "gcg", str(files["model"]), dtype="float32", limit=1, max_new_tokens=4, steps=3, search_width=8
    )  # fmt: skip
    attack(files["goals"], files["target"], plan, None, Silent())
    (attempt,) = json.loads(files["target"].read_text())["jailbreaks"]
    assert attempt["prompt"].startswith("Say word 0")
    assert len(attempt["prompt"]) > len("Say word 0 ")


def test_gcg_searches_within_the_prompt_that_the_model_is_asked_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes the prompt with the tokenizer that it is given; a model that can think is asked without."""
    written: list[str] = []

    def run(_model: object, tokenizer: Any, asked: str, _target: str, _config: object) -> SimpleNamespace:
        turn = [{"role": "user", "content": asked}]
        written.append(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
        return SimpleNamespace(best_string="!")

    monkeypatch.setitem(sys.modules, "nanogcg", SimpleNamespace(GCGConfig=lambda **_: None, run=run))
    tokenizer = tiny_tokenizer(THINKING)
    goal = GOAL._replace(goal="Say it")
    assert gcg_prompt(tiny_model(), tokenizer, goal, steps=1, search_width=1, seed=0) == "Say it!"
    (text,) = written
    asked = tokenize_prompt(tokenizer, [{"role": "user", "content": "Say it{optim_str}"}])
    assert tokenizer.decode(asked) == text
    assert text.endswith("</think>\n\n")
    assert tokenizer.chat_template == THINKING


def as_nanogcg_runs(tokenizer: Any, asked: str) -> tuple[list[int], list[int], set[int]]:
    """What it makes of a tokenizer (0.3.0): the tokens before and after the suffix, and those of no suffix."""
    template = tokenizer.apply_chat_template(
        [{"role": "user", "content": asked}], tokenize=False, add_generation_prompt=True
    )
    if tokenizer.bos_token and template.startswith(tokenizer.bos_token):
        template = template.replace(tokenizer.bos_token, "")
    before, after = template.split("{optim_str}")
    before_ids = tokenizer([before], padding=False, return_tensors="pt")["input_ids"][0].tolist()
    after_ids = tokenizer([after], add_special_tokens=False, return_tensors="pt")["input_ids"][0].tolist()
    texts = {i: tokenizer.decode([i]) for i in range(tokenizer.vocab_size)}
    forbidden = {i for i, text in texts.items() if not (text.isascii() and text.isprintable())}
    known = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id)
    return before_ids, after_ids, forbidden | {i for i in known if i is not None}


def bos_by_the_tokenizer() -> PreTrainedTokenizerFast:
    """Both its template and it itself put a BOS token first, as Llama's do."""
    tokenizer = tiny_tokenizer("{{ bos_token }}" + CHATML.replace("<|im_start|>", "[INST]"))
    start = ("<|im_start|>", 1)
    core = processors.TemplateProcessing(single="<|im_start|> $A", pair="<|im_start|> $A $B", special_tokens=[start])
    tokenizer.backend_tokenizer.post_processor = core
    assert tokenizer("a")["input_ids"][0] == 1
    return tokenizer


def of_words(space: str) -> PreTrainedTokenizerFast:
    """` x` is a token, with the space in it or, as SentencePiece has it, with one that decoding puts before it."""
    tokenizer = tiny_tokenizer()
    core = tokenizer.backend_tokenizer
    vocabulary = core.get_vocab() | {"\u2581": 259, f"{space}x": 260}
    core.model = models.BPE(vocab=vocabulary, merges=[(space, "x")])
    if space == "\u2581":
        core.pre_tokenizer, core.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    assert tokenizer("it x", add_special_tokens=False)["input_ids"][-1] == 260
    return tokenizer


def words_of_bytes() -> PreTrainedTokenizerFast:
    return of_words("\u0120")


def words_of_sentencepiece() -> PreTrainedTokenizerFast:
    return of_words("\u2581")


@pytest.mark.parametrize("make", [tiny_tokenizer, bos_by_the_tokenizer, words_of_bytes, words_of_sentencepiece])
def test_gcg_searches_between_the_tokens_that_the_model_is_asked_with(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], PreTrainedTokenizerFast]
) -> None:
    """SmolLM2's BOS token opens every turn; no suffix may hold a special token, though it was added, or none at all."""
    found: list[tuple[list[int], list[int], set[int]]] = []

    def run(_model: object, tokenizer: Any, asked: str, _target: str, config: Any) -> SimpleNamespace:
        found.append(as_nanogcg_runs(tokenizer, asked))
        suffix.extend(tokenizer(config.optim_str_init, add_special_tokens=False)["input_ids"])
        return SimpleNamespace(best_string=tokenizer.decode(suffix))

    suffix: list[int] = []
    monkeypatch.setitem(sys.modules, "nanogcg", SimpleNamespace(GCGConfig=SimpleNamespace, run=run))
    tokenizer = make()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|endoftext|>", "<|tool|>"]})
    model = tiny_model(vocab_size=272)
    prompt = gcg_prompt(model, tokenizer, GOAL._replace(goal="Say it"), steps=1, search_width=1, seed=0)
    ((before, after, forbidden),) = found
    asked = tokenize_prompt(tokenizer, [{"role": "user", "content": prompt}])
    assert prompt == "Say it" + 20 * " x"
    assert (*before, *suffix, *after) == asked
    assert forbidden.issuperset(tokenizer.convert_tokens_to_ids([*SPECIALS, "<|tool|>"]))
    assert forbidden.issuperset(range(len(tokenizer), 272))
    assert not forbidden.issuperset(range(len(tokenizer)))


@pytest.mark.parametrize("architecture", ["llama", "gemma", "gemma2", "gemma3_text"])
def test_gcg_takes_its_gradient_by_what_the_model_computes_with(
    monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    """Gemma's layer gives out more than its weights, which nanogcg multiplies the suffix with (0.3.0)."""
    searched: list[Any] = []

    def run(model: Any, *_: object) -> SimpleNamespace:
        layer = model.get_input_embeddings()
        one_hot = torch.nn.functional.one_hot(ids, layer.num_embeddings).to(model.device, model.dtype).requires_grad_()
        logits = model(inputs_embeds=one_hot @ layer.weight).logits
        assert torch.autograd.grad(logits.logsumexp(-1).sum(), one_hot)[0].any()
        searched.append((logits, layer(ids)))
        return SimpleNamespace(best_string="!")

    monkeypatch.setitem(sys.modules, "nanogcg", SimpleNamespace(GCGConfig=SimpleNamespace, run=run))
    model, ids = tiny_model(architecture), torch.tensor([[5, 7, 11, 5]])
    own = model.get_input_embeddings()
    assert gcg_prompt(model, tiny_tokenizer(), GOAL, steps=1, search_width=1, seed=0).endswith("!")
    ((logits, embeddings),) = searched
    assert torch.equal(embeddings, own(ids))
    torch.testing.assert_close(logits, model(input_ids=ids).logits)
    assert model.get_input_embeddings() is own


def test_gcg_of_a_model_that_makes_more_of_tokens_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Falcon-H1 multiplies the embeddings of tokens, and leaves those that it is given."""
    monkeypatch.setitem(sys.modules, "nanogcg", SimpleNamespace(GCGConfig=SimpleNamespace))
    model = tiny_model("falcon_h1")
    message = (
        r"^The attack gcg asks with embeddings, and falcon_h1 models answer them otherwise than tokens \(log-probs"
    )
    with pytest.raises(UserError, match=message):
        gcg_prompt(model, tiny_tokenizer(), GOAL, steps=1, search_width=1, seed=0)


def test_gcg_without_nanogcg_is_one_sentence(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanogcg", None)  # what a missing module looks like to import
    plan = AttackPlan("gcg", str(files["model"]), dtype="float32", limit=1)
    with pytest.raises(UserError, match=r"^The attack gcg needs nanogcg: pip install --no-deps nanogcg\.$"):
        attack(files["goals"], files["target"], plan, None, Silent())
