"""Errors of the container service without Docker."""

from __future__ import annotations

import gc
import re
import warnings
from pathlib import Path

import pytest

from ocpp_resilience.errors import UsageError
from ocpp_resilience.redis.services import RedisService, ServiceKind, create_service


def test_without_docker_the_failure_names_it_and_the_alternative(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    service = create_service(ServiceKind.CONTAINER, "Redis 'redis'")
    failure = _failure_of_start(service)
    assert re.match(r"^Redis 'redis' needs Docker, which cannot be reached: .* REDIS:embedded is a private", failure)
    assert not service.is_there
    service.close()


def _failure_of_start(service: RedisService) -> str:
    """The message alone: Docker's client leaves the socket open that it could not connect, and that is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            service.start(5)
        except UsageError as error:
            message = str(error)
        else:
            message = "started"
        gc.collect()
    return message


def test_settings_that_the_service_sets_itself_are_refused() -> None:
    with pytest.raises(UsageError, match="port cannot be set, the service sets it itself"):
        create_service(ServiceKind.CONTAINER, "Redis 'redis'", settings={"port": "1"})
