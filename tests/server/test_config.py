"""Settings: accepted values, refused values, and the messages of refusals."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.app import App
from server.config import _READERS, LogFormat, LogLevel, Role, SettingError, Settings
from server.redis.link import RedisLink


def read(**environment: str) -> Settings:
    return Settings.from_environment(environment)


def refusal(name: str, value: str) -> str:
    with pytest.raises(SettingError) as caught:
        read(**{name: value})
    text = str(caught.value)
    assert text.startswith(f"{name}: ")
    assert "allowed is" in text
    assert "\n" not in text
    assert text.isprintable()
    assert caught.value.__suppress_context__
    return text


def test_defaults_are_the_contracts() -> None:
    settings_read = read()
    assert settings_read.redis_url == "redis://127.0.0.1:6379/0"
    assert settings_read.queue_name == "ocpp:requests"
    assert settings_read.key_prefix == "ocpp"
    assert (settings_read.http_host, settings_read.http_port) == ("127.0.0.1", 8081)
    assert settings_read.role is Role.ALL
    assert settings_read.max_message_bytes == 262_144
    assert settings_read.api_token == ""
    assert settings_read.require_boot is False
    assert settings_read.log_level is LogLevel.INFO
    assert settings_read.log_format is LogFormat.JSON
    assert settings_read.server_id
    assert ":" not in settings_read.server_id


def test_an_empty_value_counts_as_not_set() -> None:
    assert read(**dict.fromkeys(_READERS, "  ")).http_port == 8081


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("REDIS_URL", "redis://127.0.0.1", None),
        ("REDIS_URL", "redis://127.0.0.1:6380/15", None),
        ("REDIS_URL", "rediss://user:p%40ss@host.example:6380/0", None),
        ("REDIS_URL", "redis://[::1]:6379/0", None),
        ("REDIS_URL", "unix:///run/redis.sock", None),
        ("PING_INTERVAL", "90s", 90.0),
        ("HTTP_TIMEOUT", "10s", 10.0),
        ("HTTP_PORT", "0", 0),
        ("HTTP_PORT", "65535", 65535),
        ("ROLE", "Processor", Role.PROCESSOR),
        ("MAX_MESSAGE_BYTES", "1024", 1024),
        ("MAX_MESSAGE_BYTES", "256 KiB", 262_144),
        ("MAX_MESSAGE_BYTES", "1MiB", 1_048_576),
        ("MAX_MESSAGE_BYTES", "64kb", 64_000),
        ("MAX_MESSAGE_BYTES", "64MiB", 64 * 1024**2),
        ("QUEUE_SHARDS", "1", 1),
        ("QUEUE_SHARDS", "64", 64),
        ("LEASE_SECONDS", "1", 1.0),
        ("REDIS_TIMEOUT", "500s", 500.0),
        ("LEASE_SECONDS", "1500ms", 1.5),
        ("LEASE_SECONDS", "2.5s", 2.5),
        ("LEASE_SECONDS", "1m", 60.0),
        ("REQUIRE_BOOT", "TRUE", True),
        ("REQUIRE_BOOT", "no", False),
        ("LOG_LEVEL", "ERROR", LogLevel.ERROR),
        ("LOG_FORMAT", "console", LogFormat.CONSOLE),
        ("KEY_PREFIX", "tenant-7", "tenant-7"),
        ("SERVER_ID", "a" * 48, "a" * 48),
        ("API_TOKEN", "geheim", "geheim"),
    ],
)
def test_taken(name: str, value: str, expected: object) -> None:
    assert getattr(read(**{name: value}), name.lower()) == (value if expected is None else expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "localhost"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "http://localhost"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "redis:///0"),
        ("REDIS_URL", "redis://h:0"),
        ("REDIS_URL", "redis://h:99999"),
        ("REDIS_URL", "redis://h:x"),
        ("REDIS_URL", "redis://h/x"),
        ("REDIS_URL", "redis://h/1/2"),
        ("REDIS_URL", "redis://[::1"),
        ("REDIS_URL", "unix://"),
        # What the client library would make of these comes as an exception from its depths, or changes what the
        # server relies on (replies as bytes, RESP2, no retries).
        ("REDIS_URL", "redis://h/0?foo=bar"),
        ("REDIS_URL", "redis://h/0?socket_timeout=x"),
        ("REDIS_URL", "redis://h/0?decode_responses=true"),
        ("REDIS_URL", "redis://h/0?protocol=3"),
        ("HTTP_PORT", "-1"),
        ("HTTP_PORT", "65536"),
        ("HTTP_PORT", "80.0"),
        ("HTTP_PORT", "http"),
        ("HTTP_PORT", "9" * 5000),
        ("HTTP_HOST", "a b"),
        ("HTTP_HOST", "x" * 201),
        ("ROLE", "both"),
        ("MAX_MESSAGE_BYTES", "0"),
        ("MAX_MESSAGE_BYTES", "1023"),
        ("MAX_MESSAGE_BYTES", "65MiB"),
        ("MAX_MESSAGE_BYTES", "1 GiB"),
        ("MAX_MESSAGE_BYTES", "-1"),
        ("MAX_MESSAGE_BYTES", "1.5MiB"),
        ("MAX_MESSAGE_BYTES", "9" * 5000),
        ("QUEUE_SHARDS", "0"),
        ("QUEUE_SHARDS", "65"),
        ("QUEUE_SHARDS", "-8"),
        ("QUEUE_SHARDS", "8.0"),
        ("QUEUE_SHARDS", "many"),
        ("LEASE_SECONDS", "0"),
        ("REDIS_TIMEOUT", "0.5s"),
        ("LEASE_SECONDS", "999ms"),
        ("LEASE_SECONDS", "2h"),
        ("LEASE_SECONDS", "nan"),
        ("LEASE_SECONDS", "inf"),
        ("LEASE_SECONDS", "-3"),
        ("REQUIRE_BOOT", "maybe"),
        ("REQUIRE_BOOT", "2"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("KEY_PREFIX", "a:b"),
        ("KEY_PREFIX", "a b"),
        ("KEY_PREFIX", "x" * 49),
        ("QUEUE_NAME", "a b"),
        ("QUEUE_NAME", "ocpp:dead-letters"),
        ("QUEUE_NAME", "ocpp:transaction-id"),
        ("CORRELATION_TIMEOUT", "abc"),
        ("WS_PORT", "99999"),
        ("PING_INTERVAL", "0s"),
        ("HTTP_TIMEOUT", "0"),
        ("PING_INTERVAL", "2h"),
        ("WS_CREDENTIALS", "no/such/file"),
        ("TLS_CERTIFICATE", "no/such/file"),
        ("TLS_KEY", "/"),
        ("WS_HOST", "not a host"),
        ("HTTP_PORT", "８０８１"),  # noqa: RUF001 - digits, but not those of ASCII
        ("HTTP_PORT", "8_081"),
        ("QUEUE_NAME", "a\x00b"),
        ("SERVER_ID", "a:b"),
        ("SERVER_ID", "\udcff"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_refused_with_name_value_and_allowed_values(name: str, value: str) -> None:
    text = refusal(name, value)
    assert repr(value)[1:-1][:10] in text


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@localhost:6379",
        "redis://:hunter2@localhost:99999/0",
        "redis://:hun@hunter2@localhost:99999/0",
        "redis://user:hunter2/x@localhost:99999/0",
        ":hunter2@localhost:6379",
        "user:hunter2@localhost",
        "redis:/:hunter2@localhost",
        "//:hunter2@localhost",
        "redis://localhost:6379/x?password=hunter2",
        "unix://?password=hunter2",
        "localhost:6379:hunter2@",
    ],
)
def test_a_refused_url_does_not_show_its_password(url: str) -> None:
    assert "hunter2" not in refusal("REDIS_URL", url)


def test_a_refused_token_is_not_shown() -> None:
    assert "hunter2" not in refusal("API_TOKEN", "hunter2 hunter2")


@settings(max_examples=400)
@given(st.sampled_from(sorted(_READERS)), st.text(max_size=30).filter(str.strip))
def test_any_value_is_taken_or_refused_in_one_line(name: str, value: str) -> None:
    try:
        read(**{name: value})
    except SettingError:
        assert refusal(name, value)


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(
            ["redis", "rediss", "unix", "://", ":", "@", "/", "host", "6379", "[", "]", "::1", "?", "#", "%"]
        ),
        max_size=10,
    )
    .map("".join)
    .filter(str.strip)
)
def test_any_url_is_taken_or_refused_in_one_line(url: str) -> None:
    try:
        read(REDIS_URL=url)
    except SettingError:
        refusal("REDIS_URL", url)
    else:
        RedisLink(url)


@pytest.mark.parametrize("url", ["redis://h", "rediss://h", "redis://u:p@h:1/2", "unix:///run/redis.sock"])
def test_each_kind_of_url_can_be_used(url: str) -> None:
    """An accepted setting must not fail in the depths of the client library."""
    link = RedisLink(read(REDIS_URL=url).redis_url)
    assert link.client.connection_pool.make_connection()


@pytest.mark.anyio
async def test_every_connection_to_redis_has_the_time_that_is_set() -> None:
    """One that waits at Redis for a message has it on top; connecting may take half of it, and for stored state all."""
    made = App(read(REDIS_TIMEOUT="7s"))
    wires = made.link._wires
    assert {(wire._connection.socket_connect_timeout, wire._timeout) for wire in wires} == {(3.5, 7.0), (3.5, 8.0)}
    pools = [client.connection_pool for client in (made.link.client, made.store._client)]
    options = [pool.connection_kwargs for pool in pools]
    assert [(each["socket_connect_timeout"], each["socket_timeout"]) for each in options] == [(3.5, 7.0), (7.0, 7.0)]
    await made.store.close()
    await made.link.close()


def test_the_guide_has_every_setting_with_its_default() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "guide" / "server.md"
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert rows.keys() == _READERS.keys()
    usual = Settings()
    for name, default in rows.items():
        if name in {
            "SERVER_ID",
            "REDIS_CA",
            "API_TOKEN",
            "WS_CREDENTIALS",
            "TLS_CERTIFICATE",
            "TLS_KEY",
            "TLS_CLIENT_CA",
            "TLS_CLIENT_CRL",
            "ALLOWED_ORIGINS",
            "ALLOWED_HOSTS",
        }:
            assert default.startswith(("none", "host name"))
            assert not getattr(usual, name.lower())
        else:
            assert getattr(read(**{name: default.strip("`")}), name.lower()) == getattr(usual, name.lower())
