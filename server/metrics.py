"""Prometheus metrics of one server instance."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest


class Metrics:
    """Totals and gauges, in a separate registry, so that instances in one process do not mix."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._labelled: dict[str, Gauge] = {}
        self._processed = Counter(
            "ocpp_messages_processed", "Messages processed and answered", ["action"], registry=self._registry
        )
        self._invalid = Counter("ocpp_messages_invalid", "Messages set aside", ["code"], registry=self._registry)
        self.unknown_answers = Counter(
            "ocpp_answers_unknown", "Answers of charge points that nobody waits for", registry=self._registry
        )
        self._refused = Counter(
            "ocpp_gateway_refused", "CALLs that the gateway refused", ["why"], registry=self._registry
        )
        self._handshakes = Counter(
            "ocpp_gateway_handshakes_refused", "Connections that never opened", ["reason"], registry=self._registry
        )
        self.conflicts = Counter(
            "ocpp_commit_conflicts",
            "Batches handled again since somebody else wrote meanwhile",
            registry=self._registry,
        )

    def processed(self, action: str, count: int) -> None:
        """Count messages that were processed."""
        self._processed.labels(action).inc(count)

    def invalid(self, code: str) -> None:
        """Count a message that was set aside."""
        self._invalid.labels(code).inc()

    def refused(self, why: str) -> None:
        """Count a CALL that the gateway refused."""
        self._refused.labels(why).inc()

    def handshake_refused(self, reason: str) -> None:
        """Count a connection that never opened."""
        self._handshakes.labels(reason).inc()

    def gauge(
        self, name: str, text: str, value: Callable[[], float], *, labels: Mapping[str, str] | None = None
    ) -> None:
        """Add a gauge, or one more of those of a name that differ in their labels; it is read when the metrics are."""
        if labels is None:
            Gauge(name, text, registry=self._registry).set_function(value)
            return
        if name not in self._labelled:
            self._labelled[name] = Gauge(name, text, list(labels), registry=self._registry)
        self._labelled[name].labels(**labels).set_function(value)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)
