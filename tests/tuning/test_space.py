"""Spaces: those that ship, and what a file may say."""

import optuna
import pytest

from bintally.errors import SettingsError
from bintally.settings import RunSettings
from bintally.tuning.space import Choices, Range, flatten, with_values
from bintally.tuning.space_file import find_space, parse_space
from bintally.tuning.spaces import space_names

COURSE = {
    "optimiser.lr": Range(low=0.001, high=0.1, log=True),
    "batch_size": Choices(choices=(8, 16, 32, 64)),
    "epochs": Range(low=2, high=10),
}


def test_the_spaces_that_are_promised_ship() -> None:
    assert space_names() == ["default", "extended", "resnet101-course"]
    for name in space_names():
        space = find_space(name)
        assert space.name == name
        assert len(space.description) > 20


def test_the_default_space_is_the_courses_and_so_is_resnet101s() -> None:
    assert find_space("default").parameters == COURSE
    assert find_space("default").recipe is None
    assert find_space("resnet101-course").parameters == COURSE
    assert find_space("resnet101-course").recipe == "resnet101"


def test_the_extended_space_has_backbone_softness_decay_and_resolution() -> None:
    extended = set(find_space("extended").parameters)
    assert {"model.backbone", "label_softness", "optimiser.weight_decay", "data.side_px"} <= extended


def test_values_stay_within_the_space_and_have_the_settings_types() -> None:
    space = find_space("extended")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(30):
        values = space.suggest(study.ask())
        assert space.holds(values)
        settings = with_values(RunSettings(), values, name="x")
        flat = flatten(settings)
        for key, value in values.items():
            assert type(flat[key]) is type(value)
            assert flat[key] == value


def test_a_logarithmic_range_is_searched_so() -> None:
    space = find_space("default")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    rates = sorted(float(space.suggest(study.ask())["optimiser.lr"]) for _ in range(99))
    assert 0.007 < rates[49] < 0.014, "the middle of 0.001 to 0.1 is 0.01"


def test_a_space_holds_what_lies_within() -> None:
    space = find_space("default")
    assert space.holds({"optimiser.lr": 0.001, "batch_size": 64, "epochs": 10})
    assert not space.holds({"optimiser.lr": 0.001, "batch_size": 64, "epochs": 11})
    assert not space.holds({"optimiser.lr": 0.001, "batch_size": 63, "epochs": 10})
    assert not space.holds({"batch_size": 64, "epochs": 10})


def test_a_file_is_a_space_and_may_write_keys_as_sections(tmp_path: object) -> None:
    dotted = parse_space("[space]\noptimiser.lr = { low = 1, high = 2 }", name="x")
    section = parse_space("[space.optimiser]\nlr = { low = 1, high = 2 }", name="x")
    quoted = parse_space('[space]\n"optimiser.lr" = { low = 1, high = 2 }', name="x")
    assert dotted == section == quoted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a table [space]"),
        ("[space]", "empty: nothing to try"),
        ("space = 3", "a table [space]"),
        ("[space", "not TOML"),
        ("sapce = {}", "did you mean space?"),
        ("description = 3\n[space]\nepochs = {low=1, high=2}", "texts beside it"),
        ("[space]\nlr = {low=1, high=2}", "no setting is called 'lr'; did you mean optimiser.lr?"),
        ("[space]\nbatchsize = {low=1, high=2}", "did you mean batch_size?"),
        ("[space]\noptimiser.rate = {low=1, high=2}", "no setting is called 'optimiser.rate'"),
        ("[space]\nzzz = {low=1, high=2}", "no setting is called 'zzz'. `bintally recipes`"),
        ("[space]\nmodel = {low=1, high=2}", "no setting is called 'model.low'"),
        ("[space]\nepochs = 3", "epochs: got 3; expected { low = 1, high = 9 }"),
        ("[space]\nepochs = {}", "epochs: got nothing"),
        ("[space]\nepochs = {low=1}", "epochs: got low;"),
        ("[space]\nepochs = {lo=1, high=2}", "'lo' means nothing here; did you mean low?"),
        ("[space]\nepochs = {low=1, choices=[1]}", "epochs: got low, choices;"),
        ("[space]\nepochs = {low=1, high=2, choices=[1]}", "epochs: got low, high, choices;"),
        ("[space]\nepochs = {low=2, high=2}", "low below high, got 2 and 2"),
        ("[space]\nepochs = {low=3, high=2}", "low below high"),
        ("[space]\nepochs = {low=1.5, high=2}", "whole numbers as ends"),
        ("[space]\nepochs = {low=true, high=2}", "whole numbers as ends"),
        ("[space]\noptimiser.lr = {low='a', high=2}", "expected numbers as ends"),
        ("[space]\noptimiser.lr = {low=0.1, high=1, log=1}", "log = true or false"),
        ("[space]\noptimiser.lr = {low=0.1, high=inf}", "low below high"),
        ("[space]\noptimiser.lr = {low=nan, high=1.0}", "low below high"),
        ("[space]\noptimiser.lr = {low=0, high=1, log=true}", "begins above 0"),
        ("[space]\noptimiser.name = {low=0, high=1}", "only numbers have a range"),
        ("[space]\nmodel.frozen = {low=0, high=1}", "only numbers have a range"),
        ("[space]\nbatch_size = {choices=['8', '16']}", "choices of type int, got '8'"),
        ("[space]\nbatch_size = {choices=[8, true]}", "choices of type int, got True"),
        ("[space]\nbatch_size = {choices=[8, 1.5]}", "choices of type int, got 1.5"),
        ("[space]\nmodel.frozen = {choices=[0, 1]}", "choices of type bool, got 0"),
        ("[space]\nmodel.backbone = {choices=[1, 2]}", "choices of type str, got 1"),
        ("[space]\nbatch_size = {choices=8}", "expected a list"),
        ("[space]\ndata.mean = {choices=[[0.5, 0.5, 0.5], [0.4, 0.4, 0.4]]}", "expected a list of numbers"),
        ("[space]\nbatch_size = {choices=[]}", "two or more choices"),
        ("[space]\nbatch_size = {choices=[8]}", "one is no choice"),
        ("[space]\nbatch_size = {choices=[8, 8]}", "all different"),
    ],
)
def test_what_a_space_cannot_mean_is_said(text: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_space(text, name="mine")
    assert said in str(caught.value)
    assert str(caught.value).startswith("space mine: ")


def test_no_such_space_lists_those_there_are(tmp_path: object) -> None:
    with pytest.raises(SettingsError, match=r"choose default, extended, resnet101-course"):
        find_space("nowhere")
    with pytest.raises(SettingsError, match=r"nowhere\.toml: cannot be read"):
        find_space("nowhere.toml")
