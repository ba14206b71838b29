"""Settings survive being carried as strings, whatever they hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.cloud.hyperparameters import (
    RECIPE,
    SETTINGS_HASH,
    JobSettings,
    check_carried,
    format_hyperparameters,
    parse_hyperparameters,
)
from bintally.errors import SettingsError
from bintally.evaluation.health import RuleName
from bintally.settings import RunSettings, parse_settings
from bintally.training.recipes import recipe_names, recipe_text

PRINTED = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029"), max_size=40)


def named(recipe: str, *changes: str) -> RunSettings:
    return parse_settings(recipe_text(recipe), name=recipe, overrides=changes)


@given(
    recipe=st.sampled_from([*recipe_names(), "mine", "two words", "true"]),
    description=st.text(max_size=40),
    lr=st.floats(min_value=1e-12, max_value=1e6),
    epochs=st.integers(1, 10**9),
    counts=st.sampled_from([None, (0, 3), (1, 5)]),
    flags=st.lists(PRINTED, max_size=3),
    frozen=st.booleans(),
    stop_on=st.frozensets(st.sampled_from(RuleName)),
    licence=st.none() | PRINTED,
    max_steps=st.sampled_from([-1, 0, 7]),
    every=st.none() | st.integers(1, 99),
    profile=st.booleans(),
)
def test_they_come_back_as_they_were(
    recipe: str,
    description: str,
    lr: float,
    epochs: int,
    counts: tuple[int, int] | None,
    flags: list[str],
    frozen: bool,
    stop_on: frozenset[RuleName],
    licence: str | None,
    max_steps: int,
    every: int | None,
    profile: bool,
) -> None:
    values = {
        "recipe": recipe,
        "description": description,
        "epochs": epochs,
        "optimiser": {"lr": lr},
        "data": {"counts": counts, "excluded_flags": tuple(flags)},
        "model": {"frozen": frozen},
    }
    job = JobSettings(
        settings=RunSettings.model_validate(values),
        stop_on=stop_on,
        licence=licence,
        max_steps=max_steps,
        checkpoint_every=every,
        profile=profile,
    )
    said = format_hyperparameters(job)
    assert all(isinstance(value, str) for value in said.values())
    assert parse_hyperparameters(said) == job


@pytest.mark.parametrize("recipe", recipe_names())
def test_a_recipe_is_named_and_nothing_else_is_said(recipe: str) -> None:
    said = format_hyperparameters(JobSettings(settings=named(recipe)))
    assert set(said) == {RECIPE, SETTINGS_HASH}
    assert parse_hyperparameters(said).settings == named(recipe)


def test_what_sagemaker_and_its_tuner_add_is_left_aside() -> None:
    said = format_hyperparameters(JobSettings(settings=named("smallcnn")))
    tuned = said | {"_tuning_objective_metric": "val_loss", "optimiser.lr": "0.0123", "sagemaker_program": "x"}
    assert parse_hyperparameters(tuned).settings.optimiser.lr == 0.0123


def test_an_image_of_another_version_is_found_out() -> None:
    said = format_hyperparameters(JobSettings(settings=named("smallcnn"))) | {SETTINGS_HASH: "0" * 12}
    with pytest.raises(SettingsError, match="another version of Bintally"):
        parse_hyperparameters(said)


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"run.colour": "red"}, "run.colour"),
        ({"colour": "red"}, "colour"),
        ({"epochs": "many"}, "epochs"),
        ({"run.max_steps": "1e3"}, "whole number"),
        ({"run.profile": "yes"}, "true or false"),
        ({"run.stop_on": "luck"}, "luck"),
    ],
    ids=str,
)
def test_what_is_not_known_is_refused(said: dict[str, str], fault: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_hyperparameters({"recipe": "smallcnn", **said})
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [{str(number): "x" for number in range(101)}, {"a" * 257: "x"}, {"a": "x" * 2501}, {"a": "x\ny"}],
    ids=["many", "long name", "long value", "line break"],
)
def test_what_sagemaker_would_not_carry_is_refused(said: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="SageMaker carries"):
        check_carried(said)
