"""A job followed: what is seen, and what happens when AWS cannot be reached for a while."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cloud.standin import StandIn, lines_of
from tests.cloud.test_training_job import job

from bintally.cloud.job_kinds import JOB_KINDS, job_kind
from bintally.cloud.job_state import JobState, Phase
from bintally.cloud.logs import LogLine, _printable
from bintally.cloud.names import Kind
from bintally.cloud.notebook_idle import is_idle
from bintally.cloud.session import Cloud
from bintally.cloud.training_job import training_request
from bintally.cloud.waiting import PATIENCE
from bintally.cloud.watch import Epoch, Seen, follow
from bintally.errors import CloudUnavailableError, NotInCloudError, SettingsError

TRAIN = JOB_KINDS[Kind.TRAIN]
NAME = "bins-train-1"


def watched(cloud: Cloud, complaints: list[str] | None = None) -> list[Seen]:
    said = complaints if complaints is not None else []
    return list(follow(cloud, TRAIN, NAME, complain=said.append))


@pytest.fixture
def sent(aws: StandIn, cloud: Cloud) -> Cloud:
    aws.prints = {"Downloading": ["one", "two"], "Training": [*lines_of(5), "three"], "Completed": ["last"]}
    cloud.send(training_request(job()))
    return cloud


def test_each_phase_line_and_epoch_is_seen_once_and_in_order(sent: Cloud) -> None:
    seen = watched(sent)
    phases = [each.name for each in seen if isinstance(each, Phase)]
    assert phases == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert [each.text for each in seen if isinstance(each, LogLine)] == ["one", "two", "three", "last"]
    assert [each.metrics["epoch"] for each in seen if isinstance(each, Epoch)] == [1, 2, 3, 4, 5]
    last = seen[-1]
    assert isinstance(last, JobState)
    assert (last.status, last.running, last.metrics) == ("Completed", False, {"val_loss": 1.25})


def test_the_log_is_not_asked_for_more_than_it_has(sent: Cloud, aws: StandIn) -> None:
    watched(sent)
    looks, pages = len(aws.asked("DescribeLogStreams")), 4  # nine lines, three at a time
    assert len(aws.asked("GetLogEvents")) <= looks + pages


def test_what_passes_is_complained_of_and_asked_again(sent: Cloud, aws: StandIn) -> None:
    aws.refuse("DescribeTrainingJob", "ThrottlingException", "Rate exceeded", times=PATIENCE - 1)
    aws.refuse("GetLogEvents", "ServiceUnavailableException", "", times=1, status=503)
    complaints: list[str] = []
    seen = watched(sent, complaints)
    assert isinstance(seen[-1], JobState)
    assert seen[-1].status == "Completed"
    assert [each.text for each in seen if isinstance(each, LogLine)] == ["one", "two", "three", "last"]
    assert len(complaints) == PATIENCE


def test_what_does_not_pass_ends_the_watching(sent: Cloud, aws: StandIn) -> None:
    aws.refuse("DescribeTrainingJob", "ThrottlingException", "Rate exceeded", times=PATIENCE)
    with pytest.raises(CloudUnavailableError, match="fewer requests"):
        watched(sent)


def test_a_log_that_may_not_be_read_is_said_once(sent: Cloud, aws: StandIn) -> None:
    aws.refuse("DescribeLogStreams", "AccessDeniedException", "no", times=1)
    complaints: list[str] = []
    seen = watched(sent, complaints)
    assert not [each for each in seen if isinstance(each, LogLine)]
    assert len(complaints) == 1
    assert "logs:DescribeLogStreams" in complaints[0]


def test_a_job_that_is_not_there_is_said(cloud: Cloud) -> None:
    with pytest.raises(NotInCloudError):
        watched(cloud)


def test_a_spot_job_says_what_it_saved() -> None:
    state = JobState(
        kind=TRAIN, name=NAME, status="Completed", phases=(), reason="", created=None, seconds=1000,
        billable_seconds=250, spot=True, instance_type="ml.m5.large", instance_count=1, model_url="",
        reports_url="", page_url="", metrics={},
    )  # fmt: skip
    assert state.saved_share == 0.75


def test_only_jobs_are_jobs() -> None:
    assert job_kind(Kind.TUNE, "x").describe("x").operation == "DescribeHyperParameterTuningJob"
    for kind in (None, Kind.MODEL):
        with pytest.raises(SettingsError, match="not the name of one of this project's jobs"):
            job_kind(kind, "x")


@given(st.text(max_size=60))
def test_a_log_line_cannot_move_the_cursor(text: str) -> None:
    shown = _printable(text)
    assert all(each.isprintable() or each == "\t" for each in shown)
    assert _printable(shown) == shown


@pytest.mark.parametrize(
    ("state", "ago_minutes", "up_minutes", "idle"),
    [
        ("idle", 61, 999, True),
        ("idle", 59, 999, False),
        ("busy", 999, 999, False),
        ("idle", 999, 59, False),
        (None, 0, 61, True),
    ],
    ids=["idle", "a while ago", "busy", "just started", "nothing open"],
)
def test_a_notebook_stops_when_idle(state: str | None, ago_minutes: int, up_minutes: int, idle: bool) -> None:
    now = datetime(2026, 2, 3, 12, tzinfo=UTC)
    last = (now - timedelta(minutes=ago_minutes)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    sessions = [{"kernel": {"execution_state": state, "last_activity": last}}] if state else []
    started = now - timedelta(minutes=up_minutes)
    assert is_idle(sessions, now=now, started=started, idle=timedelta(hours=1)) is idle
