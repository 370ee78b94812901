"""`aether venue`: the venues' public data, and their wire formats by hand."""

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Coroutine
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import urlsplit

import aiohttp
import typer
from rich.markup import escape

from aether.cli.console import err, out, print_json, settings_of, table
from aether.cli.options import AsJson
from aether.clock import utc_text, wall_ns, wall_s
from aether.domain.errors import ConformanceError, DataFormatError, InvalidValueError, UnknownNameError
from aether.telemetry import configure_logging
from aether.venues.actions import Depth, Markets, Ticker
from aether.venues.ccxt_bridge import NEEDS, PREFIX, CcxtClient
from aether.venues.client import VenueClient, with_urls
from aether.venues.conformance import Result, Suite, Verdict, report_of
from aether.venues.conformance_cases import run
from aether.venues.connection import Connected
from aether.venues.feed import FeedTrouble, MarketFeed
from aether.venues.messages import Pair as Listed
from aether.venues.recording import Recorder
from aether.venues.registry import PROTOCOLS, protocol_of
from aether.venues.stream import Channel
from aether.venues.tool import decode_rest, decode_socket, encode, payloads, read_key, to_records

T = TypeVar("T")

SANDBOXES = {
    "api-sandbox.coinbase.com",
    "testnet.binance.vision",
}
"""Hosts of the venues where money is not real."""
MOST = 10_000
"""No run may spend more, in the quote asset."""

app = typer.Typer(
    help="The venues' public data, and their wire formats by hand.", no_args_is_help=True, add_completion=False
)

Venue = Annotated[str, typer.Argument(help="kraken, binance or coinbase.", metavar="VENUE")]
Pair = Annotated[str, typer.Argument(help="The pair, like BTC/USD.", metavar="SYMBOL")]
BaseUrl = Annotated[str, typer.Option("--base-url", help="Of REST: a sandbox, or the local exchange.")]
WsUrl = Annotated[str, typer.Option("--ws-url", help="Of the socket: a sandbox, or the local exchange.")]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", help='JSON: {"key": ..., "secret": ...}.', show_default=False)
]


@app.command("decode")
def decode(
    venue: Venue,
    channel: Annotated[
        str, typer.Option(help="`ws`, or `rest:ENDPOINT` with an action's name or the venue's own endpoint.")
    ] = "ws",
    symbol: Annotated[str, typer.Option(help="The pair, for payloads that do not name one.")] = "",
) -> None:
    """Read payloads on standard input and print what they mean, one JSON object a line; prices are exact text."""
    protocol_of(venue)
    kind, _, endpoint = channel.partition(":")
    if kind not in ("ws", "rest") or (kind == "rest") != bool(endpoint):
        raise InvalidValueError(f"--channel is {channel!r}.", remedy="Give ws, or rest:ENDPOINT such as rest:book.")
    for payload in payloads(sys.stdin.buffer.read()):
        found = decode_rest(venue, endpoint, payload, symbol) if endpoint else decode_socket(venue, payload, symbol)
        for event in found:
            sys.stdout.write(json.dumps(event) + "\n")


@app.command("encode")
def encode_command(
    venue: Venue,
    action: Annotated[str, typer.Argument(help="What to ask for, like submit, cancel, balances, book.")],
    fields: Annotated[str, typer.Argument(help="The action's fields as JSON.", metavar="JSON")] = "{}",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the request; it is never sent from here.")] = False,
    key_file: KeyFile = None,
    nonce: Annotated[int | None, typer.Option(min=0, help="For the signature; the clock's by default.")] = None,
    at: Annotated[int | None, typer.Option("--time", min=0, help="Seconds or milliseconds since 1970.")] = None,
    base_url: BaseUrl = "",
) -> None:
    """Print the request that an action would send: method, URL, headers and body, one JSON object a line."""
    if not dry_run:
        raise InvalidValueError(
            "This command only shows requests.", remedy="Add --dry-run; orders are sent by the platform alone."
        )
    credentials = read_key(_read_file(key_file)) if key_file else None
    now_ms = wall_ns() // 1_000_000 if at is None else at * 1000 if at < 10**11 else at
    chosen = nonce if nonce is not None else now_ms * 1000
    found = encode(venue, action, fields, credentials=credentials, nonce=chosen, now_ms=now_ms, base_url=base_url)
    for request in found:
        sys.stdout.write(json.dumps(request) + "\n")


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataFormatError(f"{path} cannot be read: {error.strerror}.", remedy="Check the path.") from error


def _with_client(
    venue: str, base_url: str, ws_url: str, work: Callable[[VenueClient], Coroutine[Any, Any, T]], *, load: bool = True
) -> T:
    settings_of()

    async def inner() -> T:
        if venue not in PROTOCOLS:
            return await _through_bridge(venue, work, load=load)
        async with aiohttp.ClientSession(trust_env=True) as http:
            client = VenueClient(with_urls(protocol_of(venue), base_url, ws_url), http)
            if load:
                await client.load_markets()
            return await work(client)

    return asyncio.run(inner())


async def _through_bridge(venue: str, work: Callable[[VenueClient], Coroutine[Any, Any, T]], *, load: bool) -> T:
    """Do `work` at an exchange that has no adapter of its own."""
    bridge = CcxtClient(venue.removeprefix(PREFIX))
    try:
        if load:
            await bridge.load_markets()
        return await work(cast(VenueClient, bridge))
    finally:
        await bridge.close()


@app.command("bridge")
def bridge_command(
    exchange: Annotated[str, typer.Argument(help="ccxt's name of the exchange, like bitstamp.")],
    as_json: AsJson = False,
) -> None:
    """Say what an exchange offers through the ccxt bridge, and what it does not."""

    async def work() -> list[str]:
        bridge = CcxtClient(exchange.removeprefix(PREFIX))
        try:
            return bridge.missing()
        finally:
            await bridge.close()

    missing = asyncio.run(work())
    if as_json:
        print_json({"offers": sorted(set(NEEDS) - set(missing)), "lacks": missing})
        return
    out.print(f"Offers: {', '.join(sorted(set(NEEDS) - set(missing)))}", highlight=False)
    out.print(f"Lacks:  {', '.join(missing)}", highlight=False)


@app.command("markets")
def markets(venue: Venue, base_url: BaseUrl = "", as_json: AsJson = False) -> None:
    """List the venue's spot pairs with their rules."""

    async def work(client: VenueClient) -> list[Listed]:
        found: list[Listed] = await client.call(Markets())
        return found

    found = _with_client(venue, base_url, "", work, load=False)
    unique = {pair.instrument.id: pair for pair in reversed(found)}
    listed = [unique[key] for key in sorted(unique)]
    if as_json:
        listings = protocol_of(venue).listings
        print_json([r for p in listed for r in to_records(p._replace(native=p.instrument.symbol), listings)])
        return
    rows = [
        (
            i.symbol,
            pair.native,
            i.price_text(i.tick),
            i.size_text(i.min_size),
            i.size_text(i.lot),
            f"{i.min_notional / 1e8:g}",
            pair.state.value,
        )
        for pair in listed
        for i in [pair.instrument]
    ]
    columns = ("pair*", "at the venue*", "tick", "min size", "lot", "min notional", "state")
    table(f"{venue.capitalize()}: {len(rows)} pairs", columns, rows, "None.")


@app.command("ticker")
def ticker(venue: Venue, symbol: Pair, base_url: BaseUrl = "", as_json: AsJson = False) -> None:
    """Print the best bid and ask of a pair."""

    async def work(client: VenueClient) -> list[dict[str, Any]]:
        _listed(client, symbol)
        return list(to_records(await client.call(Ticker(symbol=symbol)), client.protocol.listings))

    record = _with_client(venue, base_url, "", work)[0]
    if as_json:
        print_json(record)
        return
    text = f"bid {record['bid']} ({record['bid_size']})  ask {record['ask']} ({record['ask_size']})"
    out.print(f"{symbol} at {venue}: {text}", highlight=False)


@app.command("book")
def book(
    venue: Venue,
    symbol: Pair,
    levels: Annotated[int, typer.Option(min=1, max=500, help="A side.")] = 10,
    base_url: BaseUrl = "",
    as_json: AsJson = False,
) -> None:
    """Print the order book of a pair."""

    async def work(client: VenueClient) -> list[dict[str, Any]]:
        _listed(client, symbol)
        found = await client.call(Depth(symbol=symbol, levels=levels))
        return list(to_records(found, client.protocol.listings))

    record = _with_client(venue, base_url, "", work)[0]
    if as_json:
        print_json(record)
        return
    pairs = zip(record["bids"][:levels], record["asks"][:levels], strict=False)
    rows = [(bid[1], bid[0], ask[0], ask[1]) for bid, ask in pairs]
    table(f"{symbol} at {venue}", ("bid size", "bid", "ask", "ask size"), rows, "The book is empty.")


@app.command("watch")
def watch(
    venue: Venue,
    symbols: Annotated[list[str], typer.Argument(help="Pairs, like BTC/USD.", metavar="SYMBOLS...")],
    count: Annotated[int, typer.Option(min=0, help="Stop after so many events; 0 for never.")] = 0,
    base_url: BaseUrl = "",
    ws_url: WsUrl = "",
) -> None:
    """Print trades and books as they come, one JSON object a line; books are proven by the venue's own checks."""

    async def work(client: VenueClient) -> None:
        for symbol in symbols:
            _listed(client, symbol)
        feed = MarketFeed(client, symbols)
        seen = 0
        async for event in feed.events():
            for record in _watched(event, client):
                sys.stdout.write(json.dumps(record) + "\n")
                sys.stdout.flush()
                seen += 1
            if count and seen >= count:
                return

    try:
        _with_client(venue, base_url, ws_url, work)
    except KeyboardInterrupt:
        return


def _watched(event: Any, client: VenueClient) -> list[dict[str, Any]]:
    if isinstance(event, Connected):
        return []
    if isinstance(event, FeedTrouble):
        head = {"type": "trouble", "venue": client.protocol.venue, "symbol": "", "ts_ns": wall_ns()}
        return [{**head, "instrument": event.instrument, "reason": event.reason}]
    return list(to_records(event, client.protocol.listings))


def _listed(client: VenueClient, symbol: str) -> None:
    known = {listing.instrument.symbol for listing in client.protocol.listings.values()}
    if symbol not in known:
        near = sorted(s for s in known if s.startswith(symbol.partition("/")[0] + "/"))[:8]
        raise UnknownNameError(
            f"{client.protocol.venue.capitalize()} does not list {symbol!r}.",
            remedy=f"Choose a pair such as {', '.join(near) or 'those of: aether venue markets'}.",
        )


def record(
    venue: Venue,
    symbols: Annotated[list[str], typer.Argument(help="Pairs, like BTC/USD.", metavar="SYMBOLS...")],
    folder: Annotated[Path, typer.Option("--to", help="Where the files go.")] = Path("recordings"),
    seconds: Annotated[float, typer.Option(min=0, help="How long; 0 for until Ctrl-C.")] = 0,
    rotate_mb: Annotated[int, typer.Option(min=1, help="Start a new file after so many megabytes.")] = 256,
    base_url: BaseUrl = "",
    ws_url: WsUrl = "",
) -> None:
    """Record a venue's raw messages with their time of receipt, compressed; read them with `aether data import`."""
    try:
        recorder = Recorder(folder, venue, wall_ns(), rotate_mb * 2**20)
    except OSError as error:
        told = f"{folder} cannot be written to: {error.strerror}."
        raise InvalidValueError(told, remedy="Name another folder with --to.") from error
    until = wall_s() + seconds if seconds else float("inf")

    async def work(client: VenueClient) -> None:
        for symbol in symbols:
            _listed(client, symbol)
        channels = (Channel.TRADES, Channel.QUOTES, Channel.BOOK)
        feed = MarketFeed(
            client,
            symbols,
            channels=channels,
            on_raw=lambda payload: recorder.write(wall_ns(), payload),
        )
        client.on_depth = lambda payload: recorder.write(wall_ns(), payload)
        async for _ in feed.events():
            if wall_s() >= until:
                return

    try:
        _with_client(venue, base_url, ws_url, work)
    except KeyboardInterrupt:
        pass
    finally:
        recorder.close()
    files = ", ".join(str(path) for path in recorder.files) or "nothing"
    out.print(f"Recorded {recorder.messages:,} messages into {files}", highlight=False, soft_wrap=True)


@app.command("conformance")
def conformance(
    venue: Venue,
    symbol: Pair = "BTC/USD",
    base_url: BaseUrl = "",
    ws_url: WsUrl = "",
    key_file: KeyFile = None,
    live_small: Annotated[
        bool, typer.Option("--live-small", help="Trade at the real venue, with real money, up to --most.")
    ] = False,
    most: Annotated[
        str, typer.Option(help="Have orders for at most so much of the quote asset at work at once.")
    ] = "50",
    report: Annotated[Path | None, typer.Option(help="Where the report goes; conformance-VENUE.md by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hold a venue to what its adapter believes, case by case, and write a report; run it before the first real order.

    Without a key only public data are read. With one, and another address than the venue's own (a sandbox, the local
    exchange), small orders are placed and taken back. At the real venue that takes --live-small and a typed consent.
    Ends with 28 when a case fails.
    """
    own = protocol_of(venue).urls
    is_real = not _are_for_trying(base_url or own.rest, ws_url or own.public)
    credentials = read_key(_read_file(key_file)) if key_file else None
    path = report or Path(f"conformance-{venue}.md")
    is_new = _may_write(path)
    cap = _cap(most) if credentials is not None and (live_small or not is_real) else Decimal(0)
    if live_small and credentials is None:
        raise InvalidValueError("--live-small trades, and there is no key.", remedy="Give one with --key-file.")
    if is_real and cap:
        _consent(f"spend up to {cap:f} {symbol.partition('/')[2]} at {venue}")

    results: list[Result] = []
    is_written = True

    def note(result: Result) -> None:
        results.append(result)
        if not as_json:
            out.print(_line(result), highlight=False, soft_wrap=True)

    async def work(public: VenueClient) -> None:
        configure_logging("critical", as_json=False)  # the report has what was answered
        _listed(public, symbol)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, _interrupt, asyncio.current_task())
        client = VenueClient(public.protocol, public.http, credentials=credentials)
        await run(Suite(client, symbol, cap), note)

    try:
        _with_client(venue, base_url, ws_url, work)
    except asyncio.CancelledError as error:
        raise KeyboardInterrupt from error
    finally:
        if results:
            is_written = _write(path, report_of(venue, base_url or own.rest, symbol, cap, results, utc_text(wall_ns())))
        elif is_new:
            path.unlink()
        if as_json:
            print_json([{**r._asdict(), "verdict": r.verdict.value, "evidence": list(r.evidence)} for r in results])
    failed = [r.name for r in results if r.verdict is Verdict.FAILED]
    where = f"in {path}" if is_written else "above"
    if not as_json:
        counts = ", ".join(f"{sum(r.verdict is v for r in results)} {v.value}" for v in Verdict)
        out.print(f"{counts}. The report is {where}", highlight=False, soft_wrap=True)
    if failed:
        raise ConformanceError(
            f"{venue.capitalize()} does otherwise than its adapter believes: {', '.join(failed)}.",
            remedy=f"Read the report {where}; do not trade there before it is understood.",
        )
    if not is_written:
        raise InvalidValueError(f"{path} could not be written.", remedy="Keep the report shown above, or run again.")


def _write(path: Path, report: str) -> bool:
    """Write a report; where that cannot be done, show it: what was done at the venue is in it and nowhere else."""
    try:
        path.write_text(report)
    except OSError as error:
        err.print(f"The report cannot be written to {path} ({error.strerror}). It follows.", soft_wrap=True)
        err.print(report, highlight=False, markup=False, soft_wrap=True)
        return False
    return True


def _is_for_trying(url: str) -> bool:
    """Return whether an address is a local exchange's or a venue's sandbox; every other one may be real money."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    if host == "localhost" or host in SANDBOXES:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _interrupt(task: asyncio.Task[Any] | None) -> None:
    """End a run; what it placed is taken back first, whatever else is pressed."""
    err.print("Interrupted: what was placed is taken back first, which may take some minutes.", soft_wrap=True)
    if task is not None and not task.cancelling():
        task.cancel()


def _are_for_trying(rest: str, socket: str) -> bool:
    """Return whether a venue is one for trying; its two addresses are both, or neither."""
    for url in (rest, socket):
        if not urlsplit(url).hostname or urlsplit(url).password:
            told = "An address has no host, or a password, which would stand in the report."
            raise InvalidValueError(told, remedy="Give one such as http://127.0.0.1:8100.")
    if _is_for_trying(rest) != _is_for_trying(socket):
        raise InvalidValueError(
            f"{rest} and {socket} are not of one venue: orders would go to both.",
            remedy="Give --base-url and --ws-url, or neither.",
        )
    return _is_for_trying(rest)


def _cap(text: str) -> Decimal:
    try:
        cap = Decimal(text)
    except ArithmeticError:
        cap = Decimal("nan")
    if not (cap.is_finite() and 0 <= cap <= MOST):
        raise InvalidValueError(f"--most is {text!r}.", remedy=f"Give an amount from 0 to {MOST}, such as 20.")
    return cap


def _may_write(path: Path) -> bool:
    """Find out before the run whether its report can be written, nothing of an older one is lost; return whether there
    was none.
    """
    is_new = not path.exists()
    try:
        path.open("a").close()
    except OSError as error:
        told = f"The report {path} cannot be written: {error.strerror}."
        raise InvalidValueError(told, remedy="Name a file in a folder that is there, with --report.") from error
    return is_new


def _line(result: Result) -> str:
    colour = {Verdict.PASSED: "green", Verdict.FAILED: "red"}.get(result.verdict, "dim")
    return f"[{colour}]{result.verdict.value:11}[/] {result.name:14} {escape(result.told)}"


def _consent(words: str) -> None:
    """Have a person type what is about to be done. Raises InvalidValueError when something else is typed."""
    err.print("This places real orders with real money. To go on, type:")
    err.print(f"[bold]{words}[/]", soft_wrap=True)
    if sys.stdin.readline().strip() != words:
        raise InvalidValueError("Nothing was done: that was not typed.", remedy=f"Type exactly: {words}")
