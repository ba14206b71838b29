"""The page of a study: what is on it, and that it loads nothing."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.made_up import orders_for
from tests.tuning.test_replay import trial

from bintally.tuning.plots import ceiling
from bintally.tuning.report import importances_of, render_report, savings_of
from bintally.tuning.study import join_study
from bintally.tuning.trials import State, Trial, list_trials
from bintally.tuning.worker import Orders, work


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Orders:
    orders = orders_for(tmp_path_factory.mktemp("study") / "s", budget=25)
    work(orders)
    return orders


@pytest.fixture(scope="module")
def trials(orders: Orders) -> list[Trial]:
    return list_trials(join_study(orders.place, orders.facts))


def page_of(orders: Orders, trials: list[Trial], **facts: object) -> str:
    return render_report(orders.place, orders.facts.model_copy(update=facts), orders.space, orders.base, trials)


class Tags(HTMLParser):
    """All tags, and what is still open at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in ("meta", "br", "img", "link", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(orders: Orders, trials: list[Trial]) -> None:
    page = page_of(orders, trials)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    loading = [value for name, value in tags.attributes if name in ("src", "href", "srcset", "data", "action")]
    assert [value for value in loading if not (value or "").startswith("#")] == []
    assert "url(http" not in page
    assert "@import" not in page
    assert "fetch(" not in page
    ids = [value for name, value in tags.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_everything_that_is_promised_is_on_it(orders: Orders, trials: list[Trial]) -> None:
    page = page_of(orders, trials)
    for title in ("Best settings", "History", "Curves", "Importance", "Slices", "Parallel coordinates", "All trials"):
        assert f"<h2>{title}</h2>" in page
    assert page.count("<svg") == 4 + len(orders.space.parameters)
    assert "bintally train DATA --config best.toml" in page
    assert "The test split was not read" in page
    assert "no photos on this page" in page
    assert "part of the photos" not in page


def test_every_trial_stands_in_the_table_with_its_cost(orders: Orders, trials: list[Trial]) -> None:
    page = page_of(orders, trials)
    rows = re.findall(r'<tr class="(\w+)">(.*?)</tr>', page)
    assert len(rows) == len(trials)
    assert [kind for kind, _ in rows].count("best") == 1
    cells = [re.findall(r'<td data-key="(.*?)">(.*?)</td>', row) for _, row in rows]
    for each, row in zip(trials, cells, strict=True):
        assert (int(row[0][0]), row[1][1]) == (each.number, each.state.value)
        assert f"{len(each.curve)} of {each.planned_epochs}" in [text for _, text in row]
        assert str(each.steps) in [key for key, _ in row]
        assert str(each.seconds) in [key for key, _ in row]


def test_a_part_of_the_photos_is_admitted(orders: Orders, trials: list[Trial]) -> None:
    page = page_of(orders, trials, limit_photos=1500)
    assert "Learned from a part of the photos: about 1,500" in page


def test_what_was_spared_is_counted_in_steps(orders: Orders, trials: list[Trial]) -> None:
    pruned = [each for each in trials if each.state is State.PRUNED]
    assert pruned
    savings = savings_of(trials)
    spared = sum(each.planned_steps - each.steps for each in pruned)
    assert savings.pruned == len(pruned)
    assert savings.share == pytest.approx(spared / sum(each.planned_steps for each in trials))
    assert f"{100 * savings.share:.0f} %" in page_of(orders, trials)
    assert savings_of([each for each in trials if each.state is State.DONE]).share == 0


def test_early_stopping_is_not_counted_as_pruning() -> None:
    stopped = trial(0, 3.0, 2.0, 2.5)
    planned = Trial(**{**{name: getattr(stopped, name) for name in stopped.__slots__}, "planned_epochs": 10})
    assert savings_of([planned, trial(1, 3.0, 2.0)]).share == 0


def test_the_setting_that_matters_is_found_important(orders: Orders) -> None:
    whole = orders_for(orders.place.folder.with_name("whole"), budget=20, prune=False)
    work(whole)
    importances = importances_of(orders.space, list_trials(join_study(whole.place, whole.facts)))
    assert set(importances) == set(orders.space.parameters)
    assert importances["optimiser.lr"] > importances["batch_size"]
    assert sum(importances.values()) == pytest.approx(1)


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_study_that_has_only_begun_has_a_page_too(kept: int, orders: Orders, trials: list[Trial]) -> None:
    page = page_of(orders, trials[:kept])
    assert "Not before 8 trials" in page
    assert page.count('<tr class="') == kept


def test_failed_and_diverged_trials_do_not_break_it(orders: Orders, trials: list[Trial]) -> None:
    params = trials[0].params
    odd = [
        trial(90, state=State.FAILED),
        trial(91, float("nan"), state=State.FAILED),
        trial(92, float("inf"), 9e9),
        trial(93, 2.0, state=State.RUNNING),
        trial(94, state=State.WAITING),
    ]
    given = [Trial(**{**{name: getattr(each, name) for name in each.__slots__}, "params": params}) for each in odd]
    reason = Trial(**{**{n: getattr(given[0], n) for n in given[0].__slots__}, "reason": "<b>no</b> memory"})
    page = page_of(orders, [*trials, *given[1:], reason])
    assert "&lt;b&gt;no&lt;/b&gt; memory" in page
    assert page.count('<tr class="') == len(trials) + 5


def test_one_that_diverged_does_not_press_the_others_flat() -> None:
    near = [trial(number, 2.0 + number / 10) for number in range(9)]
    assert ceiling(near) == pytest.approx(2.8)
    assert ceiling([*near, trial(9, 1e6)]) < 6
    assert ceiling([]) == 1.0


def test_a_name_is_escaped(orders: Orders, trials: list[Trial], tmp_path: Path) -> None:
    page = page_of(orders, trials, recipe="<script>alert(1)</script>")
    assert "<script>alert(1)" not in page
