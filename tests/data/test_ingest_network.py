"""Ingest from a bucket that fails, and ingest that is killed: everything arrives, once.

`BINTALLY_KILLS=10` kills it as often as one likes; three times by default.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from tests.s3_server import ACCESS_DENIED, LIST, NO_SUCH_KEY, Fault, Faults, S3Server

from bintally.data.ingest import ingest
from bintally.data.manifest import FILE_NAME, Flag, read_manifest
from bintally.data.source import NamedPhotos
from bintally.data.store import Store, open_store
from bintally.data.synthetic import draw_bucket
from bintally.domain.bins import PhotoId

PHOTOS = 150
KILLS = int(os.environ.get("BINTALLY_KILLS", "3"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A bucket's objects."""
    folder = tmp_path_factory.mktemp("bucket")
    draw_bucket(folder, photos=PHOTOS, width_px=64, height_px=64)
    return {key: data for key, data in files(folder).items() if key != "drawn.json"}


def files(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, hidden ones too."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def open_bucket(server: S3Server) -> Store:
    return open_store("s3://bucket", endpoint=server.endpoint, anonymous=True, stalled_seconds=1.0)


def needed(photos: int, pages: int) -> int:
    """Requests when nothing goes wrong: is it a dataset? the listing, each photo and each record."""
    return 1 + pages + 2 * photos


# --- faults ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_everything_arrives_from_a_bucket_that_fails(drawn: dict[str, bytes], tmp_path: Path, seed: int) -> None:
    ingest_all(drawn, tmp_path / "undisturbed", Faults())
    server = ingest_all(drawn, tmp_path / "disturbed", Faults(share=0.05, seed=seed))
    assert files(tmp_path / "disturbed") == files(tmp_path / "undisturbed")
    assert server.injected > 5
    assert len(server.requests) <= needed(PHOTOS, pages=4) + server.injected


def ingest_all(drawn: dict[str, bytes], folder: Path, faults: Faults) -> S3Server:
    # The same address for both, so that the manifests can be equal.
    with S3Server(drawn, faults=faults, page_keys=40) as server:
        source = open_bucket(server)
        object.__setattr__(source, "url", "s3://bucket")
        report = ingest(source, folder, concurrency=16)
    assert (report.photos, report.fetched, report.refused.count) == (PHOTOS, PHOTOS, 0)
    return server


def test_what_is_forbidden_or_gone_is_said_and_the_rest_arrives(drawn: dict[str, bytes], tmp_path: Path) -> None:
    keys = sorted(key for key in drawn if key.startswith("bin-images"))
    fixed = {
        keys[3]: ACCESS_DENIED,
        keys[7]: NO_SUCH_KEY,
        keys[9].replace("bin-images", "metadata")[:-4] + ".json": NO_SUCH_KEY,
        keys[11].replace("bin-images", "metadata")[:-4] + ".json": ACCESS_DENIED,
    }
    with S3Server(drawn, faults=Faults(share=0.05, fixed=fixed, kinds=(Fault.ERROR, Fault.CUT))) as server:
        report = ingest(open_bucket(server), tmp_path)
    assert (report.photos, report.fetched) == (PHOTOS - 1, PHOTOS - 2)
    assert (report.missing.first, report.refused.count) == ([Path(keys[7]).stem], 2)
    assert report.flags == {Flag.NOT_FETCHED: 1, Flag.NO_RECORD: 2}
    assert all("s3:GetObject" in text for text in report.refused.first)
    assert len(server.requests) <= needed(PHOTOS, pages=1) + server.injected
    for key, data in drawn.items():
        assert key in fixed or not (tmp_path / key).exists() or (tmp_path / key).read_bytes() == data


def test_the_first_photo_is_fetched_before_the_last_is_listed(
    drawn: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("source._BLOCK_ROWS", "store._LIST_CHUNK"):
        monkeypatch.setattr(f"bintally.data.{name}", 20)
    with S3Server(drawn, page_keys=10, delay_seconds=0.005) as server:
        ingest(open_bucket(server), tmp_path, concurrency=2)
    keys = [request.key for request in server.requests]
    last_page = len(keys) - 1 - keys[::-1].index(LIST)
    assert keys.index("bin-images/00001.jpg") < last_page


def test_a_range_is_asked_for_by_name(drawn: dict[str, bytes], tmp_path: Path) -> None:
    with S3Server(drawn) as server:
        names = NamedPhotos(photo_ids=[PhotoId("00001"), PhotoId("00002")])
        ingest(open_bucket(server), tmp_path, names)
    assert len(server.requests) == needed(2, pages=0)


# --- kill -9 -----------------------------------------------------------------------------------------------------


def start(endpoint: str, folder: Path) -> "subprocess.Popen[bytes]":
    command = ["ingest", "s3://bucket", str(folder), "--endpoint", endpoint, "--anonymous", "--concurrency", "8"]
    program = "from bintally.cli.app import main; main()"
    return subprocess.Popen([sys.executable, "-c", program, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def kill_after(process: "subprocess.Popen[bytes]", folder: Path, photos: int, more_seconds: float) -> None:
    """SIGKILL once so many photos are there, and a little later."""
    while process.poll() is None and photos_in(folder) < photos:
        time.sleep(0.001)
    time.sleep(more_seconds)
    process.kill()
    process.communicate()


def photos_in(folder: Path) -> int:
    images = folder / "bin-images"
    return sum(1 for path in images.iterdir() if not path.name.startswith(".")) if images.is_dir() else 0


def test_killed_at_any_moment_it_goes_on(drawn: dict[str, bytes], tmp_path: Path) -> None:
    with S3Server(drawn, delay_seconds=0.01) as server:
        assert start(server.endpoint, tmp_path / "undisturbed").wait() == 0
        undisturbed = files(tmp_path / "undisturbed")
        rng = random.Random(0)  # noqa: S311 - moments, not secrets
        folder = tmp_path / "killed"
        for nth in range(KILLS):
            process = start(server.endpoint, folder)
            kill_after(process, folder, (nth + 1) * PHOTOS // (KILLS + 1), rng.uniform(0, 0.02))
            # What is there has its whole contents, whatever moment it was.
            there = {key: data for key, data in files(folder).items() if not key.rpartition("/")[2].startswith(".")}
            there = {key: data for key, data in there.items() if not key.startswith(".ingest")}
            assert all(data == undisturbed[key] for key, data in there.items())
            server.requests.clear()
        process = start(server.endpoint, folder)
        assert process.communicate()[1] == b""
        assert process.returncode == 0
        assert files(folder) == undisturbed
        assert {request.key for request in server.requests}.isdisjoint(there)


@pytest.mark.parametrize("moment", ["while listing", "while the manifest is written"])
def test_killed_before_the_first_and_after_the_last_photo(drawn: dict[str, bytes], tmp_path: Path, moment: str) -> None:
    with S3Server(drawn, delay_seconds=0.0 if "manifest" in moment else 0.05, page_keys=50) as server:
        process = start(server.endpoint, tmp_path / "killed")
        if "manifest" in moment:
            kill_after(process, tmp_path / "killed", PHOTOS, 0.0)
        else:
            while LIST not in {request.key for request in server.requests}:
                time.sleep(0.001)
            process.kill()
            process.communicate()
        server.delay_seconds = 0
        for folder in ("killed", "undisturbed"):
            assert start(server.endpoint, tmp_path / folder).wait() == 0
    assert files(tmp_path / "killed") == files(tmp_path / "undisturbed")
    assert read_manifest(tmp_path / "killed").frame.filter(pl.col("sha256").is_null()).is_empty()
    assert (tmp_path / "killed" / FILE_NAME).exists()
