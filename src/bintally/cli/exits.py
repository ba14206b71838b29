"""Exit codes, in one table: what a script may rely on.

0   done; for `verify`: match
1   a fault of Bintally's own (a traceback is shown)
2   a command, option, settings file or recipe that cannot be meant
3   a bucket or folder that is missing, empty or refuses, also where only some photos are concerned
4   a photo or record that cannot be used (for a folder: after all the others were counted)
5   a manifest or split that is missing or inconsistent
6   weights, a run or a model that is missing or does not fit
7   an optional part that is not installed
8   a cloud account that refuses, or a job in it that failed
10  `verify`: short
11  `verify`: over
12  `verify`: review
13  `promote`: the champion stays
130 interrupted (Ctrl-C); training saves first, and the same command goes on
143 told to end (SIGTERM); training saves first, and the same command goes on
"""

from bintally import errors
from bintally.domain.verdicts import Decision

INCOMPLETE = 3  # done, but for photos that a store refused
REFUSED = 13  # `promote`: the champion stays
INTERRUPTED = 130

_BY_ERROR: dict[type[errors.BintallyError], int] = {
    errors.SettingsError: 2,
    errors.StoreError: 3,
    errors.EmptySourceError: 3,
    errors.RecordError: 4,
    errors.PhotoError: 4,
    errors.ManifestError: 5,
    errors.SplitError: 5,
    errors.WeightsError: 6,
    errors.CheckpointError: 6,
    errors.ModelError: 6,
    errors.CloudError: 8,
    errors.StoppedError: 143,
    errors.MissingExtraError: 7,
}
BY_DECISION: dict[Decision, int] = {
    Decision.MATCH: 0,
    Decision.SHORT: 10,
    Decision.OVER: 11,
    Decision.REVIEW: 12,
}
BAD_PHOTO = _BY_ERROR[errors.PhotoError]


def exit_code(error: errors.BintallyError) -> int:
    """The exit code of an error: its own class's, or the nearest one above it.

    >>> exit_code(errors.NotAPhotoError("x.jpg"))
    4
    >>> exit_code(errors.StoppedError("run: stopped", signum=2))
    130
    """
    if isinstance(error, errors.StoppedError):
        return 128 + error.signum  # as a shell says it
    return next(_BY_ERROR[kind] for kind in type(error).__mro__ if kind in _BY_ERROR)
