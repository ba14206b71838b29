"""Push against a server that checks signatures and permissions (moto's), with the policies that docs/data.md gives."""

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from tests.pushing import files_of, folder_objects, hashes, make_dataset

from bintally.data.ingest import ingest
from bintally.data.manifest import Manifest, read_manifest
from bintally.data.push import push
from bintally.data.store import Store, open_store
from bintally.errors import StoreAccessError

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
BUCKET, PREFIX = "my-bucket", "bins"
KEYS = {"aws_access_key_id": "root", "aws_secret_access_key": "root", "region_name": "us-east-1"}


class Aws:
    """The server, with a bucket and a user for each policy."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.s3: Any = boto3.client("s3", endpoint_url=endpoint, **KEYS)
        self.s3.create_bucket(Bucket=BUCKET)
        read, write = (json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL))
        blind = {**write, "Statement": write["Statement"][1:]}
        policies = {"reader": read, "pusher": write, "blind": blind}
        self.users = {name: self._user(name, policy) for name, policy in policies.items()}
        self.users["forger"] = (self.users["pusher"][0], "another secret")
        self.users["stranger"] = ("AKIANOBODY", "a secret")
        self.tell("reset-auth", b"0")  # from now on every request is checked

    def tell(self, what: str, data: bytes = b"") -> None:
        """Tell the server itself something."""
        url = f"{self.endpoint}/moto-api/{what}"
        request = urllib.request.Request(url, data=data, headers={"Content-Type": "text/plain"})
        urllib.request.urlopen(request).close()

    def _user(self, name: str, policy: dict[str, object]) -> tuple[str, str]:
        iam: Any = boto3.client("iam", endpoint_url=self.endpoint, **KEYS)
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="policy", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    aws = Aws(f"http://{host}:{port}")
    yield aws
    aws.tell("reset-auth", b"inf")
    aws.tell("reset")
    server.stop()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture
def signed_in(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Store]:
    """The bucket as a user has it."""

    def sign_in(user: str) -> Store:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", aws.users[user][0])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", aws.users[user][1])
        monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
        url = f"s3://{BUCKET}/{PREFIX}"
        return open_store(url, endpoint=aws.endpoint, region="us-east-1", create=True, max_retries=1, retry_seconds=2)

    return sign_in


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("reader", r"cannot write .*: no permission for s3:PutObject on arn:aws:s3:::my-bucket/bins/"),
        ("blind", "cannot list .*: no permission for s3:ListBucket on arn:aws:s3:::my-bucket"),
        ("forger", "the credentials are wrong"),
        ("stranger", "the credentials are wrong"),
    ],
)
def test_who_may_not_push_is_told_what_is_missing(
    signed_in: Callable[[str], Store], dataset: Manifest, user: str, said: str
) -> None:
    with pytest.raises(StoreAccessError, match=said):
        push(dataset, signed_in(user), concurrency=4)


def test_the_pages_policies_suffice(
    aws: Aws, signed_in: Callable[[str], Store], dataset: Manifest, tmp_path: Path
) -> None:
    files = files_of(dataset)
    assert push(dataset, signed_in("pusher"), concurrency=4).sent == len(files)
    again = push(dataset, signed_in("pusher"), concurrency=4, read_back=True)
    assert (again.sent, again.kept, again.read_back, again.manifest_sent) == (0, len(files), len(files), False)
    ingest(signed_in("reader"), tmp_path / "data", concurrency=4)
    assert hashes(folder_objects(tmp_path / "data")) == files
    assert read_manifest(tmp_path / "data").frame.equals(dataset.frame)
