"""What the components of FaultLibrary share."""

from __future__ import annotations

from typing import Any

from robot.libraries.BuiltIn import BuiltIn, RobotNotRunningError

from ocpp_resilience.errors import NotPossibleHere, UsageError
from ocpp_resilience.faults.injection import Injector
from ocpp_resilience.faults.journal import FaultRecord
from ocpp_resilience.faults.network import OWN_ONLY, FaultyPath
from ocpp_resilience.faults.redis_faults import RedisFaults
from ocpp_resilience.faults.schedule import Run
from ocpp_resilience.redis.services import ExternalRedis
from ocpp_resilience.robot.registry import Registry


class FaultState:
    """The proxies, the faults that last, and the schedule that runs."""

    def __init__(self) -> None:
        self.injector = Injector()
        self.paths: Registry[FaultyPath] = Registry("Fault proxy", starter="Start Fault Proxy", close=self._close)
        self.runs: dict[str, Run] = {}
        self._redis: dict[FaultyPath, RedisFaults] = {}

    def redis(self, alias: str) -> RedisFaults:
        """Faults of the Redis behind a proxy."""
        path = self.paths.get(alias)
        if path not in self._redis:
            self._redis[path] = RedisFaults(f"Redis behind {path.name}", path.address.url)
        return self._redis[path]

    def external(self, alias: str) -> str | None:
        """The name of the Redis behind a proxy, if it is somebody else's: only the way to it may be disturbed."""
        address = self.paths.get(alias).address
        try:
            services = registry_of("RedisServiceLibrary", "services")
        except UsageError:
            return None
        for service in (services.get(name) for name in services.aliases()):
            if isinstance(service, ExternalRedis) and (service.host, service.port) == (address.host, address.port):
                return service.name
        return None

    def refuse_external(self, alias: str, what: str) -> None:
        """Skip what would be done to a Redis of somebody else.

        Raises:
            LacksCapability: the Redis behind the proxy is external.
        """
        if name := self.external(alias):
            raise NotPossibleHere(
                f"{name} is external: '{what}' is not done to it, only the way to it can be disturbed."
            )

    def refuse_on_toxiproxy(self, alias: str, what: str) -> None:
        """Skip what a real Toxiproxy cannot do.

        Raises:
            LacksCapability: the proxy is one.
        """
        if what in OWN_ONLY:
            self.paths.get(alias).api.needs_own(f"'{what}'")

    def heal(self, alias: str | None = None) -> int:
        """End whatever lasts; returns how many faults that were.

        Args:
            alias: a fault proxy; the schedules of other ones go on then.
        """
        count = 0
        for name in [name for name in self.runs if alias in {None, name}]:
            run = self.runs.pop(name)
            count += len(run.injector.active)
            run.stop()
        return count + self.injector.heal_all()

    def heal_one(self, record: FaultRecord) -> None:
        """End one fault, whoever began it."""
        for injector in (self.injector, *(run.injector for run in self.runs.values())):
            injector.heal(record)

    def _close(self, path: FaultyPath) -> None:
        try:
            # Schedules at other proxies go on.
            self.heal(next((name for name in self.runs if self.paths.title(name) == path.name), ""))
        finally:
            if path in self._redis:
                self._redis.pop(path).close()
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
