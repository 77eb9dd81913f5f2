"""Every error that the package raises on purpose. One root; each class is also a standard-library type.

The command line prints `str(error)` as one line and exits with `error.exit_code`: 2 for the user's mistake, 1 for a run
that failed or a gate that was not passed.
"""


class CaiError(Exception):
    """Root of all errors raised by this package."""

    exit_code = 1


class UserError(CaiError, ValueError):
    """The user's input is wrong. The message names what was wrong, its value, and what to write instead."""

    exit_code = 2


class RecordError(UserError):
    """A record cannot be processed: its prompt is longer than the model's context, or the engine fails on it.

    Raised for several records it is true of one of them at least. Steps find out which, set it aside and count it.
    """


class MissingArtifact(UserError, FileNotFoundError):
    """Something that a step needs was never made, such as a parent stage that has not passed its gate."""

    def __str__(self) -> str:  # FileNotFoundError would format an errno
        return str(self.args[0]) if self.args else ""


class CorruptArtifact(CaiError, OSError):
    """A file's content does not match the hash in its manifest. It is never used."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class RunLocked(UserError, BlockingIOError):
    """Another process holds this run."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class DiskFull(CaiError, OSError):
    """No space was left for a write. Everything committed before stays valid, and the next call goes on from there."""

    exit_code = 2  # nothing failed but the room to write; making some is the user's to do

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class StepFailed(CaiError, RuntimeError):
    """A step could not finish: too low a yield, an audit or a certificate off its limits, a child that died."""


class OutOfMemory(StepFailed):
    """A model's work did not fit the memory, or the system ended a child for that."""


class Stopped(StepFailed):
    """A training ended early because it was asked to; what it had done is saved."""


class JudgeError(CaiError, RuntimeError):
    """A judge gave no usable verdict. Counted, never scored."""


class GateFailed(CaiError, RuntimeError):
    """A stage's gate was not passed. The result is recorded; later stages refuse this parent."""


class Terminated(KeyboardInterrupt):
    """SIGTERM has come. No error, which no handler of errors may catch: what goes on is saved, then the process ends."""

    exit_code = 143  # 128 and the signal's number, as shells have it


def first_line(error: BaseException) -> str:
    """The first line of a library's message, without the hints that follow it."""
    return str(error).strip().partition("\n")[0]
