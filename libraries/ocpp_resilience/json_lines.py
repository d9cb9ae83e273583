"""JSON lines as evidence: appended one by one while a run goes on, and read although the last one may be cut."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from ocpp_resilience.errors import ResilienceError

T = TypeVar("T")


def append(path: Path, items: Iterable[object]) -> None:
    """Append one line for each item, all of them or none.

    An unfinished line of an earlier writer is ended first, so that it spoils only itself. When the disk is full, the
    file is cut back to its old size.

    Raises:
        ResilienceError: the file cannot be written; the message names it and the reason.
    """
    data = b"".join(msgspec.json.encode(each) + b"\n" for each in items)
    if not data:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    data = b"\n" + data
            try:
                written = file.write(data)
                if written != len(data):
                    raise OSError(28, os.strerror(28))  # ENOSPC: the disk took a part of it
            except OSError:
                file.truncate(size)
                raise
    except OSError as error:
        raise ResilienceError(f"The evidence cannot be written to {path}: {error.strerror}.") from error


def keep_newest(path: Path, most: int) -> None:
    """Where a file has more bytes than this, keep the newest lines of it, half as many bytes.

    Raises:
        ResilienceError: the file cannot be written.
    """
    try:
        size = path.stat().st_size
        if size <= most:
            return
        with path.open("rb") as file:
            file.seek(size - most // 2 - 1)
            kept = file.read()
    except OSError as error:
        raise ResilienceError(f"{path} cannot be read: {error.strerror}.") from error
    replace_file(path, kept.partition(b"\n")[2])


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole: a reader never sees half of one, and nothing is left of one that could not be written.

    Raises:
        ResilienceError: it cannot be written; the message names it and the reason.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            new.write_bytes(data)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise ResilienceError(f"{path} cannot be written: {error.strerror}.") from error


def read(path: Path, kind: type[T], problems: list[str], *, check: Callable[[T], str | None] | None = None) -> list[T]:
    """The items of a file; lines that cannot be used are set aside, and said in `problems`.

    Args:
        path: a file; one that is not there has no items.
        kind: the type of an item.
        problems: gets one sentence for all the lines that cannot be used.
        check: returns the reason why an item cannot be used, `None` for a usable one.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(f"{path.name} cannot be read: {error.strerror}.")
        return []
    decoder = msgspec.json.Decoder(kind)
    found: list[T] = []
    wrong: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            item = decoder.decode(line)
            why = check(item) if check else None
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError) as error:
            why = str(error)
        if why is None:
            found.append(item)
        else:
            wrong.append((number, why))
    if wrong:
        number, why = wrong[0]
        what = f"Line {number} is" if len(wrong) == 1 else f"{len(wrong)} lines, the first of them {number}, are"
        problems.append(f"{path.name}: {what} set aside: {why[:200]}")
    return found


def no_place_for(file: Path) -> str:
    """Why a file cannot be written, as a sentence; empty if it can, and its folder is there or can be made."""
    if file.is_dir():
        return f"{file} is a folder; give the path of a file."
    if file.exists() and not os.access(file, os.W_OK):
        return f"{file} cannot be written: the permission is missing."
    folder = file.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is a file; give a path in a folder."
    return "" if os.access(folder, os.W_OK) else f"nothing can be written to {folder}: the permission is missing."
