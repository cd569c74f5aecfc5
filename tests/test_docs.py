"""What the texts promise exists: commands, targets, tables, examples, settings."""

import ast
import re
from pathlib import Path

import pytest

from vasg import schemas
from vasg.cli import _parser
from vasg.config import Config
from vasg.config_file import load
from vasg.failpoints import POINTS
from vasg.pipeline.stages import stages
from vasg.spark.session import SESSION

ROOT = Path(__file__).resolve().parents[1]
TEXTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("spark_conf/*"), *ROOT.glob("examples/*")])
EXAMPLES = sorted(ROOT.glob("examples/*.toml"))
CONFS = sorted(ROOT.glob("spark_conf/*.conf"))
TARGETS = {
    "help", "setup", "lint", "test", "test-fault", "demo", "bench", "bench-large", "package", "sbom", "clean",
}  # fmt: skip


def mentions(pattern: str) -> set[tuple[str, str]]:
    """What follows a command in the code spans and blocks of all texts: (file, word)."""
    found = set()
    for path in TEXTS:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".md":
            text = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))
        found |= {(path.name, word) for word in re.findall(pattern, text)}
    assert found, pattern
    return found


def test_every_target_that_is_mentioned_exists_and_help_lists_them() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)) == TARGETS
    assert ".DEFAULT_GOAL := help" in makefile
    assert set(re.search(r"\.PHONY: (.*)", makefile)[1].split()) == TARGETS  # type: ignore[index]
    mentioned = mentions(r"\bmake ([a-z-]+)")
    assert {word for _, word in mentioned} <= TARGETS, mentioned


def test_every_command_that_is_mentioned_exists() -> None:
    commands = set(_parser()._subparsers._group_actions[0].choices)  # type: ignore[union-attr,arg-type]
    mentioned = mentions(r"\bvasg ([a-z]+)\b")
    assert {word for _, word in mentioned} <= commands, mentioned


def test_every_job_that_is_mentioned_exists() -> None:
    mentioned = mentions(r"\bjobs/([a-z_]+)\.py")
    assert all((ROOT / "jobs" / f"{name}.py").exists() for _, name in mentioned), mentioned


@pytest.mark.parametrize("text", ["docs/reliability.md", "SECURITY.md"])
def test_every_test_that_is_mentioned_exists(text: str) -> None:
    page, file = (ROOT / text).read_text(), ""
    named = re.findall(r"`(test_\w+\.py)?(?:::(test_\w+))?`", page)
    assert any(name for name, _ in named)
    for name, test in named:
        file = name or file
        if file:
            assert f"def {test}" in (ROOT / "tests" / file).read_text(), f"{file}::{test}"


def test_every_row_of_the_fault_matrix_names_tests_that_make_test_fault_runs() -> None:
    page, file = (ROOT / "docs" / "reliability.md").read_text(), ""
    rows = re.findall(r"^\| [\d -]*\| (.+) \| (.+) \| .+ \|$", page.partition("| # | fault |")[2], re.MULTILINE)
    assert len(rows) >= 27
    for fault, tests in rows:
        named = re.findall(r"`(test_\w+\.py)?(?:::(test_\w+))?`", tests)
        assert named or tests == "the same", fault
        for name, test in named:
            file = name or file
            nodes = ast.parse((ROOT / "tests" / file).read_text()).body
            marked = {getattr(node, "name", "") for node in nodes if "pytest.mark.fault" in ast.unparse(node)}
            assert marked & {test, ""} if test else marked, f"{file}::{test}"


def test_every_failpoint_is_explained_and_used_once_or_more() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    code = "".join(path.read_text() for path in (ROOT / "vasg").rglob("*.py"))
    for name, meaning in POINTS.items():
        assert f"| `{name}` | {meaning} |" in page
        assert f'failpoint("{name}")' in code
    assert len(re.findall(r'failpoint\("', code)) >= len(POINTS)


def test_the_page_about_the_tables_is_the_one_the_schemas_give() -> None:
    found = (ROOT / "docs" / "tables.md").read_text()
    assert found.endswith("\n" + schemas.markdown()), "run: python -m vasg.schemas docs/tables.md"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_load_and_their_comments_give_the_right_command(path: Path) -> None:
    config = load(path)
    assert config != Config()
    assert Path(config.features.path).is_absolute()
    assert f"vasg run --config examples/{path.name} --root runs/" in path.read_text()


def test_the_examples_are_those_that_were_promised() -> None:
    amazon = {f"amazon_{name}" for name in ("women", "men", "shoes", "jewelry")}
    assert {path.stem for path in EXAMPLES} == {"hm", "fashion_pictures", "nightly"} | amazon
    for name in amazon:
        config = load(ROOT / "examples" / f"{name}.toml")
        assert config.reviews.category.lower() == name.removeprefix("amazon_")
        assert (config.train.dim, config.train.window, config.features.dim) == (100, 7, 4096)


def test_the_example_of_the_sample_finds_it(data: Path) -> None:
    config = load(ROOT / "examples" / "hm.toml", [f"reviews.path={data}/hm/transactions.csv"])
    header = Path(config.reviews.path).read_text().partition("\n")[0].split(",")
    columns = (config.reviews.user_column, config.reviews.product_column, config.reviews.timestamp_column)
    assert set(columns) <= set(header)
    assert "extract_features" in [stage.name for stage in stages(config)]


@pytest.mark.parametrize("path", CONFS, ids=lambda path: path.stem)
def test_every_spark_setting_has_a_reason_above_it_and_nothing_after_its_value(path: Path) -> None:
    seen: set[str] = set()
    before = group = ""
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(r"spark\.\S+\s+\S+", line), f"{path.name}: {line}"
            name = line.split()[0]
            assert before.startswith("#") or name.rpartition(".")[0] == group, f"{path.name}: why {name}?"
            assert name not in seen
            assert name not in SESSION, f"{name} decides results: it belongs into the code"
            assert not re.search("secret|password|token", name), f"{path.name} holds a secret"
            seen.add(name)
            group = name.rpartition(".")[0]
        before = line
    assert {"spark.master", "spark.authenticate", "spark.ui.enabled"} <= seen
    if path.stem != "local":
        assert {"spark.network.crypto.enabled", "spark.dynamicAllocation.enabled"} <= seen
