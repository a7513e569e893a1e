"""What can go wrong, and who should read it.

LetheError
├── ConfigError      params.yaml asks for something that does not exist or does not fit
├── DataError        a row of the user's data is missing, malformed or in two splits
├── ArtifactError    a file that a stage reads or writes is missing, damaged or does not fit on the disk
├── ControlError     the target or the retain model is no control: the target never knew, or the retain model does
└── NotFiniteError   the numbers broke: NaN or infinity in a loss, a gradient or a record

A message says where, what was found, what is allowed and what to do next, in one line.
A door (``lethe.doors``) prints it and exits with status 1; everything else is a bug and keeps its traceback.
"""


class LetheError(Exception):
    """A mistake that the user can mend; its text is one line."""


class ConfigError(LetheError):
    """``params.yaml`` asks for something that does not exist or does not fit."""


class DataError(LetheError):
    """A row of the user's data is missing, malformed or stands in two splits."""


class ArtifactError(LetheError):
    """A file that a stage reads or writes is missing, damaged or does not fit on the disk."""


class ControlError(LetheError):
    """The target model never knew the facts, or the retain model knows what it was not told."""


class NotFiniteError(LetheError):
    """NaN or infinity in a loss, a gradient or a record."""
