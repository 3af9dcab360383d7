"""Everything sterna raises on purpose.

A `SternaError` is something the person at the keyboard can mend: its message is one sentence that says what was
wrong, what is allowed, what was got and what to type. Anything else that escapes is a bug and keeps its traceback.
"""


class SternaError(Exception):
    """Root of the errors a user can mend; the command line prints its message and exits with status 2."""


class SpecError(SternaError):
    """A name, an option or a reference that cannot be understood."""


class DataError(SternaError):
    """A data set that cannot be used as it stands."""


class EncoderError(SternaError):
    """Pretrained weights that are absent, damaged or of an unknown form."""


class StoreError(SternaError):
    """A cache or an output folder that cannot be read or written."""


class TrainingError(SternaError):
    """A training run that cannot go on: diverged, nothing to train, or a checkpoint of another run."""


class MissingPackageError(SternaError):
    """An optional package that the chosen method needs and that is not installed."""
