"""Drafts of corrections of a profile, from what was observed for a part that does not work."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import redis

from ocpp_resilience.errors import ResilienceError
from ocpp_resilience.http_client import Reply, pick
from ocpp_resilience.profile.target import Target
from ocpp_resilience.redis.connection import connect, open_client

Draft = dict[str, Any]
"""A part of a profile, as YAML would give it."""

DATABASES = range(16)
MOST_KEYS = 5_000
MOST_ENTRIES = 200
MONITORED_SECONDS = 1.5
HEALTH_PATHS = ("/health", "/healthz", "/api/health", "/actuator/health", "/status", "/api/status", "/ready", "/up")
POPS = {
    **dict.fromkeys(("BRPOP", "RPOP", "BRPOPLPUSH", "RPOPLPUSH"), "left"),
    **dict.fromkeys(("BLPOP", "LPOP"), "right"),
    **dict.fromkeys(("BLMOVE", "LMOVE", "LRANGE"), None),
}
"""Commands that take a message off a list, with the end at which it has to be pushed then."""
EVENT_NAMES = ("event", "msg", "message", "what", "evt", "type", "name")
CODE = re.compile(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b")


def merged(drafts: Iterable[Draft]) -> Draft:
    """Several drafts as one; the first to say something of a field counts, lists are joined."""
    whole: Draft = {}
    for draft in drafts:
        _merge(whole, draft)
    return whole


def _merge(into: Draft, draft: Mapping[str, Any]) -> None:
    for name, value in draft.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        elif isinstance(value, list) and isinstance(into.get(name), list):
            into[name] += [each for each in value if each not in into[name]]
        else:
            into.setdefault(name, json.loads(json.dumps(value)))


def of_answer(url: str, target: Target, message_id: str, charge_point: str) -> Draft:
    """Where the answer to a message is, if it is anywhere in Redis."""
    requests = target.redis.keys.requests
    for database, key, entries in _contents(url):
        if (database, key) == (target.redis.databases.queue, requests) or not any(
            message_id in each for each in entries
        ):
            continue
        name = key.replace(charge_point, "{charge_point_id}").replace(message_id, "{message_id}")
        draft: Draft = {"redis": {"keys": {"responses": name}}}
        if database != target.redis.databases.queue:
            draft["redis"]["databases"] = {"queue": database}
        return draft
    return {}


def of_reading(url: str, target: Target) -> Draft:
    """Which list or stream the system reads, as its commands say."""
    seen: Counter[tuple[int, str, str]] = Counter()
    client = open_client(url, socket_timeout=MONITORED_SECONDS)
    until = time.monotonic() + MONITORED_SECONDS
    try:
        with client.monitor() as monitor:
            while time.monotonic() < until:
                words = (found := monitor.next_command())["command"].split()
                command = words[0].upper()
                if command in POPS and len(words) > 1:
                    seen[int(found["db"]), words[1], command] += 1
                elif command in {"XREAD", "XREADGROUP"} and "STREAMS" in (upper := [word.upper() for word in words]):
                    seen[int(found["db"]), words[upper.index("STREAMS") + 1], command] += 1
    except redis.RedisError:
        pass  # nothing more came
    finally:
        client.close()
    keys, databases = target.redis.keys, target.redis.databases
    for (database, key, command), _ in seen.most_common():
        if (database, key) == (databases.queue, keys.requests):
            continue
        draft: Draft = {"redis": {}}
        if key != keys.requests:
            draft["redis"]["keys"] = {"requests": key}
        if database != databases.queue:
            draft["redis"]["databases"] = {"queue": database}
        if command.startswith("XREAD"):
            draft["queue"] = {"kind": "stream"}
        elif (push := POPS[command]) is not None and push != target.queue.push:
            draft["queue"] = {"push": push}
        return draft
    return {}


def of_health(target: Target, get: Callable[[str], Reply]) -> Draft:
    """The health result of a healthy system, and its field."""
    http = target.http
    for path in dict.fromkeys((http.health, *HEALTH_PATHS)):
        if path is None:
            continue
        with contextlib.suppress(ResilienceError):
            reply = get(path)
            document = reply.json() if reply.status == 200 else None
            if not isinstance(document, dict):
                continue
            draft: Draft = {} if path == http.health else {"health": path}
            said = pick(document, http.health_field)
            if said is None:
                name, said = next(_texts(document), (None, None))
                if name is None:
                    continue
                draft["health_field"] = name
            if said != http.healthy:
                draft["healthy"] = said
            return {"http": draft} if draft else {}
    return {}


def _texts(document: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in document.items():
        if isinstance(value, str):
            yield f"{above}{name}", value
        elif isinstance(value, dict):
            yield from _texts(value, f"{above}{name}.")


def of_record(target: Target, kind: str, raw: Mapping[str, Any], known: Mapping[str, Any]) -> Draft:
    """Under which names a record has values that are known.

    Args:
        target: the profile.
        kind: `charge_point`, `connector` or `transaction`.
        raw: the record as the system keeps it.
        known: our field names to values that the check has sent.
    """
    described = getattr(target.state, kind)
    flat = dict(_flat(raw))
    fields = {}
    for ours, value in known.items():
        theirs = described.fields.get(ours, ours)
        if theirs in flat:
            continue
        same = [name for name, found in flat.items() if found == value or str(found) == str(value)]
        if same:
            fields[ours] = same[0]
    return {"state": {kind: {"fields": fields}}} if fields else {}


def _flat(document: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def of_kept(url: str, target: Target, kind: str, ids: Mapping[str, str | int], marks: Iterable[str]) -> Draft:
    """Under which key a record is that has these texts in it."""
    texts = list(marks)
    for database, key, entries in _contents(url):
        if not any(all(text in each for text in texts) for each in entries):
            continue
        name = key
        for placeholder, value in ids.items():
            name = re.sub(rf"(?<!\w){re.escape(str(value))}(?!\w)", f"{{{placeholder}}}", name)
        # A key need not name the charge point of a transaction too.
        if f"{{{kind}_id}}" in name:
            draft: Draft = {"redis": {"keys": {kind: name}}}
            if database != target.redis.databases.state:
                draft["redis"]["databases"] = {"state": database}
            return draft
    return {}


def of_left_keys(left: Iterable[tuple[int, str]], charge_points: Iterable[str]) -> Draft:
    """Patterns for keys that were left behind, by their database."""
    points = sorted(charge_points, key=len, reverse=True)
    patterns: dict[int, dict[str, None]] = {}
    for database, key in left:
        name = key
        for point in points:
            if point in name:
                name = name.replace(point, "{charge_point_id}")
                break
        patterns.setdefault(database, {})[re.sub(r"\d{2,}", "*", name)] = None
    others = [{"database": database, "keys": list(names)} for database, names in sorted(patterns.items())]
    return {"redis": {"other": others}} if others else {}


def of_log(target: Target, outputs: Mapping[str, str]) -> Draft:
    """A pattern that recognises the record of an invalid message in the written lines.

    Args:
        target: the profile.
        outputs: stream to what was written there.
    """
    log: Draft = {}
    declared = target.log.stream.value
    stream = next((name for name in (declared, *outputs) if outputs.get(name, "").strip()), None)
    if stream is None:
        return {}
    if stream != declared:
        log["stream"] = stream
    lines = [line for line in outputs[stream].splitlines() if line.strip()]
    documents = [document for line in lines if isinstance(document := _object(line), dict)]
    if documents:
        last = next((each for each in documents if CODE.search(json.dumps(each))), documents[-1])
        field = target.log.fields.event
        if not isinstance(last.get(field), str):
            field = next((name for name in EVENT_NAMES if isinstance(last.get(name), str)), "")
            if not field:
                return {}
            log["fields"] = {"event": field}
        if last[field] != target.log.events.invalid_message:
            log["events"] = {"invalid_message": last[field]}
        if target.log.format != "json":
            log["format"] = "json"
    else:
        line = next((each for each in lines if CODE.search(each)), lines[0])
        begin = re.search(r"\b(?:WARN(?:ING)?|ERROR|INFO|E|W)\b", line)
        text = line[begin.start() :] if begin else line
        code = CODE.search(text)
        before, after = (text[: code.start()], text[code.end() :]) if code else (text, "")
        pattern = re.escape(before).replace("\\ ", " ") + (r"(?P<code>\w+)" if code else "")
        rest = r".*?(?P<reason>\S.*)" if after.strip() else ""
        log |= {"format": "text", "records": [{"event": "invalid_message", "pattern": pattern + rest}]}
    return {"log": log} if log else {}


def _object(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def all_keys(url: str) -> set[tuple[int, str]]:
    """The names of all keys, each with its database."""
    found: set[tuple[int, str]] = set()
    for database in DATABASES:
        client = connect(url, database=database)
        try:
            found |= {(database, key.decode("utf-8", "replace")) for key in client.scan_iter(count=1000)}
        except redis.RedisError:
            break  # there are no more databases
        finally:
            client.close()
    return found


def _contents(url: str) -> Iterator[tuple[int, str, list[str]]]:
    """Every key of every database with its value, if that is a short text."""
    for database in DATABASES:
        client = connect(url, database=database)
        try:
            for number, key in enumerate(client.scan_iter(count=1000)):
                if number >= MOST_KEYS:
                    break
                with contextlib.suppress(redis.RedisError):
                    yield database, key.decode("utf-8", "replace"), _held(client, key)
        except redis.RedisError:
            return  # there are no more databases
        finally:
            client.close()


def _held(client: Any, key: bytes) -> list[str]:
    kind = client.type(key)
    raw: Any
    if kind == b"list":
        raw = client.lrange(key, -MOST_ENTRIES, -1)
    elif kind == b"stream":
        raw = [repr(fields) for _, fields in client.xrevrange(key, count=MOST_ENTRIES)]
    elif kind == b"string":
        raw = [client.get(key)]
    elif kind == b"hash":
        raw = [
            json.dumps(
                {
                    name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
                    for name, value in client.hgetall(key).items()
                }
            )
        ]
    else:
        raw = []
    return [each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in raw if each]
