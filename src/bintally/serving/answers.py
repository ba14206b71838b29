"""What is answered, by the type that is asked for. Shared by HTTP and Lambda.

    application/json       [[p0, ..., pK], ...]: an array of predictions, one row of probabilities for each photo
    application/jsonlines  one object a line for each photo; a photo that cannot be counted has its error there
    text/csv               p0,...,pK: one line for each photo

Refuses other types. Rows cannot hold errors: asked for JSON or CSV, the first photo that cannot be counted is the
answer to all.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bintally.domain.counts import CountDistribution
from bintally.inference.model_file import ModelFacts
from bintally.serving.bodies import BodyKind, media_type
from bintally.serving.faults import Fault


class AnswerType(StrEnum):
    """The types of answers, the usual one first."""

    JSON = "application/json"
    LINES = "application/jsonlines"
    CSV = "text/csv"


_MEANT = {
    "application/json": AnswerType.JSON,
    "application/jsonlines": AnswerType.LINES,
    "application/jsonl": AnswerType.LINES,
    "application/x-ndjson": AnswerType.LINES,
    "text/csv": AnswerType.CSV,
}
_ANY = frozenset({"", "*/*", "application/*"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What became of one photo."""

    result: CountDistribution | Fault
    label: str | None = None


def answer_type(accept: str, kind: BodyKind) -> AnswerType:
    """The first of the accepted types that there is; where any will do, lines for lines and else JSON.

    >>> answer_type("text/html, */*;q=0.8", BodyKind.IMAGE).value
    'application/json'

    Raises:
        Fault: 406, if there is none.
    """
    usual = AnswerType.LINES if kind is BodyKind.LINES else AnswerType.JSON
    for wanted in map(media_type, accept.split(",")):
        if wanted in _ANY:
            return usual
        if wanted in _MEANT:
            return _MEANT[wanted]
    raise Fault(406, "not-acceptable", f"expected one of {', '.join(AnswerType)} in Accept, got {accept}")


def render(counted: Sequence[Counted], wanted: AnswerType, kind: BodyKind, *, level: float) -> bytes:
    """The answer's body.

    Raises:
        Fault: that of the first photo that could not be counted, unless its line can say so.
    """
    if wanted is AnswerType.LINES and kind is not BodyKind.IMAGE:
        return _lines([_record(each, level) for each in counted])
    found = distributions(counted)
    if wanted is AnswerType.LINES:
        return _lines([prediction(each, level) for each in found])
    rows = [each.probabilities.tolist() for each in found]
    if wanted is AnswerType.CSV:
        return b"".join(f"{','.join(map(repr, row))}\n".encode() for row in rows)
    return to_json(rows)


def render_full(counted: Sequence[Counted], facts: ModelFacts, *, level: float) -> bytes:
    """The body of what `/v1/count` answers: every photo's prediction in full, and the model that made them.

    Raises:
        Fault: that of the first photo that could not be counted.
    """
    found = [prediction(each, level) for each in distributions(counted)]
    return to_json({"predictions": found, "model": model_fields(facts)})


def distributions(counted: Sequence[Counted]) -> list[CountDistribution]:
    """What is believed about each photo.

    Raises:
        Fault: of the first of which nothing is.
    """
    found = []
    for each in counted:
        if isinstance(each.result, Fault):
            raise each.result
        found.append(each.result)
    return found


def prediction(distribution: CountDistribution, level: float) -> dict[str, object]:
    """One photo's prediction: those of `bintally count --json`, and the mean."""
    return {
        "count": distribution.mode,
        "probabilities": distribution.probabilities.tolist(),
        "interval": list(distribution.interval(level)),
        "mean": distribution.mean,
    }


def model_fields(facts: ModelFacts) -> dict[str, object]:
    """What a client may want to know of the model."""
    return {
        "name": facts.name,
        "last_count": facts.last_count,
        "known_low": facts.known_low,
        "known_high": facts.known_high,
        "created": facts.provenance.created,
        "split_hash": facts.provenance.split_hash,
        "licence": facts.provenance.licence,
    }


def to_json(value: object) -> bytes:
    """JSON in ASCII: a name that came in may hold half a surrogate pair, which UTF-8 cannot."""
    return json.dumps(value).encode()


def _record(counted: Counted, level: float) -> dict[str, object]:
    named: dict[str, object] = {} if counted.label is None else {"photo": counted.label}
    result = counted.result
    return named | (result.fields if isinstance(result, Fault) else prediction(result, level))


def _lines(records: Sequence[dict[str, object]]) -> bytes:
    return b"".join(to_json(record) + b"\n" for record in records)
