from app.errors import AppError


class DatasetInvalid(AppError):
    """The file cannot be trained on."""

    status_code = 422


class ArchiveUnsafe(AppError):
    """The archive holds what could harm its reader."""

    status_code = 422


class DatasetTooLarge(AppError):
    """The table takes more memory or time to read than this server allows."""

    status_code = 413


class DatasetInUse(AppError):
    """Jobs still need this dataset."""

    status_code = 409


class DigestMismatch(AppError):
    """The bytes that arrived do not have the digest that was announced. Send them again."""

    status_code = 400


class InsufficientStorage(AppError):
    """The server's disk has no room for this file."""

    status_code = 507
