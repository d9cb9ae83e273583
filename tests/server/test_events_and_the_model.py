"""The server and the libraries' model of OCPP 2.0.1, written apart, agree on what transaction events come to."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from test_transaction_events import State

from ocpp_resilience.ocpp import ocpp_version
from ocpp_resilience.ocpp.model import Exchange, Observed, model_of
from ocpp_resilience.profile import STATE_FIELDS
from server.store.models import Connector, Transaction

IN_FEBRUARY = 1_769_904_000.0
"""The server's clock in `State`."""
CONTEXTS = ("Transaction.Begin", "Sample.Periodic", "Transaction.End")

samples = st.fixed_dictionaries(
    {"value": st.integers(0, 50) | st.decimals(0, 50, places=2).map(float)},
    optional={
        "context": st.sampled_from(CONTEXTS),
        "phase": st.just("L1"),
        "measurand": st.sampled_from(["Energy.Active.Import.Register", "Power.Active.Import"]),
        "unitOfMeasure": st.fixed_dictionaries(
            {}, optional={"unit": st.sampled_from(["Wh", "kWh", "A"]), "multiplier": st.integers(-2, 2)}
        ),
    },
)


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    number = draw(st.integers(0, 6))
    timestamp = f"2026-01-15T10:{number:02}:{draw(st.integers(0, 2)):02}Z"
    info = draw(
        st.fixed_dictionaries(
            {"transactionId": st.sampled_from(["tx"])},
            optional={
                "chargingState": st.sampled_from(["Charging", "Idle", "SuspendedEV"]),
                "remoteStartId": st.integers(1, 3),
                "stoppedReason": st.sampled_from(["Remote", "Local"]),
            },
        )
    )
    more = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "offline": st.booleans(),
                "evse": st.fixed_dictionaries({"id": st.integers(1, 2)}, optional={"connectorId": st.integers(1, 2)}),
                "idToken": st.sampled_from([{"idToken": each, "type": "Central"} for each in ("A", "B")]),
                "meterValue": st.lists(
                    st.fixed_dictionaries(
                        {"timestamp": st.just(timestamp), "sampledValue": st.lists(samples, min_size=1, max_size=2)}
                    ),
                    min_size=1,
                    max_size=2,
                ),
            },
        )
    )
    return {
        "eventType": draw(st.sampled_from(["Started", "Updated", "Updated", "Ended"])),
        "timestamp": timestamp,
        "triggerReason": "Trigger",
        "seqNo": number,
        "transactionInfo": info,
        **more,
    }


def observed(state: State) -> Observed:
    """What the server has written, in our words."""
    records = {
        key: {k: v for k, v in msgspec.to_builtins(each).items() if v is not None}
        for key, each in state.records.items()
    }
    return Observed(
        fields={kind: STATE_FIELDS[kind] for kind in ("connector", "transaction")},
        transactions={each["id"]: each for key, each in records.items() if isinstance(state.records[key], Transaction)},
        connectors={
            key.removeprefix("ocpp:connector:CP:"): each
            for key, each in records.items()
            if isinstance(state.records[key], Connector)
        },
        listed=state.indexes["ocpp:transactions:CP"],
        active=set(state.indexes["ocpp:transactions:CP:active"]),
    )


@settings(max_examples=300)
@given(st.lists(events(), min_size=1, max_size=7))
def test_they_agree(payloads: list[dict[str, Any]]) -> None:
    state = State()
    model = model_of(ocpp_version("ocpp2.0.1"))
    for payload in payloads:
        answer = state.take(payload)
        exchange = Exchange(
            charge_point="CP",
            message_id="m",
            action="TransactionEvent",
            payload=payload,
            answer=answer,
            began=IN_FEBRUARY,
            ended=IN_FEBRUARY,
        )
        assert model.take(exchange) == []
    assert model.state_problems("CP", observed(state)) == []
