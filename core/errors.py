"""What a person can repair is a UserError; everything else is a bug and keeps its traceback.

A UserError says what is wrong and where (file, row, field), and its hint says what to do.
Its standard-library parent lets other programs catch it without knowing Graft.
"""

from errno import ENOSPC


class UserError(ValueError):
    """Something the user can repair: `str(error)` is what is wrong, `hint` what to do about it."""

    def __init__(self, what: str, hint: str = "", field: str | None = None) -> None:
        super().__init__(what)
        self.hint = hint
        self.field = field

    def __reduce__(self):
        return type(self), (str(self), self.hint, self.field)


class NotFound(UserError, LookupError):
    """An id that does not exist, or that is not the caller's: both look the same from outside."""


class Damaged(UserError):
    """A file that Graft wrote itself can't be read any more."""


class DataProblem(UserError):
    """The examples can't be used as they are."""


class ModelProblem(UserError):
    """The base model can't be found, opened or trained."""


class TooLong(UserError):
    """What is asked has more tokens than the model reads."""


class BrokeOff(UserError):
    """An answer that ended with the process which gave it."""


class DoesNotFit(UserError, MemoryError):
    """The configuration needs more memory or disk than there is."""


def is_out_of_memory(error: BaseException) -> bool:
    """torch has an error of its own for GPUs; the CPU's allocator raises a plain RuntimeError."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = ("allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def explain(error: BaseException) -> tuple[str, str]:
    """What happened and what to do about it, for the person at the screen."""
    if isinstance(error, UserError):
        return str(error), error.hint
    if is_out_of_memory(error):
        return (
            "There was not enough memory.",
            "Use the memory saver, shorter examples or a smaller model.",
        )
    if isinstance(error, OSError) and error.errno == ENOSPC:
        return "The disk is full.", "Free some space, then try again."
    name = type(error).__name__
    return f"Something went wrong inside Graft ({name}: {error}).", "The log has the details."
