"""The stand-in gateway as a Robot Framework library."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

from fake_gateway import FakeGateway, fake_gateway
from robot.api.deco import keyword, library


@library(scope="GLOBAL")
class GatewayFake:
    """Starts one gateway, scripts it, and ends it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._gateway: FakeGateway | None = None

    @property
    def gateway(self) -> FakeGateway:
        assert self._gateway is not None
        return self._gateway

    @keyword
    def start_fake_gateway(self) -> str:
        self._gateway = self._stack.enter_context(fake_gateway())
        return self._gateway.url

    @keyword
    def stop_fake_gateway(self) -> None:
        self._stack.close()

    @keyword
    def fake_should_ignore(self, *actions: str) -> None:
        self.gateway.silent = set(actions)

    @keyword
    def fake_should_refuse(self, *actions: str) -> None:
        self.gateway.refused = set(actions)

    @keyword
    def fake_should_ask_for(self, password: str | None) -> None:
        self.gateway.password = password

    @keyword
    def fake_sends(self, point: str, action: str, **payload: Any) -> None:
        self.gateway.send(point, json.dumps([2, f"{action}-1", action, payload]))

    @keyword
    def fake_hangs_up(self, point: str, code: int) -> None:
        self.gateway.hang_up(point, code)
