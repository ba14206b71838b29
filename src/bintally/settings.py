"""A run's settings: pydantic models, read from TOML and written back to it; unknown keys are refused.

A recipe is such a file shipped with the package (`bintally/training/recipes/NAME.toml`). Every field has a default, so
a recipe only says where it differs, and reads as what makes it that recipe.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bintally.errors import SettingsError

_MOST = 255  # items in a bin that are told apart
_Share = Annotated[float, Field(ge=0, le=1)]
_PositiveShare = Annotated[float, Field(gt=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSettings(_Section):
    """The network: a backbone and a linear head on its pooled features."""

    backbone: str = Field("mobilenetv2_100", description="a timm model's name, or 'smallcnn'")
    pretrained: bool = Field(True, description="start from ImageNet weights: timm's hub, or --weights FILE")
    frozen: bool = Field(False, description="train the head only; the backbone stays as it came")
    frozen_norms: bool = Field(
        False, description="batch norms keep the statistics that the weights came with; their scale and shift learn"
    )
    frozen_stages: Annotated[int, Field(ge=0)] = Field(
        0,
        description="so many of the first stages stay as they came, the stem being one: less to compute",
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    norm: Literal["batch", "group"] = Field(
        "batch", description="of 'smallcnn': over each process's batch, or over groups of a photo's channels"
    )
    pad_type: Literal["", "same"] = Field("", description="'same': TensorFlow's padding, for weights trained with it")
    enlarged_px: Annotated[int, Field(ge=0, le=1024)] = Field(
        0, description="the network enlarges photos to this side before it looks: finer features; 0: it does not"
    )

    @model_validator(mode="after")
    def _frozen_once(self) -> Self:
        if self.frozen and self.frozen_stages:
            raise ValueError("frozen_stages: with frozen = true all stages stay as they came; leave one of the two out")
        return self


class DataSettings(_Section):
    """What the network sees and which counts it tells apart."""

    side_px: Annotated[int, Field(ge=32, le=1024)] = 224
    mean: tuple[_Share, _Share, _Share] = Field(
        (0.485, 0.456, 0.406), description="of each colour, taken off pixels on the scale from 0 to 1"
    )
    std: tuple[_PositiveShare, _PositiveShare, _PositiveShare] = Field(
        (0.229, 0.224, 0.225), description="what is left is divided by it, on the same scale"
    )
    counts: tuple[int, int] | None = Field(None, description="only photos with these counts; none: every count")
    last_count: Annotated[int, Field(ge=1, le=_MOST)] = Field(
        20, description="K: the last class is K or more; lowered to the largest count in training"
    )
    excluded_flags: tuple[str, ...] = Field(
        ("total-mismatch", "exact-duplicate"),
        description="photos with one of these flags are kept out of train, val and calibration, never out of test; "
        "those that cannot be decoded are never used",
    )

    @model_validator(mode="after")
    def _counts_in_order(self) -> Self:
        if self.counts is not None and not 0 <= self.counts[0] < self.counts[1] <= _MOST:
            raise ValueError(f"counts: expected two counts up to {_MOST}, the lower first: 1-5; got {self.counts}")
        return self


class AugmentSettings(_Section):
    """Changes to training photos that keep the count. No crops: a crop changes it."""

    flip_horizontal: bool = True
    flip_vertical: bool = False
    brightness: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="factor drawn from 1 +- this")
    contrast: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="factor drawn from 1 +- this")
    tint: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="factor of each colour drawn from 1 +- this")
    shrink: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="width and height lose up to this share each; the whole photo stays, somewhere on grey"
    )
    rotate_deg: Annotated[float, Field(ge=0, le=45)] = Field(
        0.0, description="turned by up to so many degrees, and made so small that the whole photo stays"
    )


class OptimiserSettings(_Section):
    """How the weights move."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Annotated[float, Field(gt=0)] = 0.001
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="share of all steps, lr rising from 0")
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="moving average of the weights: how much of it stays at each step, less at first; 0: none"
    )


class RunSettings(_Section):
    """Everything that decides a run besides the photos."""

    recipe: str = "custom"
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=1)] = 32
    patience: Annotated[int, Field(ge=1)] = Field(3, description="epochs without a lower validation loss, then stop")
    label_softness: Annotated[float, Field(ge=0)] = Field(
        0.0, description="standard deviation, in items, of the target around the true count; 0: plain cross entropy"
    )
    teacher_weight: Annotated[float, Field(ge=0, le=1)] = Field(
        0.7, description="with --teacher: share of the target that is what the teachers think, not what is recorded"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the machine has it")
    workers: Annotated[int, Field(ge=0)] = Field(0, description="processes that decode photos beside the training one")
    sync_batch_norm: bool = Field(
        False, description="several GPUs: batch norm over the photos of all; false: each process over its own"
    )
    cache_mib: Annotated[int, Field(ge=0)] = Field(
        4096, description="decoded photos of a split kept in memory, at most, by all its workers together"
    )
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    augment: AugmentSettings = AugmentSettings()
    optimiser: OptimiserSettings = OptimiserSettings()

    @model_validator(mode="after")
    def _enlarged(self) -> Self:
        if 0 < self.model.enlarged_px < self.data.side_px:
            raise ValueError(
                f"model.enlarged_px: expected at least data.side_px ({self.data.side_px}), or 0 for as it is; "
                f"got {self.model.enlarged_px}"
            )
        return self

    @property
    def content_hash(self) -> str:
        """12 hex digits of all settings."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @classmethod
    def list_keys(cls) -> list[tuple[str, str, str]]:
        """Every setting's dotted key, default and meaning."""
        rows = []
        for name, field in cls.model_fields.items():
            if isinstance(field.default, _Section):
                inner = type(field.default).model_fields
                rows += [(f"{name}.{key}", _shown(each.default), each.description or "") for key, each in inner.items()]
            else:
                rows.append((name, _shown(field.default), field.description or ""))
        return rows


def _shown(value: object) -> str:
    """A default as a settings file would say it, strings without their quotes.

    >>> _shown(("dark", "blurred")), _shown(True), _shown("adam"), _shown(None)
    ('["dark", "blurred"]', 'true', 'adam', 'none')
    """
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def parse_settings(text: str, *, name: str, overrides: Iterable[str] = ()) -> RunSettings:
    """Read settings from TOML, with `key=value` overrides such as `optimiser.lr=0.01`.

    Args:
        text: TOML.
        name: the file, for messages.
        overrides: dotted keys with TOML values; a bare word is taken as a string.

    Raises:
        SettingsError: naming the file, the key and what was expected.

    >>> parse_settings('epochs = 3', name="x", overrides=["optimiser.lr=0.1"]).optimiser.lr
    0.1
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{name}: not TOML: {error}") from error
    for override in overrides:
        _override(values, override)
    return check_settings(values, name=name)


def check_settings(values: Mapping[str, object], *, name: str) -> RunSettings:
    """Build settings from plain values.

    Raises:
        SettingsError: naming `name`, each wrong key and what was expected.
    """
    try:
        return RunSettings.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'settings'}: {fault['msg']}" for fault in error.errors()
        )
        raise SettingsError(f"{name}: {faults}. `bintally recipes` shows every key with its meaning") from error


def read_settings(path: Path, overrides: Iterable[str] = ()) -> RunSettings:
    """Read a settings file.

    Raises:
        SettingsError: if it is missing or holds what settings cannot hold.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read as a settings file ({error})") from error
    return parse_settings(text, name=str(path), overrides=overrides)


def parse_counts(text: str) -> tuple[int, int]:
    """Read a range of counts.

    Raises:
        SettingsError: if it is not two counts with '-' between, the lower first.

    >>> parse_counts("1-5")
    (1, 5)
    """
    low, _, high = text.partition("-")
    if not (low.isdecimal() and high.isdecimal() and int(low) < int(high)):
        raise SettingsError(f"expected a range of counts such as 1-5, got {text!r}")
    return int(low), int(high)


def _override(values: dict[str, object], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise SettingsError(f"expected KEY=VALUE such as optimiser.lr=0.01, got {override!r}")
    *sections, last = key.strip().split(".")
    place = values
    for section in sections:
        inner = place.setdefault(section, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"{override!r}: {section!r} is a value, not a section")
        place = inner
    try:
        place[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        place[last] = text
