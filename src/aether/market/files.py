"""Market data from files: CSV with and without header, JSON, Parquet and Feather, gzipped or not.

A file is first read into text columns, so that a price of 46319.5 never passes through a binary float, then recognised
by its header or, without one, by the shape of its rows (`HEADERLESS`), then scaled to exact integers.
"""

import gzip
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from aether.domain.errors import DataFormatError, InvalidValueError
from aether.domain.identifiers import Symbol
from aether.domain.instruments import split_symbol
from aether.domain.scaled import AMOUNT_DECIMALS
from aether.market.dataset import Column, Dataset, DatasetKind
from aether.market.options import ReadOptions
from aether.market.quality import QualityReport, check

MAX_PRICE_DECIMALS = 10
MIN_PRICE_DECIMALS = 2
MAX_FILE_BYTES = 4 << 30
FORMATS = "CSV, JSON, Parquet or Feather, gzipped or not"

ALIASES: dict[str, tuple[str, ...]] = {
    "ts": ("timestamp", "time", "date", "datetime", "unix", "ts", "open_time", "open time", "start", "received_time"),
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c"),
    "volume": ("volume", "vol", "v", "base_volume"),
    "price": ("price", "p", "rate"),
    "size": ("size", "amount", "quantity", "qty", "q"),
    "side": ("side", "taker_side", "aggressor"),
    "is_buyer_maker": ("is_buyer_maker", "isbuyermaker"),
    "id": ("id", "trade_id", "tid", "agg_trade_id"),
}
"""Column names that are understood, lower case."""


class Shape(NamedTuple):
    """How rows without a header look: the meaning of each column, and where bars carry their time."""

    name: str
    columns: tuple[str, ...]


HEADERLESS: tuple[Shape, ...] = (
    Shape("Binance klines", ("ts", "open", "high", "low", "close", "volume", *("",) * 6)),
    Shape("Binance aggregate trades", ("id", "price", "size", "", "", "ts", "is_buyer_maker", "")),
    Shape("Binance trades", ("id", "price", "size", "", "ts", "is_buyer_maker", "")),
    Shape("trade rows of id, side, price and amount", ("ts", "id", "", "side", "price", "size", "")),
    Shape("Kraken OHLCVT", ("ts", "open", "high", "low", "close", "volume", "")),
    Shape("Coinbase candles", ("ts", "low", "high", "open", "close", "volume")),
    Shape("OHLCV rows", ("ts", "open", "high", "low", "close", "volume")),
    Shape("Kraken time and sales", ("ts", "price", "size")),
)
"""Known rows without a header, told apart by `_matches`; the first that matches is taken."""

_TRUTH = ("true", "false")
_SIDES = ("buy", "sell", "b", "s", "bid", "ask")


def read_dataset(path: Path, options: ReadOptions) -> tuple[Dataset, QualityReport]:
    """Return the data of a file and the report on its quality.

    Raises:
        InvalidValueError: when an option is not understood.
        DataFormatError: when the file is missing, empty or of no known shape.
        DataQualityError: when rows break a rule and `on_bad` is to stop.
    """
    split_symbol(options.symbol)
    for name, value, allowed in (
        ("timestamps", options.timestamps, ("open", "close")),
        ("volume-in", options.volume_in, ("base", "quote")),
    ):
        if value not in allowed:
            raise InvalidValueError(f"--{name} is {value!r}.", remedy=f"Choose {' or '.join(allowed)}.")
    frame = _named(_read_text(path), path)
    ts_ns = _timestamps(frame["ts"], path)
    if {"open", "high", "low", "close"} <= set(frame.columns):
        dataset = _bars(frame, ts_ns, options, path)
    else:
        dataset = _trades(frame, ts_ns, options, path)
    ids = frame["id"] if "id" in frame.columns and dataset.kind is DatasetKind.TRADES else None
    return check(dataset, on_bad=options.on_bad, max_gap_s=options.max_gap_s, ids=ids)


def _read_text(path: Path) -> pl.DataFrame:
    """Return the file's columns as text; without a header they are called column_0, column_1, ..."""
    if not path.is_file():
        raise DataFormatError(f"There is no file {path}.", remedy="Check the path.")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DataFormatError(f"{path} is larger than {MAX_FILE_BYTES >> 30} GiB.", remedy="Split it by time.")
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
        if not raw.strip():
            raise DataFormatError(f"{path} is empty.", remedy=f"Give a file of {FORMATS}.")
        if raw[:4] == b"PAR1":
            return _all_text(pl.read_parquet(io.BytesIO(raw)))
        if raw[:6] == b"ARROW1":
            return _all_text(pl.read_ipc(io.BytesIO(raw)))
        if raw.lstrip()[:1] in b"[{":
            return _json_text(raw)
        if b"\0" in raw[:4096]:
            raise DataFormatError(f"{path} is binary and neither Parquet nor Feather.", remedy=f"Give {FORMATS}.")
        return _csv_text(raw)
    except (pl.exceptions.PolarsError, msgspec.DecodeError, EOFError, OSError, UnicodeDecodeError) as error:
        reason = str(error).split("\n", 1)[0]
        raise DataFormatError(f"{path} cannot be read: {reason}.", remedy=f"Give a file of {FORMATS}.") from error


def _all_text(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(
        pl.col(name).dt.epoch("ns").cast(pl.String) if dtype.is_temporal() else pl.col(name).cast(pl.String)
        for name, dtype in frame.schema.items()
    )


def _csv_text(raw: bytes) -> pl.DataFrame:
    first = raw.lstrip().split(b"\n", 1)[0].decode()
    cells = [cell.strip() for cell in re.split(r"[,;\t]", first)]
    separator = next((s for s in ",;\t" if s in first), ",")
    has_header = not any(_is_number(cell) for cell in cells)
    return pl.read_csv(raw, has_header=has_header, infer_schema=False, separator=separator)


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"-?\d+(\.\d+)?([eE]-?\d+)?", text))


def _json_text(raw: bytes) -> pl.DataFrame:
    rows = msgspec.json.Decoder(float_hook=str).decode(raw)
    if isinstance(rows, dict):
        rows = next((v for v in rows.values() if isinstance(v, list)), [])
    if not rows or not all(type(row) is type(rows[0]) for row in rows):
        raise msgspec.DecodeError("expected a list of rows, all arrays or all objects")
    if isinstance(rows[0], dict):
        names = list(rows[0])
        columns = {name: [_cell(row.get(name)) for row in rows] for name in names}
        return pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String))
    if not isinstance(rows[0], list) or len({len(row) for row in rows}) != 1:
        raise msgspec.DecodeError("expected rows of equal length")
    names = [f"column_{n}" for n in range(len(rows[0]))]
    columns = {name: [_cell(row[n]) for row in rows] for n, name in enumerate(names)}
    return pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String))


def _cell(value: object) -> str | None:
    return None if value is None else str(value)


def _named(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Return the frame with Aether's column names, by header or by shape."""
    if frame.columns[0] == "column_0":
        for shape in HEADERLESS:
            if _matches(shape, frame):
                keep = {f"column_{n}": name for n, name in enumerate(shape.columns) if name}
                return frame.select(list(keep)).rename(keep)
        raise DataFormatError(
            f"{path} has {frame.width} columns without a header, of no known shape.",
            remedy="Known are: " + "; ".join(s.name for s in HEADERLESS) + ". Or add a header line.",
        )
    meanings = {alias: name for name, aliases in ALIASES.items() for alias in aliases}
    renames: dict[str, str] = {}
    for column in frame.columns:
        name = meanings.get(column.strip().lower())
        if name and name not in renames.values():
            renames[column] = name
    found = set(renames.values())
    is_bars = {"ts", "open", "high", "low", "close"} <= found
    is_trades = {"ts", "price"} <= found and bool({"size", "volume"} & found)
    if not (is_bars or is_trades):
        raise DataFormatError(
            f"{path} has the columns {', '.join(frame.columns)}.",
            remedy="Bars need timestamp, open, high, low, close and volume; trades need timestamp, price and size.",
        )
    frame = frame.select(list(renames)).rename(renames)
    return frame if is_bars or "size" in found else frame.rename({"volume": "size"})


def _matches(shape: Shape, frame: pl.DataFrame) -> bool:
    if len(shape.columns) != frame.width:
        return False
    sample = frame.head(200)
    for n, name in enumerate(shape.columns):
        values = [v.lower() for v in sample[f"column_{n}"].drop_nulls().to_list()]
        if name == "side" and not all(v in _SIDES for v in values):
            return False
        if name == "is_buyer_maker" and not all(v in _TRUTH for v in values):
            return False
        if name in ("price", "open", "size", "volume") and not all(_is_number(v) for v in values):
            return False
    if shape.name == "Coinbase candles":
        low, high, open_, close = (sample[f"column_{n}"].cast(pl.Float64) for n in (1, 2, 3, 4))
        others = pl.DataFrame([open_, close])
        return bool(
            (low <= others.min_horizontal()).all() and (high >= others.max_horizontal()).all() and (high > low).any()
        )
    return True


def _timestamps(column: pl.Series, path: Path) -> Column:
    """Return nanoseconds since 1970 UTC from epochs in s, ms, us or ns, or from ISO text."""
    text = column.fill_null("")
    first = text[0]
    if re.fullmatch(r"\d+(\.\d+)?", first):
        size = len(first.split(".")[0])
        decimals = 9 if size <= 11 else 6 if size <= 14 else 3 if size <= 17 else 0
        return _scaled(text, decimals, "timestamp", path)
    clean = text.str.replace("Z$", "+00:00").str.replace("T", " ", literal=True)
    has_zone = bool(re.search(r"[+-]\d\d:?\d\d$", clean[0]))
    try:
        parsed = clean.str.to_datetime(
            "%Y-%m-%d %H:%M:%S%.f%:z" if has_zone else None,
            time_unit="ns",
            time_zone="UTC" if has_zone else None,
            strict=False,
        )
    except pl.exceptions.ComputeError:
        parsed = pl.Series([None] * len(text), dtype=pl.Datetime("ns"))
    bad = parsed.is_null().arg_true()
    if len(bad):
        raise DataFormatError(
            f"{path} has the timestamp {text[int(bad[0])]!r} in row {int(bad[0]) + 1}.",
            remedy="Use seconds, milliseconds, microseconds or nanoseconds since 1970, or ISO 8601.",
        )
    return parsed.dt.epoch("ns").to_numpy().astype(np.int64)


def _decimals(columns: Sequence[pl.Series]) -> int:
    """Return the most decimals that any value is written with, trailing zeros left out."""
    most = 0
    for column in columns:
        mantissa = column.str.extract(r"^-?\d+\.(\d*?)0*(?:[eE]|$)", 1).str.len_chars().fill_null(0)
        exponent = column.str.extract(r"[eE]([+-]?\d+)$", 1).cast(pl.Int64).fill_null(0)
        most = max(most, *(mantissa.cast(pl.Int64) - exponent).unique().to_list())
    return most


def _scaled(column: pl.Series, decimals: int, name: str, path: Path) -> Column:
    """Return text numbers as integers scaled by 10^`decimals`; digits beyond them are rounded."""
    values = column.cast(pl.Decimal(38, decimals), strict=False)
    bad = values.is_null().arg_true()
    if len(bad):
        raise DataFormatError(
            f"{path} has {column[int(bad[0])]!r} as {name} in row {int(bad[0]) + 1}.",
            remedy="Every row needs a plain decimal number there.",
        )
    return values.to_physical().cast(pl.Int64).to_numpy().astype(np.int64)


def _bars(frame: pl.DataFrame, ts_ns: Column, options: ReadOptions, path: Path) -> Dataset:
    names = ("open", "high", "low", "close")
    if len(ts_ns) < 2:
        raise DataFormatError(f"{path} has {len(ts_ns)} row.", remedy="Give at least two bars.")
    steps = np.diff(ts_ns)
    if (steps < 0).all():
        frame, ts_ns = frame.reverse(), ts_ns[::-1].copy()
        steps = np.diff(ts_ns)
    positive = steps[steps > 0]
    if len(positive) == 0:
        raise DataFormatError(f"{path} has the same time in every row.", remedy="Give bars in time order.")
    values, counts = np.unique(positive, return_counts=True)
    interval_ns = int(values[counts.argmax()])
    if interval_ns % 1_000_000_000:
        raise DataFormatError(f"{path} has bars of {interval_ns} ns.", remedy="Bars are whole seconds long.")
    if options.timestamps == "open":
        ts_ns = ts_ns + interval_ns
    price_decimals = min(max(_decimals([frame[n] for n in names]), MIN_PRICE_DECIMALS), MAX_PRICE_DECIMALS)
    columns = {n: _scaled(frame[n], price_decimals, n, path) for n in names}
    volume = frame["volume"] if "volume" in frame.columns else pl.Series(["0"] * len(frame))
    columns["volume"] = _scaled(volume.fill_null("0"), AMOUNT_DECIMALS, "volume", path)
    if options.volume_in == "quote":
        close = columns["close"].astype(np.float64) / 10**price_decimals
        columns["volume"] = np.round(columns["volume"] / np.where(close > 0, close, 1)).astype(np.int64)
    return Dataset(
        kind=DatasetKind.BARS,
        symbol=Symbol(options.symbol),
        price_decimals=price_decimals,
        size_decimals=AMOUNT_DECIMALS,
        interval_s=interval_ns // 1_000_000_000,
        ts_ns=ts_ns,
        columns=columns,
        source=path.name,
    )


def _trades(frame: pl.DataFrame, ts_ns: Column, options: ReadOptions, path: Path) -> Dataset:
    price_decimals = min(max(_decimals([frame["price"]]), MIN_PRICE_DECIMALS), MAX_PRICE_DECIMALS)
    size = _scaled(frame["size"], AMOUNT_DECIMALS, "size", path)
    side = np.zeros(len(size), dtype=np.int64)
    if "side" in frame.columns:
        letters = frame["side"].str.to_lowercase().str.slice(0, 1).fill_null("")
        side = (letters.is_in(["b"]).cast(pl.Int64) - letters.is_in(["s", "a"]).cast(pl.Int64)).to_numpy()
        if (frame["side"].str.to_lowercase() == "bid").any():
            raise DataFormatError(f"{path} has sides bid and ask.", remedy="Write buy or sell, the aggressor's side.")
    elif "is_buyer_maker" in frame.columns:
        side = np.where((frame["is_buyer_maker"].str.to_lowercase() == "true").to_numpy(), -1, 1).astype(np.int64)
    return Dataset(
        kind=DatasetKind.TRADES,
        symbol=Symbol(options.symbol),
        price_decimals=price_decimals,
        size_decimals=AMOUNT_DECIMALS,
        interval_s=0,
        ts_ns=ts_ns,
        columns={
            "price": _scaled(frame["price"], price_decimals, "price", path),
            "size": size,
            "side": side.astype(np.int64),
        },
        source=path.name,
    )
