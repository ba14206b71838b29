"""A model file: ONNX with its facts inside, under one metadata key, so that nothing has to travel beside it.

The graph takes `photos` uint8[N,S,S,3] and gives `probabilities` float32[N,K+1], normalising and calibration included.
Refuses a file without facts and one of another version.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bintally.errors import ModelError
from bintally.models.provenance import Provenance

FORMAT_VERSION: Literal[1] = 1
METADATA_KEY = "bintally"
INPUT_NAME = "photos"
OUTPUT_NAME = "probabilities"


class ModelFacts(BaseModel):
    """What a model file says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = FORMAT_VERSION
    name: str
    last_count: int = Field(ge=1, description="K: the last probability is for K or more")
    known_low: int = Field(ge=0, description="lowest count it was trained to tell apart")
    known_high: int | None = Field(description="highest such count; none: no upper end")
    side_px: int = Field(ge=1)
    resize: Literal["squash-bicubic"] = "squash-bicubic"  # the whole frame; what bintally.data.images.resize does
    mean: tuple[float, float, float]  # in the graph already; here for whoever reads
    std: tuple[float, float, float]
    temperature: float = Field(gt=0, description="in the graph already")
    biases: tuple[float, ...] = Field((), description="likewise: one for each count it was trained to tell apart")
    provenance: Provenance
    metrics: dict[str, float]
    members: tuple[str, ...] = Field((), description="the runs that answer as one; empty: it is one run")
    mirror: bool = Field(False, description="whether the mirror image is asked too")
    probe: tuple[float, ...] | None = Field(
        None, description="its probabilities of the first made photo, where it was exported"
    )

    @property
    def known_counts(self) -> tuple[int, int | None]:
        """(low, high) as `bintally.domain.verdicts.decide` takes it."""
        return self.known_low, self.known_high


def parse_facts(metadata: dict[str, str], name: str) -> ModelFacts:
    """The facts in an ONNX file's metadata.

    Raises:
        ModelError: if there are none, or of another version.
    """
    text = metadata.get(METADATA_KEY)
    if text is None:
        raise ModelError(f"{name}: an ONNX file, but not one of Bintally's. Make one: bintally export RUN")
    try:
        return ModelFacts.model_validate_json(text)
    except ValidationError as error:
        raise ModelError(
            f"{name}: expected a model of format {FORMAT_VERSION}, but its facts read otherwise "
            f"({error.error_count()} faults, the first: {error.errors()[0]['loc']} {error.errors()[0]['msg']}). "
            "Export it again with this Bintally"
        ) from error
