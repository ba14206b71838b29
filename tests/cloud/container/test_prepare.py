"""The processing job's entry: a bucket in, a dataset in another out, and a sentence where it failed."""

import json
from pathlib import Path

import pytest
from PIL import Image

from bintally.cloud.container.prepare import Places, main
from bintally.cloud.prepare_arguments import PrepareSettings, format_arguments, parse_arguments
from bintally.data.manifest import Manifest, Split, read_manifest
from bintally.data.synthetic import draw_bucket


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "bucket"
    draw_bucket(folder, photos=600, seed=3, max_count=5, width_px=96, height_px=64)
    return folder


def run(folder: Path, bucket: Path, **changes: object) -> int:
    settings = PrepareSettings(source=str(bucket), dest=str(folder / "dest"), **changes)  # type: ignore[arg-type]
    places = Places(work=folder / "work", report=folder / "report", message=folder / "output" / "message")
    return main(format_arguments(settings), places)


def placed(folder: Path) -> Manifest:
    manifest = read_manifest(folder / "dest")
    assert set(manifest.frame["split"]) == {split.value for split in Split}
    return manifest


def test_it_ingests_splits_audits_and_pushes(bucket: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, bucket) == 0
    manifest = placed(tmp_path)
    assert manifest.frame.height == 600
    assert manifest.frame["sharpness"].null_count() == 0, "audited before it was pushed"
    photo = tmp_path / "dest" / manifest.frame["photo_key"][0]
    assert photo.read_bytes() == (bucket / manifest.frame["photo_key"][0]).read_bytes()
    assert (tmp_path / "report" / "audit.html").exists()
    assert not (tmp_path / "output").exists()
    said = capsys.readouterr().out
    assert "600 of 600 fetched" in said
    assert said.count("fetched") <= 22, "a log has lines now and then"


def test_photos_are_reduced_where_that_is_asked(bucket: Path, tmp_path: Path) -> None:
    assert run(tmp_path, bucket, side_px=32) == 0
    manifest = placed(tmp_path)
    with Image.open(tmp_path / "dest" / manifest.frame["photo_key"][0]) as photo:
        assert photo.size == (32, 32)


def test_a_part_is_taken_and_another_salt(bucket: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "one", bucket, limit=450) == 0
    assert run(tmp_path / "two", bucket, limit=450, salt="another") == 0
    one, two = (placed(tmp_path / each) for each in ("one", "two"))
    assert one.frame.height == two.frame.height == 450
    assert one.split_hash != two.split_hash


def test_a_list_and_a_range_are_taken_together(bucket: Path, tmp_path: Path) -> None:
    listed = tmp_path / "file_list.json"
    ids = sorted(path.stem for path in (bucket / "metadata").iterdir())
    listed.write_text(json.dumps({"1": [f"data/metadata/{name}.json" for name in ids[:3]]}))
    assert run(tmp_path, bucket, file_list=str(listed), keys=f"{ids[-2]}-{ids[-1]}", required_counts=()) == 0
    assert sorted(read_manifest(tmp_path / "dest").frame["photo_id"]) == [*ids[:3], *ids[-2:]]


def test_counts_that_every_split_must_hold(bucket: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "usual", bucket, limit=30) == 1
    assert run(tmp_path / "none", bucket, limit=30, required_counts=()) == 0
    assert run(tmp_path / "high", bucket, required_counts=(1, 77)) == 1
    message = (tmp_path / "high" / "output" / "message").read_text(encoding="utf-8")
    assert "of count" in message
    assert "77" in message


def test_asked_for_again_it_goes_on(bucket: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, bucket) == 0
    capsys.readouterr()
    assert run(tmp_path, bucket) == 0
    assert " 0 of them sent now" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"keys": "9-1"}, "9-1"),
        ({"file_list": "/nonexistent/list.json"}, "the list of photos cannot be read"),
        ({"limit": 3}, "too few photos of count"),
        ({"keys": "90000-90001"}, "photo"),
    ],
)
def test_what_failed_is_said_in_the_jobs_message(
    bucket: Path, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    assert run(tmp_path, bucket, **changes) == 1
    message = (tmp_path / "output" / "message").read_text(encoding="utf-8")
    assert said in message
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "dest").exists()


@pytest.mark.parametrize("counts", [None, (), (0, 1, 2)])
@pytest.mark.parametrize("anonymous", [None, True, False])
def test_arguments_come_back_as_they_went(counts: tuple[int, ...] | None, anonymous: bool | None) -> None:
    settings = PrepareSettings(
        source="s3://a-b", dest="s3://c-d", keys="1-2", limit=3, side_px=32, salt="x y", required_counts=counts,
        replace=True, file_list="/list.json", region="eu-west-1", anonymous=anonymous,
    )  # fmt: skip
    assert parse_arguments(format_arguments(settings)) == settings


def test_unknown_arguments_are_named(tmp_path: Path) -> None:
    assert main(["--sauce=x"], Places(message=tmp_path / "message")) == 1
    assert "arguments" in (tmp_path / "message").read_text(encoding="utf-8")
