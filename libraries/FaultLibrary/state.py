"""What the components of FaultLibrary share."""

from __future__ import annotations

from typing import Any

from robot.libraries.BuiltIn import BuiltIn, RobotNotRunningError

from resilience.errors import UsageError
from resilience.faults.injection import Injector
from resilience.faults.network import FaultyPath
from resilience.faults.redis_faults import RedisFaults
from resilience.faults.schedule import Run
from resilience.registry import Registry


class FaultState:
    """The proxies, the faults that last, and the schedule that runs."""

    def __init__(self) -> None:
        self.injector = Injector()
        self.paths: Registry[FaultyPath] = Registry("Fault proxy", starter="Start Fault Proxy", close=self._close)
        self.run: Run | None = None
        self._redis: dict[str, RedisFaults] = {}

    def redis(self, alias: str) -> RedisFaults:
        """Faults of the Redis behind a proxy."""
        path = self.paths.get(alias)
        if alias not in self._redis:
            self._redis[alias] = RedisFaults(f"Redis behind {path.name}", path.address.url)
        return self._redis[alias]

    def heal(self) -> int:
        """End whatever lasts; returns how many faults that were."""
        if self.run is not None:
            run, self.run = self.run, None
            run.stop()
        return self.injector.heal_all()

    def _close(self, path: FaultyPath) -> None:
        try:
            self.heal()
        finally:
            for alias in [alias for alias, each in self._redis.items() if each.address is path.address]:
                self._redis.pop(alias).close()
            for redis in self._redis.values():
                redis.close()
            path.close()


def registry_of(library: str, attribute: str) -> Registry[Any]:
    """What another library has started.

    Raises:
        UsageError: the suite does not use that library.
    """
    try:
        instance = BuiltIn().get_library_instance(library)
    except (RobotNotRunningError, RuntimeError):
        raise UsageError(f"This needs a suite that imports {library}, for what was started with it.") from None
    found: Registry[Any] = getattr(instance, attribute)
    return found
