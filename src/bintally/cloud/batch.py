"""A batch transform sent: its model made, the job started, the model removed again once nothing needs it.

Refuses to leave a model for a job that was refused; one that is left all the same is named.
"""

from collections.abc import Callable

from bintally.cloud.clean import remove_request
from bintally.cloud.requests import Request, check
from bintally.cloud.session import Cloud
from bintally.cloud.transform_job import TransformJob, model_request_of, transform_request
from bintally.errors import CloudError, CloudUnavailableError


def batch_requests(job: TransformJob) -> tuple[Request, Request]:
    """What makes the model and starts the job.

    Raises:
        SettingsError: naming the option that cannot be meant, or what breaks SageMaker's model of the requests.
    """
    requests = model_request_of(job), transform_request(job)
    for request in requests:
        check(request)
    return requests


def send_batch(cloud: Cloud, job: TransformJob, *, complain: Callable[[str], None]) -> None:
    """Make the model and start the job; where that is refused, the model is removed again.

    Raises:
        CloudError: if SageMaker refuses, or cannot be reached.
    """
    try:
        for request in batch_requests(job):
            cloud.send(request)
    except (CloudUnavailableError, KeyboardInterrupt):  # it may have been sent all the same
        complain(
            f"whether {job.name} was sent is not known: bintally sagemaker status shows it, and its model {job.model}"
        )
        raise
    except CloudError:
        drop_model(cloud, job.model, complain=complain)
        raise


def drop_model(cloud: Cloud, model: str, *, complain: Callable[[str], None]) -> None:
    """Remove the model; what is left is told to `complain`."""
    try:
        cloud.send(remove_request(model, "Model"))
    except CloudError as error:
        complain(f"model {model} is left, and costs nothing; bintally sagemaker clean removes it ({error})")
