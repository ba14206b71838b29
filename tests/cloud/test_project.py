"""The project's file comes back as it was written, and holds nothing else."""

from pathlib import Path

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cloud.conftest import made_up_project

from bintally.cloud.project import read_project, write_project
from bintally.errors import CannotWriteError, SettingsError


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    tags=st.dictionaries(
        st.text(min_size=1, max_size=9).filter(lambda key: ":" not in key), st.text(max_size=9), max_size=3
    ),
    traffic=st.booleans(),
    key=st.sampled_from(["", "alias/mine", "arn:aws:kms:us-east-1:123456789012:key/0a"]),
)
def test_it_comes_back_as_it_was(tags: dict[str, str], traffic: bool, key: str, tmp_path: Path) -> None:
    project = made_up_project(
        tags=tags, encrypt_traffic=traffic, kms_key=key, subnets=["subnet-0a"], security_groups=["sg-0a", "sg-0b"]
    )
    write_project(tmp_path / "p.toml", project)
    assert read_project(tmp_path / "p.toml") == project


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": "red"}, "colour"),
        ({"secret_key": "x"}, "secret_key"),
        ({"region": "Virginia"}, "region"),
        ({"role_arn": "role/x"}, "role_arn"),
        ({"project": "a--b"}, "single hyphens"),
        ({"project": "-a"}, "project"),
        ({"subnets": ["subnet-0a"]}, "both or neither"),
        ({"subnets": ["net"], "security_groups": ["sg-0"]}, "subnets"),
        ({"tags": {"bintally:project": "x"}}, "bintally:"),
        ({"bucket": "s3://b"}, "bucket"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
def test_what_it_cannot_mean_is_refused_by_name(change: dict[str, object], said: str, tmp_path: Path) -> None:
    values = {**made_up_project().model_dump(mode="json", exclude={"tags"}), **change}
    (tmp_path / "p.toml").write_text(tomli_w.dumps(values), encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        read_project(tmp_path / "p.toml")
    assert said in str(caught.value)


def test_what_is_no_file_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("x = [", encoding="utf-8")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_project(tmp_path / "p.toml")
    with pytest.raises(SettingsError, match="bootstrap NAME"):
        read_project(tmp_path / "q.toml")
    with pytest.raises(CannotWriteError):
        write_project(tmp_path / "p.toml" / "p.toml", made_up_project())
