"""Market data from files: every shape users bring, read exactly; what is broken is told (L1)."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from aether.domain.errors import DataFormatError, DataQualityError, InvalidValueError
from aether.market.dataset import Dataset, DatasetKind
from aether.market.files import read_dataset
from aether.market.options import OnBad, ReadOptions

T0 = 1_640_995_200
BARS = [(T0 + 60 * n, f"{100 + n}.5", f"{101 + n}.75", f"{99 + n}.25", f"{100 + n}", f"{n}.001") for n in range(5)]
TRADES = [(T0 + n, f"0.00{141342 + n}", f"{n + 1}.5") for n in range(5)]


def read(path: Path, symbol: str = "BTC/USD", **options: Any) -> Dataset:
    return read_dataset(path, ReadOptions(symbol, **options))[0]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def lines(rows: Sequence[tuple[object, ...]], header: str = "", factor: int = 1) -> str:
    body = "\n".join(",".join(str(v) for v in (row[0] * factor, *row[1:])) for row in rows)  # type: ignore[operator]
    return f"{header}\n{body}\n" if header else body + "\n"


HEADER = "timestamp,open,high,low,close,volume"


def bar_files(folder: Path) -> dict[str, Path]:
    frame = pl.DataFrame(
        {
            "timestamp": [r[0] * 1_000 for r in BARS],
            **{n: [float(r[i]) for r in BARS] for i, n in enumerate(HEADER.split(",")[1:], 1)},
        }
    )
    with_dates = frame.with_columns(pl.from_epoch("timestamp", time_unit="ms"))
    frame.write_parquet(folder / "bars.parquet")
    with_dates.write_ipc(folder / "bars.feather")
    iso = [(f"2022-01-01T00:{n:02}:00Z", *r[1:]) for n, r in enumerate(BARS)]
    naive = [(f"2022-01-01 00:{n:02}:00.000000", *r[1:]) for n, r in enumerate(BARS)]
    coinbase = [[r[0], float(r[3]), float(r[2]), float(r[1]), float(r[4]), float(r[5])] for r in reversed(BARS)]
    klines = [(r[0] * 1_000, *r[1:], r[0] * 1_000 + 59_999, "1", 2, "3", "4", "0") for r in BARS]
    zipped = folder / "bars.csv.gz"
    zipped.write_bytes(gzip.compress(lines(BARS, HEADER).encode()))
    return {
        "header, seconds": write(folder / "s.csv", lines(BARS, HEADER)),
        "header, ms": write(folder / "ms.csv", lines(BARS, HEADER, 1_000)),
        "header, us": write(folder / "us.csv", lines(BARS, HEADER, 1_000_000)),
        "header, ns": write(folder / "ns.csv", lines(BARS, HEADER, 1_000_000_000)),
        "header, ISO with zone": write(
            folder / "iso.csv", HEADER + "\n" + "\n".join(",".join(map(str, r)) for r in iso)
        ),
        "header, ISO naive": write(folder / "n.csv", HEADER + "\n" + "\n".join(",".join(map(str, r)) for r in naive)),
        "semicolons": write(folder / "semi.csv", lines(BARS, HEADER).replace(",", ";")),
        "gzip": zipped,
        "Kraken OHLCVT": write(folder / "k.csv", lines([(*r, 7) for r in BARS])),
        "Binance klines": write(folder / "b.csv", lines(klines)),
        "ccxt OHLCV": write(folder / "c.json", json.dumps([[r[0] * 1_000, *(float(v) for v in r[1:])] for r in BARS])),
        "Coinbase candles": write(folder / "cb.json", json.dumps(coinbase)),
        "JSON objects": write(
            folder / "o.json", json.dumps([dict(zip(HEADER.split(","), r, strict=True)) for r in BARS])
        ),
        "Parquet": folder / "bars.parquet",
        "Feather": folder / "bars.feather",
    }


def test_every_shape_of_bars_reads_as_the_same_data(tmp_path: Path) -> None:
    found = {name: read(path) for name, path in bar_files(tmp_path).items()}
    digests = {name: d.digest for name, d in found.items()}
    assert len(set(digests.values())) == 1, digests
    one = found["header, seconds"]
    assert (one.kind, one.interval_s, one.price_decimals) == (DatasetKind.BARS, 60, 2)
    assert one.ts_ns[0] == (T0 + 60) * 10**9, "a bar is stamped with its end"
    assert one.columns["high"].tolist() == [10175, 10275, 10375, 10475, 10575]
    assert one.columns["volume"].tolist() == [100_000 + n * 10**8 for n in range(5)]


def trade_files(folder: Path) -> dict[str, Path]:
    binance = [(n, p, s, "1", t * 1_000, "true" if n % 2 else "false", "true") for n, (t, p, s) in enumerate(TRADES)]
    aggregate = [(n, p, s, 1, 2, t * 1_000, "True" if n % 2 else "False", "True") for n, (t, p, s) in enumerate(TRADES)]
    sides = ["buy", "sell", "buy", "sell", "buy"]
    rows = [
        [t * 1_000, str(n), None, side, float(p), float(s), 1.0]
        for n, ((t, p, s), side) in enumerate(zip(TRADES, sides, strict=True))
    ]
    text = "timestamp,price,amount,side\n" + "".join(
        f"{t},{p},{s},{side}\n" for (t, p, s), side in zip(TRADES, sides, strict=True)
    )
    return {
        "header": write(folder / "t.csv", text),
        "Binance trades": write(folder / "bt.csv", "\n".join(",".join(map(str, r)) for r in binance)),
        "Binance aggregate trades": write(folder / "ba.csv", "\n".join(",".join(map(str, r)) for r in aggregate)),
        "rows of id, side, price, amount": write(folder / "r.json", json.dumps(rows)),
    }


def test_every_shape_of_trades_reads_as_the_same_data(tmp_path: Path) -> None:
    found = {name: read(path, "XRP/ETH") for name, path in trade_files(tmp_path).items()}
    assert len({d.digest for d in found.values()}) == 1
    one = found["header"]
    assert (one.kind, one.price_decimals) == (DatasetKind.TRADES, 8)
    assert one.columns["side"].tolist() == [1, -1, 1, -1, 1]


def test_kraken_time_and_sales(tmp_path: Path) -> None:
    data = read(write(tmp_path / "k.csv", "1640995200.1234,46319.5,0.1\n1640995201.5,46320.0,0.25\n"))
    assert data.ts_ns.tolist() == [1_640_995_200_123_400_000, 1_640_995_201_500_000_000]
    assert data.columns["side"].tolist() == [0, 0]


def test_bars_stamped_with_their_close_are_taken_as_such(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", lines(BARS, HEADER))
    assert read(path, timestamps="close").ts_ns[0] == T0 * 10**9


def test_volume_in_quote_is_brought_to_base(tmp_path: Path) -> None:
    rows = [(T0 + 60 * n, "100", "100", "100", "100", "5000") for n in range(3)]
    data = read(write(tmp_path / "s.csv", lines(rows, HEADER)), volume_in="quote")
    assert data.columns["volume"].tolist() == [50 * 10**8] * 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("a,b,c\n1,2,3\n", "has the columns a, b, c"),
        ("1,2\n3,4\n", "2 columns without a header"),
        ("[]", "cannot be read"),
        ("{broken", "cannot be read"),
        (HEADER + "\nyesterday,1,1,1,1,1\nyesterday,1,1,1,1,1\n", "timestamp 'yesterday' in row 1"),
        (HEADER + f"\n{T0},1,1,1,1,1\n{T0 + 60},x,1,1,1,1\n", "'x' as open in row 2"),
        (HEADER + f"\n{T0},1,1,1,1,1\n", "1 row"),
        (HEADER + f"\n{T0},1,1,1,1,1\n{T0},1,1,1,1,1\n", "same time in every row"),
        ("\0\1\2binary", "is binary"),
        ("PAR1 but not really", "cannot be read"),
    ],
)
def test_what_is_no_market_data_is_told(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataFormatError, match=message) as caught:
        read(write(tmp_path / "x.csv", content))
    assert caught.value.remedy


def test_a_missing_file_and_wrong_options_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="There is no file"):
        read(tmp_path / "none.csv")
    path = write(tmp_path / "s.csv", lines(BARS, HEADER))
    for options, message in (
        ({"symbol": "BTCUSD"}, "'BTCUSD' is not a symbol"),
        ({"timestamps": "middle"}, "--timestamps is 'middle'"),
        ({"volume_in": "lots"}, "--volume-in is 'lots'"),
    ):
        with pytest.raises(InvalidValueError, match=message):
            read(path, **options)


Row = tuple[object, ...]


def broken(n: int, row: Row) -> list[Row]:
    rows: list[Row] = [(T0 + 60 * i, "100", "102", "99", "101", "1") for i in range(6)]
    rows[n] = row
    return rows


@pytest.mark.parametrize(
    ("rule", "rows"),
    [
        ("price not positive", broken(2, (T0 + 120, "0", "102", "0", "101", "1"))),
        ("price not positive", broken(2, (T0 + 120, "-5", "102", "-6", "101", "1"))),
        ("high below low", broken(2, (T0 + 120, "100", "98", "99", "99", "1"))),
        ("open or close outside high and low", broken(2, (T0 + 120, "103", "102", "99", "101", "1"))),
        ("negative volume", broken(2, (T0 + 120, "100", "102", "99", "101", "-1"))),
        ("out of time order", broken(3, (T0 + 30, "100", "102", "99", "101", "1"))),
        ("duplicate time", broken(3, (T0 + 120, "100", "102", "99", "101", "1"))),
    ],
)
def test_each_rule_stops_or_skips(tmp_path: Path, rule: str, rows: list[Row]) -> None:
    path = write(tmp_path / "x.csv", lines(rows, HEADER))
    with pytest.raises(DataQualityError, match=rule) as caught:
        read(path)
    assert "--on-bad skip" in caught.value.remedy
    dataset, report = read_dataset(path, ReadOptions("BTC/USD", on_bad=OnBad.SKIP))
    assert rule in [f.rule for f in report.findings]
    assert (report.rows, report.kept, len(dataset)) == (6, 5, 5)
    assert (dataset.ts_ns[1:] > dataset.ts_ns[:-1]).all()


def test_gaps_are_found_and_told_with_place_and_length(tmp_path: Path) -> None:
    rows: list[Row] = [(T0 + 60 * n, "1", "1", "1", "1", "1") for n in (0, 1, 2, 7, 8)]
    path = write(tmp_path / "x.csv", lines(rows, HEADER))
    with pytest.raises(DataQualityError, match="gap 1 times, first at 2022-01-01 00:03:00 for 300 s"):
        read(path)
    assert len(read(path, on_bad=OnBad.SKIP)) == 5


def test_trades_have_gaps_only_on_request_and_no_id_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", f"id,time,price,size\n1,{T0},5,1\n2,{T0 + 900},5,1\n2,{T0 + 901},5,1\n")
    with pytest.raises(DataQualityError, match="duplicate trade id 1 times"):
        read(path)
    assert len(read(path, on_bad=OnBad.SKIP)) == 2
    with pytest.raises(DataQualityError, match="gap 1 times"):
        read(write(tmp_path / "g.csv", f"time,price,size\n{T0},5,1\n{T0 + 900},5,1\n"), max_gap_s=600)


def test_nothing_usable_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", f"time,price,size\n{T0},0,1\n{T0 + 1},0,1\n")
    with pytest.raises(DataQualityError, match="no usable row"):
        read(path, on_bad=OnBad.SKIP)
