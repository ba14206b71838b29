"""What `test_profile` starts twice at once, as torchrun does: DATA and a folder for the run are its arguments."""

import os
import sys
from pathlib import Path

from tests.tiny_run import fit_tiny, tiny_settings

from bintally.data.manifest import read_manifest
from bintally.training.profile.watch import ProfileWatch

CHANGES = ("batch_size=8", "epochs=1", "cache_mib=0")


def main(data: Path, run: Path) -> None:
    manifest = read_manifest(data)
    watch = ProfileWatch(run, manifest, tiny_settings(*CHANGES))
    found = watch.finish(fit_tiny(manifest, run, *CHANGES, callbacks=(watch,)))
    (run.parent / f"rank-{os.environ['RANK']}").write_text("nothing" if found is None else found.summary)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
