"""Settings: what a file may say, what it may not, and that it comes back as it was written."""

import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from bintally.data.manifest import DEFAULT_EXCLUDED
from bintally.errors import SettingsError
from bintally.settings import (
    AugmentSettings,
    DataSettings,
    ModelSettings,
    OptimiserSettings,
    RunSettings,
    check_settings,
    parse_counts,
    parse_settings,
    read_settings,
)

shares = st.floats(0, 1, exclude_max=True)
small = st.integers(1, 1000)
positive = st.floats(1e-9, 1e9)
triples = st.tuples(*[st.floats(0, 1)] * 3)
any_settings = st.builds(
    RunSettings,
    recipe=st.text(),
    description=st.text(),
    seed=st.integers(0, 2**32 - 1),
    epochs=small,
    batch_size=small,
    patience=small,
    label_softness=st.floats(0, 100),
    precision=st.sampled_from(["auto", "fp32", "bf16"]),
    model=st.builds(ModelSettings, backbone=st.text(), pretrained=st.booleans(), frozen=st.booleans(), dropout=shares),
    data=st.builds(
        DataSettings,
        side_px=st.integers(32, 1024),
        mean=triples,
        std=st.tuples(*[st.floats(1e-9, 1)] * 3),
        counts=st.none() | st.integers(0, 254).flatmap(lambda low: st.tuples(st.just(low), st.integers(low + 1, 255))),
        last_count=st.integers(1, 255),
        excluded_flags=st.lists(st.text(), max_size=3).map(tuple),
    ),
    augment=st.builds(
        AugmentSettings,
        flip_horizontal=st.booleans(),
        flip_vertical=st.booleans(),
        brightness=shares,
        contrast=shares,
        tint=shares,
        shrink=shares,
    ),
    optimiser=st.builds(
        OptimiserSettings,
        name=st.sampled_from(["adam", "adamw", "sgd"]),
        lr=positive,
        weight_decay=st.floats(0, 1e9),
        schedule=st.sampled_from(["constant", "cosine"]),
        warmup_share=shares,
        ema_decay=shares,
    ),
)


@given(any_settings)
def test_settings_come_back_from_toml_as_they_were(settings: RunSettings) -> None:
    text = tomli_w.dumps(settings.model_dump(exclude_none=True))
    again = parse_settings(text, name="again")
    assert again == settings
    assert again.content_hash == settings.content_hash


def test_an_empty_file_is_the_defaults() -> None:
    assert parse_settings("", name="x") == RunSettings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch = 3", "epoch: "),
        ("[optimiser]\nmomentum = 0.9", "optimiser.momentum: "),
        ("[augment]\ncrop = true", "augment.crop: "),
        ("[data]\nside = 3", "data.side: "),
        ("epochs = 0", "epochs: .*greater than or equal to 1"),
        ("seed = -1", "seed: "),
        ("batch_size = 'many'", "batch_size: "),
        ("precision = 'fp16'", "precision: .*'auto', 'fp32' or 'bf16'"),
        ("model = 'resnet50'", "model: "),
        ("[optimiser]\nlr = 0", "optimiser.lr: "),
        ("[optimiser]\nlr = inf", "optimiser.lr: .*finite"),
        ("[optimiser]\nlr = nan", "optimiser.lr: .*finite"),
        ("[optimiser]\nname = 'lion'", "optimiser.name: "),
        ("[data]\nside_px = 16", "data.side_px: "),
        ("[data]\nstd = [0.5, 0.0, 0.5]", "data.std.1: "),
        ("[data]\nmean = [0.5]", "data.mean"),
        ("[data]\nmean = [0.5, 123.7, 0.5]", "data.mean.1: .*less than or equal to 1"),
        ("[data]\nstd = [0.2, 0.2, 57.4]", "data.std.2: .*less than or equal to 1"),
        ("[data]\nexcluded_flags = 'dark'", "data.excluded_flags: "),
        ("[data]\nexcluded_flags = [1]", "data.excluded_flags.0: "),
        ("[data]\ncounts = [5, 1]", "data: .*the lower first"),
        ("[data]\ncounts = [3, 3]", "data: .*the lower first"),
        ("[data]\ncounts = [-1, 3]", "data: .*the lower first"),
        ("[data]\ncounts = [1, 1000000000]", "data: .*up to 255"),
        ("[model]\ndropout = 1.0", "model.dropout: "),
        ("[model]\npad_type = 'valid'", "model.pad_type: "),
        ("[model]\nfrozen = true\nfrozen_stages = 2", "model: .*all stages stay.*leave one"),
        ("[model]\nenlarged_px = 223", r"model.enlarged_px: .*data.side_px \(224\), or 0 .*got 223"),
        ("epochs = ", "not TOML"),
        ("epochs = 1\nepochs = 2", "not TOML"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"^mine.toml: .*{said}"):
        parse_settings(text, name="mine.toml")


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        check_settings({"epochs": 0, "data": {"side_px": 1}, "colour": 1}, name="mine.toml")
    assert all(key in str(caught.value) for key in ("epochs", "data.side_px", "colour", "bintally recipes"))


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("epochs=3", "epochs", 3),
        ("optimiser.lr=0.5", "optimiser.lr", 0.5),
        ("optimiser.name=sgd", "optimiser.name", "sgd"),
        ("optimiser.name='sgd'", "optimiser.name", "sgd"),
        ("model.pretrained=false", "model.pretrained", False),
        ("data.counts=[1, 5]", "data.counts", (1, 5)),
        ('data.excluded_flags=["dark", "blurred"]', "data.excluded_flags", ("dark", "blurred")),
        ("data.excluded_flags=[]", "data.excluded_flags", ()),
        (" seed = 7", "seed", 7),
        ("description=a=b", "description", "a=b"),
    ],
)
def test_overrides_change_one_setting(override: str, key: str, value: object) -> None:
    text = "[optimiser]\nweight_decay = 0.25\nname = 'adamw'"
    changed = parse_settings(text, name="x", overrides=[override])
    section, _, name = key.rpartition(".")
    assert getattr(getattr(changed, section) if section else changed, name) == value
    assert changed.optimiser.weight_decay == 0.25


def test_the_last_override_wins() -> None:
    assert parse_settings("epochs=1", name="x", overrides=["epochs=2", "epochs=3"]).epochs == 3


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("epochs", "KEY=VALUE"),
        ("=3", "KEY=VALUE"),
        ("epochs.x=3", "'epochs' is a value"),
        ("optimiser.momentum=1", "optimiser.momentum"),
        ("optimiser=1", "optimiser"),
        ("epochs=many", "epochs"),
        ("epochs=", "epochs"),
        (" =3", "settings file|: "),
    ],
)
def test_wrong_overrides_are_refused(override: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        parse_settings("epochs = 2", name="x", overrides=[override])


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_is_typed_is_settings_or_a_settings_error(text: str, override: str) -> None:
    with suppress(SettingsError):
        assert isinstance(parse_settings(text, name="x", overrides=[override]), RunSettings)


@pytest.mark.parametrize(
    ("text", "counts"), [("1-5", (1, 5)), ("0-1", (0, 1)), ("0-20", (0, 20)), ("01-05", (1, 5)), ("9-10", (9, 10))]
)
def test_ranges_of_counts(text: str, counts: tuple[int, int]) -> None:
    assert parse_counts(text) == counts


@pytest.mark.parametrize("text", ["", "5", "1-", "-5", "5-1", "3-3", "1-5-9", "a-b", "1–5", "1 - 5", "²-5", "1.0-5"])
def test_what_is_no_range_of_counts(text: str) -> None:
    with pytest.raises(SettingsError, match="such as 1-5"):
        parse_counts(text)


def test_another_setting_another_hash() -> None:
    hashes = {
        settings.content_hash
        for settings in (
            RunSettings(),
            RunSettings(seed=1),
            RunSettings(data=DataSettings(counts=(1, 5))),
            RunSettings(data=DataSettings(excluded_flags=())),
            RunSettings(optimiser=OptimiserSettings(lr=0.002)),
        )
    }
    assert len(hashes) == 5
    assert all(len(digest) == 12 for digest in hashes)


def test_the_list_of_keys_is_complete_and_every_key_can_be_set() -> None:
    keys = [key for key, _, _ in RunSettings.list_keys()]
    written = tomllib.loads(tomli_w.dumps(RunSettings(data=DataSettings(counts=(1, 5))).model_dump()))
    flat = [f"{a}.{b}" for a, inner in written.items() if isinstance(inner, dict) for b in inner]
    flat += [a for a, value in written.items() if not isinstance(value, dict)]
    assert sorted(keys) == sorted(flat)


def test_defaults_are_listed_as_a_file_would_say_them() -> None:
    listed = {key: default for key, default, _ in RunSettings.list_keys()}
    settings = [f"{key}={default}" for key, default in listed.items() if default != "none"]
    assert parse_settings("", name="defaults", overrides=settings) == RunSettings()
    assert listed["data.excluded_flags"] == '["total-mismatch", "exact-duplicate"]'
    assert listed["data.counts"] == "none"


def test_the_flags_left_out_by_default_are_the_manifests_default() -> None:
    """Written out in both: settings may not know of datasets."""
    assert DataSettings().excluded_flags == tuple(flag.value for flag in DEFAULT_EXCLUDED)


def test_settings_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("epochs = 5\ndescription = 'Müller'", encoding="utf-8")
    settings = read_settings(path, ["seed=2"])
    assert (settings.epochs, settings.seed, settings.description) == (5, 2, "Müller")


@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "mine.toml"
    if kind == "folder":
        path.mkdir()
    if kind == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"mine\.toml: cannot be read as a settings file"):
        read_settings(path)
