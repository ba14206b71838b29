"""What a container is told, read from files and variables; what cannot be read is named."""

import json
from pathlib import Path

import pytest

from bintally.cloud.container.layout import channel, read_hosts, read_hyperparameters, read_layout
from bintally.errors import SettingsError


def say(root: Path, name: str, held: object) -> None:
    path = root / "input" / "config" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(held if isinstance(held, str) else json.dumps(held), encoding="utf-8")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"BINTALLY_ML_ROOT": str(tmp_path), "SM_NUM_GPUS": "0"}


def test_the_folders_are_sagemakers() -> None:
    layout = read_layout({})
    assert [str(path) for path in (layout.model, layout.reports, layout.failure, layout.checkpoints)] == [
        "/opt/ml/model",
        "/opt/ml/output/data",
        "/opt/ml/output/failure",
        "/opt/ml/checkpoints",
    ]


def test_hosts_are_ranked_as_the_file_lists_them(tmp_path: Path, environ: dict[str, str]) -> None:
    say(tmp_path, "resourceconfig", {"current_host": "b", "hosts": ["a", "b"], "network_interface_name": "eth1"})
    hosts = read_hosts(read_layout(environ), environ)
    assert (hosts.names, hosts.rank, hosts.interface, hosts.gpus) == (("a", "b"), 1, "eth1", 0)


def test_variables_win(tmp_path: Path, environ: dict[str, str]) -> None:
    say(tmp_path, "resourceconfig", {"current_host": "b", "hosts": ["a", "b"]})
    say(tmp_path, "hyperparameters", {"epochs": "3"})
    told = {
        **environ,
        "SM_HOSTS": '["x", "y", "z"]',
        "SM_CURRENT_HOST": "z",
        "SM_NETWORK_INTERFACE_NAME": "lo",
        "SM_NUM_GPUS": "4",
        "SM_HPS": '{"epochs": 2, "data.counts": [1, 5], "optimiser.name": "sgd"}',
        "SM_CHANNEL_TRAIN": str(tmp_path),
        "SM_MODEL_DIR": str(tmp_path / "elsewhere"),
    }
    hosts = read_hosts(read_layout(told), told)
    assert (hosts.names, hosts.rank, hosts.interface, hosts.gpus) == (("x", "y", "z"), 2, "lo", 4)
    said = read_hyperparameters(read_layout(told), told)
    assert said == {"epochs": "2", "data.counts": "[1, 5]", "optimiser.name": "sgd"}
    assert channel(read_layout(told), "train", told) == tmp_path
    assert read_layout(told).model == tmp_path / "elsewhere"


def test_one_machine_of_which_nothing_is_said_is_alone(environ: dict[str, str]) -> None:
    layout = read_layout(environ)
    assert read_hosts(layout, environ).names == ("localhost",)
    assert read_hyperparameters(layout, environ) == {}
    assert channel(layout, "train", environ) is None


@pytest.mark.parametrize(
    ("name", "held", "said"),
    [
        ("resourceconfig", "{", "cannot be read as JSON"),
        ("resourceconfig", [], "expected names and values, got list"),
        ("resourceconfig", {"current_host": "c", "hosts": ["a", "b"]}, "'c' is not among hosts"),
        ("resourceconfig", {"current_host": "c", "hosts": "abc"}, "'c' is not among hosts 'abc'"),
    ],
)
def test_hosts_that_cannot_be(tmp_path: Path, environ: dict[str, str], name: str, held: object, said: str) -> None:
    say(tmp_path, name, held)
    with pytest.raises(SettingsError, match=said):
        read_hosts(read_layout(environ), environ)


@pytest.mark.parametrize("held", ["nothing", "[]"])
def test_hyperparameters_that_cannot_be(tmp_path: Path, environ: dict[str, str], held: str) -> None:
    say(tmp_path, "hyperparameters", held)
    with pytest.raises(SettingsError, match=r"hyperparameters\.json"):
        read_hyperparameters(read_layout(environ), environ)


def test_a_variable_that_is_not_json_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="SM_HOSTS: not JSON"):
        read_hosts(read_layout(environ), {**environ, "SM_HOSTS": "a,b"})
