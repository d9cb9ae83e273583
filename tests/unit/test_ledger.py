"""The ledger: histories with each kind of violation, whole random ones, files that are cut or wrong, the command."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import prepared
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocpp_resilience.ledger import (
    Event,
    Expect,
    KeptEvents,
    Ledger,
    LedgerError,
    LedgerReport,
    Verdict,
    check,
    event_of,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.jsonl", seed=7)


def judged(ledger: Ledger, *, ended: bool = True) -> LedgerReport:
    if ended:
        ledger.end()
    ledger.close()
    return check([ledger.path])


def send(ledger: Ledger, count: int, cp: str = "CP-1", *, answered: bool = True) -> None:
    for seq in range(count):
        ledger.invoke(cp, f"m{seq}", "Heartbeat", seq=seq)
        ledger.acknowledged(cp, f"m{seq}")
        if answered:
            ledger.answered(cp, f"m{seq}")


def test_a_history_in_which_everything_came_out_once_and_in_order_is_clean(ledger: Ledger) -> None:
    send(ledger, 3)
    report = judged(ledger)
    assert report.verdict is Verdict.CLEAN
    assert report.summary == (
        "3 messages: 3 acknowledged, 0 refused, 0 recovered, 0 undecided; 0 lost, 0 duplicated, 0 out of order, "
        "0 unexpected, 0 refused and applied"
    )
    assert report.seeds == [7]


def test_lost(ledger: Ledger) -> None:
    ledger.invoke("CP-1", "m1", "Heartbeat", seq=0)
    ledger.acknowledged("CP-1", "m1")
    report = judged(ledger)
    assert report.verdict is Verdict.VIOLATED
    assert report.details() == ["lost: Heartbeat 'm1' of CP-1 was acknowledged, but has no answer"]


def test_lost_effect(ledger: Ledger) -> None:
    ledger.invoke("CP-1", "m1", "StartTransaction", seq=0, expect=Expect.BOTH)
    ledger.acknowledged("CP-1", "m1")
    ledger.answered("CP-1", "m1")
    ledger.invoke("CP-1", "m2", "StartTransaction", seq=1, expect=Expect.EFFECT)
    ledger.acknowledged("CP-1", "m2")
    ledger.effect("CP-1", "m2", "transaction 5")
    assert [each.id for each in judged(ledger).lost] == ["m1"]


def test_an_effect_that_was_not_looked_for_is_not_called_lost(tmp_path: Path) -> None:
    """The sender's file alone says nothing about the state; the observer's, even without an effect, does."""
    with Ledger(tmp_path / "sender.jsonl") as sender:
        sender.invoke("CP-1", "m1", "StartTransaction", expect=Expect.BOTH)
        sender.acknowledged("CP-1", "m1")
        sender.answered("CP-1", "m1")
        sender.end()
    with Ledger(tmp_path / "observer.jsonl", observes=Expect.EFFECT) as observer:
        observer.end()
    alone = check([tmp_path / "sender.jsonl"])
    assert (alone.verdict, alone.lost) == (Verdict.INCONCLUSIVE, [])
    [why] = alone.details()
    assert why.startswith("inconclusive: nobody looked at the state, where 1 of the messages have to leave a trace")
    both = check([tmp_path / "sender.jsonl", tmp_path / "observer.jsonl"])
    assert both.details() == ["lost: StartTransaction 'm1' of CP-1 was acknowledged, but has no effect"]


def test_traces_are_missed_only_of_messages_over_an_observed_transport(tmp_path: Path) -> None:
    """Charge points see the commands that they carry out, and nothing of the transactions that the system keeps."""
    with Ledger(tmp_path / "sender.jsonl") as sender:
        for name, via in (("m1", "websocket"), ("c1", "command"), ("c2", "command")):
            sender.invoke("CP-1", name, "StartTransaction", via=via, expect=Expect.BOTH)
            sender.acknowledged("CP-1", name)
            sender.answered("CP-1", name)
        sender.end()
    with Ledger(tmp_path / "point.jsonl", observes=Expect.EFFECT, observes_via="command") as point:
        point.effect("CP-1", "c1", "carried out")
        point.end()
    report = check([tmp_path / "sender.jsonl", tmp_path / "point.jsonl"])
    assert [each.id for each in report.lost] == ["c2"]
    [why] = report.open_ended
    assert why.startswith("nobody looked at the state, where 1 of the messages")


def test_a_message_that_was_answered_with_an_error_need_not_have_an_effect(ledger: Ledger) -> None:
    ledger.invoke("CP-1", "m1", "StartTransaction", expect=Expect.BOTH)
    ledger.acknowledged("CP-1", "m1")
    ledger.answered("CP-1", "m1", error="InternalError")
    assert judged(ledger).verdict is Verdict.CLEAN


def test_unexpected(ledger: Ledger) -> None:
    send(ledger, 1)
    ledger.answered("CP-1", "ghost")
    ledger.effect("CP-2", "phantom", "transaction 9")
    report = judged(ledger)
    assert [each.about for each in report.unexpected] == [
        "result for message 'ghost' of CP-1, which was never sent",
        "effect transaction 9 for message 'phantom' of CP-2, which was never sent",
    ]


def test_duplicated(ledger: Ledger) -> None:
    send(ledger, 2)
    ledger.answered("CP-1", "m1", error="InternalError")
    ledger.effect("CP-1", "m0", "transaction 5")
    ledger.effect("CP-1", "m0", "transaction 6")
    assert [str(each) for each in judged(ledger).duplicated] == [
        "Heartbeat 'm0' of CP-1 was applied 2 times: transaction 5, transaction 6",
        "Heartbeat 'm1' of CP-1 was answered 2 times",
    ]


def test_reordered(ledger: Ledger) -> None:
    send(ledger, 4, answered=False)
    for seq in (0, 2, 1, 3):
        ledger.answered("CP-1", f"m{seq}")
    assert [str(each) for each in judged(ledger).reordered] == [
        "Heartbeat 'm1' of CP-1 was answered after Heartbeat 'm2' of CP-1, which was sent later"
    ]


def test_order_is_each_charge_points_own_and_commands_have_none(ledger: Ledger) -> None:
    for cp in ("CP-1", "CP-2"):
        send(ledger, 2, cp, answered=False)
    for cp, seq in (("CP-2", 0), ("CP-1", 0), ("CP-2", 1), ("CP-1", 1)):
        ledger.answered(cp, f"m{seq}")
    for message_id in ("a", "b"):
        ledger.invoke("CP-1", message_id, "Reset", via="command")
        ledger.acknowledged("CP-1", message_id)
    for message_id in ("b", "a"):
        ledger.answered("CP-1", message_id)
    assert judged(ledger).verdict is Verdict.CLEAN


def test_recovered_and_undecided_are_allowed(ledger: Ledger) -> None:
    for message_id in ("m1", "m2", "m3"):
        ledger.invoke("CP-1", message_id)
    ledger.unknown("CP-1", "m1", "connection reset")
    ledger.unknown("CP-1", "m2", "connection reset")
    ledger.answered("CP-1", "m1")
    report = judged(ledger)
    assert (report.recovered, report.undecided, report.verdict) == (1, 2, Verdict.CLEAN)


def test_an_unknown_outcome_may_become_known(ledger: Ledger) -> None:
    ledger.invoke("CP-1", "m1")
    ledger.unknown("CP-1", "m1", "no reply")
    ledger.acknowledged("CP-1", "m1")
    report = judged(ledger)
    assert len(report.lost) == report.acknowledged == 1


def test_refused_messages_must_not_be_applied(ledger: Ledger) -> None:
    ledger.invoke("CP-1", "m1", "StartTransaction")
    ledger.answered("CP-1", "m1", error="InternalError")
    ledger.failed("CP-1", "m1", "InternalError")
    ledger.effect("CP-1", "m1", "transaction 5")
    assert judged(ledger).details() == [
        "refused and applied: StartTransaction 'm1' of CP-1 was refused (InternalError), and yet there is transaction 5"
    ]


def test_a_history_that_was_not_ended_decides_nothing_about_loss(ledger: Ledger) -> None:
    send(ledger, 1)
    ledger.invoke("CP-1", "m9", seq=9)
    ledger.acknowledged("CP-1", "m9")
    report = judged(ledger, ended=False)
    assert (report.verdict, report.lost) == (Verdict.INCONCLUSIVE, [])
    assert report.details() == [f"inconclusive: the writer that began at {ledger.path}, line 1 did not end"]


def test_an_empty_history_is_inconclusive(ledger: Ledger) -> None:
    report = judged(ledger)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.details() == ["inconclusive: no message was sent"]


def test_a_line_that_was_cut_when_the_writer_was_killed_is_left_out(ledger: Ledger) -> None:
    send(ledger, 1)
    ledger.end()
    ledger.close()
    with ledger.path.open("ab") as file:
        file.write(b'{"op":"invoke","t":1.0,"cp":"CP-')
    assert check([ledger.path]).verdict is Verdict.CLEAN


def test_several_files_are_one_history_in_any_order(tmp_path: Path) -> None:
    with Ledger(tmp_path / "sender.jsonl") as sender, Ledger(tmp_path / "observer.jsonl") as observer:
        sender.invoke("CP-1", "m1", "StartTransaction", seq=0, expect=Expect.BOTH)
        sender.acknowledged("CP-1", "m1")
        observer.answered("CP-1", "m1")
        observer.effect("CP-1", "m1", "transaction 5")
        sender.end()
        observer.end()
    paths = [tmp_path / "observer.jsonl", tmp_path / "sender.jsonl"]
    assert check(paths).verdict is check(paths[::-1]).verdict is Verdict.CLEAN
    assert len(check(paths[1:]).lost) == 1, "the answer"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{}", "line 2: is no ledger record: Object missing required field `op`"),
        ('{"op":"lost","t":1}', "line 2: is no ledger record: Invalid enum value 'lost'"),
        ('{"op":"ok","t":1,"cp":"CP-1"}', "line 2: 'ok' lacks cp or id, which name the message."),
        ('{"op":"begin","t":1,"format":9}', "line 2: has format 9; this version reads format 1."),
        ('{"op":"ok","t":1,"cp":"CP-1","id":"m1"}', "line 2: 'ok' of message 'm1' of CP-1, which was not invoked."),
    ],
)
def test_a_wrong_line_is_named(ledger: Ledger, line: str, problem: str) -> None:
    ledger.close()
    with ledger.path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(LedgerError) as failure:
        check([ledger.path])
    assert str(failure.value).startswith(f"{ledger.path}, {problem}")


def test_contradictions_are_named(ledger: Ledger) -> None:
    ledger.invoke("CP-1", "m1")
    ledger.acknowledged("CP-1", "m1")
    ledger.failed("CP-1", "m1", "refused")
    with pytest.raises(LedgerError, match=r"line 4: message 'm1' of CP-1 is 'fail', but was 'ok' before\.$"):
        judged(ledger)


def test_a_gateway_may_answer_heartbeats_before_messages_that_were_given_up(ledger: Ledger) -> None:
    """Only Heartbeats on a WebSocket, and only before messages that were given up."""
    for cp, action, given_up, via in (
        ("CP-1", "Heartbeat", True, "websocket"),
        ("CP-2", "Authorize", True, "websocket"),
        ("CP-3", "Heartbeat", False, "websocket"),
        ("CP-4", "Heartbeat", True, "queue"),
    ):
        ledger.invoke(cp, "first", "StatusNotification", seq=1, via=via)
        if given_up:
            ledger.unknown(cp, "first", "connection lost")
        else:
            ledger.acknowledged(cp, "first")
        ledger.invoke(cp, "second", action, seq=2, via=via)
        ledger.acknowledged(cp, "second")
        ledger.answered(cp, "second")
        ledger.answered(cp, "first")
    assert [each.cp for each in judged(ledger).reordered] == ["CP-2", "CP-3", "CP-4"]


def test_message_ids_are_used_once(ledger: Ledger) -> None:
    ledger.invoke("CP-1", "m1")
    ledger.invoke("CP-1", "m1")
    with pytest.raises(LedgerError, match=r"line 3: message 'm1' of CP-1 was invoked before; ids are unique\.$"):
        judged(ledger)


KINDS = ["lost", "unexpected", "duplicated", "reordered", "refused_and_applied"]


@given(
    counts=st.fixed_dictionaries({kind: st.integers(0, 4) for kind in KINDS}),
    sound=st.integers(1, 20),
    seed=st.integers(0, 2**16),
)
def test_exactly_the_violations_that_were_put_in_are_found(
    tmp_path_factory: pytest.TempPathFactory, counts: dict[str, int], sound: int, seed: int
) -> None:
    """Each violation on a charge point of its own, the charge points' records mixed at random."""
    histories: list[list[tuple[str, tuple[object, ...], dict[str, object]]]] = []
    for kind in ["sound"] * sound + [kind for kind, count in counts.items() for _ in range(count)]:
        cp = f"CP-{len(histories)}"
        lines: list[tuple[str, tuple[object, ...], dict[str, object]]] = []
        order = [1, 0] if kind == "reordered" else [0, 1]
        for seq in (0, 1):
            lines += [("invoke", (cp, f"m{seq}", "Heartbeat"), {"seq": seq}), ("acknowledged", (cp, f"m{seq}"), {})]
        lines += [("answered", (cp, f"m{seq}"), {}) for seq in order]
        if kind == "lost":
            lines.pop(random.Random(seed).choice([-1, -2]))
        elif kind == "unexpected":
            lines.append(("answered", (cp, "ghost"), {}))
        elif kind == "duplicated":
            lines.append(("answered", (cp, "m1"), {}))
        elif kind == "refused_and_applied":
            lines += [("invoke", (cp, "r"), {}), ("failed", (cp, "r", "no"), {}), ("effect", (cp, "r", "it"), {})]
        histories.append(lines)
    chance = random.Random(seed)
    with Ledger(tmp_path_factory.mktemp("mixed") / "ledger.jsonl") as ledger:
        while waiting := [lines for lines in histories if lines]:
            name, positional, named = chance.choice(waiting).pop(0)
            getattr(ledger, name)(*positional, **named)
        ledger.end()
    report = check([ledger.path])
    assert {kind: len(getattr(report, kind)) for kind in KINDS} == counts
    assert report.verdict is (Verdict.VIOLATED if any(counts.values()) else Verdict.CLEAN)


def test_the_command_says_the_same_and_its_exit_status_too(ledger: Ledger) -> None:
    send(ledger, 2, answered=False)
    ledger.end()
    ledger.close()
    command = [sys.executable, "-m", "ocpp_resilience.ledger", "check", str(ledger.path)]
    text = prepared.run(command, timeout=180)
    assert text.returncode == 1
    assert text.stdout.splitlines()[0].startswith("violated: 2 messages: 2 acknowledged")
    assert text.stdout.splitlines()[1] == "lost: Heartbeat 'm0' of CP-1 was acknowledged, but has no answer"
    machine = prepared.run([*command, "--json"], timeout=180)
    assert json.loads(machine.stdout)["lost"] == 2
    missing = prepared.run([*command[:-1], str(ledger.path) + ".none"], timeout=180)
    assert (missing.returncode, missing.stderr) == (
        2,
        f"{ledger.path}.none: cannot be read: No such file or directory\n",
    )


# ------------------------------------------------------------------ sequence numbers of OCPP 2.0.1 and 2.1


def events(
    ledger: Ledger, *sent: tuple[int, str], offline: frozenset[int] = frozenset(), answered: bool = True
) -> None:
    """Send events of transaction T, in this order."""
    for place, (number, kind) in enumerate(sent):
        name = f"e{place}"
        event = Event("T", number, kind, offline=number in offline)
        ledger.invoke("CP-1", name, "TransactionEvent", seq=place, event=event)
        if answered:
            ledger.acknowledged("CP-1", name)
            ledger.answered("CP-1", name)


SESSION = ((0, "Started"), (1, "Updated"), (2, "Updated"), (3, "Ended"))


def test_events_that_were_all_kept_are_clean(ledger: Ledger) -> None:
    events(ledger, *SESSION)
    ledger.kept("CP-1", KeptEvents("T", 3, [], 0))
    assert judged(ledger).verdict is Verdict.CLEAN


def test_events_in_any_order_are_clean_where_they_say_so(ledger: Ledger) -> None:
    events(ledger, SESSION[3], SESSION[1], SESSION[0], SESSION[2], offline=frozenset({0, 1, 2}))
    ledger.kept("CP-1", KeptEvents("T", 3, [], 3))
    assert judged(ledger).verdict is Verdict.CLEAN


def test_acknowledged_events_that_the_system_misses_are_lost(ledger: Ledger) -> None:
    events(ledger, *SESSION)
    ledger.kept("CP-1", KeptEvents("T", 2, [1], 0))
    assert judged(ledger).details() == [
        "lost: TransactionEvent 'e1' of CP-1 was acknowledged, and event 1 of transaction T counts as missing",
        "lost: TransactionEvent 'e3' of CP-1 was acknowledged, and the highest event of transaction T is 2, below 3",
    ]


def test_what_nobody_knows_may_be_kept_or_not(tmp_path: Path) -> None:
    for number, kept in enumerate((KeptEvents("T", 3), KeptEvents("T", 3, [1]))):
        ledger = Ledger(tmp_path / f"{number}.jsonl")
        events(ledger, SESSION[0], *SESSION[2:])
        ledger.invoke("CP-1", "u", "TransactionEvent", seq=9, event=Event("T", 1, offline=True))
        ledger.unknown("CP-1", "u", "the connection broke")
        ledger.kept("CP-1", kept)
        assert judged(ledger).verdict is Verdict.CLEAN


def test_events_above_the_end_need_not_count(ledger: Ledger) -> None:
    events(ledger, *SESSION, (4, "Updated"))
    ledger.kept("CP-1", KeptEvents("T", 3))
    assert judged(ledger).verdict is Verdict.CLEAN


def test_a_number_that_was_not_sent_has_to_be_missing(ledger: Ledger) -> None:
    events(ledger, SESSION[0], *SESSION[2:])
    ledger.kept("CP-1", KeptEvents("T", 3))
    assert judged(ledger).details() == [
        "unexpected: event 1 of transaction T of CP-1 was not sent, and it counts as seen"
    ]


def test_an_event_that_was_refused_must_not_count(ledger: Ledger) -> None:
    events(ledger, SESSION[0], *SESSION[2:])
    ledger.invoke("CP-1", "r", "TransactionEvent", seq=9, event=Event("T", 1, offline=True))
    ledger.failed("CP-1", "r", "InternalError")
    ledger.kept("CP-1", KeptEvents("T", 3))
    assert judged(ledger).details() == [
        "refused and applied: event 1 of transaction T of CP-1 was refused, and it counts as seen"
    ]


def test_a_number_stands_for_one_event(ledger: Ledger) -> None:
    events(ledger, SESSION[0], SESSION[1], SESSION[1], (1, "Ended"))
    assert judged(ledger).details() == [
        (
            "duplicated: TransactionEvent 'e3' of CP-1 has the sequence number of TransactionEvent 'e1' of CP-1 "
            "in transaction T"
        )
    ]


def test_events_are_sent_in_order_or_marked_offline(ledger: Ledger) -> None:
    events(ledger, SESSION[0], SESSION[2], SESSION[1], SESSION[3])
    assert judged(ledger).details() == [
        (
            "out of order: TransactionEvent 'e2' of CP-1 was sent after TransactionEvent 'e1' of CP-1, which has a "
            "higher sequence number, and is not marked offline"
        )
    ]


def test_events_that_were_sent_later_count_once(ledger: Ledger) -> None:
    events(ledger, *SESSION[:2], SESSION[1], *SESSION[2:], offline=frozenset({1}))
    ledger.kept("CP-1", KeptEvents("T", 3, [], 2))
    assert judged(ledger).details() == ["unexpected: CP-1: transaction T has 2 events that were sent later, expected 1"]


def test_sequences_are_judged_again_from_files_in_any_order(tmp_path: Path, ledger: Ledger) -> None:
    with Ledger(tmp_path / "state.jsonl") as state:
        state.kept("CP-1", KeptEvents("T", 3, [2]))
        state.end()
    events(ledger, *SESSION)
    ledger.end()
    ledger.close()
    command = [sys.executable, "-m", "ocpp_resilience.ledger", "check", str(state.path), str(ledger.path), "--json"]
    done = prepared.run(command)
    assert done.returncode == 1, done.stderr
    assert [each["about"] for each in json.loads(done.stdout)["violations"]] == [
        "TransactionEvent 'e2' of CP-1 was acknowledged, and event 2 of transaction T counts as missing"
    ]


def test_a_record_of_what_is_kept_says_what(tmp_path: Path) -> None:
    file = tmp_path / "cut.jsonl"
    file.write_text('{"op":"kept","t":1.0,"cp":"CP","id":"T"}\n')
    with pytest.raises(LedgerError, match="'kept' lacks the field kept"):
        check([file])


@pytest.mark.parametrize(
    ("action", "payload", "event"),
    [
        (
            "TransactionEvent",
            {"eventType": "Ended", "seqNo": 3, "offline": True, "transactionInfo": {"transactionId": "T"}},
            Event("T", 3, "Ended", offline=True),
        ),
        ("TransactionEvent", {"eventType": "Ended", "transactionInfo": {"transactionId": "T"}}, None),
        ("TransactionEvent", {"seqNo": 1, "transactionInfo": "T"}, None),
        ("TransactionEvent", [], None),
        ("MeterValues", {"seqNo": 1, "transactionInfo": {"transactionId": "T"}}, None),
    ],
)
def test_events_are_recognised(action: str, payload: object, event: Event | None) -> None:
    assert event_of(action, payload) == event
