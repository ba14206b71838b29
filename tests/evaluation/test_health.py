"""A run's health as a file, and on the report page; that every rule is written about."""

import re
from pathlib import Path

import pytest
from tests.small_dataset import KnowingEstimator, make_dataset, sure_of

from bintally.data.manifest import Manifest
from bintally.errors import CheckpointError, SettingsError
from bintally.evaluation.evaluate import evaluate
from bintally.evaluation.health import Alarm, Health, RuleName, parse_rules, read_health, write_health
from bintally.evaluation.report import write_report
from bintally.evaluation.results import Evaluation, read_evaluation, write_evaluation

ROOT = Path(__file__).parents[2]
ALARMS = (
    Alarm(rule=RuleName.CLASS_IMBALANCE, epoch=0, step=0, saw="9 of 10 have <2> items", todo="ingest others"),
    Alarm(rule=RuleName.NAN, epoch=2, step=1234, saw="a pixel", todo="look", photos=("bin-images/1.jpg",)),
)
HEALTHY = Health(rules=tuple(RuleName), epochs=3, steps=1500)
SICK = Health(rules=tuple(RuleName), epochs=2, steps=1235, alarms=ALARMS, stopped_by=RuleName.NAN)


@pytest.mark.parametrize("health", [HEALTHY, SICK], ids=["healthy", "sick"])
def test_it_comes_back_equal(health: Health, tmp_path: Path) -> None:
    path = tmp_path / "new" / "health.json"
    write_health(health, path)
    assert read_health(path) == health
    assert [each.name for each in path.parent.iterdir()] == ["health.json"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot read it"),
        ("{", "not a run's health of format version 1: the file"),
        ('{"format_version": 2, "rules": [], "epochs": 1, "steps": 1}', "format_version"),
        ('{"rules": ["boredom"], "epochs": 1, "steps": 1}', "rules.0"),
    ],
    ids=["missing", "damaged", "another version", "unknown rule"],
)
def test_what_cannot_be_read_is_refused(text: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "health.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CheckpointError, match=said):
        read_health(path)


def test_a_summary_says_what_was_raised_and_when() -> None:
    assert HEALTHY.summary == "12 rules watched 3 epochs (1,500 steps) and raised no alarm"
    assert SICK.summary == (
        "12 rules watched 2 epochs (1,235 steps) and raised class-imbalance (before the first step), "
        "nan (epoch 2, step 1,234); stopped by nan"
    )


def test_rules_by_name() -> None:
    assert parse_rules([]) == frozenset()
    assert parse_rules(["any"]) == frozenset(RuleName)
    with pytest.raises(SettingsError, match=r"--stop-on: expected 'any' or one of nan, splits-differ, .* got boredom"):
        parse_rules(["nan", "boredom"])


def test_every_rule_is_written_about_and_no_other() -> None:
    page = (ROOT / "docs" / "health.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([a-z-]+)` \|(?:[^|\n]+\|){4}$", page, re.MULTILINE) == [rule.value for rule in RuleName]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_dataset(tmp_path_factory.mktemp("report") / "bins", [count % 9 for count in range(96)])


class TestReport:
    def measured(self, manifest: Manifest, name: str, health: Health | None) -> Evaluation:
        estimator = KnowingEstimator(manifest, lambda count: sure_of(min(count, 6)), name=name)
        return evaluate(estimator, manifest, resamples=20, health=health)

    def test_health_stays_with_the_evaluation(self, manifest: Manifest, tmp_path: Path) -> None:
        evaluation = self.measured(manifest, "sick", SICK)
        assert read_evaluation(write_evaluation(evaluation, tmp_path / "sick.json")).health == SICK

    def test_the_page_shows_what_was_seen_and_what_to_do(self, manifest: Manifest, tmp_path: Path) -> None:
        every = [self.measured(manifest, name, health) for name, health in (("sick", SICK), ("well", HEALTHY))]
        page = write_report(tmp_path / "r.html", every, manifest).read_text(encoding="utf-8")
        assert "Health of training" in page
        assert f"<b>sick</b>: {SICK.summary}" in page
        assert f"<b>well</b>: {HEALTHY.summary}" in page
        for told in ("class-imbalance", "9 of 10 have &lt;2&gt; items", "ingest others", "epoch 2, step 1,234"):
            assert told in page
        assert page.count('class="alarms"') == 1

    def test_runs_that_were_not_watched_have_no_such_section(self, manifest: Manifest, tmp_path: Path) -> None:
        page = write_report(tmp_path / "r.html", [self.measured(manifest, "old", None)], manifest)
        assert "Health of training" not in page.read_text(encoding="utf-8")
