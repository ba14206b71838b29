"""What a job left: fetched whole, unpacked within its folder, or refused."""

import io
import tarfile
from pathlib import Path

import pytest
from tests.cloud.standin import StandIn

from bintally.cloud.artefacts import download, unpack
from bintally.cloud.session import Cloud
from bintally.errors import CannotWriteError, CloudError, NotInCloudError


def packed(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.mark.parametrize(
    "member",
    [tarfile.TarInfo("../out.txt"), tarfile.TarInfo("/../../out.txt"), link("a", "/etc/passwd"), link("a", "../../x")],
    ids=["above", "absolute and above", "link out", "link above"],
)
def test_nothing_lands_outside_the_folder(member: tarfile.TarInfo, tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.tar.gz", (member, b""))
    folder = tmp_path / "into"
    folder.mkdir()
    with pytest.raises(CloudError, match="not an archive that can be unpacked"):
        unpack(archive, folder)
    assert list(folder.iterdir()) == []
    assert not (tmp_path / "out.txt").exists()


@pytest.mark.parametrize("data", [b"", b"no archive", b"\x1f\x8b\x08broken"], ids=["empty", "text", "cut short"])
def test_a_damaged_archive_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(data)
    with pytest.raises(CloudError, match="fetch it again"):
        unpack(tmp_path / "a.tar.gz", tmp_path)


def test_an_archive_cut_short_is_refused(tmp_path: Path) -> None:
    whole = packed(tmp_path / "a.tar.gz", (tarfile.TarInfo("x"), bytes(range(256)) * 500)).read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CloudError, match="fetch it again"):
        unpack(tmp_path / "a.tar.gz", tmp_path)


def test_an_object_is_there_whole_or_not_at_all(aws: StandIn, cloud: Cloud, tmp_path: Path) -> None:
    aws.objects["bins", "a/b"] = b"x" * 3_000_000
    sizes: list[int] = []
    download(cloud, "s3://bins/a/b", tmp_path / "new" / "b", on_bytes=sizes.append)
    assert (tmp_path / "new" / "b").stat().st_size == sum(sizes) == 3_000_000
    with pytest.raises(NotInCloudError):
        download(cloud, "s3://bins/a/c", tmp_path / "c", on_bytes=sizes.append)
    assert not (tmp_path / "c").exists()
    with pytest.raises(CannotWriteError):
        download(cloud, "s3://bins/a/b", tmp_path / "new" / "b" / "c", on_bytes=sizes.append)
