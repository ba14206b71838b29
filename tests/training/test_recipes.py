"""The recipes that ship."""

import tomllib
from importlib.resources import files

import pytest

from bintally.data.manifest import Flag, parse_flags
from bintally.errors import SettingsError
from bintally.settings import AugmentSettings, RunSettings, parse_settings
from bintally.training.recipes import recipe_names, recipe_text


def recipe(name: str) -> RunSettings:
    return parse_settings(recipe_text(name), name=name)


def test_the_recipes_that_are_promised_ship() -> None:
    assert recipe_names() == ["course", "flagship", "mobilenetv2", "resnet101", "resnet50", "smallcnn"]
    shipped = [entry.name for entry in files("bintally.training.recipes").iterdir() if entry.name.endswith(".toml")]
    assert sorted(shipped) == [f"{name}.toml" for name in recipe_names()]


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_called_what_its_file_is_called_and_says_what_it_is(name: str) -> None:
    settings = recipe(name)
    assert settings.recipe == name
    assert len(settings.description) > 20
    assert settings.data.counts is None, "every count is a class unless --counts says otherwise"


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_says_itself_which_flags_keep_a_photo_out(name: str) -> None:
    said = tomllib.loads(recipe_text(name))["data"]["excluded_flags"]
    assert parse_flags(said) == (Flag.TOTAL_MISMATCH, Flag.EXACT_DUPLICATE)
    assert recipe(name).data.excluded_flags == tuple(said)


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_the_benchmarks_are_what_their_sources_say(name: str) -> None:
    settings = recipe(name)
    assert settings.model.backbone == name
    assert settings.model.pretrained
    assert not settings.model.frozen
    assert (settings.optimiser.name, settings.optimiser.lr, settings.batch_size) == ("adam", 0.001, 32)
    assert settings.optimiser.schedule == "constant"
    assert (settings.optimiser.warmup_share, settings.optimiser.weight_decay, settings.optimiser.ema_decay) == (0, 0, 0)
    assert settings.label_softness == 0, "plain cross entropy"
    assert settings.data.side_px == 224
    assert settings.data.mean == (0.485, 0.456, 0.406)
    assert settings.data.std == (0.229, 0.224, 0.225)


def test_mobilenetv2_is_what_reached_the_figures() -> None:
    settings = recipe("mobilenetv2")
    assert (settings.model.backbone, settings.model.pad_type) == ("mobilenetv2_100", "same")
    assert settings.data.mean == settings.data.std == (0.5, 0.5, 0.5)
    assert settings.label_softness > 0
    assert settings.optimiser.ema_decay > 0
    assert settings.augment.flip_horizontal


def test_the_small_cnn_needs_no_weights_and_the_course_keeps_its_backbone() -> None:
    assert not recipe("smallcnn").model.pretrained
    assert recipe("course").model.frozen
    assert recipe("course").model.pretrained


def test_no_setting_can_crop() -> None:
    whole = {"flip_horizontal", "flip_vertical", "brightness", "contrast", "tint", "shrink", "rotate_deg"}
    assert set(AugmentSettings.model_fields) == whole, "a new one needs its test that the whole photo stays"


@pytest.mark.parametrize("name", ["", "resnet", "../settings", "resnet50.toml", "__init__"])
def test_no_such_recipe_lists_those_there_are(name: str) -> None:
    with pytest.raises(SettingsError, match=r"choose course, flagship, mobilenetv2, .*--config FILE"):
        recipe_text(name)
