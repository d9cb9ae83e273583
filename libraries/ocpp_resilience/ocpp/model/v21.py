"""The model of OCPP 2.1: that of OCPP 2.0.1 with other schemas. A SEND has no answer."""

from __future__ import annotations

from typing import ClassVar

from ocpp_resilience.ocpp.model.v201 import Model201


class Model21(Model201):
    """See `Model201`."""

    version: ClassVar[str] = "ocpp2.1"
