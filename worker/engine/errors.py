"""Failures that a job's owner can act on. `hint` says what to change."""


class TrainingError(Exception):
    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UserError(TrainingError):
    """The spec asks for something that cannot be done."""


class DataError(TrainingError):
    """The data cannot be trained on as asked."""


class NonFiniteLoss(TrainingError):
    """The loss became NaN or infinite."""
