"""`bintally verify`: verdicts, their exit codes, and the very numbers of `count` and of Python."""

from pathlib import Path

import pytest
from tests.cli.runner import Bintally
from tests.cli.test_count import BAD
from tests.fixed_model import write_fixed_model

from bintally.domain.verdicts import decide
from bintally.inference.engine import Engine

SURE_OF_TWO = [0.01, 0.01, 0.95, 0.01, 0.02]  # K is 4
UNSURE = [0.2, 0.2, 0.2, 0.2, 0.2]
SURE_OF_MANY = [0.0, 0.0, 0.0, 0.01, 0.99]

VERDICTS = [
    ("it is as expected", SURE_OF_TWO, 2, (), "match", 0),
    ("fewer than expected", SURE_OF_TWO, 3, ("--flag-at", "0.95"), "short", 10),
    ("fewer than K", SURE_OF_TWO, 4, (), "short", 10),
    ("fewer than more than K", SURE_OF_TWO, 9, (), "short", 10),
    ("more than expected", SURE_OF_TWO, 1, (), "over", 11),
    ("more than none", SURE_OF_TWO, 0, (), "over", 11),
    ("K or more, fewer expected", SURE_OF_MANY, 2, (), "over", 11),
    ("K or more, K expected: never a match", SURE_OF_MANY, 4, (), "review", 12),
    ("K or more, more expected: never a match", SURE_OF_MANY, 7, (), "review", 12),
    ("K expected, however lenient", SURE_OF_MANY, 4, ("--clear-at", "0.51"), "review", 12),
    ("unsure", UNSURE, 2, (), "review", 12),
    ("not sure enough to clear", SURE_OF_TWO, 2, ("--clear-at", "0.96"), "review", 12),
    ("not sure enough to flag", SURE_OF_TWO, 3, ("--flag-at", "0.98"), "review", 12),
    ("sure enough to clear", [0.2, 0.55, 0.25], 1, ("--clear-at", "0.55"), "match", 0),
    ("sure enough to flag", [0.3, 0.3, 0.3, 0.1], 2, ("--flag-at", "0.6"), "short", 10),
]


@pytest.mark.parametrize(
    ("row", "expect", "options", "verdict", "code"), [case[1:] for case in VERDICTS], ids=[case[0] for case in VERDICTS]
)
def test_verdicts_and_their_exit_codes(
    row: list[float],
    expect: int,
    options: tuple[str, ...],
    verdict: str,
    code: int,
    bintally: Bintally,
    photo_file: Path,
    tmp_path: Path,
) -> None:
    model = write_fixed_model(tmp_path / "m.onnx", row)
    run = bintally("verify", photo_file, "--expect", expect, "--model", model, "--json", *options)
    (line,) = run.lines
    assert line["verdict"] == verdict
    assert run.code == code
    said = bintally("verify", photo_file, "--expect", expect, "--model", model, *options)
    assert said.code == code
    first, second = said.out.splitlines()
    assert first == f"{verdict.upper()}: {line['reason']}"
    assert second.startswith(f"{photo_file.name}: ")


def test_a_line_of_json_has_exactly_these_fields(bintally: Bintally, photo_file: Path, tiny_run: Path) -> None:
    run = bintally("verify", photo_file, "--expect", 3, "--model", tiny_run, "--json")
    (line,) = run.lines
    assert list(line) == ["photo", "count", "probabilities", "interval", "expected", "p_match", "verdict", "reason"]
    assert (line["photo"], line["expected"]) == (photo_file.name, 3)


def test_python_count_and_verify_give_equal_numbers(bintally: Bintally, photo_file: Path, tiny_run: Path) -> None:
    engine = Engine(tiny_run / "model.onnx")
    believed = engine.count(photo_file.read_bytes())
    counted = bintally("count", photo_file, "--model", tiny_run, "--json").lines[0]
    verified = bintally("verify", photo_file, "--expect", 3, "--model", tiny_run, "--json").lines[0]
    assert believed.probabilities.tolist() == counted["probabilities"] == verified["probabilities"]
    assert {field: verified[field] for field in counted} == counted
    assert counted["count"] == believed.mode
    assert counted["interval"] == list(believed.interval(0.9))
    verdict = decide(believed, 3, known_counts=engine.facts.known_counts)
    assert verified["p_match"] == verdict.p_match == believed.probabilities[3]
    assert (verified["verdict"], verified["reason"]) == (verdict.decision.value, verdict.reason)
    assert abs(engine.predict([photo_file.read_bytes()])[0] - believed.probabilities).max() < 1e-6


@pytest.mark.parametrize("expect", [0, 6, 9])
def test_counts_that_the_model_never_learned_are_for_a_person(
    expect: int, bintally: Bintally, photo_file: Path, tmp_path: Path
) -> None:
    """Closed 1-5: probabilities over 0..6, the first and the last always 0."""
    row = [0, 0.01, 0.01, 0.96, 0.01, 0.01, 0]
    model = write_fixed_model(tmp_path / "m.onnx", row, known_low=1, known_high=5)
    run = bintally("verify", photo_file, "--expect", expect, "--model", model, "--json")
    assert (run.code, run.lines[0]["verdict"], run.lines[0]["p_match"]) == (12, "review", 0.0)
    assert "counts 1-5" in str(run.lines[0]["reason"])
    assert bintally("verify", photo_file, "--expect", 3, "--model", model).code == 0


@pytest.mark.parametrize("row", [SURE_OF_TWO, UNSURE, SURE_OF_MANY, [0.0, 0.0, 0.0, 0.0, 1.0]], ids=str)
@pytest.mark.parametrize("expect", [4, 5, 100])
def test_at_or_above_k_it_never_matches(
    row: list[float], expect: int, bintally: Bintally, photo_file: Path, tmp_path: Path
) -> None:
    model = write_fixed_model(tmp_path / "m.onnx", row)
    run = bintally("verify", photo_file, "--expect", expect, "--model", model, "--json", "--clear-at", "0.51")
    assert run.code in (10, 12)
    assert run.lines[0]["p_match"] == 0.0


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_photo_is_4_and_a_sentence(kind: str, bintally: Bintally, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(BAD[kind][0])
    run = bintally("verify", tmp_path / "bad.jpg", "--expect", 2, "--model", tiny_run)
    assert (run.code, run.out) == (4, "")
    assert run.err.startswith(f"bintally: {tmp_path / 'bad.jpg'}: ")
    assert len(run.err.splitlines()) == 1


@pytest.mark.parametrize("place", ["nowhere.jpg", ""], ids=["missing", "folder"])
def test_no_photo_is_3(place: str, bintally: Bintally, tiny_run: Path, tmp_path: Path) -> None:
    run = bintally("verify", tmp_path / place, "--expect", 2, "--model", tiny_run)
    assert run.code == 3
    assert ("no such photo" if place else "a folder; pass one photo") in run.err


@pytest.mark.parametrize(
    "options",
    [
        ("--expect", "-1"),
        ("--expect", "two"),
        ("--expect", "2", "--clear-at", "0.5"),
        ("--expect", "2", "--flag-at", "1.1"),
        ("--expect", "2", "--clear-at", "nan"),
    ],
    ids=" ".join,
)
def test_options_that_cannot_be_meant_are_2(options: tuple[str, ...], bintally: Bintally, photo_file: Path) -> None:
    run = bintally("verify", photo_file, *options)
    assert run.code == 2
    assert "Traceback" not in run.err
