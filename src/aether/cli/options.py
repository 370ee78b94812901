"""Options that many commands share, and what they must hold."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from aether.domain.errors import InvalidValueError
from aether.domain.scaled import parse_scaled
from aether.market.options import OnBad
from aether.venues.wire import plain_text

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where everything lies.", envvar="AETHER_DATA_DIR", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Account = Annotated[str, typer.Option("--account", help="The account.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many rows at most.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept with what was done.")]
Url = Annotated[str, typer.Option("--url", help="Of the platform; by default the one of the data directory.")]

Symbol = Annotated[str, typer.Option("--symbol", help="The pair, like BTC/USD.")]
OnBadOption = Annotated[OnBad, typer.Option("--on-bad", help="Rows that break a rule: stop, or skip them.")]
Timestamps = Annotated[str, typer.Option("--timestamps", help="Whether a bar's time is its open or its close.")]
VolumeIn = Annotated[str, typer.Option("--volume-in", help="Whether volume counts base or quote.")]
MaxGap = Annotated[int | None, typer.Option("--max-gap", help="For trades: seconds of silence that are a gap.")]


def time_of(text: str) -> int:
    """Return the nanoseconds since 1970 of a time that a person names, UTC where it does not say, or of so many seconds
    since 1970. Raises InvalidValueError.
    """
    if re.fullmatch(r"\d{9,10}(\.\d{1,9})?", text):
        return parse_scaled(text, 9)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidValueError(
            f"{text!r} is no time.",
            remedy="Write it like 2026-11-30 or 2026-11-30T14:05:30, in UTC, or as seconds since 1970.",
        ) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000


def reason_text(text: str) -> str:
    """Return a reason as it is kept. Raises InvalidValueError."""
    text = plain_text(text)
    if not 3 <= len(text) <= 500:
        raise InvalidValueError(f"--reason has {len(text)} characters.", remedy="Say why in 3 to 500 characters.")
    return text
