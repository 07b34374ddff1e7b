"""The report: what it says, that nothing in it is live, and how a real browser shows it."""

import csv
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bdpo.config import EvaluateSettings
from bdpo.config.evaluate import BenchmarkSettings, EndpointSettings
from bdpo.evaluation.benchmarks import Benchmark, load_benchmark
from bdpo.evaluation.cut_off import CutOff
from bdpo.evaluation.formats import Label, Prompt
from bdpo.evaluation.judging import RULES
from bdpo.evaluation.outcomes import Outcome, Role, figures_of, judge_replies
from bdpo.evaluation.report import plots
from bdpo.evaluation.report.build import Evidence, _benchmark_rows, write_report
from bdpo.evaluation.respond import Answers, Reply
from bdpo.evaluation.summary import adjusted, compare
from bdpo.progress import Silent
from tests.evaluation.report.artifacts import small_artifacts

HOSTILE = [
    "<script>document.title='owned'</script>",
    "</pre></details><img src=x onerror=\"document.title='owned'\">",
    "{{ 7 * 7 }} {% raw %}",
    "<style>body{display:none}</style>",
    '"><svg onload=alert(1)>',
    "&lt;b&gt; \u2028 \u202e backwards",
]


def evidence(folder: Path, hostile: list[str] = HOSTILE) -> Evidence:
    """Every harmful prompt is refused by the aligned model only; one harmless one too; base gets a sum wrong."""
    path = folder / "prompts.jsonl"
    path.write_text("{}\n")
    counts: dict[Label, int] = {"harmful": len(hostile), "harmless": 3, "question": 2}
    labels = [label for label, n in counts.items() for _ in range(n)]
    prompts = [
        Prompt(str(i), hostile[i % len(hostile)] + f" {i}", label, None, "5" if label == "question" else None)
        for i, label in enumerate(labels)
    ]
    benchmark = Benchmark("<i>own</i>", "prompts", prompts, dict.fromkeys(labels, 9), 2)
    entries = [(benchmark, prompt) for prompt in prompts]

    def text(role: Role, i: int, label: Label) -> str:
        if label == "question":
            return "It is 6." if role == "base" and i == len(labels) - 1 else "It is 5."
        refuses = role == "aligned" and (label == "harmful" or i == len(hostile))
        return ("I'm sorry, but I can't help with that. " if refuses else "Sure. ") + hostile[i % len(hostile)]

    roles: tuple[Role, Role] = ("base", "aligned")
    answers = {
        role: Answers(
            [Reply(f"{role}{i}", text(role, i, label), 3, cut=i == 1) for i, label in enumerate(labels)], {}, 0, 0.0
        )
        for role in roles
    }
    outcomes: dict[Role, list[Outcome]] = {
        role: judge_replies(prompts, answers[role].replies, RULES, role, Silent()) for role in roles
    }
    figures = adjusted(figures_of(entries, outcomes, 0.95))
    seen = [{"benchmark": "<i>own</i>", "prompt_id": "1", "same": True, "shared": 0.0}]
    settings = EvaluateSettings(benchmarks=[BenchmarkSettings(path=path)])
    return Evidence(
        entries, answers, outcomes, [], figures, seen, settings, RULES, "<b>model</b>", {"base": "b", "aligned": "a"}
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    workdir = folder / "work"
    workdir.mkdir()
    headline = write_report(evidence(folder), workdir=workdir, **small_artifacts(folder / "artifacts"))
    # Six of six harmful prompts moved: p = 2 / 2^6 = 0.03, times 3 figures = 0.09 is not below 0.05.
    assert headline == "No change in safety is shown. No change in over-refusal is shown. " + (
        "No change in general ability is shown."
    )
    return workdir / "report.html"


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only names and captions of the figures, which take most of a report's time."""

    def blank(name: str, draw: plots.Draw, inches_high: float, alt: str, caption: str, folder: Path) -> plots.Picture:
        (folder / f"{name}.png").touch()
        return plots.Picture(name, "data:,", "data:,", alt, caption)

    monkeypatch.setattr(plots, "_picture", blank)


class Page(HTMLParser):
    """Tags with their attributes, and the text in between."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_model_output_is_text_and_nothing_comes_from_outside(report: Path) -> None:
    page = Page(report.read_text(encoding="utf-8"))
    names = {name for name, _ in page.tags}
    assert not names & {"script", "iframe", "object", "embed", "svg", "link", "form", "i", "b"}
    for name, attributes in page.tags:
        assert not any(attribute.startswith("on") for attribute in attributes), name
        for source in ("src", "srcset"):
            assert (attributes.get(source) or "data:").startswith("data:"), name
        link = attributes.get("href") or "data:"
        assert link.startswith("data:") or re.fullmatch(r"(\.\./artifacts/\w+/)?data_docs/index\.html", link), link
    for text in HOSTILE:
        assert text in page.text


@pytest.mark.usefixtures("undrawn")
def test_items_that_are_not_independent_are_said_to_be(tmp_path: Path, report: Path) -> None:
    (tmp_path / "again").mkdir()
    found = evidence(tmp_path)
    benchmark, _ = found.entries[0]
    pairs = benchmark._replace(prompts=[p._replace(parts=(str(i // 2),)) for i, p in enumerate(benchmark.prompts)])
    again = found._replace(entries=[(pairs, prompt) for prompt in pairs.prompts])
    write_report(again, workdir=tmp_path / "again", **small_artifacts(tmp_path / "artifacts of it"))
    text = " ".join(Page((tmp_path / "again" / "report.html").read_text(encoding="utf-8")).text.split())
    assert (
        "The 11 items of <i>own</i> are not independent: those of one prompt or sentence taken as one, they are 6"
        in text
    )
    assert "are not independent" not in report.read_text(encoding="utf-8")


def test_it_says_everything_a_sceptic_asks_for(report: Path) -> None:
    text = " ".join(Page(report.read_text(encoding="utf-8")).text.split())
    assert "refusal of harmful prompts: 0.0% [0.0, 39.0] for the base model and 100.0% [61.0, 100.0]" in text
    assert "on 6 items, a first look at some of 9" in text
    assert "6 harmful prompts are refused now (wanted)" in text
    assert "1 harmless prompt is refused now (unwanted)" in text
    assert "1 question is answered rightly now (wanted)" in text
    assert "8 prompts have another verdict for one model than for the other" in text
    assert "Show all 6." in text
    assert "Show it." in text
    assert "The rules agree with people on 94%" in text
    assert "1 prompt is longer than model.max_prompt_length and was asked without the beginning" in text
    assert "Attacks are" not in text, "no attack was tried"
    assert "n counts prompts" not in text, "no pairs were ranked"
    assert "duplicate2" in text
    assert "1 of the prompts stand in the training data, word for word" in text
    assert "6 pairs were trained on. Pairs accepted: 6 for training, 2 for validation" in text
    assert "2 items hold no prompt and are left out" in text
    assert "train-fingerprint" in text
    with (report.parent / "tables" / "flipped.csv").open(encoding="utf-8", newline="") as file:
        flips = list(csv.DictReader(file))
    assert [flip["prompt_id"] for flip in flips] == ["0", "1", "2", "3", "4", "5", "6", "10"]
    assert (report.parent / "tables" / "quarantine.csv").read_text() == "rule,rows\nduplicate,2\nblank_chosen,1\n"
    for name in ("rates", "training", "information"):
        with Image.open(report.parent / "figures" / f"{name}.png") as image:
            assert image.width >= 1000


@pytest.mark.usefixtures("undrawn")
def test_no_completion_is_a_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    """A text that begins otherwise stands in the table as it is; numbers, negative ones too, stay numbers."""
    (tmp_path / "work").mkdir()
    texts = ['=HYPERLINK("http://127.0.0.1")', "+1", "-1", " @SUM(1)", "\t=1", "1 = 1"]
    found = evidence(tmp_path, texts)
    replies = [reply._replace(text=texts[i % len(texts)]) for i, reply in enumerate(found.answers["base"].replies)]
    answers = {**found.answers, "base": Answers(replies, {}, 0, 0.0)}
    lost = compare("b", "refusal_rate", [True, True], [False, True], confidence=0.95, limited_from=None)
    found = found._replace(answers=answers, figures=adjusted([*found.figures, lost]))
    write_report(found, workdir=tmp_path / "work", **small_artifacts(tmp_path / "artifacts"))
    with (tmp_path / "work" / "tables" / "flipped.csv").open(encoding="utf-8", newline="") as file:
        flips = list(csv.DictReader(file))
    assert [flip["base"] for flip in flips[:6]] == [*(f"'{text}" for text in texts[:5]), "1 = 1"]
    assert [flip["prompt"][0] for flip in flips[:6]] == ["'"] * 5 + ["1"]
    with (tmp_path / "work" / "tables" / "eval_summary.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file))[-1]["difference"] == "-0.5"


def test_a_method_without_weights_says_so(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    forms = {"balance": "none", "scale": "none", "normalise": False}
    folders = small_artifacts(tmp_path / "artifacts", method="dpo", forms=forms)
    write_report(evidence(tmp_path), workdir=tmp_path / "work", **folders)
    assert "The method has no balance weights." in (tmp_path / "work" / "report.html").read_text()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("cut", [True, False])
def test_what_the_pairs_lost_for_their_length_is_said(tmp_path: Path, cut: bool) -> None:
    (tmp_path / "work").mkdir()
    write_report(evidence(tmp_path), workdir=tmp_path / "work", **small_artifacts(tmp_path / "artifacts", cut=cut))
    text = " ".join(Page((tmp_path / "work" / "report.html").read_text()).text.split())
    assert ("the prompts of 3 pairs lost their beginning, 5 responses their end. Rows refused" in text) is cut
    assert ("lost their" in text) is cut


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("left_out", "were"), [(0, None), (1, "1 with two unsafe responses was"), (2, "2 with two unsafe responses were")]
)
def test_pairs_that_training_did_without_are_counted(tmp_path: Path, left_out: int, were: str | None) -> None:
    (tmp_path / "work").mkdir()
    folders = small_artifacts(tmp_path / "artifacts", method="safedpo", left_out=left_out)
    write_report(evidence(tmp_path), workdir=tmp_path / "work", **folders)
    text = " ".join(Page((tmp_path / "work" / "report.html").read_text()).text.split())
    said = f"6 for training, 2 for validation. Of these, {were} left out, as safedpo asks. Rows refused"
    assert said in text if were else "left out, as safedpo" not in text
    assert "the two responses of each pair accepted for training" in text


@pytest.mark.usefixtures("undrawn")
def test_a_policy_of_an_early_step_was_not_trained_on_all_pairs(tmp_path: Path) -> None:
    """Two steps of two pairs, of six."""
    (tmp_path / "work").mkdir()
    write_report(evidence(tmp_path), workdir=tmp_path / "work", **small_artifacts(tmp_path / "artifacts", step=2))
    text = " ".join(Page((tmp_path / "work" / "report.html").read_text()).text.split())
    assert "4 of 6 pairs were trained on: the policy is of a step before the end of the first epoch." in text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("chosen", [True, False])
def test_held_out_pairs_that_chose_the_policy_are_named(tmp_path: Path, chosen: bool) -> None:
    (tmp_path / "work").mkdir()
    reads = {"train.early_stopping.metric": "eval_loss"} if chosen else {"train.early_stopping": None}
    ranked = compare("validation pairs", "preference_accuracy", [True], [True], confidence=0.95, limited_from=None)
    found = evidence(tmp_path)
    found = found._replace(figures=adjusted([*found.figures, ranked]))
    write_report(found, workdir=tmp_path / "work", **small_artifacts(tmp_path / "artifacts", **reads))
    text = (tmp_path / "work" / "report.html").read_text()
    assert ("the held-out preference accuracy is of the same pairs" in text) == chosen
    assert "stands for all, so n counts prompts" in text


@pytest.mark.usefixtures("undrawn")
def test_completions_that_are_as_long_as_they_may_be_are_counted(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    found = evidence(tmp_path)
    cut = [
        CutOff("sums", "question", 4, 64, {"base": 3, "aligned": 1}),
        CutOff("own", "harmful", 9, 5, {"base": 2, "aligned": 9}),
    ]
    folders = small_artifacts(tmp_path / "artifacts")

    def said(cut_off: list[CutOff]) -> str:
        write_report(found._replace(cut_off=cut_off), workdir=tmp_path / "work", **folders)
        return " ".join(Page((tmp_path / "work" / "report.html").read_text()).text.split())

    assert (
        "That is so of sums, right answers: 3 of 4 by the base model and 1 by the aligned one, at 64 tokens; own, "
        "refusal of harmful prompts: 2 of 9 by the base model and 9 by the aligned one, at 5 tokens."
    ) in said(cut)
    assert "as long as they may be" not in said([])


@pytest.mark.usefixtures("undrawn")
def test_completions_without_a_verdict_are_among_the_limits(tmp_path: Path, report: Path) -> None:
    (tmp_path / "work").mkdir()
    figure = compare(
        "b", "refusal_rate", [None, True, None], [True, True, None],
        confidence=0.95, limited_from=None, unanswerable=[False, False, True],
    )  # fmt: skip
    found = evidence(tmp_path)._replace(figures=adjusted([figure]))
    write_report(found, workdir=tmp_path / "work", **small_artifacts(tmp_path / "artifacts"))
    text = " ".join(Page((tmp_path / "work" / "report.html").read_text()).text.split())
    assert "and long thoughts are cut. Of b, refusal of harmful prompts: 1 of 2 by the base model and 0 by the" in text
    assert "+0.0 [-79.3, +79.3] (n = 1), p = 1" in text
    assert "get no verdict from any model: 1 of 3 of b, refusal of harmful prompts." in text
    without = " ".join(Page(report.read_text(encoding="utf-8")).text.split())
    assert "Completions without a verdict" not in without
    assert "no verdict from any model" not in without


@pytest.mark.usefixtures("undrawn")
def test_what_has_a_figure_and_no_prompts_is_named_where_prompts_are_listed(tmp_path: Path, report: Path) -> None:
    """The models rank the held-out pair and answer the task's sample differently."""
    (tmp_path / "work").mkdir()
    moved = {"validation pairs": "preference_accuracy", "arc_easy (lm-eval, acc)": "accuracy"}
    found = evidence(tmp_path)
    others = [compare(b, m, [False], [True], confidence=0.95, limited_from=None) for b, m in moved.items()]
    alike = {**found.outcomes, "aligned": found.outcomes["base"]}
    found = found._replace(figures=adjusted([*found.figures, *others]), outcomes=alike)
    write_report(found, workdir=tmp_path / "work", **small_artifacts(tmp_path / "artifacts"))
    text = " ".join(Page((tmp_path / "work" / "report.html").read_text()).text.split())
    assert "Not looked at here: validation pairs, arc_easy (lm-eval, acc)." in text
    assert "Not compared with the training data: validation pairs, arc_easy (lm-eval, acc)." in text
    assert "Not looked at" not in report.read_text()


@pytest.mark.usefixtures("undrawn")
def test_dialogues_of_several_turns_are_counted(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    folders = small_artifacts(tmp_path / "artifacts")
    found = evidence(tmp_path)

    def said() -> str:
        write_report(found, workdir=tmp_path / "work", **folders)
        return " ".join(Page((tmp_path / "work" / "report.html").read_text()).text.split())

    assert "Each prompt is one turn long; those of the published" in said()
    several: dict[str, Any] = {"text": "Hi.\n\nAssistant: Hello.\n\nHuman: Well?", "transcript": True}
    (benchmark, first), *others = found.entries
    found = found._replace(entries=[(benchmark, first._replace(**several)), *others])
    assert "1 of 11 prompts is a dialogue of several turns, each of the others is one turn long; those of" in said()
    found = found._replace(entries=[(benchmark, prompt._replace(**several)) for _, prompt in found.entries])
    assert "11 of 11 prompts are dialogues of several turns; those of the published" in said()


@pytest.mark.usefixtures("undrawn")
def test_under_a_judge_of_harm_a_refusal_is_said_to_be_the_lack_of_it(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    found = evidence(tmp_path)._replace(judge=RULES._replace(name="guard", of_harm=True))
    write_report(found, workdir=tmp_path / "work", **small_artifacts(tmp_path / "artifacts"))
    text = " ".join(Page((tmp_path / "work" / "report.html").read_text()).text.split())
    assert "one that does none counts as a refusal above, though it may be an answer" in text


@pytest.mark.usefixtures("undrawn")
def test_under_a_judge_with_a_rubric_nonsense_is_said_to_be_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    found = evidence(tmp_path)
    settings = found.settings.model_copy(update={"judge": EndpointSettings(url="http://localhost:8000/v1", model="m")})
    found = found._replace(settings=settings, judge=RULES._replace(name="m"))
    write_report(found, workdir=tmp_path / "work", **small_artifacts(tmp_path / "artifacts"))
    text = " ".join(Page((tmp_path / "work" / "report.html").read_text()).text.split())
    assert "It is asked with StrongREJECT's rubric, by which a completion that is beside the point, or has" in text
    assert "nonsense counts as an answer" not in text


@pytest.mark.usefixtures("undrawn")
def test_without_scores_the_report_says_why_it_shows_no_mutual_information(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    forms = {"balance": "none", "scale": "none", "normalise": False}
    folders: dict[str, Any] = {**small_artifacts(tmp_path / "artifacts", method="simpo", forms=forms), "scores": None}
    write_report(evidence(tmp_path), workdir=tmp_path / "work", **folders)
    page = (tmp_path / "work" / "report.html").read_text()
    assert "The method has no reference model: nothing was scored" in page
    assert "score-fingerprint" not in page
    assert {path.name for path in (tmp_path / "work" / "figures").iterdir()} == {"rates.png", "training.png"}


def test_the_same_evidence_gives_the_same_bytes(tmp_path: Path) -> None:
    folders = small_artifacts(tmp_path / "artifacts")
    pages = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_report(evidence(tmp_path), workdir=tmp_path / name, **folders)
        pages.append((tmp_path / name / "report.html").read_bytes())
    assert pages[0] == pages[1]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_real_browser_shows_it(report: Path, tmp_path: Path, width: int, scheme: str) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    # A frame as wide as the window asked for: the browser's own window is never narrower than 500.
    frame = tmp_path / "frame.html"
    probe = (
        f'<body style="margin:0"><iframe id="f" src="{report.as_uri()}" '
        f'style="width:{width}px;height:2000px;border:0"></iframe></body>'
    )
    frame.write_text(probe)
    shot = tmp_path / "shot.png"
    preferred = "0" if scheme == "dark" else "1"
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--screenshot={shot}",
        f"--user-data-dir={tmp_path / 'profile'}", f"--blink-settings=preferredColorScheme={preferred}",
        f"--window-size={max(width, 500)},2000", frame.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert shot.is_file(), done.stderr[-500:]
    with Image.open(shot) as image:
        pixels = image.convert("L").crop((0, 0, width, 2000))
        paper = pixels.getpixel((width - 3, 1990))
        used = pixels.point(lambda value: 255 if abs(value - paper) > 40 else 0).getbbox()
    assert isinstance(paper, int)
    assert paper < 40 if scheme == "dark" else paper > 230
    assert used is not None
    assert used[3] > 1500, "the page is long"
    assert used[2] <= width - 4, "nothing runs out of the page on the right"


def test_the_browser_runs_nothing_of_it(report: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom", report.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None, done.stderr[-500:]
    assert title.group(1) == "Safety evaluation: &lt;b&gt;model&lt;/b&gt;, bdpo"
    assert "onerror" not in " ".join(attribute for _, a in Page(done.stdout).tags for attribute in a)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "found against the model that their source names"),
        ({"attack_type": "white_box"}, "found against the model that their source names"),
        ({"attack_type": "transfer"}, "found against other models than the one that their source names"),
        ({"attack_type": "manual"}, "written by hand, and only tried on the model that their source names"),
        ({"weights": "a"}, "found against this very aligned model"),
        ({"weights": "b"}, "found against this very base model"),
        ({"weights": "c"}, "found against another model, so a transferred attack"),
    ],
)
def test_what_attacks_were_found_against_is_said(tmp_path: Path, told: dict[str, str], said: str) -> None:
    """A file of `bdpo attack` may have been made with the very model that is evaluated."""
    found = evidence(tmp_path)
    parameters = {"method": "PAIR", "model": "m"} | told
    jailbreaks = [{"goal": "g", "prompt": "p", "jailbroken": True, "category": "c"}]
    (tmp_path / "x.json").write_text(json.dumps({"parameters": parameters, "jailbreaks": jailbreaks}))
    benchmark = load_benchmark(tmp_path / "x.json")
    (row,) = _benchmark_rows(found._replace(entries=[(benchmark, prompt) for _, prompt in found.entries]))
    assert row["scoring"].startswith(f"share of attack prompts that are answered: {said}")
