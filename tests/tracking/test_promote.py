"""Registered, compared on the same photos, promoted or refused; the file that comes back is the one that went in."""

import json
import shutil
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.tiny_run import copy_dataset, fit_tiny

from bintally.data.manifest import Manifest, write_manifest
from bintally.data.splits import split
from bintally.errors import CheckpointError, ModelError, StoreError
from bintally.export import export
from bintally.tracking import promote as promote_module
from bintally.tracking import registry
from bintally.tracking.gate import Margins, Outcome
from bintally.tracking.promote import Wish, promote
from bintally.tracking.promotion import JSON_NAME, Promotion
from bintally.tracking.registry import Alias, Tag, champion_of, digest_of, fetch, find_version, list_versions
from bintally.tracking.store import Store

Pass = Callable[..., Promotion]
WIDE = Margins(accuracy=0.2, cross_entropy=0.5)  # there are about twenty test photos


def no_bar(_: str) -> Callable[[int, int], None]:
    return lambda _done, _all: None


@pytest.fixture(scope="module")
def runs(drawn: Manifest, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run that learned something, another like it, and one that learned nonsense."""
    folder = tmp_path_factory.mktemp("promoted")
    good = Path(shutil.copytree(tiny_run, folder / "good"))
    bad = folder / "bad"
    export(fit_tiny(drawn, bad, "seed=5", "epochs=2", "optimiser.lr=0.5"), bad / "model.onnx")
    alike = folder / "alike"
    # So near that it answers nearly the same on every kind of CPU: at 0.0011 some took twenty photos for a difference.
    export(
        fit_tiny(drawn, alike, "seed=3", "epochs=6", "batch_size=8", "optimiser.lr=0.00100001"), alike / "model.onnx"
    )
    return {"good": good, "bad": bad, "alike": alike}


@pytest.fixture
def name() -> str:
    return f"model-{uuid.uuid4().hex}"


@pytest.fixture
def through(store: Store, drawn: Manifest, runs: dict[str, Path], name: str) -> Pass:
    """Promote one of the runs."""

    def promoted(run: str | Path, *, manifest: Manifest = drawn, **changes: Any) -> Promotion:
        folder = runs.get(str(run))
        model = folder / "model.onnx" if folder else Path(run)
        wish = Wish(model=model, run=folder, manifest=manifest, name=name, margins=WIDE, **changes)
        return promote(store, wish, no_bar)

    return promoted


def aliases(store: Store, name: str) -> dict[int, tuple[str, ...]]:
    return {version.number: version.aliases for version in list_versions(store, name)}


def test_the_gate_from_the_first_to_the_last(
    through: Pass, store: Store, name: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    refused = through("bad")
    assert refused.judgement.outcome.is_refusal, "it does not beat the prior"
    assert aliases(store, name) == {1: ("candidate",)}

    first = through("good")
    assert (first.judgement.outcome, first.compared_with, first.version) == (Outcome.PROMOTED, "prior", 2)
    assert aliases(store, name) == {1: (), 2: ("champion",)}

    worse = through("bad")
    assert worse.judgement.outcome is Outcome.WORSE
    assert worse.version == 1, "the same file is the same version"
    assert worse.champion_version == 2
    assert "worse than tiny (version 2), the champion" in worse.judgement.why
    assert aliases(store, name) == {1: ("candidate",), 2: ("champion",)}

    alike = through("alike")
    assert alike.judgement.outcome is Outcome.PROMOTED
    assert aliases(store, name) == {1: (), 2: (), 3: ("champion",)}

    version = find_version(store, name, "champion")
    assert version.tags[Tag.OVER] == "2"
    assert version.tags[Tag.GATE] == "promoted"
    assert version.tags[Tag.WHY] == alike.judgement.why
    figure = alike.judgement.checks[0].candidate.value
    assert float(version.tags[Tag.ACCURACY]) == pytest.approx(figure, abs=1e-5)
    path = fetch(store, version, tmp_path / "champion.onnx")
    assert digest_of(path) == digest_of(runs["alike"] / "model.onnx")

    kept = store.client.download_artifacts(version.run_id, f"promotion/version-3-against-2/{JSON_NAME}", str(tmp_path))
    assert Promotion.model_validate_json(Path(kept).read_text()) == alike
    assert Promotion.model_validate_json((runs["alike"] / JSON_NAME).read_text()) == alike
    assert "not worse than tiny" in (runs["alike"] / "promotion.html").read_text()
    data = store.client.get_run(version.run_id).data.metrics
    assert data["test/all/accuracy"] == pytest.approx(figure)
    assert data["final/val_loss"] > 0, "its run was recorded, too"


def test_the_champion_is_not_compared_with_itself(through: Pass, store: Store, name: str) -> None:
    through("good")
    again = through("good")
    assert again.judgement.outcome is Outcome.ALREADY
    assert not again.judgement.outcome.is_refusal
    assert aliases(store, name) == {1: ("champion",)}


def test_a_dry_run_changes_nothing(through: Pass, store: Store, name: str) -> None:
    found = through("good", dry_run=True)
    assert (found.judgement.outcome, found.version) == (Outcome.PROMOTED, None)
    assert list_versions(store, name) == []
    through("bad")
    assert through("good", dry_run=True).judgement.outcome is Outcome.PROMOTED
    assert aliases(store, name) == {1: ("candidate",)}


def test_a_model_file_alone_has_a_run_of_its_own(
    through: Pass, store: Store, name: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    file = Path(shutil.copyfile(runs["good"] / "model.onnx", tmp_path / "x.onnx"))
    assert through(file).judgement.outcome is Outcome.PROMOTED
    (version,) = list_versions(store, name)
    run = store.client.get_run(version.run_id)
    assert (run.info.run_name, run.info.status) == ("tiny", "FINISHED")
    assert not (tmp_path / JSON_NAME).exists()


def test_other_splits_are_refused_before_anything_is_registered(
    through: Pass, store: Store, name: str, drawn: Manifest, tmp_path: Path
) -> None:
    other = split(copy_dataset(drawn, tmp_path / "other"), salt="another", required_counts=()).manifest
    write_manifest(other)
    with pytest.raises(CheckpointError, match=r"learned from other splits .* train on this one"):
        through("good", manifest=other)
    assert list_versions(store, name) == []


def test_a_broken_model_is_refused_before_anything_is_registered(
    through: Pass, store: Store, name: str, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(ModelError, match="not a readable ONNX model"):
        through(broken)
    assert list_versions(store, name) == []


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_champion_whose_file_is_damaged_is_said(damage: str, through: Pass, store: Store, name: str) -> None:
    through("good")
    version = champion_of(store, name)
    assert version is not None
    place = Path(store.client.get_run(version.run_id).info.artifact_uri.removeprefix("file://"))
    file = place / "registered" / version.sha256[:12] / "model.onnx"
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    said = "cannot be fetched" if damage == "gone" else "not the one that was registered"
    with pytest.raises(ModelError, match=rf"{said}.*remove the alias|{said}.*Remove the alias"):
        through("alike")
    assert aliases(store, name) == {1: ("champion",), 2: ("candidate",)}


def test_a_champion_that_changes_meanwhile_is_compared_with(
    through: Pass, store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While `bad` is measured against the prior, `good` becomes the champion."""
    measured = promote_module._judge

    def slowly(*arguments: Any) -> Any:
        monkeypatch.setattr(promote_module, "_judge", measured)
        found = measured(*arguments)
        through("good")
        return found

    monkeypatch.setattr(promote_module, "_judge", slowly)
    found = through("bad")
    assert found.compared_with == "tiny (version 2)"
    assert found.judgement.outcome is Outcome.WORSE
    assert aliases(store, name)[2] == ("champion",)


def test_two_at_once_never_lose_one_silently(
    through: Pass, store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a server, which has no lock: the other is promoted between the last look and the alias."""
    through("bad")
    set_alias, done = promote_module.set_alias, threading.Event()

    def late(place: Store, model: str, alias: Alias, version: registry.Version) -> None:
        if alias is Alias.CHAMPION and not done.is_set():
            done.set()
            through("alike")
        set_alias(place, model, alias, version)

    monkeypatch.setattr(promote_module, "set_alias", late)
    monkeypatch.setattr(Store, "database", None)
    with pytest.raises(StoreError, match="at the same time, and were not compared with each other"):
        through("good")


def test_a_version_is_found_by_alias_and_number_or_said_not_to_be(through: Pass, store: Store, name: str) -> None:
    with pytest.raises(ModelError, match=r"has no version 'champion' \(there are: none\)"):
        find_version(store, name, "champion")
    through("good")
    assert find_version(store, name, "1").number == 1
    with pytest.raises(ModelError, match=r"\(there are: 1/champion\)"):
        find_version(store, name, "candidate")


def test_the_page_and_the_file_say_the_same(through: Pass, runs: dict[str, Path]) -> None:
    found = through("good")
    page = (runs["good"] / "promotion.html").read_text()
    written = json.loads((runs["good"] / JSON_NAME).read_text())
    assert written["judgement"]["why"] == found.judgement.why
    assert found.split_hash in page
    assert "http://" not in page
