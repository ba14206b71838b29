"""What jobs cost and what spot saved; the figures beside them were worked out by hand.

Prices of the table: ml.g4dn.xlarge 0.736, ml.m5.xlarge 0.23, ml.c5.xlarge 0.204 USD an hour.

    job                     on demand                    cost                          saved
    3 x g4dn.xlarge, spot   3 * 2 h * 0.736 = 4.416      3 * 0.6 h * 0.736 = 1.3248    3.0912, 70 %
    1 x m5.xlarge, spot     1 h * 0.23      = 0.23       0.5 h * 0.23      = 0.115     0.115,  50 %
    1 x c5.xlarge           1.5 h * 0.204   = 0.306      the same                      -
    together                spot: 4.646                  1.7458                        3.2062, 69.01 %
"""

import pytest
from tests.cloud.cost_explorer import JOBS, add_job, add_jobs
from tests.cloud.standin import StandIn

from bintally.cloud.cost_jobs import ask_job, ask_jobs, ask_tuning, total
from bintally.cloud.job_kinds import JOB_KINDS
from bintally.cloud.names import Kind
from bintally.cloud.project import Project
from bintally.cloud.session import Cloud
from bintally.errors import NotInCloudError

TRAIN = JOB_KINDS[Kind.TRAIN]


def test_one_spot_job_on_three_instances(aws: StandIn, cloud: Cloud) -> None:
    add_jobs(aws)
    cost = ask_job(cloud, TRAIN, JOBS[0][0])
    assert (cost.instance_count, cost.seconds, cost.billable_seconds) == (3, 7200, 2160)
    assert cost.on_demand_usd == pytest.approx(4.416)
    assert cost.cost_usd == pytest.approx(1.3248)
    assert cost.saved_usd == pytest.approx(3.0912)
    assert cost.saved_share == pytest.approx(0.70)
    dearer = ask_job(cloud, TRAIN, JOBS[0][0], usd_hour=1.0)
    assert (dearer.cost_usd, dearer.saved_usd) == (pytest.approx(1.8), pytest.approx(4.2))


def test_a_job_on_demand_saves_nothing_and_says_nothing_of_it(aws: StandIn, cloud: Cloud) -> None:
    add_jobs(aws)
    cost = ask_job(cloud, TRAIN, JOBS[2][0])
    assert cost.cost_usd == cost.on_demand_usd == pytest.approx(0.306)
    assert (cost.saved_usd, cost.saved_share) == (None, None)


def test_all_jobs_of_the_project(aws: StandIn, cloud: Cloud, project: Project) -> None:
    add_jobs(aws)
    add_job(aws, "bins-b-train-20260203-040506-0a1b", 1, "ml.m5.xlarge", True, 10, 1)  # another project's
    seen: list[str] = []
    jobs = ask_jobs(cloud, project, on_job=lambda job: seen.append(job.name))
    assert [job.name for job in jobs] == [JOBS[2][0], JOBS[1][0], JOBS[0][0]]  # the newest first
    assert sorted(seen) == [job[0] for job in JOBS]
    together = total(jobs)
    assert together.cost_usd == pytest.approx(1.7458)
    assert together.spot_on_demand_usd == pytest.approx(4.646)
    assert together.saved_usd == pytest.approx(3.2062)
    assert together.saved_share == pytest.approx(0.6901, abs=1e-4)
    assert (together.jobs, together.spot_jobs, together.unknown) == (3, 2, ())


def test_without_a_price_the_share_is_known_and_the_money_is_not(aws: StandIn, cloud: Cloud) -> None:
    add_job(aws, "bins-train-20260206-040506-0a1e", 1, "ml.p5.48xlarge", True, 1000, 400)
    cost = ask_job(cloud, TRAIN, "bins-train-20260206-040506-0a1e")
    assert (cost.cost_usd, cost.saved_usd) == (None, None)
    assert cost.saved_share == pytest.approx(0.6)
    together = total([cost])
    assert together.unknown == (cost.name,)
    assert together.saved_share is None


def test_instances_that_were_kept_warm_are_paid_for(aws: StandIn, cloud: Cloud) -> None:
    add_jobs(aws)
    known = aws.answers["DescribeTrainingJob"]
    warm = {"WarmPoolStatus": {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 1800}}
    aws.answers["DescribeTrainingJob"] = lambda said: {**known(said), **warm}
    cost = ask_job(cloud, TRAIN, JOBS[2][0])
    assert cost.cost_usd == pytest.approx(0.306 + 0.102)
    assert cost.on_demand_usd == pytest.approx(0.306)


def test_a_tuning_job_costs_what_its_jobs_cost(aws: StandIn, cloud: Cloud) -> None:
    for number, seconds in enumerate((3600, 1800), 1):
        name = f"bins-tune-0a1b2c3d-00{number}-5e6f7a8b"
        add_job(aws, JOBS[0][0], 1, "ml.m5.xlarge", False, seconds, seconds)
        aws.jobs["TrainingJob", name] = aws.jobs.pop(("TrainingJob", JOBS[0][0]))
    aws.answers["DescribeTrainingJob"] = lambda said: {
        **aws._describe_training_job(said),
        "TrainingTimeInSeconds": 3600,
        "BillableTimeInSeconds": 3600,
    }
    jobs = ask_tuning(cloud, "bins-tune-0a1b2c3d")
    assert len(jobs) == 2
    assert total(jobs).cost_usd == pytest.approx(0.46)
    assert ask_tuning(cloud, "bins-tune-ffffffff") == []


def test_a_job_that_runs_costs_nothing_known_yet(aws: StandIn, cloud: Cloud) -> None:
    add_jobs(aws)
    name = JOBS[0][0]
    aws.jobs["TrainingJob", name].past = [("Training", aws.now)]
    del aws.answers["DescribeTrainingJob"]
    aws.jobs["TrainingJob", name].life = ["Training"]
    cost = ask_job(cloud, TRAIN, name)
    assert cost.running
    assert (cost.cost_usd, cost.saved_share) == (None, None)
    assert total([cost]).unknown == ()


def test_no_such_job(aws: StandIn, cloud: Cloud) -> None:
    with pytest.raises(NotInCloudError):
        ask_job(cloud, TRAIN, "bins-train-20260201-040506-ffff")
