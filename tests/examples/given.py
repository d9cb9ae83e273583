"""What stands before an example in somebody's test: the steps that its own few lines leave out.

Each example runs in a test of its own. It finds a Redis, a server behind a fault proxy and everything opened on them,
unless `WORLD` has another setup for it; then come the lines of `GIVEN`, and then the example as it is in the
documentation.
"""

from __future__ import annotations

WORLD = {
    "Start Redis": "No Operation",
    "Connect Queue To Gateway": "Only Redis Runs",
    "Measure Time To Log Line": "A Server Runs On A Redis With TLS",
    "Start Fault Proxy": "No Operation",
    "Get Fault Proxy Authority": "Redis Runs",
    "Get Settings For Redis Tls": "Redis Runs Behind A Proxy With TLS",
    "Get Free Port": "Redis Runs",
    "Get Running Server Count": "Redis Runs",
    "Get Redis Url": "Redis Runs",
    "Start Server": "Redis Runs",
    "Server Should Have Exited": "Redis Runs",
    "Wait Until Server Is Ready": "Redis Runs",
    "Get Token Setting": "Redis Runs",
    "Get Clients Of Old Primary": "A Server Runs On A Replicated Redis",
    "Get Last Failover": "A Server Runs On A Replicated Redis",
    "Try Requests Without Token": "Everything Runs    API_TOKEN=${TOKEN}",
    "Send Every Command": "Everything Runs    API_TOKEN=${TOKEN}",
    "Get Connection Status": "Everything Runs With Passwords",
    "Connection Should Be Refused": "Everything Runs With Passwords",
    "Half Open": "Everything Runs    PING_INTERVAL=2",
    "Wait For Sessions To End": "Everything Runs Behind Two Proxies",
    "Forget Idle Connections": "Everything Runs",
}
"""The setup of an example; `Everything Runs` if it is not here."""

IN_2 = ("Ask For Variables", "Get Connector Record", "Get Device Model", "Go Offline For", "Send Transaction Event")
"""Examples in OCPP 2.0.1."""

POINT = "Connect Charge Point"
ANNOUNCED = "Announce Charge Points    100"
STARTED = "${commands}    Start Commands    10"
CP_1 = "Save Charge Point    CP-1    vendor=V    firmware=1.0"
CONNECTOR = "Save Connector    CP-1    1    status=Available    error_code=NoError"
CONFIGURED = [
    "&{values}    Create Dictionary    HeartbeatInterval=300    NumberOfConnectors=2",
    "Save Configuration    CP-1    ${values}",
]
TRANSACTION = "${saved}    Save Transaction    CP-1    connector_id=2    meter_start=1000"
TWO = "@{charge points}    Create List    CP-1    CP-2"
STARTED_AT_ONCE = [TWO, "${started}    Start Transactions At Once    20    ${charge points}"]
BOOTED = [
    "${boot}    Queue Message    BootNotification    charge_point=CP-001    chargePointVendor=Vendor",
    "Message Should Be Answered    ${boot}",
]
SENT = "${sent}    Queue Generated Messages    100"
SAMPLED = [
    "${pid}    Get Server Process Id",
    "Start Sampling    server=${pid}    every=200 ms",
    "Run Load    rate=50    duration=15s",
]
HEARD = ["${sent}    Queue Message    Heartbeat    charge_point=CP-1", "Message Should Be Answered    ${sent}"]
REPORTED = (
    "Send Call    NotifyReport    requestId=${1}    generatedAt=2026-01-15T10:30:00Z    seqNo=${0}    "
    "reportData=${{[dict(component={'name': 'OCPPCommCtrlr'}, variable={'name': 'HeartbeatInterval'}, "
    "variableAttribute=[{'type': 'Actual', 'value': '300'}])]}}"
)
IDS = "@{ids}    Connect Charge Points    20"
COMMAND = "${command}    Start Commands    1"

GIVEN: dict[str, list[str]] = {
    # ChargePointLibrary; what needs one charge point gets it, see `given`
    "All Calls Should Be Answered": [IDS],
    "Send Call From All": [],
    "Count Commands": [
        IDS,
        "FOR    ${id}    IN    @{ids}",
        "    FOR    ${n}    IN RANGE    10",
        "        Send Command    GetConfiguration    ${id}",
        "    END",
        "END",
    ],
    "Count Commands To Older Connections": [IDS],
    "Cross Calls": [IDS],
    "Stop Crossing Calls": [
        IDS,
        "Cross Calls    command first",
        "${commands}    Start Commands    20    charge_points=${ids}",
        "Commands Should Be Answered    ${commands}",
    ],
    "Command Should Be Received": [
        POINT,
        "${id}    Get Connected Charge Points",
        "Send Command    ChangeConfiguration    ${id}[0]    key=HeartbeatInterval    value=60",
    ],
    "Get Charge Point Configuration": [POINT, "Set Charge Point Configuration    HeartbeatInterval    60"],
    "Stop Charging Fleet": ["Start Charging Fleet    5"],
    "Frame Should Be Sent": [
        POINT,
        "Boot",
        "Let Charge Points Answer    TriggerMessage    obey",
        "${id}    Get Connected Charge Points",
        "Send Command    TriggerMessage    ${id}[0]    requestedMessage=StatusNotification",
    ],
    "Charge Point Should Be Disconnected": [POINT, "Stop Server"],
    # CorrelationLibrary
    "Answer Commands": [ANNOUNCED, "${others}    Start Commands    10"],
    "Answer Received Commands": [ANNOUNCED, "${commands}    Start Commands    10    timeout=1s"],
    "Ask For Variables": ["Connect Charge Point    CP-1", "Boot"],
    "Command Should Fit Its Receipts": [IDS, "VAR    ${charge point}    ${ids}[0]"],
    "Command Should Have Answer": [ANNOUNCED],
    "Command Traffic Should Reach All Charge Points": ["@{points}    Announce Charge Points    5    answering=at once"],
    "Commands Should Be Answered": [ANNOUNCED],
    "Commands Should Have Errors": [ANNOUNCED],
    "Commands Should Have Status": [],
    "Correlation Totals Should Be": [ANNOUNCED, COMMAND.replace("command", "commands")],
    "Count Commands With Another Answer": [ANNOUNCED, STARTED],
    "Disconnect Command Callers": [ANNOUNCED],
    "Get Correlations": [ANNOUNCED, COMMAND.replace("command", "commands")],
    "Pending Correlations Should Be": [ANNOUNCED],
    "Stop Command Traffic": [IDS, "Start Command Traffic    ${ids}"],
    "Stored Correlations Should Be": [ANNOUNCED, STARTED, "Answer Commands    ${commands}"],
    "Wait For Commands": [ANNOUNCED],
    "Wait For Correlation Totals": [ANNOUNCED, STARTED],
    "Wait For Received Commands": [ANNOUNCED],
    "Send Every Command": ["Connect Charge Point    CP-1"],
    # EvidenceLibrary
    "Get Examples": ["VAR    @{partial}"],
    "Get Time To Leak Verdict": SAMPLED,
    "Get Visible Leak": SAMPLED,
    "Memory Should Be Stable": SAMPLED,
    "Record Measurement": ["VAR    ${peak}    ${120}"],
    "Skip As Inconclusive": ["${load}    Run Load    rate=20    duration=1s"],
    "Variable Should Be One Of": ["VAR    ${SOAK BESIDE}    yes"],
    "Variables Should Be Numbers": ["VAR    ${RUNS}    3", "VAR    ${RATE}    100"],
    "Variables Should Be Times": ["VAR    ${SOAK}    10 min"],
    # FaultLibrary
    "Fault Schedule Should End": ["Start Fault Schedule    at 0 s    disconnect for 0.5 s"],
    "Fault Should Take Effect": ["Start Queueing Generated Messages    100    over=2 s"],
    # OcppServerLibrary
    "Find Wrong Configuration": BOOTED,
    "Get Charge Point Record": BOOTED,
    "Get Connector Record": [
        "Connect Charge Point    CP-001",
        "Boot",
        "Send Status    Available    connector=1    evseId=${2}",
    ],
    "Get Device Model": [
        "Connect Charge Point    CP-001",
        "Boot",
        REPORTED,
    ],
    "Get Transaction Record": ["${one}    Start Queued Transaction    CP-001", "VAR    ${id}    ${one.id}"],
    "Get Transactions With Other Status": [
        "${one}    Start Queued Transaction    CP-001",
        "VAR    @{ids}    ${one.id}",
    ],
    "Start Watching Server CPU": ["Start Server    ${redis}    alias=quiet"],
    "Log Record Count Should Be": [
        "${mark}    Mark Server Log",
        "${sent}    Queue Message    MakeCoffee    charge_point=CP-001",
        "Message Should Be Refused    ${sent}",
    ],
    "Remove Server": ["Start Server    ${redis}    alias=second"],
    "Target Can Run Twice": ["${another redis}    Start Redis    alias=second"],
    "Wait For Log Record": ["${mark}    Mark Server Log", "Stop Redis"],
    "Get Last Words": ["Kill Server"],
    # RedisQueueLibrary
    "Get Answer Report": [SENT, "Wait Until Queue Is Empty"],
    "Get Answers": ["${boot}    Queue Message    BootNotification", "Message Should Be Answered    ${boot}"],
    "Get Dead Letters": [
        '${broken}    Queue Raw Message    {"invalid": "malformed_json"',
        "Dead Letter Should Exist    ${broken}",
    ],
    "Get Time Since Last Message": ["Queue Message    Heartbeat"],
    "Get Queue Length": ["Stop Server"],
    "Keys Should Equal Snapshot": ["${before}    Take Key Snapshot"],
    "Ledger Should Be Clean": ["Keep Ledger", SENT, "All Messages Should Be Answered    ${sent}"],
    "Peek Queue": ["Stop Server", "Queue Messages    BootNotification    Heartbeat"],
    "Queueing Should End": ["Start Queueing Generated Messages    100    over=1 s"],
    "Wait For Answer": [
        'Queue Raw Message    {"action": "Heartbeat", "chargePointId": "CP-001", "messageId": "b1"}',
    ],
    "Wait For Answers": [SENT],
    "Wait For Sessions To End": ["@{ids}    Connect Charge Points    3", "Boot All"],
    "Queue Uses Gateway": ["${gateway}    Get Gateway Url"],
    # StateStoreLibrary
    "Charge Points Should Be Listed": [TWO],
    "Complete Transactions At Once": STARTED_AT_ONCE,
    "Delete Charge Point": [CP_1],
    "Delete Transaction": [TRANSACTION],
    "Get Charge Point": [CP_1],
    "Get Configuration": CONFIGURED,
    "Get Configuration Key": CONFIGURED,
    "Delete Configuration Key": CONFIGURED,
    "Get Connector": [CONNECTOR],
    "Get Differing Fields": [CP_1.replace("Save", "${saved}    Save", 1), "${read}    Get Charge Point    CP-1"],
    "Get Key Lifetime": HEARD,
    "Get Repeated Ids": STARTED_AT_ONCE,
    "Get Stored Transactions With Other Status": STARTED_AT_ONCE,
    "Get Transaction": [TRANSACTION],
    "List Charge Points": [CP_1],
    "List Connectors": [CONNECTOR],
    "List Transactions": [TRANSACTION],
    "Replace Key By Another Type": ["Connect Charge Point    CP-1"],
    "Set Key Lifetime": HEARD,
    "Stop Writing State": [TWO, "Start Writing State    ${charge points}"],
    "Update Charge Point": [CP_1],
    "Update Configuration Key": CONFIGURED,
    "Update Connector": [CONNECTOR],
    "Update Transaction": [TRANSACTION],
    "Update With Concurrent Writers": [TRANSACTION],
}  # fmt: skip
"""Lines in front of an example, by its keyword."""

NEEDS_POINT = (
    "Abort Charge Point Connection", "Answer Should Be Received", "Boot", "Charge Point Should Be Connected",
    "Charge Whole Session", "Frame Should Be Refused", "Get Charge Point History", "Get Connection Time",
    "Get Received Frames", "Get Sent Frames", "Ghost Should End", "Go Offline For", "Mark Frames",
    "No Command Should Be Received", "Protocol Should Have Been Kept", "Reconnect As Ghost", "Reconnect Charge Point",
    "Repeat Last Call", "Send Authorize", "Send Call", "Send Data Transfer", "Send Frame Of Size",
    "Send Frames Together", "Send Heartbeat", "Send Meter Values", "Send Raw Frame", "Send Status",
    "Send Transaction Event", "Set Charge Point Configuration", "Start Transaction", "Stop Transaction",
)  # fmt: skip
"""Examples of what a connected charge point does; those that begin with a transaction boot first."""


def given(keyword: str) -> list[str]:
    """The lines in front of the example of a keyword."""
    if keyword in NEEDS_POINT:
        return [POINT] if keyword == "Boot" else [POINT, "Boot"]
    return GIVEN.get(keyword, [])
