import pytest
from tests.cloud.cost_explorer import JOBS, add_endpoints, add_jobs, record
from tests.cloud.standin import StandIn

from bintally.cloud import running
from bintally.cloud.cost_jobs import ask_jobs
from bintally.cloud.cost_running import find_running, find_workplaces, usd_hour
from bintally.cloud.made import Made
from bintally.cloud.names import Kind
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
        (f"{STEM}0005", "InService", {}, 1),  # its configuration is gone
        (f"{STEM}0006", "Updating", READY, 0),
    )
    found = find_running(cloud, project, [], complain=pytest.fail)
    assert [(each.name[-4:], each.on, each.usd_hour) for each in found] == [
        ("0001", "2 x ml.m5.xlarge", pytest.approx(0.46)),
        ("0002", "serverless, 3,072 MB", None),
        ("0003", "1 x ml.inf1.xlarge", None),
        ("0005", "", None),
        ("0006", "serverless, 3,072 MB", None),
    ]
    assert [each.note for each in found[1:3]] == ["paid by request", "the table has no price"]
    assert "2 kept ready" in found[4].note
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


def test_an_endpoint_whose_configuration_was_deleted_still_costs(aws: StandIn, cloud: Cloud, project: Project) -> None:
    name = f"{STEM}0001"
    record(aws, tagged=())
    add_endpoints(aws, (name, "Creating", M5, 1))
    aws.refuse("DescribeEndpointConfig", "ValidationException", "Could not find endpoint configuration", times=2)
    (found,) = find_running(cloud, project, [], complain=lambda _: None)
    assert (found.name, found.usd_hour, found.note) == (name, None, "its configuration was deleted")
    made = Made(kind=Kind.ENDPOINT, what="endpoint", name=name, arn="arn:x", status="Creating", costs=True)
    assert running.usd_hour(cloud, made) is None, "not known, which is not nothing"


def test_jobs_and_the_notebook_that_run(aws: StandIn, cloud: Cloud, project: Project) -> None:
    record(aws, tagged=())
    add_jobs(aws)
    del aws.answers["DescribeTrainingJob"]
    spot = aws.jobs["TrainingJob", JOBS[0][0]]
    spot.past, spot.life = [("Training", aws.now)], ["Training"]
    aws.notebooks = [(name, "InService", "ml.t3.medium") for name in ("bins-notebook", "my-bins-notebook")]
    jobs = ask_jobs(cloud, project, on_job=lambda _: None)
    found = find_running(cloud, project, jobs, complain=pytest.fail)
    assert [(each.what, each.name, each.usd_hour) for each in found] == [
        ("train job", JOBS[0][0], pytest.approx(3 * 0.736)),
        ("notebook instance", "bins-notebook", 0.05),
    ]
    assert found[0].note == "at most: it is spot"
    aws.notebooks[0] = ("bins-notebook", "Stopped", "ml.t3.medium")
    assert len(find_running(cloud, project, jobs, complain=pytest.fail)) == 1


@pytest.mark.parametrize(
    ("kind", "instance", "on", "price", "note"),
    [
        ("JupyterLab", "ml.t3.medium", "1 x ml.t3.medium", 0.05, "and its disk"),
        ("CodeEditor", "ml.g4dn.xlarge", "1 x ml.g4dn.xlarge", 0.736, "and its disk"),
        ("KernelGateway", "ml.m5.xlarge", "1 x ml.m5.xlarge", 0.23, "at most: kernels of one user share an instance"),
        ("JupyterServer", "system", "a system instance", 0.0, "free"),
        ("TensorBoard", "ml.p5en.48xlarge", "1 x ml.p5en.48xlarge", None, "the table has no price"),
        ("Canvas", "system", "", None, "paid by the hours of its sessions: the table has no price"),
        ("RStudioServerPro", "", "", None, "AWS names no instance"),
    ],
)
def test_an_application_of_studio(
    aws: StandIn, cloud: Cloud, project: Project, kind: str, instance: str, on: str, price: float | None, note: str
) -> None:
    aws.domains = {"d-one": "bintally-bins"}
    arn = aws.add_app("d-one", kind, instance, SpaceName="lab")
    (found,) = find_workplaces(cloud, project, complain=pytest.fail)
    assert (found.running.what, found.running.on, found.running.note) == (f"Studio {kind}", on, note)
    assert found.running.usd_hour == (price if price is None else pytest.approx(price))
    assert (found.made.arn, found.made.status, found.made.costs) == (arn, "InService", price != 0)
    assert (found.made.name.partition("/")[0], found.made.created) == ("lab", aws.apps[0]["CreationTime"])


def test_applications_are_those_that_run_in_the_projects_domain(aws: StandIn, cloud: Cloud, project: Project) -> None:
    aws.domains = {f"d-{place}": f"bintally-bins-{place}" for place in range(11)} | {"d-one": "bintally-bins"}
    aws.add_app("d-3", "JupyterLab", "ml.g4dn.xlarge")
    for place in range(12):  # more than a page
        aws.add_app("d-one", "JupyterLab", "ml.t3.medium", SpaceName=f"s{place}")
    for status in ("Pending", "Deleting", "Deleted", "Failed"):
        aws.add_app("d-one", "CodeEditor", "ml.t3.medium", status=status, SpaceName=status.lower())
    aws.on("DescribeApp", lambda: aws.apps[1].update(Status="Deleting"))  # between two questions
    found = find_running(cloud, project, [], complain=pytest.fail)
    assert [each.name for each in found] == [*(f"s{place}/default" for place in range(1, 12)), "pending/default"]
    assert usd_hour(found) == pytest.approx(12 * 0.05)
    aws.refuse("DescribeApp", "ResourceNotFound", "RecordNotFound", times=99)
    assert find_running(cloud, project, [], complain=pytest.fail) == []


@pytest.mark.parametrize("operation", ["ListDomains", "ListApps", "DescribeApp"])
def test_applications_that_may_not_be_looked_for_are_told(
    aws: StandIn, cloud: Cloud, project: Project, operation: str
) -> None:
    aws.domains, aws.notebooks = {"d-one": "bintally-bins"}, [("bins-notebook", "InService", "ml.t3.medium")]
    aws.add_app("d-one", "JupyterLab", "ml.t3.medium")
    aws.refuse(operation, "AccessDeniedException", "not authorized")
    said: list[str] = []
    (found,) = find_running(cloud, project, [], complain=said.append)
    assert found.what == "notebook instance"
    assert said[0].startswith("Studio's applications could not be looked for: ")
    assert f"no permission for sagemaker:{operation}" in said[0]


def test_a_notebook_that_may_not_be_looked_for_is_told(aws: StandIn, cloud: Cloud, project: Project) -> None:
    record(aws, tagged=())
    aws.refuse("ListNotebookInstances", "AccessDeniedException", "not authorized")
    said: list[str] = []
    assert find_running(cloud, project, [], complain=said.append) == []
    assert "sagemaker:ListNotebookInstances" in said[0]
