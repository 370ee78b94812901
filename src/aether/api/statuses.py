"""Which error is which HTTP status, for the API and whoever speaks to it."""

from aether.domain import errors

STATUS: tuple[tuple[type[errors.AetherError], int], ...] = (
    (errors.UnknownNameError, 404),
    (errors.NotSignedInError, 401),
    (errors.RefusedError, 403),
    (errors.TooManyAttemptsError, 429),
    (errors.ConflictError, 409),
    (errors.DatabaseUnavailableError, 503),
    (errors.KeyServiceError, 503),
    (errors.NoAnswerError, 503),
    (errors.DataDirectoryError, 503),
)
"""Which error is which status; all others are 422."""


def status_of(error: errors.AetherError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, errors.VenueError) and error.failure is errors.Failure.VENUE_DOWN:
        return 503
    return next((status for kind, status in STATUS if isinstance(error, kind)), 422)
