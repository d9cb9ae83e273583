"""Shared parts of the components of FaultLibrary."""

from __future__ import annotations

from typing import Any

from robot.libraries.BuiltIn import BuiltIn, RobotNotRunningError

from ocpp_resilience.errors import NotPossibleHere, ResilienceError, UsageError
from ocpp_resilience.faults.fault import InjectableFault, Place, Subjects
from ocpp_resilience.faults.injection import Injector
from ocpp_resilience.faults.journal import FaultRecord
from ocpp_resilience.faults.path import FaultyPath
from ocpp_resilience.faults.probe import RedisAddress, SentinelAddress
from ocpp_resilience.faults.redis_admin import RedisAdmin
from ocpp_resilience.faults.schedule import Run
from ocpp_resilience.redis.services import EmbeddedRedis, ExternalRedis, ReplicatedRedis
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.robot.variables import target_of


class FaultState:
    """The proxies, the faults that last, and the schedule that runs."""

    def __init__(self) -> None:
        self.injectors: dict[str, Injector] = {}
        self.paths: Registry[FaultyPath] = Registry("Fault proxy", starter="Start Fault Proxy", close=self._close)
        self.runs: dict[str, Run] = {}
        self._redis: dict[FaultyPath, RedisAdmin] = {}

    def redis(self, alias: str) -> RedisAdmin:
        """The Redis behind a proxy."""
        path = self.paths.get(alias)
        if not isinstance(path.address, RedisAddress):
            raise UsageError(f"{path.name} is a proxy for a gateway, not for Redis.")
        if path not in self._redis:
            self._redis[path] = RedisAdmin(f"Redis behind {path.name}", path.address.url)
        return self._redis[path]

    def subjects(
        self, alias: str, *, redis: str = "redis", server: str = "server", target: str | None = None
    ) -> Subjects:
        """The subjects of faults, looked up now in Robot Framework's own thread. A missing one fails the faults that
        need it."""
        path = self.paths.get(alias)
        service, system = (
            _found("RedisServiceLibrary", "services", redis),
            _found("OcppServerLibrary", "servers", server),
        )
        return Subjects(
            lambda: path,
            lambda: self.redis(alias),
            lambda: _needed(service, "RedisServiceLibrary", redis),
            lambda: _needed(system, "OcppServerLibrary", server),
            target_of(target),
        )

    def begin(self, fault: InjectableFault, alias: str) -> FaultRecord:
        """Inject a fault; one that does not last is healed immediately.

        Raises:
            NotPossibleHere: it cannot be done to this Redis or with this proxy.
        """
        self.check(type(fault), alias)
        injector = self.injectors.setdefault(alias, Injector())
        record = injector.inject(fault)
        if not fault.lasts:
            injector.heal(record)
        return record

    def has_files(self, alias: str) -> bool:
        """Whether the Redis behind a proxy is a process on this machine that the test has started."""
        return isinstance(self._service(alias), EmbeddedRedis | ReplicatedRedis)

    def has_replica(self, redis: str) -> bool:
        """Whether a Redis of RedisServiceLibrary has a replica and sentinels that the test has started."""
        return isinstance(_found("RedisServiceLibrary", "services", redis), ReplicatedRedis)

    def check(self, kind: type[InjectableFault], alias: str) -> None:
        """Check that a fault is possible here.

        Raises:
            NotPossibleHere: the Redis behind the proxy is external, or the proxy a real Toxiproxy.
            UsageError: it acts on Redis, and the proxy stands before a gateway.
        """
        if kind.place.needs_redis_of_the_test and (name := self.external(alias)):
            raise NotPossibleHere(f"{name} is external: '{kind.name}' is not possible, only faults of its network are.")
        on_redis_only = kind.place in {Place.COMMAND, Place.REDIS, Place.REDIS_FILES, Place.REPLICATION}
        if on_redis_only and not isinstance(self.paths.get(alias).address, RedisAddress):
            raise UsageError(f"'{kind.name}' needs a fault proxy for Redis; {self.paths.title(alias)} is not one.")
        address = self.paths.get(alias).address
        if kind.place is Place.COMMAND and isinstance(address, RedisAddress) and address.encrypted:
            raise NotPossibleHere(f"{self.paths.title(alias)} sees no commands: Redis is reached with TLS.")
        if kind.place is Place.REDIS_FILES and not self.has_files(alias):
            raise NotPossibleHere(f"'{kind.name}' needs an embedded Redis behind {self.paths.title(alias)}.")
        if kind.own_proxy_only:
            self.paths.get(alias).api.needs_own(f"'{kind.name}'")

    def external(self, alias: str) -> str | None:
        """The name of an external Redis behind a proxy, if it is one: only its network may be disturbed."""
        service = self._service(alias)
        return service.name if isinstance(service, ExternalRedis) else None

    def _service(self, alias: str) -> object | None:
        """The Redis of RedisServiceLibrary behind a proxy, if it is one."""
        address = self.paths.get(alias).address
        try:
            services = registry_of("RedisServiceLibrary", "services")
        except UsageError:
            return None
        for service in (services.get(name) for name in services.aliases()):
            if isinstance(address, SentinelAddress) or isinstance(service, ReplicatedRedis):
                same = (
                    isinstance(address, SentinelAddress)
                    and isinstance(service, ReplicatedRedis)
                    and service.sentinels == address.sentinels
                )
            else:
                same = (service.host, service.port) == (address.host, address.port)
            if same:
                found: object = service
                return found
        return None

    def heal(self, alias: str | None = None) -> int:
        """End all faults that last; returns their number.

        Args:
            alias: a fault proxy; the faults and schedules of other ones go on then.

        Raises:
            ResilienceError: a fault could not be ended; the others were.
        """
        count = 0
        for name in [name for name in self.runs if alias in {None, name}]:
            run = self.runs.pop(name)
            count += len(run.injector.active)
            run.injector.journal.adopt(run.records)
            run.stop()
        failed: ResilienceError | None = None
        for name in [name for name in reversed(self.injectors) if alias in {None, name}]:
            injector = self.injectors.pop(name)
            count += len(injector.active)
            try:
                injector.heal_all()
            except ResilienceError as error:
                failed = error
        if failed is not None:
            raise failed
        return count

    def heal_one(self, record: FaultRecord) -> None:
        """End one fault, of any keyword or schedule."""
        for injector in (*self.injectors.values(), *(run.injector for run in self.runs.values())):
            injector.heal(record)

    def _close(self, path: FaultyPath) -> None:
        try:
            # Faults and schedules at other proxies go on.
            for name in [each for each in {*self.runs, *self.injectors} if self.paths.title(each) == path.name]:
                self.heal(name)
        finally:
            if path in self._redis:
                self._redis.pop(path).close()
            path.close()


def registry_of(library: str, attribute: str) -> Registry[Any]:
    """The registry of objects that another library has started.

    Raises:
        UsageError: the suite does not use that library.
    """
    try:
        instance = BuiltIn().get_library_instance(library)
    except (RobotNotRunningError, RuntimeError):
        raise UsageError(f"This keyword acts on objects of {library}; import that library in the suite.") from None
    found: Registry[Any] = getattr(instance, attribute)
    return found


def _found(library: str, attribute: str, alias: str) -> object | None:
    try:
        return registry_of(library, attribute).find(alias)
    except UsageError:
        return None


def _needed(found: Any, library: str, alias: str) -> Any:
    if found is None:
        raise UsageError(f"{library} has not started '{alias}'.")
    return found
