"""What `aether kill engage` leaves and says when the disk has no room (R4; found by attack)."""

import errno
from pathlib import Path

import pytest

from aether.cli import kill, paperwork
from aether.config import Settings
from aether.domain.identifiers import AccountId
from aether.node import pulls
from aether.node.pulls import Pull


def test_a_full_disk_stops_and_the_database_gets_who_why_and_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It said that nothing was stopped, and nothing was; an empty file would have done."""
    (tmp_path / "postgresql").mkdir()
    recorded: list[Pull] = []

    def no_room(_file: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def record(_settings: Settings, _account: str, pull: Pull) -> list[AccountId]:
        recorded.append(pull)
        return [AccountId("company")]

    monkeypatch.setattr(pulls, "_put", no_room)
    monkeypatch.setattr(paperwork, "record", record)
    asked = Pull(reason="prices look wrong", actor="ada", flatten=True)
    kill.engage(Settings(data_dir=tmp_path), "all", asked)
    assert recorded == [asked]
    assert (tmp_path / "brake" / "all.brake").read_bytes() == b""
    said = " ".join(capsys.readouterr().out.split())
    assert "Recorded for company." in said
    assert "nothing says yet that everything is to be sold" in said
