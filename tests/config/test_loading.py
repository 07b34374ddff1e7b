"""Configs: merged, located, and every mistake named with its file, line, field and remedy."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bdpo.config import Config, load_config
from bdpo.config.methods import METHODS, Method
from bdpo.errors import UserError
from tests.paths import ROOT

MINIMAL = """\
name: x
ingest:
  sources:
    - path: data/rows.jsonl
evaluate:
  benchmarks:
    - path: prompts.csv
"""


def write(folder: Path, text: str, name: str = "config.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as raised:
        load_config(path, overrides)
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_the_readmes_whole_configs_load(tmp_path: Path) -> None:
    found = re.findall(r"```yaml\n# (\S+\.yaml)\n(.+?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    configs = {name: load_config(write(tmp_path, text, name)) for name, text in found}
    assert list(configs) == ["my-run.yaml", "my-ablation.yaml"]
    ablation = configs["my-ablation.yaml"].ablation
    assert ablation is not None
    assert len(ablation.seeds) >= 3


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL, "base/base.yaml")
    config = load_config(write(tmp_path, "extends: base/base.yaml\nname: y\nartifacts: out\n"))
    assert config.ingest.sources[0].path == tmp_path / "base" / "data" / "rows.jsonl"
    assert config.artifacts == tmp_path / "out"
    assert config.name == "y"


def test_mappings_merge_and_lists_are_replaced(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL + "train: {beta: 0.2, epochs: 3}\n", "base.yaml")
    child = "extends: base.yaml\ntrain: {beta: 0.5}\ningest: {sources: [{path: a}, {path: b}]}\n"
    config = load_config(write(tmp_path, child))
    assert (config.train.beta, config.train.epochs) == (0.5, 3)
    assert [Path(str(source.path)).name for source in config.ingest.sources] == ["a", "b"]


def test_overrides_reach_into_sections_and_lists(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    config = load_config(path, ["train.beta=0.3", "ingest.sources.0.limit=5", "train.learning_rate=5e-7"])
    assert (config.train.beta, config.ingest.sources[0].limit, config.train.learning_rate) == (0.3, 5, 5e-7)
    # A path on the command line is relative to where the command is given.
    config = load_config(path, ["ingest.sources.0.path=other.jsonl"])
    assert config.ingest.sources[0].path == Path.cwd() / "other.jsonl"


def test_an_alias_stands_for_what_it_names_and_a_section_is_made_where_it_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "score: {token_budget: &budget 512}\ntrain: {token_budget: *budget, lora: null}\n")
    config = load_config(path, ["train.lora.rank=4", "model.max_length=600"])
    assert (config.score.token_budget, config.train.token_budget) == (512, 512)
    assert config.train.lora is not None
    assert (config.train.lora.rank, config.model.max_length) == (4, 600)


def test_numbers_are_read_as_people_write_them(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL + "train: {learning_rate: 5e-7, beta: 1e-1, weight_decay: 0}\n"))
    assert (config.train.learning_rate, config.train.beta, config.train.weight_decay) == (5e-7, 0.1, 0.0)


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("ingest.near_duplicates=on", "ingest.near_duplicates"),
        ("ingest.sources.0.limit=yes", "ingest.sources.0.limit"),
        ("ingest.seed=true", "ingest.seed"),
        ("train.epochs=yes", "train.epochs"),
        ("train.warmup_ratio=no", "train.warmup_ratio"),
        ("ablation={methods: {dpo: {}}, learning_rates: [1e-5], seeds: [0, yes]}", "ablation.seeds"),
    ],
)
def test_true_and_false_are_no_numbers(tmp_path: Path, override: str, field: str) -> None:
    said = f"field `{field}`: a number is wanted, not true or false (which is how YAML reads yes, no, on and off)."
    assert refusal(write(tmp_path, MINIMAL), override).endswith(said)
    config = load_config(tmp_path / "config.yaml", ["train.deterministic=on", "train.max_steps=null"])
    assert (config.train.deterministic, config.train.max_steps) == (True, None)


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan", "1e400"])
@pytest.mark.parametrize("field", ["train.max_grad_norm", "train.learning_rate"])
def test_numbers_are_finite(tmp_path: Path, field: str, number: str) -> None:
    said = refusal(write(tmp_path, MINIMAL), f"{field}={number}")
    assert f"field `{field}`" in said
    assert "finite number" in said


def test_a_wrong_key_names_file_line_and_the_close_one(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "train:\n  betta: 1\n")
    message = refusal(path)
    assert message.startswith(f"{path}:9: unknown field `train.betta`: did you mean `beta`? Allowed here: balance, ")
    assert "`nam`: did you mean `name`?" in refusal(write(tmp_path, "nam: x\n" + MINIMAL))
    # Also where what is then missing has no default.
    assert "`ingset`: did you mean `ingest`?" in refusal(write(tmp_path, MINIMAL.replace("ingest", "ingset")))


def test_a_wrong_value_names_what_was_found_and_what_would_be_right(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "train:\n  beta: -1\n")
    assert refusal(path) == f"{path}:9: field `train.beta`: the value -1 is wrong: input should be greater than 0."
    assert refusal(path, "name=7").endswith(
        "field `name`: the value 7 is wrong: input should be a valid string, in quotes. (1 more error in this config)"
    )
    message = refusal(write(tmp_path, MINIMAL), "train.method=ddpo")
    assert message.startswith("--set 'train.method=ddpo': field `train.method`: the value 'ddpo' is wrong: ")
    assert "'bdpo'" in message
    assert message.endswith("'bounded_dpo'.")
    assert "max_prompt_length 900 leaves no room" in refusal(
        write(tmp_path, MINIMAL + "model: {max_prompt_length: 900, max_length: 512}\n")
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ("betta: 1", "unknown field `ablation.methods.simpo.betta`: did you mean `beta`? Allowed here: balance, "),
        ("epochs: yes", "field `ablation.methods.simpo.epochs`: a number is wanted, not true or false"),
        ("beta: 0", "field `ablation.methods.simpo.beta`: the value 0 is wrong: input should be greater than 0."),
        ("tau: 2", "field `ablation.methods.simpo`: `tau` is not used by the method simpo (only by dpo, "),
    ],
)
def test_a_wrong_field_of_an_ablations_method_is_named_as_any_other(tmp_path: Path, fields: str, says: str) -> None:
    methods = f"  methods:\n    dpo: {{}}\n    simpo: {{{fields}}}\n"
    path = write(tmp_path, f"{MINIMAL}ablation:\n  learning_rates: [1e-5]\n  seeds: [0]\n{methods}")
    assert refusal(path).startswith(f"{path}:13: {says}")


def test_an_error_in_an_extended_file_names_that_file(tmp_path: Path) -> None:
    base = write(tmp_path, MINIMAL + "train:\n  beta: low\n", "base.yaml")
    assert refusal(write(tmp_path, "extends: base.yaml\n")).startswith(f"{base}:9: field `train.beta`")


def test_what_has_no_default_is_asked_for(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "name: x\n"))
    assert "field `ingest` is missing and has no default" in message
    assert message.endswith("(1 more error in this config)")


LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
"""Sixty lines that stand for more values than there are atoms in a cup of tea."""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a config is a YAML mapping"),
        ("- a\n", "a config is a YAML mapping"),
        ("name: [\n", "not valid YAML"),
        ("name: x\nname: y\n", "field `name` is given twice"),
        ("extends: gone.yaml\n", "gone.yaml: there is no such config file"),
        ("extends: config.yaml\n", "extend each other in a circle"),
        ("extends: 3\n", "field `extends`: 3"),
        ("name: !!python/object/apply:os.system [echo]\n", "field `name`: the YAML tag"),
        ("name: !env HOME\n", "field `name`: the YAML tag '!env' is not allowed"),
        ("name: x\ntrain: &t\n  lora: *t\n", "config.yaml:2: field `train.lora`: the YAML alias holds itself"),
        ("name: x\ningest: {sources: &s [{path: *s}]}\n", "field `ingest.sources.0.path`: the YAML alias holds itself"),
        ("name: 2001-99-99\n", "field `name`: '2001-99-99' cannot be read"),
        ("ingest: {sources: [{limit: 0100}]}\n", "`ingest.sources.0.limit`: YAML reads '0100' as a number in another"),
        ("ingest: {seed: -1:30}\n", "field `ingest.seed`: YAML reads '-1:30' as a number in another"),
        ("name: !!stringy x\n", "field `name`: the YAML tag"),
        ("name: !!bool x\n", "field `name`: 'x' cannot be read as bool"),
        ("name: !!timestamp x\n", "field `name`: 'x' cannot be read as timestamp"),
        ("name: !!map x\n", "field `name`: 'x' cannot be read as map"),
        ("? [a, b]\n: x\n", "config.yaml:1: the name of a field is a word, not a YAML list or mapping"),
        ('extends: "a\\0b"\n', "field `extends`: embedded null"),
        ("extends: ~no-such-user/x.yaml\n", "field `extends`: '~no-such-user/x.yaml' begins with the home folder"),
        (f"{MINIMAL}artifacts: ~no-such-user/x\n", "field `artifacts`: '~no-such-user/x' begins with the home folder"),
        (
            MINIMAL.replace("data/rows", "~no-such-user/rows"),
            "field `ingest.sources.0.path`: '~no-such-user/rows.jsonl' begins with the home folder",
        ),
        (f"name: {'[' * 2000}{']' * 2000}\n", "config.yaml: the YAML is nested too deeply"),
        (LAUGHS, "config.yaml: the config holds more than 10,000 values, each use of a YAML alias counted"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, says: str) -> None:
    assert says in refusal(write(tmp_path, text))


def test_a_folder_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    assert "is a folder; a config is a YAML file" in refusal(tmp_path)
    assert "the config cannot be read" in refusal(Path("~no-such-user/x.yaml"))
    (tmp_path / "x.yaml").write_bytes(b"name: \xff\n")
    assert "the config cannot be read" in refusal(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.beta", "write `dotted.key=value`"),
        ("=1", "write `dotted.key=value`"),
        ("train.beta=[", "--set 'train.beta=[': not valid YAML: "),
        ("train.beta=!x 1", "--set 'train.beta=!x 1': field `train.beta`: the YAML tag '!x' is not allowed"),
        (f"train={'[' * 2000}", "the YAML is nested too deeply"),
        ("ingest.sources.7.limit=1", "write an index from 0 to 0 instead of '7'"),
        ("ingest.evaluation_prompts.0.path=x", "`ingest.evaluation_prompts` is a list of 0; write the whole list"),
        ("ingest.sources.first.limit=1", "write an index from 0 to 0 instead of 'first'"),
        ("name.first=1", "`name` holds a value, not a section"),
        ("train=", "--set 'train=': `train` is empty, but fields belong there, such as `balance`; or leave it out."),
        ("train.lora=yes", "`train.lora` is True, but fields belong there, such as `alpha`; or leave it out."),
        ("train.0.x=1", "unknown field `train.0`"),
        ("0.x=1", "unknown field `0`"),
    ],
)
def test_broken_overrides(tmp_path: Path, override: str, says: str) -> None:
    config = MINIMAL.replace("ingest:\n", "ingest:\n  evaluation_prompts: []\n")
    assert says in refusal(write(tmp_path, config), override)


def said(path: Path, *overrides: str) -> str:
    """What is said of a config; nothing when it loads.  Any other exception is a bug and comes through."""
    try:
        load_config(path, overrides)
    except UserError as error:
        return str(error)
    return ""


@given(st.text(max_size=200))
def test_any_text_is_a_config_or_one_sentence(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "config.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    message = said(path)
    assert message
    assert "\n" not in message


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@example("\n=")
@example("model\n.x=1")
@example("ingest.sources.²=1")  # a digit, and no number
@example("train.0.x=1")  # a number, and no place in a list
def test_any_override_is_taken_or_one_sentence(tmp_path_factory: pytest.TempPathFactory, override: str) -> None:
    assert "\n" not in said(write(tmp_path_factory.mktemp("any"), MINIMAL), override)


CONFIGS = sorted([*(ROOT / "configs").glob("*.yaml"), *(ROOT / "configs" / "paper").glob("*.yaml")])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_projects_own_configs_load(path: Path) -> None:
    assert isinstance(load_config(path), Config)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
@pytest.mark.parametrize("method", METHODS)
def test_a_rival_is_one_word_in_the_projects_own_configs(path: Path, method: Method) -> None:
    """With its own beta: they named 0.1, at which SimPO, whose rewards are by the token, learns next to nothing."""
    smoothing = ["train.label_smoothing=0.1"] if method == "robust" else []
    assert load_config(path, [f"train.method={method}", *smoothing]).train.beta == METHODS[method].beta


@pytest.mark.parametrize(
    "address", ["s3://key:password@bucket", "bucket/prefix", "/mnt/shared", "s3://b?secret=password"]
)
def test_an_address_with_a_secret_is_refused_and_not_repeated(tmp_path: Path, address: str) -> None:
    message = refusal(write(tmp_path, f"{MINIMAL}remote_artifacts: {address}\n"))
    assert "config.yaml:8: field `remote_artifacts`: this is not a plain address" in message
    assert "password" not in message
    message = refusal(write(tmp_path, MINIMAL), f"remote_artifacts={address}")
    assert "field `remote_artifacts`: this is not a plain address" in message
    assert "password" not in message


def test_a_folder_and_a_container_of_azure_are_told_how_to_be_written(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    assert refusal(path, "remote_artifacts=/mnt/shared").endswith(
        "a folder's begins with `file://`, as in `file:///mnt/shared`."
    )
    assert refusal(path, "remote_artifacts=abfss://container@account.dfs.core.windows.net/x").endswith(
        "on Azure, write `az://container/prefix` and set AZURE_STORAGE_ACCOUNT_NAME in the environment."
    )


def test_a_folder_of_artifacts_may_have_spaces_in_its_name(tmp_path: Path) -> None:
    for address in ("file:///mnt/my share", "file:///mnt/my share/b-dpo runs"):
        assert load_config(write(tmp_path, f"{MINIMAL}remote_artifacts: {address}\n")).remote_artifacts == address
    assert "this is not a plain address" in refusal(tmp_path / "config.yaml", "remote_artifacts=s3://my bucket")


@pytest.mark.parametrize("url", ["http://u:secret@h/v1", "http://h/v1?api-key=secret", "http://h/v1#secret"])
def test_a_judges_address_with_a_secret_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    for message in (
        refusal(write(tmp_path, f'{MINIMAL}  judge: {{url: "{url}", model: m}}\n')),
        refusal(write(tmp_path, MINIMAL), f'evaluate.judge={{url: "{url}", model: m}}'),
    ):
        assert "field `evaluate.judge.url`: this is not a plain address such as `http://localhost:8000/v1`" in message
        assert "secret" not in message


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "file:///etc/passwd", "http://", "http://h:port/v1", "http://a b"]
)
def test_a_judges_address_is_checked_before_any_work(tmp_path: Path, url: str) -> None:
    message = refusal(write(tmp_path, MINIMAL), f'evaluate.judge={{url: "{url}", model: m}}')
    assert f"field `evaluate.judge.url`: '{url}' is no address such as `http://localhost:8000/v1`." in message


def test_a_judge_by_its_word_alone_is_told_what_else_it_takes(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, MINIMAL), "evaluate.judge=wildguard")
    assert "'wildguard' is no judge: write `rules`, `{url: ..., model: ...}`" in message
    assert "`{kind: wildguard, path: ...}`" in message
