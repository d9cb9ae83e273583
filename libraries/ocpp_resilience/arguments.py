"""Command lines whose mistakes are one line: what was wrong, what is allowed, and the nearest name."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from ocpp_resilience.text import did_you_mean, nearest

WRONG_USE = 2


class Parser(argparse.ArgumentParser):
    """A parser of arguments, and those of its subcommands.

    Attributes:
        wrong_use: the exit status for arguments that cannot be used.
        remedy: a further sentence where an option is unknown.
    """

    wrong_use = WRONG_USE
    remedy = ""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, once every option and argument was seen to have a value: argparse takes an empty text for one."""
        given = list(sys.argv[1:] if args is None else args)
        for before, each in zip(["", *given], given, strict=False):
            name, equals, value = each.partition("=")
            if not each:
                self.error(f"{before if before.startswith('-') else 'an argument'} has an empty value; give one")
            if equals and not value and name in self.options():
                self.error(f"{name} has an empty value; give one")
        return super().parse_known_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        """End with a message; the usage, which argparse prints before it, would hide it."""
        sys.stderr.write(f"{self.prog}: error: {self._explained(message)}\n")
        raise SystemExit(self.wrong_use)

    def _explained(self, message: str) -> str:
        if unknown := re.fullmatch(r"unrecognized arguments: (.+)", message):
            first = unknown[1].split()[0]
            if not first.startswith("-"):
                return f"{message}. `{self.prog} --help` explains those that there are."
            known = list(dict.fromkeys(each for each in self.options() if each.startswith("--")))
            name = first.partition("=")[0]
            meant = did_you_mean(name, known) if nearest(name, known) else f" (allowed: {', '.join(known)})."
            return f"there is no option {name}{meant}{self.remedy}"
        if choice := re.search(r"invalid choice: '([^']*)' \(choose from (.+)\)$", message):
            return message + did_you_mean(choice[1], re.findall(r"[\w-]+", choice[2])).rstrip(".")
        return message

    def options(self) -> Iterator[str]:
        """The options of the parser and of its subcommands."""
        for action in self._actions:
            yield from action.option_strings
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - argparse has no other name for it
                for each in action.choices.values():
                    yield from each.options()
