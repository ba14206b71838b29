"""What a server is told: which model, how much it takes on at once, and how long anything may last.

Refuses bounds under which nothing could be answered.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bintally.errors import SettingsError

MIB = 2**20
PREFIX = "BINTALLY_SERVE_"


class ServeSettings(BaseModel):
    """A server's settings; each default is meant for a machine of 2 to 16 cores with 2 GiB to spare."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path = Field(description="the model file")
    threads: int | None = Field(default=None, ge=1, description="photos counted at a time; none: one for each core")
    queue: int = Field(default=64, ge=1, description="requests that wait for the engine or are at it; more get 503")
    max_body_bytes: int = Field(default=32 * MIB, ge=1, description="of one request; more get 413")
    max_held_bytes: int = Field(default=256 * MIB, ge=1, description="of all requests' bodies together; more get 503")
    max_photos: int = Field(default=1000, ge=1, description="in one request; more get 413")
    head_seconds: float = Field(default=10, gt=0, description="for a request's head to arrive; then the line is cut")
    read_seconds: float = Field(default=20, gt=0, description="for a request's body to arrive; then 408")
    # SageMaker gives up on an answer after 60 seconds, and kills 30 seconds after it asked to end.
    deadline_seconds: float = Field(default=55, gt=0, description="from a whole body to its answer; then 504")
    grace_seconds: int = Field(default=25, ge=1, description="from SIGTERM until what is in flight is given up")
    level: float = Field(default=0.9, gt=0, lt=1, description="how much the interval holds")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **given: object) -> Self:
        """Settings from `BINTALLY_SERVE_QUEUE` and the like; `given` goes before what the environment says.

        Raises:
            SettingsError: if one has no such meaning.
        """
        ours = {name: text for name, text in environment.items() if name.startswith(PREFIX)}
        said = {name.removeprefix(PREFIX).lower(): text for name, text in ours.items()}
        try:
            return cls.model_validate({**said, **given})
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            got = f", got {first['input']!r}" if not isinstance(first["input"], dict) else ""
            todo = "Unset" if first["type"] == "extra_forbidden" else "Set"
            raise SettingsError(f"serving: {name}: {first['msg']}{got}. {todo} {PREFIX}{name.upper()}") from error
