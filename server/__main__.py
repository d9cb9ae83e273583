"""`python -m server`: run the reference server with settings from the environment."""

from __future__ import annotations

import sys

import uvloop

from server import logs
from server.app import App, BindError
from server.config import SettingError, Settings

CANNOT_START = 2


def main() -> int:
    """Run until stopped; returns 0 after a clean stop, 2 for invalid settings or an argument."""
    if arguments := sys.argv[1:]:
        problem = f"There is no argument {arguments[0]}: settings come from the environment, for example HTTP_PORT=8081"
        print(problem, file=sys.stderr)  # noqa: T201
        return CANNOT_START
    try:
        settings = Settings.from_environment()
    except SettingError as error:
        print(error, file=sys.stderr)  # noqa: T201 - logging is a setting too
        return CANNOT_START
    logs.configure(settings.log_level, settings.log_format)
    try:
        uvloop.run(_serve(settings))
    except (BindError, SettingError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return CANNOT_START
    return 0


async def _serve(settings: Settings) -> None:
    await App(settings).run()


if __name__ == "__main__":
    sys.exit(main())
