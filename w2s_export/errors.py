"""Errors a user can mend. Each message says what is wrong, what was got and what to do.

The command line prints the message and exits with 2; anything that is not a `W2SExportError` is a
bug of ours and keeps its traceback.
"""

from w2s_export.foreign_text import LONGEST_MESSAGE, shown


class W2SExportError(Exception):
    """Bad input or a refused request.

    Its message may hold text of foreign files: what would steer a terminal is spelled out.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(shown(message, LONGEST_MESSAGE, lines=True))


class ConfigError(W2SExportError):
    """A configuration or metadata file that cannot be used."""


class ImageError(W2SExportError):
    """An image that cannot be read or does not fit the model."""


class FlatImageError(ImageError):
    """An image whose normalisation range is empty: every pixel (nearly) the same."""


class NotFiniteImageError(ImageError):
    """An image with NaN or infinite pixels."""


class CheckpointError(W2SExportError):
    """A file that holds no generator this tool can use."""


class CheckpointMismatchError(CheckpointError):
    """A checkpoint whose tensors do not fit the architecture they should fill."""


class RRDBNetMismatchError(CheckpointMismatchError):
    """An RRDBNet with tensors missing, left over, misshapen, or not finite."""


class NoWholeNetworkError(CheckpointError):
    """Weights without the network that they belong to."""


class OutputError(W2SExportError):
    """An output place that cannot be written, or that holds something already."""


class DiskError(OutputError):
    """A disk that is full or may not be written: whatever comes next fails there too."""


class PackageError(W2SExportError):
    """A package that cannot be built or opened."""


class MissingExtraError(W2SExportError):
    """An optional dependency that this request needs is not installed."""


class WorkerError(W2SExportError):
    """A process of its own that was stopped at a limit, or crashed."""


class WorkerStoppedError(WorkerError):
    """A process of its own that was stopped at a limit: it might have ended well."""


class WithheldError(PackageError):
    """Weights that are not run here, which says nothing of what a client would make of them."""


class UnsupportedOperationError(W2SExportError):
    """A graph with operators that a format cannot hold."""


class ConversionError(RuntimeError):
    """A conversion that broke its own promise: a bug of ours or of a converter, not of the user."""
