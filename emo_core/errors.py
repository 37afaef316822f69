"""The one error that a person using EMO is meant to read: which input, what was found, what is allowed, what to do."""

from __future__ import annotations


class EmoInputError(ValueError):
    """An input that cannot be used. The message is a sentence or two a user can act on.

    `name` is the input as the user knows it ("audio", "portrait", "steps"), `found` what was given, `allowed` what
    would have been right, `remedy` what to do next.
    """

    def __init__(self, name: str, found: str, allowed: str, remedy: str = "") -> None:
        self.name, self.found, self.allowed, self.remedy = name, found, allowed, remedy
        message = f"{name}: found {found}; expected {allowed}."
        super().__init__(f"{message} {remedy}" if remedy else message)

    def __reduce__(self) -> tuple[type[EmoInputError], tuple[str, str, str, str]]:
        """An exception is pickled by its message alone, which does not make it again: a worker process would be told to
        be broken instead of what it found."""
        return type(self), (self.name, self.found, self.allowed, self.remedy)


def empty_batch(name: str, what: str) -> EmoInputError:
    """The error for a batch of none of `what`, of which one is needed."""
    remedy = f"See why what comes before made none: no {what} was found, selected or loaded there."
    return EmoInputError(name, "an empty batch", f"a {what}", remedy)
