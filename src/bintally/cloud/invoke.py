"""One photo to an endpoint, its probabilities back: the row that the container answers, as it is.

Refuses photos that an endpoint does not take, before they are sent; what the container says of a photo is its own
sentence.
"""

import json

from botocore.exceptions import ClientError

from bintally.cloud.refusals import container_sentence
from bintally.cloud.requests import Request
from bintally.cloud.session import Cloud
from bintally.data.synthetic import Drawing, DrawnPhoto, draw_photos
from bintally.errors import CloudError, PhotoError, PhotoTooLargeError

MOST_BYTES = 6_291_456  # of InvokeEndpoint's body, as botocore's model of it has it
_OF_THE_PHOTO = range(400, 500)  # what the container answers to a photo that it cannot count
_UNNAMED = "photo: "  # what the container calls a photo that comes without a name
_ARRAY = "application/json"


def invoke_request(endpoint: str, photo: bytes, *, name: str = "photo") -> Request:
    """Asks for a photo's probabilities.

    Raises:
        PhotoTooLargeError: if it is larger than an endpoint takes.
    """
    if len(photo) > MOST_BYTES:
        raise PhotoTooLargeError(
            f"{name}: {len(photo):,} bytes, but an endpoint takes at most {MOST_BYTES:,}. To do: reduce it, or "
            "`bintally sagemaker batch`, which takes more"
        )
    parameters = {"EndpointName": endpoint, "Body": photo, "ContentType": "application/x-image", "Accept": _ARRAY}
    return Request(service="sagemaker-runtime", operation="InvokeEndpoint", parameters=parameters)


def invoke(cloud: Cloud, endpoint: str, photo: bytes, *, name: str = "photo") -> list[float]:
    """A photo's probabilities over 0..K, the last for K or more.

    Raises:
        PhotoError: if it is too large, or the container cannot count it.
        CloudError: if the endpoint is not there, or does not answer.
    """
    request = invoke_request(endpoint, photo, name=name)
    try:
        body = cloud.read(request)
    except CloudError as error:
        if (said := _said_of_photo(error)) is not None:
            raise PhotoError(f"{name}: {said}") from error
        raise
    try:
        (row,) = json.loads(body)
        return [float(each) for each in row]
    except (ValueError, TypeError) as error:
        raise CloudError(
            f"{endpoint}: expected one row of probabilities, got {body[:80]!r}; is it an endpoint of Bintally's?"
        ) from error


def trial_photo() -> DrawnPhoto:
    """A drawn bin, to see whether an endpoint counts."""
    return next(draw_photos(Drawing(photos=1)))


def _said_of_photo(error: CloudError) -> str | None:
    cause = error.__cause__
    if not isinstance(cause, ClientError) or cause.response.get("Error", {}).get("Code") != "ModelError":
        return None
    if int(cause.response.get("OriginalStatusCode", 500)) not in _OF_THE_PHOTO:
        return None
    return container_sentence(str(cause.response.get("OriginalMessage", ""))).removeprefix(_UNNAMED)
