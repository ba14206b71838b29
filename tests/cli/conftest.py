from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.cli.runner import Bintally

if TYPE_CHECKING:
    from tests.cloud.standin import StandIn


@pytest.fixture
def bintally(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bintally:
    """The command line."""
    return Bintally(monkeypatch, capsys)


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was opened in the browser."""
    opened: list[str] = []
    monkeypatch.setattr("typer.launch", opened.append)
    return opened


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pages: list[str]) -> "StandIn":
    """An account in which all that jobs need is there: role, images, a dataset; and a folder with the project's file.

    Nothing is opened in a browser.
    """
    from tests.cloud.conftest import made_up_project
    from tests.cloud.standin import stand_in

    from bintally.cloud.project import FILE_NAME, write_project

    aws, project = stand_in(monkeypatch), made_up_project()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    write_project(tmp_path / FILE_NAME, project)
    aws.roles.add(project.role_arn.rpartition("/")[2])
    aws.images |= {("bintally-bins", "serve"), ("bintally-bins", "train")}
    aws.objects[project.bucket, "datasets/abid/manifest.parquet"] = b"rows"
    return aws
