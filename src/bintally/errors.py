"""Every error that Bintally raises on purpose, and nothing else.

A message says what was expected, what arrived, in which file or photo, and what to do next. No HTTP status and no AWS
code lives here: `cli.exits` maps these to exit codes, and a server will map them to statuses in a table of its own.

    BintallyError
    ├── SettingsError            a settings file, a recipe or an option that cannot be meant
    ├── MissingExtraError        an optional part is not installed
    ├── StoreError               a bucket or a folder did not do what was asked
    │   ├── ObjectNotFoundError      the object is not there
    │   ├── StoreAccessError         the store refused: credentials, permission, region
    │   ├── StoreUnavailableError    the store cannot be reached or kept failing
    │   └── CannotWriteError         a folder that is full or read-only
    ├── EmptySourceError         there are no photos where photos were expected
    ├── RecordError              a record that is not what ABID's records are
    ├── PhotoError               a photo that cannot be counted
    │   ├── NotAPhotoError           not a JPEG or PNG at all
    │   ├── PhotoTooLargeError       more bytes or pixels than allowed
    │   └── BrokenPhotoError         a JPEG or PNG that does not decode to its end
    ├── ManifestError            a manifest that is missing, of another version, or inconsistent
    ├── SplitError               photos that cannot be split as asked
    ├── WeightsError             pretrained weights that are missing or do not fit
    ├── CheckpointError          a run or checkpoint that is missing, damaged or does not fit
    ├── CloudError               a cloud account did not do what was asked
    │   ├── CloudAccessError         it refused: credentials, permission, region
    │   ├── CloudUnavailableError    it cannot be reached, or asks for fewer requests
    │   ├── NotInCloudError          what was asked for is not there
    │   ├── QuotaError               more was asked for than the account may use
    │   └── JobError                 a job that did not come to its end
    ├── StoppedError             a run that was told to stop, and goes on when it is asked again
    └── ModelError               an exported model that is missing, damaged or of another version
"""

import signal


class BintallyError(Exception):
    """The root: catch it to catch everything that Bintally raises on purpose."""


class SettingsError(BintallyError):
    """A settings file, a recipe or an option that cannot be meant."""


class MissingExtraError(BintallyError):
    """An optional part of Bintally is not installed; the message holds the install command."""

    def __init__(self, extra: str, *, needed_for: str) -> None:
        """Say which extra `needed_for` needs and how to install it."""
        super().__init__(
            f"{needed_for} needs a part of Bintally that is not installed: pip install 'bintally[{extra}]'"
        )
        self.extra = extra


class StoreError(BintallyError):
    """A bucket or a folder did not do what was asked."""


class ObjectNotFoundError(StoreError):
    """The object asked for is not in the store."""


class StoreAccessError(StoreError):
    """The store refused: credentials, permission or region."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached, or kept failing after retries."""


class CannotWriteError(StoreError):
    """A folder cannot be written: full, read-only, or not a folder."""


class EmptySourceError(BintallyError):
    """There are no photos where photos were expected."""


class RecordError(BintallyError):
    """A record that is not what ABID's records are."""


class PhotoError(BintallyError):
    """A photo that cannot be counted."""


class NotAPhotoError(PhotoError):
    """The bytes are not a JPEG or PNG at all."""


class PhotoTooLargeError(PhotoError):
    """The photo has more bytes or pixels than are allowed."""


class BrokenPhotoError(PhotoError):
    """A JPEG or PNG that does not decode to its end."""


class ManifestError(BintallyError):
    """A manifest that is missing, of another version, or inconsistent."""


class SplitError(BintallyError):
    """Photos that cannot be split as asked."""


class WeightsError(BintallyError):
    """Pretrained weights that are missing or do not fit the network."""


class CheckpointError(BintallyError):
    """A run or checkpoint that is missing, damaged or does not fit what was asked of it."""


class CloudError(BintallyError):
    """A cloud account did not do what was asked."""


class CloudAccessError(CloudError):
    """The cloud account refused: credentials, permission or region."""


class CloudUnavailableError(CloudError):
    """The cloud cannot be reached, or asks for fewer requests."""


class NotInCloudError(CloudError):
    """What was asked for is not in the cloud account."""


class QuotaError(CloudError):
    """More was asked for than the cloud account may use."""


class JobError(CloudError):
    """A job in the cloud that did not come to its end."""


class StoppedError(BintallyError):
    """A run that was told to stop, and goes on when it is asked again."""

    signum = int(signal.SIGTERM)

    def __init__(self, message: str, *, signum: int = signum) -> None:
        """Say which signal told it."""
        super().__init__(message)
        self.signum = signum


class ModelError(BintallyError):
    """An exported model that is missing, damaged or of another version."""
