"""What the writer needs of the outside: a breaker per model, and a budget that every call is booked in."""

from __future__ import annotations

from typing import Protocol


class Breaker(Protocol):
    """Keeps calls from models that fail; shared by all instances of the function. No method raises."""

    def admits(self, model: str) -> bool:
        """Tell whether `model` may be called now; False: it is open, or half-open and somebody else probes."""
        ...

    def succeeded(self, model: str) -> None:
        """Note that `model` answered, whatever the answer was worth."""
        ...

    def failed(self, model: str) -> None:
        """Count one time-out, refused connection or 5xx."""
        ...

    def refused(self, model: str) -> None:
        """Open at once: the key is out of budget or refused."""
        ...

    def released(self, model: str) -> None:
        """Note that an admitted call told nothing of `model`, or was not made."""
        ...

    def retry_after_sec(self, model: str) -> int:
        """Return the seconds until `model` may be asked again, at least 1."""
        ...


class Budget(Protocol):
    """The daily caps of one person and of all, in tokens and USD."""

    def book(self, tokens: int, usd: float) -> object:
        """Book what a call may use and return the booking.

        Raises `CapReached`, and `TableUnavailable` when the caps cannot be read.
        """
        ...

    def settle(self, booking: object, tokens: int, usd: float) -> None:
        """Replace a booking by what the call really used; called once for each, never raises."""
        ...
