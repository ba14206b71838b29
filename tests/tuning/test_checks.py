"""Does a space suit a recipe and a dataset?"""

from pathlib import Path

import pytest
from tests.small_dataset import make_dataset

from bintally.data.prepared import NOTE
from bintally.errors import BintallyError, ManifestError, SettingsError
from bintally.settings import RunSettings, parse_settings
from bintally.training.recipes import recipe_text
from bintally.tuning.checks import check_photos, check_space
from bintally.tuning.space import Space
from bintally.tuning.space_file import find_space, parse_space


def recipe(name: str, *changes: str) -> RunSettings:
    return parse_settings(recipe_text(name), name=name, overrides=changes)


def space(*lines: str) -> Space:
    return parse_space("\n".join(["[space]", *lines]), name="mine")


def test_the_spaces_that_ship_suit_the_recipes_they_are_meant_for() -> None:
    for name in ("smallcnn", "mobilenetv2", "flagship", "resnet50", "resnet101", "course"):
        check_space(find_space("default"), recipe(name))
    check_space(find_space("resnet101-course"), recipe("resnet101"))
    check_space(find_space("extended"), recipe("resnet50"))


@pytest.mark.parametrize(
    ("lines", "base", "said"),
    [
        (["patience = {low=0, high=9}"], recipe("smallcnn"), "space mine, patience = 0: patience: Input should be"),
        (["model.dropout = {low=0.0, high=1.0}"], recipe("smallcnn"), "model.dropout = 1.0"),
        (["data.side_px = {choices=[64, 2048]}"], recipe("smallcnn"), "data.side_px = 2048"),
        (["optimiser.name = {choices=['adam', 'lion']}"], recipe("smallcnn"), "optimiser.name = 'lion'"),
        (["data.mean = {choices=[0.5, 0.6]}"], recipe("smallcnn"), "data.mean = 0.5"),
        (["seed = {low=0, high=9}"], recipe("smallcnn"), "seed cannot be tuned: the luckiest seed"),
        (["data.last_count = {low=5, high=9}"], recipe("smallcnn"), "which photos are measured"),
        (["workers = {low=0, high=2}"], recipe("smallcnn"), "how fast a run is"),
        (["description = {choices=['a', 'b']}"], recipe("smallcnn"), "it is a text"),
        (
            ["model.backbone = {choices=['resnet50', 'resnet18']}"],
            recipe("smallcnn"),
            "recipe 'smallcnn' trains from nothing (model.pretrained = false)",
        ),
        (
            ["model.backbone = {choices=['resnet50', 'resnet18']}"],
            recipe("mobilenetv2"),
            "'resnet50' cannot be built with {'pad_type': 'same'}",
        ),
        (["model.backbone = {choices=['resnet50', 'resnet5000']}"], recipe("resnet50"), "got 'resnet5000'"),
        (
            ["model.backbone = {choices=['resnet50', 'smallcnn']}"],
            recipe("resnet50", "model.frozen=true"),
            "a backbone without weights would be frozen",
        ),
        (["model.frozen = {choices=[true, false]}"], recipe("smallcnn"), "without weights would be frozen"),
    ],
)
def test_what_contradicts_the_recipe_is_refused(lines: list[str], base: RunSettings, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_space(space(*lines), base)
    assert said in str(caught.value)
    assert "space mine" in str(caught.value)


def test_what_contradicts_the_command_is_refused() -> None:
    backbones = space("model.backbone = {choices=['resnet50', 'resnet18']}")
    with pytest.raises(SettingsError, match=r"--weights some\.pth fits one"):
        check_space(backbones, recipe("resnet50"), weights=Path("some.pth"))
    with pytest.raises(SettingsError, match=r"tries 2 to 10 for epochs, which the command fixes"):
        check_space(find_space("default"), recipe("smallcnn"), given=["epochs"])
    with pytest.raises(SettingsError, match="is for recipe 'resnet101', not 'smallcnn'"):
        check_space(find_space("resnet101-course"), recipe("smallcnn"))


def test_backbones_from_nothing_can_be_meant() -> None:
    backbones = space("model.backbone = {choices=['resnet50', 'resnet18']}")
    check_space(backbones, recipe("smallcnn", "model.pretrained=false"), given=["model.pretrained"])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["batch_size = {choices=[8, 64]}"], "a batch of 64 is larger than the train split, 12 photos"),
        (["batch_size = {low=2, high=13}"], "a batch of 13 is larger"),
        (["optimiser.lr = {low=0.1, high=0.2}"], "a batch of 32 is larger"),
    ],
)
def test_a_batch_larger_than_the_train_split_is_refused(lines: list[str], said: str, tmp_path: Path) -> None:
    manifest = make_dataset(tmp_path / "data", [1, 2, 3, 4] * 8)
    with pytest.raises(SettingsError) as caught:
        check_photos(space(*lines), recipe("smallcnn"), manifest)
    assert said in str(caught.value)
    check_photos(space("batch_size = {low=2, high=12}"), recipe("smallcnn"), manifest)


def test_a_dataset_without_splits_or_of_another_side_is_refused(tmp_path: Path) -> None:
    unsplit = make_dataset(tmp_path / "unsplit", [1, 2, 3, 4] * 8, salt="")
    with pytest.raises(BintallyError, match="no splits yet"):
        check_photos(find_space("default"), recipe("smallcnn"), unsplit)
    note = '{"side_px": 64, "format": "png", "quality": null, "resize": "squash-bicubic", "hash": "abc"}'
    prepared = make_dataset(tmp_path / "prepared", [1, 2, 3, 4] * 8, extra={NOTE: note})
    small = "batch_size=8"
    check_photos(space("epochs = {low=2, high=9}"), recipe("smallcnn", small, "data.side_px=64"), prepared)
    with pytest.raises(ManifestError, match="prepared at 64 px"):
        check_photos(space("data.side_px = {choices=[64, 96]}"), recipe("smallcnn", small), prepared)
