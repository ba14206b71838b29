"""What is answered, by the type asked for."""

import json

import pytest
from tests.tiny_model import tiny_facts

from bintally.domain.counts import CountDistribution
from bintally.serving.answers import AnswerType, Counted, answer_type, render, render_full
from bintally.serving.bodies import BodyKind
from bintally.serving.faults import Fault

TWO = CountDistribution([0.0, 0.1, 0.7, 0.2])
ONE = CountDistribution([0.0, 0.7, 0.2, 0.1])
BAD = Fault(422, "broken-photo", "record 2: damaged")


@pytest.mark.parametrize(
    ("accept", "kind", "wanted"),
    [
        ("", BodyKind.IMAGE, AnswerType.JSON),
        ("*/*", BodyKind.JSON, AnswerType.JSON),
        ("*/*", BodyKind.LINES, AnswerType.LINES),
        ("", BodyKind.LINES, AnswerType.LINES),
        ("application/json", BodyKind.LINES, AnswerType.JSON),
        ("application/jsonlines", BodyKind.IMAGE, AnswerType.LINES),
        ("application/x-ndjson", BodyKind.IMAGE, AnswerType.LINES),
        ("text/csv; header=absent", BodyKind.IMAGE, AnswerType.CSV),
        ("text/html, application/*;q=0.8", BodyKind.IMAGE, AnswerType.JSON),
        ("image/webp, text/csv, */*", BodyKind.IMAGE, AnswerType.CSV),
    ],
)
def test_accept(accept: str, kind: BodyKind, wanted: AnswerType) -> None:
    assert answer_type(accept, kind) is wanted


def test_what_cannot_be_answered_is_406() -> None:
    with pytest.raises(Fault, match="text/csv") as caught:
        answer_type("application/x-recordio-protobuf", BodyKind.IMAGE)
    assert caught.value.status == 406


def test_json_is_an_array_of_rows() -> None:
    body = render([Counted(result=TWO), Counted(result=ONE)], AnswerType.JSON, BodyKind.JSON, level=0.8)
    assert json.loads(body) == [TWO.probabilities.tolist(), ONE.probabilities.tolist()]


def test_csv_is_a_line_for_each_photo_and_loses_no_digit() -> None:
    body = render([Counted(result=TWO), Counted(result=ONE)], AnswerType.CSV, BodyKind.JSON, level=0.8)
    rows = [[float(cell) for cell in line.split(",")] for line in body.decode().splitlines()]
    assert rows == [TWO.probabilities.tolist(), ONE.probabilities.tolist()]


def test_lines_hold_everything_and_the_error_in_its_place() -> None:
    counted = [Counted(result=TWO, label="a.jpg"), Counted(result=BAD, label="b.jpg"), Counted(result=ONE)]
    body = render(counted, AnswerType.LINES, BodyKind.LINES, level=0.8)
    assert body.endswith(b"\n")
    first, second, third = (json.loads(line) for line in body.splitlines())
    assert first == {
        "photo": "a.jpg",
        "count": 2,
        "probabilities": TWO.probabilities.tolist(),
        "interval": [2, 3],
        "mean": TWO.mean,
    }
    assert second == {"photo": "b.jpg", "error": {"code": "broken-photo", "message": "record 2: damaged"}}
    assert "photo" not in third
    assert third["count"] == 1


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [(AnswerType.JSON, BodyKind.LINES), (AnswerType.CSV, BodyKind.LINES), (AnswerType.LINES, BodyKind.IMAGE)],
)
def test_where_a_line_cannot_say_it_the_first_error_is_the_answer(wanted: AnswerType, kind: BodyKind) -> None:
    with pytest.raises(Fault) as caught:
        render([Counted(result=TWO), Counted(result=BAD)], wanted, kind, level=0.9)
    assert caught.value is BAD


def test_in_full_the_model_and_its_licence_are_there() -> None:
    answer = json.loads(render_full([Counted(result=TWO)], tiny_facts(), level=0.8))
    assert [each["count"] for each in answer["predictions"]] == [2]
    assert answer["model"]["licence"] == "Apache-2.0"
    with pytest.raises(Fault):
        render_full([Counted(result=BAD)], tiny_facts(), level=0.8)


def test_half_a_surrogate_pair_can_be_said_again() -> None:
    body = render([Counted(result=TWO, label="\ud800")], AnswerType.LINES, BodyKind.LINES, level=0.9)
    assert json.loads(body)["photo"] == "\ud800"
