"""Settings that cannot be meant are told of, with what would be right (issue 11, finding 17)."""

import pytest

from aether.config import load_settings, refuse_mistakes
from aether.domain.errors import InvalidValueError

HERE = {"AETHER_DATA_DIR": "/tmp/none"}


def test_a_misspelt_name_in_the_environment_is_told_of() -> None:
    with pytest.raises(InvalidValueError, match="AETHER_TRUSTED_PROXYS in the environment is no setting") as refused:
        refuse_mistakes(load_settings({}, HERE), {**HERE, "AETHER_TRUSTED_PROXYS": "127.0.0.1"})
    assert "AETHER_TRUSTED_PROXIES" in refused.value.remedy
    load_settings({}, {**HERE, "AETHER_TRUSTED_PROXYS": "x"})  # for a stop, which works whatever else is wrong
    env = {**HERE, "AETHER_TEST_SHOTS": "1", "AETHER_ADMINS": "a@x.example"}
    settings = load_settings({}, env)
    refuse_mistakes(settings, env)
    assert settings.admins == ("a@x.example",)


def test_a_session_does_not_end_before_nobody_uses_it() -> None:
    with pytest.raises(InvalidValueError, match="session_idle_s is 3600, above session_max_s, which is 300"):
        refuse_mistakes(load_settings({"session_idle_s": 3_600, "session_max_s": 300}, HERE), HERE)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"port": 9_000, "stop_port": 9_000}, "port and stop_port are both 9000"),
        ({"stop_url": "https://desk.example.com:8444"}, "stop_port is not set"),
        (
            {"stop_url": "https://a.example/", "public_url": "https://a.example", "stop_port": 9_000},
            "stop_url and public_url are both",
        ),
        ({"public_url": "https://a.example/desk"}, "has a path"),
        ({"bao_url": "https://bao.example", "key_file": "/etc/aether/kek.json"}, "one of them holds the key"),
    ],
)
def test_addresses_and_keys_that_lead_nowhere_are_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidValueError, match=said):
        refuse_mistakes(load_settings(changed, HERE), HERE)
