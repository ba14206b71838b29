"""What `count` and `verify` print of one photo, as a line of JSON or for a person."""

import json

from bintally.domain.counts import CountDistribution
from bintally.domain.verdicts import Verdict


def count_fields(photo: str, distribution: CountDistribution, level: float) -> dict[str, object]:
    """The fields of one counted photo: photo, count, probabilities over 0..K (last: K or more), interval."""
    return {
        "photo": photo,
        "count": distribution.mode,
        "probabilities": distribution.probabilities.tolist(),
        "interval": list(distribution.interval(level)),
    }


def verdict_fields(verdict: Verdict) -> dict[str, object]:
    """The fields that `verify` adds."""
    return {
        "expected": verdict.expected,
        "p_match": verdict.p_match,
        "verdict": verdict.decision.value,
        "reason": verdict.reason,
    }


def error_fields(photo: str, message: str) -> dict[str, object]:
    """The fields of a photo that could not be counted."""
    return {"photo": photo, "error": message}


def json_line(fields: dict[str, object]) -> str:
    """One line of JSON; in ASCII where a file's name is no text."""
    line = json.dumps(fields, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        return json.dumps(fields)
    return line


def sentence(photo: str, distribution: CountDistribution, level: float) -> str:
    """One line for a person.

    >>> sentence("01012.jpg", CountDistribution([0.0, 0.1, 0.7, 0.2]), 0.9)
    '01012.jpg: 2 items (70% sure; 90% interval: 2 to 3 or more)'
    """
    low, high = distribution.interval(level)
    last, mode = distribution.last_count, distribution.mode
    items = f"{_spoken(mode, last)} {'item' if mode == 1 < last else 'items'}"
    sure = float(distribution.probabilities[mode])
    return f"{photo}: {items} ({sure:.0%} sure; {level * 100:g}% interval: {low} to {_spoken(high, last)})"


def _spoken(count: int, last: int) -> str:
    return f"{count} or more" if count == last else str(count)
