"""What a model was made from and under which licence it may be used; travels in checkpoints and exported models."""

from pydantic import BaseModel, ConfigDict


class Provenance(BaseModel):
    """Where a model comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bintally_version: str
    created: str  # UTC, ISO 8601
    source: str  # where its photos came from
    prepared: str = ""  # hash of the settings its photos were prepared with; empty: they were as they came
    excluded_flags: tuple[str, ...] = ("total-mismatch",)  # what kept photos out; that alone before recipes said so
    manifest_hash: str
    split_hash: str
    settings_hash: str
    weights: str  # what the backbone started from
    teachers: tuple[str, ...] = ()  # whose answers it learned from, beside the recorded counts
    licence: str
