"""A dataset as others may see it, and whether its manifest may take the place of one that is there already.

Refuses to let a published dataset lose anything unasked: photos, splits, or bytes that its manifest vouches for.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePath
from urllib.parse import urlsplit
from urllib.request import url2pathname

import polars as pl

from bintally.data.manifest import Manifest
from bintally.data.prepared import NOTE, prepared_as
from bintally.errors import ManifestError

_NAMES = 5


def without_local_paths(manifest: Manifest) -> Manifest:
    """The manifest without this machine's paths: a folder that photos came from keeps its name and 8 hex digits.

    The digits tell folders of one name apart; they stand for the whole path, which cannot be read from them.
    """
    header = manifest.header
    names = {text: shareable(text) for text in (header.source, *header.extra.values()) if _is_local(text)}
    extra = {key: names.get(text, text) for key, text in header.extra.items()}
    problem, root = pl.col("problem"), str(manifest.root.resolve())
    for written, name in _spellings(names | {root: _folder_name(root)}):
        problem = problem.str.replace_all(written, name, literal=True)
    return Manifest(
        frame=manifest.frame.with_columns(problem),
        root=manifest.root,
        header=replace(header, source=names.get(header.source, header.source), extra=extra),
    )


def shareable(address: str) -> str:
    """Where photos come from, for others: of a folder of this machine, its name and 8 hex digits.

    >>> shareable("s3://aft-vbi-pds")
    's3://aft-vbi-pds'
    """
    return _folder_name(address) if _is_local(address) else address


def _is_local(text: str) -> bool:
    return text.startswith(("file:", "/")) or PurePath(text).is_absolute()


def _path(address: str) -> str:
    return url2pathname(urlsplit(address).path) if address.startswith("file:") else address


def _folder_name(address: str) -> str:
    path = _path(address)
    return f"folder:{PurePath(path).name}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"


def _spellings(names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each address as a URL and as a path, the longest first: a folder's may begin with another's."""
    paths = {_path(address): name for address, name in names.items()}
    yield from sorted({**paths, **names}.items(), key=lambda pair: -len(pair[0]))


def refuse_loss(new: Manifest, there: Manifest, url: str) -> None:
    """Check that nothing is lost when `new` takes the place of `there`.

    Args:
        new: the manifest to be written, without local paths.
        there: the one at the destination.
        url: the destination, as errors call it.

    Raises:
        ManifestError: saying what would be lost.
    """
    ours, theirs = new.header, there.header
    if ours.origin != theirs.origin:
        raise _refusal(url, f"that is another dataset, from {theirs.origin}, and this one is from {ours.origin}")
    if ours.extra.get(NOTE) != theirs.extra.get(NOTE):
        was, is_now = (prepared_as(header) or "as they came" for header in (theirs, ours))
        raise _refusal(url, f"its photos were prepared otherwise ({was}) than these ({is_now})")
    if theirs.salt and ours.salt != theirs.salt:
        raise _refusal(url, f"it is split with the salt {theirs.salt!r}, and this one with {ours.salt or 'none'!r}")
    for photo_ids, what in _losses(new.frame, there.frame):
        if photo_ids:
            raise _refusal(url, f"{len(photo_ids)} of its photos {what}: {_few(photo_ids)}")


def _losses(new: pl.DataFrame, there: pl.DataFrame) -> Iterator[tuple[list[str], str]]:
    """Photos that would lose something, and in what words."""
    facts = ("sha256", "record_sha256", "split")
    ours = new.select("photo_id", known=True, **{f"our_{fact}": pl.col(fact) for fact in facts})
    both = there.select("photo_id", *facts).join(ours, on="photo_id", how="left")
    known = pl.col("known").is_not_null()

    def photos(which: pl.Expr) -> list[str]:
        return both.filter(which)["photo_id"].sort().to_list()

    def lost(fact: str) -> pl.Expr:
        return known & pl.col(fact).is_not_null() & pl.col(fact).ne_missing(pl.col(f"our_{fact}"))

    yield photos(~known), "are not in this one"
    yield photos(lost("sha256") | lost("record_sha256")), "have other bytes here"
    yield photos(lost("split")), "are in another split here"


def _few(names: list[str]) -> str:
    return ", ".join(names[:_NAMES]) + (", ..." if len(names) > _NAMES else "")


def _refusal(url: str, why: str) -> ManifestError:
    return ManifestError(
        f"{url} holds a manifest already, and {why}. Push to another prefix or folder, or say --replace to let this "
        "dataset take its place; photos there that this one does not name stay"
    )
