"""Reading every photo once: in threads, and whatever state the files are in."""

import hashlib
import threading
from pathlib import Path

import polars as pl
import pytest
from tests.audited import clean_bins, damaged, make_dataset

from bintally.data import looking
from bintally.data.looking import in_threads, look_at_all
from bintally.data.manifest import Flag, Manifest
from bintally.data.transfer import Progress


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return make_dataset(tmp_path, clean_bins())


def look(manifest: Manifest, *, trust_figures: bool = True) -> looking.Looked:
    return look_at_all(manifest, trust_figures=trust_figures, workers=2)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_order_and_few_jobs_are_under_way(workers: int) -> None:
    handed_out = []

    def jobs() -> object:
        for job in range(300):
            handed_out.append(job)
            yield job

    for result in in_threads(lambda job: job * 2, jobs(), workers):
        assert len(handed_out) - result // 2 <= 8 * workers
    assert handed_out == list(range(300))


def test_an_error_ends_it_and_what_was_not_begun_is_not_done() -> None:
    done = []
    go_on = threading.Event()

    def work(job: int) -> int:
        if job == 0:
            raise OSError("no")
        go_on.wait(5)
        done.append(job)
        return job

    results = in_threads(work, range(1000), 2)
    threading.Timer(0.2, go_on.set).start()
    with pytest.raises(OSError, match="no"):
        next(results)
    assert len(done) <= 2  # of the two threads, what they were at


def test_every_photo_gets_figures_and_only_once(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    first = look(manifest)
    assert (first.measured, first.known) == (10, 0)
    assert first.frame.select("brightness", "sharpness", "phash").null_count().sum_horizontal().item() == 0
    again = Manifest(frame=first.frame, root=manifest.root, header=manifest.header)
    monkeypatch.setattr(looking, "decode", lambda *_args, **_more: pytest.fail("decoded again"))
    second = look(again)
    assert (second.measured, second.known) == (0, 10)
    assert second.frame.equals(first.frame)


def test_figures_that_are_not_trusted_are_measured_again(manifest: Manifest) -> None:
    frame = manifest.frame.with_columns(brightness=pl.lit(1.0, pl.Float32))
    stale = Manifest(frame=frame, root=manifest.root, header=manifest.header)
    assert look(stale).known == 10
    anew = look(stale, trust_figures=False)
    assert (anew.measured, anew.known) == (10, 0)
    assert anew.frame["brightness"].min() > 1


def test_a_file_that_is_gone_or_another_is_said_and_loses_its_figures(manifest: Manifest) -> None:
    looked = look(manifest)
    gone, other = (manifest.root / key for key in manifest.frame["photo_key"][:2])
    gone.unlink()
    other.write_bytes(other.read_bytes() + b"x")
    after = look(Manifest(frame=looked.frame, root=manifest.root, header=manifest.header))
    assert [(f.photo_id, f.flag) for f in after.astray] == [("00001", None), ("00004", None)]
    assert after.astray[0].text.startswith("bin-images/00001.jpg: in the manifest, but cannot be read (")
    assert after.astray[1].text == "bin-images/00004.jpg: not the bytes that the manifest names"
    assert after.frame["brightness"].null_count() == 2
    assert after.known == 8


def test_damage_and_an_early_end_are_told_apart(tmp_path: Path) -> None:
    bins = dict(clean_bins())
    bins["00001"] = (bins["00001"][0][:3000], None)
    bins["00004"] = (damaged(bins["00004"][0]), None)
    bins["00007"] = (b"no photo", None)  # flagged by ingest, and not looked at
    looked = look(make_dataset(tmp_path, bins))
    assert [(f.photo_id, f.flag) for f in looked.damaged] == [("00001", Flag.TRUNCATED), ("00004", Flag.UNDECODABLE)]
    assert looked.damaged[0].text.startswith("ends early: bin-images/00001.jpg: ")
    assert looked.damaged[1].text.startswith("cannot be decoded: bin-images/00004.jpg: ")
    assert not looked.astray
    assert looked.measured == 7


def test_a_photo_that_was_not_fetched_is_not_looked_for(manifest: Manifest) -> None:
    first = pl.col("photo_id") == "00001"
    frame = manifest.frame.with_columns(
        pl.when(first).then(pl.lit([Flag.NOT_FETCHED.value])).otherwise("flags").alias("flags"),
        pl.when(~first).then("sha256").alias("sha256"),
        pl.when(~first).then("size_bytes").alias("size_bytes"),
    )
    (manifest.root / "bin-images" / "00001.jpg").unlink()
    looked = look(Manifest(frame=frame, root=manifest.root, header=manifest.header))
    assert not looked.astray
    assert looked.measured == 9


def test_progress_counts_photos_and_bytes(manifest: Manifest) -> None:
    told: list[Progress] = []

    class Bar:
        def __init__(self, doing: str) -> None:
            assert doing == "looking at photos"

        def __enter__(self) -> object:
            return told.append

        def __exit__(self, *_error: object) -> None: ...

    look_at_all(manifest, trust_figures=True, workers=1, bar=Bar)
    assert [now.done for now in told] == list(range(1, 11))
    assert told[-1] == Progress(done=10, total=10, counted=True, done_bytes=manifest.frame["size_bytes"].sum())


def test_the_sha256_is_that_of_the_file(manifest: Manifest) -> None:
    path = manifest.root / "bin-images" / "00001.jpg"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == manifest.frame["sha256"][0]
