"""The command line: what it says, and how it refuses; nothing changes when it refuses (issue: bad input)."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from aether.cli.console import PIPE_WIDTH
from aether.cli.main import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def aether(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command in this process; return exit code, output and errors."""
    for module in [m for name, m in sys.modules.items() if name.startswith("aether.cli.")]:
        for name, console in (("out", Console(width=PIPE_WIDTH)), ("err", Console(stderr=True, width=PIPE_WIDTH))):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, console)
    monkeypatch.setenv("AETHER_DATA_DIR", str(tmp_path / "data"))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["aether", *arguments])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


def backtest(data: Path | str, *options: str) -> list[str]:
    return ["backtest", "run", "--strategy", "ema_cross", "--data", str(data), "--symbol", "BTC/USD", *options]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--strategy", "momo"], 3, "There is no strategy 'momo'"),
        (["-p", "speed=1"], 2, "no parameter 'speed'"),
        (["-p", "fast=1"], 2, "does not take fast=1"),
        (["-p", "fast=99", "-p", "slow=50"], 2, "expected fast < slow"),
        (["-p", "fast"], 2, "--param is 'fast'"),
        (["--limit", "max_loss=3"], 2, "no limit 'max_loss'"),
        (["--limit", "max_open_orders=0"], 2, "A limit is out of bounds"),
        (["--cash", "-5"], 2, "--cash is -5"),
        (["--cash", "lots"], 2, "'lots' is not a decimal number"),
        (["--symbol", "BTCUSD"], 2, "'BTCUSD' is not a symbol"),
        (["--bar", "90"], 2, "--bar is 90 s, the recording has bars of 60 s"),
        (["--data", "dataset:none"], 3, "There is no data set 'none'"),
        (["--data", "/nowhere.csv"], 4, "There is no file /nowhere.csv"),
    ],
)
def test_a_wrong_back_test_is_refused(
    aether: Run, recording: Path, tmp_path: Path, options: list[str], code: int, message: str
) -> None:
    got, out, err = aether(*backtest(recording), *options)
    assert got == code, err
    assert message in err
    assert "What to do:" in err
    assert out == ""
    assert not (tmp_path / "data" / "backtests").exists()


def test_a_gap_stops_and_can_be_skipped(aether: Run, recording: Path, tmp_path: Path) -> None:
    lines = recording.read_text().splitlines()
    gapped = tmp_path / "gap.csv"
    gapped.write_text("\n".join(lines[:500] + lines[700:]))
    code, _, err = aether(*backtest(gapped))
    assert code == 5
    assert "gap 1 times" in err
    assert "--on-bad skip" in err
    code, out, err = aether(*backtest(gapped), "--on-bad", "skip")
    assert (code, "run id" in out) == (0, True)
    assert "Skipped: gap" in err


def test_twice_is_the_same_run_and_it_can_be_shown_again(aether: Run, recording: Path, tmp_path: Path) -> None:
    first, second = (json.loads(aether(*backtest(recording), "--json")[1]) for _ in range(2))
    assert first == second
    assert Path(first["tearsheet"]).read_text().startswith("<!doctype html>")
    code, out, _ = aether("backtest", "show", first["run_id"][:5])
    assert code == 0
    assert first["run_id"] in out
    code, _, err = aether("backtest", "show", "zz")
    assert (code, "Known runs" in err) == (3, True)


def test_data_is_checked_imported_listed_and_traded(aether: Run, recording: Path) -> None:
    code, out, _ = aether("data", "check", str(recording))
    assert (code, "Clean" in out) == (0, True)
    code, out, err = aether("data", "import", str(recording), "--symbol", "BTC/USD", "--name", "btc")
    assert code == 0, err
    assert "Imported 8,640 bars" in out
    assert "Already there" in aether("data", "import", str(recording), "--name", "btc")[1]
    listed = json.loads(aether("data", "list", "--json")[1])
    assert [(d["name"], d["rows"]) for d in listed] == [("btc", 8_640)]
    from_file = json.loads(aether(*backtest(recording), "--json")[1])
    from_database = json.loads(aether(*backtest("dataset:btc"), "--json")[1])
    assert from_database["run_id"] == from_file["run_id"]
    assert from_database["fills"] == from_file["fills"]


def test_a_check_of_broken_data_reports_and_fails(aether: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("time,price,size\n5,1,1\n4,1,1\n6,0,1\n")
    code, out, _ = aether("data", "check", str(path), "--json")
    assert code == 5
    assert {f["rule"] for f in json.loads(out)["findings"]} == {"out of time order", "price not positive"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["up", "--market", "moon"], 2, "--market is 'moon'"),
        (["up", "--market", "replay:/none.csv"], 4, "There is no file /none.csv"),
        (["up", "--host", "0.0.0.0"], 2, "cannot listen on 0.0.0.0"),
        (["link"], 3, "No platform runs"),
        (["orders", "--account", "nobody"], 3, "There is no account 'nobody'"),
        (["journal", "verify", "--account", "nobody"], 3, "There is no account 'nobody'"),
        (["kill", "engage", "--reason", "x"], 2, "--reason has 1 characters"),
    ],
)
def test_wrong_commands_are_refused(aether: Run, arguments: list[str], code: int, message: str) -> None:
    got, _, err = aether(*arguments)
    assert got == code
    assert message in err
    assert "What to do:" in err


def test_a_speed_that_is_none_is_refused(aether: Run, recording: Path) -> None:
    for speed in ("0", "-1", "fast"):
        code, _, err = aether("up", "--market", f"replay:{recording}", "--speed", speed)
        assert (code, f"--speed is '{speed}'" in err) == (2, True)


def test_an_unwritable_data_directory_is_told(aether: Run, recording: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    code, _, err = aether("up", "--data-dir", str(blocked / "data"))
    assert code == 6
    assert "cannot be written" in err


def test_a_folder_that_takes_no_recording_is_told(aether: Run, tmp_path: Path) -> None:
    """Found by a newcomer, as a traceback."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    code, _, err = aether("data", "record", "kraken", "BTC/USD", "--to", str(blocked / "recordings"))
    assert (code, "cannot be written to" in err) == (2, True)


def test_wrong_settings_are_told(aether: Run, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "aether.toml").write_text('port = "many"\n')
    code, _, err = aether("accounts")
    assert (code, "The settings are wrong" in err) == (2, True)
    (folder / "aether.toml").write_text("colour = 1\n")
    assert "unknown field `colour`" in aether("accounts")[2]


def test_worlds_are_lived_through_as_the_readme_says(aether: Run) -> None:
    """The command's own default was refused as out of its range: only a call with --jobs ran."""
    code, out, err = aether("simulate", "--seeds", "1", "--json")
    assert code == 0, err
    assert json.loads(out)["worlds"] == 1
    assert "COMMAND" not in aether("simulate", "--help")[1]


def test_strategies_and_doctor(aether: Run) -> None:
    assert {s["name"] for s in json.loads(aether("strategies", "--json")[1])} >= {"ema_cross", "mean_reversion"}
    shown = json.loads(aether("strategies", "ema_cross", "--json")[1])
    assert {p["name"] for p in shown["parameters"]} == {"fast", "slow", "min_gap_bps"}
    code, out, _ = aether("doctor", "--json")
    checks = {c["check"]: c["ok"] for c in json.loads(out)}
    assert code == 0, out
    assert checks["database"] is True
    assert aether("db", "migrate")[0] == 0
