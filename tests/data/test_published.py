"""What may take the place of what is published, and what a published dataset says of the machine it came from."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from tests.pushing import PREFIX, bucket_of, changed, check_all_there, make_dataset, pushed
from tests.s3_server import S3Server

from bintally.data.manifest import FILE_NAME, Manifest, manifest_bytes
from bintally.data.published import without_local_paths
from bintally.data.push import push
from bintally.data.store import open_store
from bintally.errors import (
    ManifestError,
    SettingsError,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


# --- a destination that holds something else ---------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"another", None], ids=["other-size", "same-size"])
@pytest.mark.parametrize("column", ["photo_key", "record"])
def test_other_bytes_are_not_overwritten_unasked(
    s3: S3Server, dataset: Manifest, data: bytes | None, column: str
) -> None:
    key = dataset.frame["photo_key"][5] if column == "photo_key" else "metadata/00003.json"
    other = data or bytes((dataset.root / key).stat().st_size)
    s3.objects[PREFIX + key] = other
    with pytest.raises(ManifestError, match=rf"holds other bytes at {key}.*nothing was sent.*--replace"):
        push(dataset, bucket_of(s3))
    assert s3.objects == {PREFIX + key: other}
    assert s3.asked("GET", PREFIX + key) == (data is None), "read only where its size does not tell"
    assert push(dataset, bucket_of(s3), replace=True).replaced == 1
    check_all_there(s3.objects, dataset)


def _with_header(manifest: Manifest, source: str = "s3://else", salt: str = "bintally-1", **extra: str) -> Manifest:
    return replace(manifest, header=replace(manifest.header, source=source, salt=salt, extra=extra))


PREPARED = '{"side_px": 64, "format": "png", "quality": null, "resize": "squash", "hash": "123"}'
OTHERS: dict[str, tuple[Callable[[Manifest], Manifest], str]] = {
    "source": (_with_header, "another dataset, from s3://else"),
    "prepared": (
        lambda m: _with_header(m, m.header.source, prepared=PREPARED),
        r"prepared otherwise \(64 px, png, squash, hash 123\) than these \(as they came\)",
    ),
    "salt": (lambda m: _with_header(m, m.header.source, "other"), "split with the salt 'other'"),
    "bytes": (
        lambda m: changed(m, sha256=pl.when(pl.col("photo_id") == "00003").then(pl.lit("0" * 64)).otherwise("sha256")),
        "1 of its photos have other bytes here: 00003",
    ),
    "record": (
        lambda m: changed(m, record_sha256=pl.lit("0" * 64)),
        r"\d+ of its photos have other bytes here: .*, \.\.\.",
    ),
    "split": (
        lambda m: changed(
            m,
            group=pl.col("photo_id"),
            split=pl.when(pl.col("photo_id") != "00003")
            .then("split")
            .otherwise(pl.when(pl.col("split") == "test").then(pl.lit("train")).otherwise(pl.lit("test"))),
        ),
        "1 of its photos are in another split here: 00003",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_manifest_of_another_dataset_is_not_replaced_unasked(s3: S3Server, dataset: Manifest, name: str) -> None:
    make, said = OTHERS[name]
    there = manifest_bytes(make(without_local_paths(dataset)))
    s3.objects[PREFIX + FILE_NAME] = there
    with pytest.raises(ManifestError, match=rf"s3://bucket/some/prefix at .* holds a manifest already.*{said}"):
        push(dataset, bucket_of(s3))
    assert s3.objects == {PREFIX + FILE_NAME: there}
    push(dataset, bucket_of(s3), replace=True)
    check_all_there(s3.objects, dataset)


def test_a_dataset_with_fewer_photos_takes_no_place_unasked(s3: S3Server, dataset: Manifest) -> None:
    push(dataset, bucket_of(s3))
    fewer = replace(dataset, frame=dataset.frame.slice(2))
    with pytest.raises(ManifestError, match="2 of its photos are not in this one: 00001, 00002"):
        push(fewer, bucket_of(s3))
    report = push(fewer, bucket_of(s3), replace=True)
    assert (report.left_alone, report.sent) == (2, 0)
    assert pushed(s3.objects).frame.equals(fewer.frame)


@pytest.mark.parametrize("data", [b"no table", b""], ids=["no-parquet", "empty"])
def test_a_manifest_that_cannot_be_read_is_not_replaced_unasked(s3: S3Server, dataset: Manifest, data: bytes) -> None:
    s3.objects[PREFIX + FILE_NAME] = data
    with pytest.raises(ManifestError, match=r"holds a manifest that cannot be read .*--replace"):
        push(dataset, bucket_of(s3))
    push(dataset, bucket_of(s3), replace=True)
    check_all_there(s3.objects, dataset)


def test_findings_and_splits_that_were_not_there_are_added(s3: S3Server, dataset: Manifest) -> None:
    bare = replace(
        changed(dataset, split=pl.lit(None, pl.String), group=pl.lit(None, pl.String)),
        header=replace(dataset.header, salt=""),
    )
    push(bare, bucket_of(s3))
    audited = changed(dataset, brightness=pl.lit(12.5, pl.Float32), finding=pl.lit("dark"))
    assert push(audited, bucket_of(s3)).sent == 0
    check_all_there(s3.objects, audited)


def test_an_unfinished_dataset_is_refused(s3: S3Server, dataset: Manifest) -> None:
    with pytest.raises(ManifestError, match="not finished"):
        push(_with_header(dataset, complete="no"), bucket_of(s3))
    assert not s3.requests


def test_its_own_folder_is_no_destination(dataset: Manifest) -> None:
    with pytest.raises(SettingsError, match="other than the dataset's own folder"):
        push(dataset, open_store(str(dataset.root / ".." / dataset.root.name), create=True))


# --- paths of this machine ---------------------------------------------------------------------------------------


def test_no_path_of_this_machine_is_published(s3: S3Server, dataset: Manifest, tmp_path: Path) -> None:
    bins, home = dataset.header.source, tmp_path / "my home"
    paths = pl.lit(f"{bins}: cannot read it; {dataset.root.parent / 'bins'}/x.jpg; {home}/a; {dataset.root}/b")
    spoken = replace(
        changed(dataset, problem=paths),
        header=replace(dataset.header, extra={"origin": home.as_uri(), "plain": str(home), "note": "side 64"}),
    )
    push(spoken, bucket_of(s3))
    there = pushed(s3.objects)
    assert there.header.source.startswith("folder:bins-")
    assert there.header.extra["origin"].startswith("folder:my home-")
    assert there.header.extra == {"origin": there.header.origin, "plain": there.header.origin, "note": "side 64"}
    texts = [there.header.to_json(), *there.frame["problem"].to_list()]
    assert not [text for text in texts if str(tmp_path.parent) in text or "file:" in text or "my home/" in text]
    assert push(spoken, bucket_of(s3)).manifest_sent is False


@pytest.mark.parametrize("source", ["s3://bucket/photos", "s3://b at http://127.0.0.1:9000", "folder:bins-12345678"])
def test_an_address_that_others_know_stays(dataset: Manifest, source: str) -> None:
    assert without_local_paths(_with_header(dataset, source)).header.source == source


def test_folders_of_one_name_are_told_apart(dataset: Manifest) -> None:
    names = [without_local_paths(_with_header(dataset, f"file:///{where}/bins")).header.source for where in "ab"]
    assert all(name.startswith("folder:bins-") for name in names)
    assert len(set(names)) == 2
