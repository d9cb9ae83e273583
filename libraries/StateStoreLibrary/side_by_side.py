"""Keywords for writers that share a record and do not know of each other."""

from __future__ import annotations

import asyncio
import contextlib
from time import monotonic

from msgspec.structs import replace
from robot.api import logger

from ocpp_resilience.robot.library import keyword
from server.store.errors import StateNotFound
from server.store.models import ChargePoint, ConfigurationKey
from server.store.redis_store import RedisStateStore
from StateStoreLibrary.base import StateComponent
from StateStoreLibrary.session import StateSession
from StateStoreLibrary.writers import WritersResult


async def count_in_keys(session: StateSession, point: str, *, programs: int, updates: int) -> WritersResult:
    """Have programs with a store each write keys of their own of one configuration: one key is written anew each time,
    one is changed."""
    stores = [session.another_store(connections=2) for _ in range(programs)]
    began = monotonic()

    async def write(number: int, store: RedisStateStore) -> None:
        saved, changed = f"Saved{number}", f"Changed{number}"
        await store.save_configuration_key(point, changed, ConfigurationKey(value="0"))
        for count in range(1, updates + 1):
            await store.save_configuration_key(point, saved, ConfigurationKey(value=str(count)))
            # A key that another program has removed counts as lost.
            with contextlib.suppress(StateNotFound):
                await store.update_configuration_key(point, changed, _one_more)

    try:
        await asyncio.gather(*(write(number, store) for number, store in enumerate(stores)))
    finally:
        for store in stores:
            await store.close()
    kept = await session.store.get_configuration(point)
    visible = sum(int(each.value or 0) for each in kept.values())
    seconds = monotonic() - began
    return WritersResult(writers=programs, acknowledged=2 * programs * updates, visible=visible, seconds=seconds)


def _one_more(known: ConfigurationKey) -> ConfigurationKey:
    return replace(known, value=str(int(known.value or 0) + 1))


async def count_in_charge_point(session: StateSession, point: str, *, updates: int) -> WritersResult:
    """Add 1 to a number in the record of a charge point again and again, while others write the record too."""
    began = monotonic()

    def one_more(known: ChargePoint) -> ChargePoint:
        return replace(known, serial=str(int(known.serial or 0) + 1))

    for _ in range(updates):
        await session.store.update_charge_point(point, one_more)
    kept = await session.store.get_charge_point(point)
    visible = int(kept.serial or 0)
    return WritersResult(writers=1, acknowledged=updates, visible=visible, seconds=monotonic() - began)


class SideBySide(StateComponent):
    """Several stores, and a store beside the system."""

    @keyword(tags=("state", "configuration", "concurrency"))
    def write_keys_from_several_programs(
        self, charge_point: str, *, programs: int = 4, updates: int = 50, alias: str = "state"
    ) -> WritersResult:
        """Lets several programs write different keys of one configuration at the same time.

        Each program has its own store and two keys: it rewrites one key repeatedly, and adds 1 to the other.

        Args:
            charge_point: whose configuration.
            programs: how many.
            updates: how often each writes each of its keys.

        Returns:
            `writers`, `acknowledged`, `visible` (the sum of what stands in the keys, as much as was acknowledged if no
            program has undone what another wrote) and `seconds`.

        Raises:
            StateFailure: a write failed; the message begins with the name of the error.

        Example:
        ```robotframework
        ${result}    Write Keys From Several Programs    CP-1    programs=4    updates=50
        Should Be Equal As Integers    ${result.visible}    400
        ```
        """
        session = self._stores.get(alias)
        session.points.add(charge_point)
        result = session.run(count_in_keys, session, charge_point, programs=programs, updates=updates)
        logger.info(f"{result}.")
        return result

    @keyword(tags=("state", "charge point", "concurrency"))
    def write_charge_point_beside_the_system(
        self, charge_point: str, *, updates: int = 200, alias: str = "state"
    ) -> WritersResult:
        """Adds 1 to the serial number of a charge point repeatedly while the system writes to its record.

        Args:
            charge_point: its id, of which something is kept. Its messages, which are to be processed meanwhile, must
                not be boots: these tell a serial number.
            updates: how often.

        Returns:
            `writers`, `acknowledged`, `visible` (what the serial number is in the end: as much as was acknowledged if
            the system has overwritten nothing) and `seconds`.

        Raises:
            StateFailure: a write failed; the message begins with the name of the error.

        Example:
        ```robotframework
        Save Charge Point    CP-1
        Start Queueing Generated Messages    300    over=1 s    charge_points=["CP-1"]
        ${result}    Write Charge Point Beside The System    CP-1    updates=200
        Queueing Should End
        Should Be Equal As Integers    ${result.visible}    200
        ```
        """
        session = self._stores.get(alias)
        session.points.add(charge_point)
        result = session.run(count_in_charge_point, session, charge_point, updates=updates)
        logger.info(f"{result}.")
        return result
