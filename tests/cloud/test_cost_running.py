import pytest
from tests.cloud.cost_explorer import JOBS, NOW, add_endpoints, add_jobs, record
from tests.cloud.standin import StandIn

from bintally.cloud.cost_jobs import ask_jobs
from bintally.cloud.cost_running import find_running, usd_hour
from bintally.cloud.project import Project
from bintally.cloud.session import Cloud

M5 = {"InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}
SERVERLESS = {"ServerlessConfig": {"MemorySizeInMB": 3072, "MaxConcurrency": 5}}
READY = {"ServerlessConfig": {"MemorySizeInMB": 3072, "MaxConcurrency": 5, "ProvisionedConcurrency": 2}}
STEM = "bins-endpoint-20260203-040506-"


def test_endpoints_by_the_hour_and_by_request(aws: StandIn, cloud: Cloud, project: Project) -> None:
    record(aws, tagged=())
    add_endpoints(
        aws,
        (f"{STEM}0001", "InService", M5, 2),  # scaled out: 2 * 0.23
        (f"{STEM}0002", "InService", SERVERLESS, 0),
        (f"{STEM}0003", "Creating", {"InstanceType": "ml.inf1.xlarge", "InitialInstanceCount": 1}, 0),
        (f"{STEM}0004", "Failed", M5, 1),
        ("bins-endpoint-of-somebody", "InService", M5, 9),
        (f"{STEM}0005", "InService", {}, 1),  # gone between two questions
        (f"{STEM}0006", "Updating", READY, 0),
    )
    found = find_running(cloud, project, [], complain=pytest.fail)
    assert [(each.name[-4:], each.on, each.usd_hour) for each in found] == [
        ("0001", "2 x ml.m5.xlarge", pytest.approx(0.46)),
        ("0002", "serverless, 3,072 MB", None),
        ("0003", "1 x ml.inf1.xlarge", None),
        ("0006", "serverless, 3,072 MB", None),
    ]
    assert [each.note for each in found[1:3]] == ["paid by request", "the table has no price"]
    assert "2 kept ready" in found[3].note
    assert usd_hour(found) == pytest.approx(0.46)


def test_an_endpoint_without_a_configuration_is_told_and_has_no_price(
    aws: StandIn, cloud: Cloud, project: Project
) -> None:
    record(aws, tagged=())
    add_endpoints(aws, (f"{STEM}0001", "InService", M5, 1))
    described = aws.answers["DescribeEndpoint"]
    aws.answers["DescribeEndpoint"] = lambda said: {
        key: value for key, value in described(said).items() if key != "EndpointConfigName"
    }
    (found,) = find_running(cloud, project, [], complain=pytest.fail)
    assert (found.usd_hour, found.by_request) == (None, False)
    assert "no configuration" in found.note


def test_jobs_and_the_notebook_that_run(aws: StandIn, cloud: Cloud, project: Project) -> None:
    record(aws, tagged=())
    add_jobs(aws)
    del aws.answers["DescribeTrainingJob"]
    spot = aws.jobs["TrainingJob", JOBS[0][0]]
    spot.past, spot.life = [("Training", aws.now)], ["Training"]
    row = {"NotebookInstanceArn": "arn:aws:sagemaker:us-east-1:123456789012:notebook-instance/x", "CreationTime": NOW}
    rows = [
        {**row, "NotebookInstanceName": name, "NotebookInstanceStatus": status, "InstanceType": "ml.t3.medium"}
        for name, status in (("bins-notebook", "InService"), ("my-bins-notebook", "InService"))
    ]
    aws.answers["ListNotebookInstances"] = lambda _: {"NotebookInstances": rows}
    jobs = ask_jobs(cloud, project, on_job=lambda _: None)
    found = find_running(cloud, project, jobs, complain=pytest.fail)
    assert [(each.what, each.name, each.usd_hour) for each in found] == [
        ("train job", JOBS[0][0], pytest.approx(3 * 0.736)),
        ("notebook instance", "bins-notebook", 0.05),
    ]
    assert found[0].note == "at most: it is spot"
    rows[0]["NotebookInstanceStatus"] = "Stopped"
    assert len(find_running(cloud, project, jobs, complain=pytest.fail)) == 1


def test_a_notebook_that_may_not_be_looked_for_is_told(aws: StandIn, cloud: Cloud, project: Project) -> None:
    record(aws, tagged=())
    aws.refuse("ListNotebookInstances", "AccessDeniedException", "not authorized")
    said: list[str] = []
    assert find_running(cloud, project, [], complain=said.append) == []
    assert "sagemaker:ListNotebookInstances" in said[0]
