"""The pages are true: help pages are current, commands are real, links lead somewhere, nothing is left out."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from bintally.cli import exits
from bintally.cli.app import app
from bintally.data.manifest import SCHEMA
from bintally.evaluation.results import Evaluation
from bintally.inference.model_file import ModelFacts
from bintally.models.checkpoint import CheckpointFacts

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])
PAGES += sorted((ROOT / "results").rglob("*.md"))
WRITTEN_BY_HAND = [page for page in PAGES if page.name != "cli.md"]

COMMAND = typer.main.get_command(app)
SHELL_WORDS = {"|", "||", "&&", ";", ">", ">>", "<", "2>"}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def code_blocks(page: Path) -> list[str]:
    return re.findall(r"^[ \t]*```[^\n]*\n(.*?)^[ \t]*```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def command_lines(text: str) -> Iterator[list[str]]:
    """The words of each `bintally ...` call in shell text, up to a pipe or the like; prompts and paths are allowed."""
    for line in text.replace("\\\n", " ").splitlines():
        if not re.match(r"\s*(\$ )?((uv run )?|\S*/)bintally( |$)", line):
            continue
        words = shlex.split(line.removeprefix("$ "), comments=True)
        start = next(place for place, word in enumerate(words) if word.rpartition("/")[2] == "bintally") + 1
        end = next((place for place, word in enumerate(words) if word in SHELL_WORDS), len(words))
        yield words[start:end]


def options_of(command: object) -> set[str]:
    return {"--help"} | {name for each in command.params for name in (*each.opts, *each.secondary_opts)}


def fault_of(words: list[str]) -> str | None:
    """What is wrong with a call, in words; None if its verb and its options are real."""
    command, name = COMMAND, "bintally"
    for word in words:
        option, verbs = word.partition("=")[0], getattr(command, "commands", {})
        if re.match(r"-[^\d]", option):
            if option not in options_of(command):
                return f"{name} has no option {option}"
        elif verbs:
            if word not in verbs:
                return f"{word!r} is no verb"
            command, name = verbs[word], word
    return None


def test_the_check_of_commands_sees_faults() -> None:
    calls = list(command_lines("$ bintally count a.jpg \\\n  --model m.onnx | head # two\n.venv/bin/bintally nod\nls"))
    assert calls == [["count", "a.jpg", "--model", "m.onnx"], ["nod"]]
    assert fault_of(calls[0]) is None
    assert fault_of(["--version"]) is None
    assert fault_of(calls[1]) == "'nod' is no verb"
    assert fault_of(["count", "a.jpg", "--colour=red"]) == "count has no option --colour"
    assert fault_of(["--loud", "count"]) == "bintally has no option --loud"
    assert fault_of(["data", "query", "DATA", "SELECT 1", "--csv"]) is None
    assert fault_of(["data", "ask"]) == "'ask' is no verb"
    assert fault_of(["data", "show", "DATA", "--csv"]) == "show has no option --csv"


@pytest.mark.parametrize("page", WRITTEN_BY_HAND, ids=name_of)
def test_every_command_is_real(page: Path) -> None:
    calls = [words for block in code_blocks(page) for words in command_lines(block)]
    spans = re.findall(r"`(bintally [a-z][^`]*)`", page.read_text(encoding="utf-8"))
    calls += [words for span in spans for words in command_lines(span)]
    faults = {" ".join(words): fault for words in calls if (fault := fault_of(words))}
    assert not faults


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(<?([^)>\s]+)>?[^)]*\)", text)
    local = [target for target in targets if not re.match(r"[a-z]+:|#", target)]
    missing = [target for target in local if not (page.parent / target.partition("#")[0]).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_names_this_machine(page: Path) -> None:
    assert not re.search(r"(?<![\w.])/(work|root|home|tmp)/", page.read_text(encoding="utf-8"))


def test_help_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "make_cli.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_architecture_names_every_module() -> None:
    """Its tree holds exactly the modules that there are, `__init__` left out."""
    tree = next(block for block in code_blocks(ROOT / "ARCHITECTURE.md") if block.startswith("src/bintally/"))
    drawn: set[str] = set()
    parts: list[str] = []  # of the line's path, two spaces for each
    for line in tree.splitlines()[1:]:
        if (found := re.match(r"^( +)([\w.]+/?)  ", line)) is None:
            continue
        parts = [*parts[: len(found[1]) // 2 - 1], found[2]]
        if found[2].endswith(".py"):
            drawn.add("".join(parts))
    source = ROOT / "src" / "bintally"
    real = {path.relative_to(source).as_posix() for path in source.rglob("*.py") if path.name != "__init__.py"}
    assert drawn == real


def test_the_architecture_states_the_import_rules() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(each for each in settings["tool"]["importlinter"]["contracts"] if each["type"] == "layers")
    layers = [layer.replace("bintally.", "") for layer in contract["layers"]]
    wanted = " > ".join(" | ".join(sorted(layer.split(" | "))) for layer in layers)
    stated = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert wanted in stated.replace("\n", " ")


def test_the_formats_page_names_every_field_and_exit_code() -> None:
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    fields = [*SCHEMA.names()]
    for facts in (CheckpointFacts, ModelFacts, Evaluation):
        fields += list(facts.model_fields)
    assert [field for field in fields if f"`{field}`" not in page] == []
    codes = re.findall(r"^(\d+) ", exits.__doc__ or "", re.MULTILINE)
    assert len(codes) > 8
    assert re.findall(r"^\| (\d+) \|", page, re.MULTILINE) == codes


def test_every_decision_has_its_three_parts() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [record.name[:4] for record in records] == [f"{number:04d}" for number in range(1, len(records) + 1)]
    for record in records:
        headings = re.findall(r"^## (.+)$", record.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], record.name
