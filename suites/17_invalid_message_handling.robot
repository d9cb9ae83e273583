*** Settings ***
Documentation     Test 17: invalid messages do not stop the server, do not disappear without a log record, and do not
...               delay other messages.
...
...               The cases are in ``resources/invalid_messages.json``, for OCPP 2.0.1 and 2.1 in
...               ``resources/invalid_messages_2.json``, each with its expected error code. Every invalid message is
...               followed by a valid one that has to be answered.
...               A test that names no kinds sends all kinds of its requirement that no earlier test has sent.

Resource          ../resources/system_under_test.resource
Resource          ../resources/queue.resource
Resource          ../resources/charge_points.resource

Suite Setup       Start The System Under Test
Suite Teardown    Stop The System Under Test
Test Setup        The System Should Be Idle And Well
Test Teardown     The Effects Are Right And The Server Has Never Crashed

Test Tags         invalid-messages


*** Variables ***
${SIZE LIMIT}    ${262144}


*** Test Cases ***
Malformed JSON Is Logged And Set Aside And Stops Nothing Behind It
    [Tags]    R17.1    R17.6    R17.7
    Invalid Messages Are Survived, Logged And Set Aside    R17.1

Messages With Missing Fields Are Refused
    [Tags]    R17.2    R17.6    R17.7
    Invalid Messages Are Survived, Logged, Set Aside And Refused    R17.2

Unknown And Unsupported Actions Are Refused
    [Tags]    R17.3    R17.6    R17.7
    Invalid Messages Are Refused    R17.3

Wrong Types And Values Are Refused
    [Tags]    R17.4    R17.6    R17.7
    Invalid Messages Are Survived, Logged, Set Aside And Refused    R17.4
    ...    wrong_type    null_value    not_an_object    not_in_enumeration    out_of_range    too_long    bad_date
    ...    empty_list    unknown_field

Wrong Shapes And Ids Are Refused At Every Level
    [Documentation]    JSON null, [], {}, numbers and text instead of messages, frames, ids and payloads, and
    ...    the other cases in the file for this requirement.
    [Tags]    R17.4    R17.6    R17.7
    Invalid Messages Are Survived, Logged, Set Aside And Refused    R17.4

Oversized Messages Are Refused Before Work Is Done On Them
    [Tags]    R17.5    R17.6    R17.7
    Invalid Messages Are Survived, Logged And Set Aside    R17.5

Messages Are Answered Up To The Size Limit And Refused Above It
    [Documentation]    256 KiB on the queue, and at the gateway as one WebSocket frame and in fragments.
    [Tags]    R17.5    R17.7
    [Setup]    The System Is Well And Charge Points Can Connect
    Skip Unless Target Supports    dead letters
    Connect Charge Point
    Messages Below The Size Limit Should Be Answered    ${SIZE LIMIT}
    Messages Above The Size Limit Should Be Refused    ${SIZE LIMIT}
    Dead Letters Should Keep The Beginning Of Messages
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

Messages That Come In One Packet Are Each Answered Or Refused
    [Documentation]    More messages at once than a gateway handles in one turn, and than the reference server accepts
    ...    in a second. This violates OCPP-J; the charge point has to get an error instead of waiting forever.
    [Tags]    R17.10
    [Setup]    The System Is Well And Charge Points Can Connect
    Connect Charge Point
    Boot
    Each Of Them Should Be Answered When Sent Together    40
    Each Of Them Should Be Answered When Sent Together    600
    Send Heartbeat
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

Invalid Messages On The WebSocket Are Answered As OCPP-J Says
    [Documentation]    The frames are in ``resources/invalid_frames.json`` (or ``invalid_frames_2.json``), each with its
    ...    expected outcome. After each frame the charge point sends a valid message that has to be answered.
    [Tags]    R17.10
    [Setup]    The System Is Well And Charge Points Can Connect
    [Template]    Invalid Frames Get The Reactions Of The Table
    R17.10    message_id
    R17.10    elements
    R17.10    action
    R17.10    payload
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

Unanswerable Frames Are Ignored Or Close The Connection
    [Documentation]    After a connection that was closed as RFC 6455 requires, the charge point reconnects.
    [Tags]    R17.10
    [Setup]    The System Is Well And Charge Points Can Connect
    [Template]    Invalid Frames Get The Reactions Of The Table
    R17.10    malformed_json
    R17.10    not_a_frame
    R17.10    message_type
    R17.10    answer
    R17.10    deep_nesting
    R17.10    oversized
    R17.10    not_utf8
    R17.10    binary
    R17.10    websocket
    R17.10    every other kind
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

SEND And CALLRESULTERROR Are Answered As The Version Says
    [Documentation]    SEND and CALLRESULTERROR, on the queue and over WebSockets: in OCPP 2.1 a SEND is never answered,
    ...    and an unreadable CALLRESULT is answered with a CALLRESULTERROR; earlier versions have neither.
    [Tags]    R17.11    R17.6    R17.7
    [Setup]    The System Is Well And Charge Points Can Connect
    Invalid Messages Get The Answers Of The Version    R17.11    added_by_2_1
    Invalid Frames Get The Reactions Of The Table    R17.11    added_by_2_1
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

The First Offered Version That The System Speaks Is Chosen
    [Documentation]    Whichever order a charge point offers versions of OCPP in, and behind one that does not exist.
    [Tags]    R17.10
    [Setup]    The System Is Well And Charge Points Can Connect
    @{wrong} =    Find Wrong Subprotocols
    ${count} =    Get Length    ${wrong}
    ${some} =    Get Examples    ${wrong}
    Requirement Should Be Met    R17.10    wrong_reactions    ${count}    message=${some}.
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

Calls Before The Boot Are Refused Where The System Asks For It
    [Documentation]    A second system is started with that setting. The boot of one charge point is none of another,
    ...    and it is still known after a reconnect.
    [Tags]    R17.10
    [Setup]    A System Requires A Boot
    Connect Charge Point    gateway=boot first
    Connect Charge Point    alias=booted    gateway=boot first
    Boot    alias=booted
    Every Call But The Boot Should Be Refused
    Boot
    Abort Charge Point Connection    alias=booted
    Reconnect Charge Point    alias=booted
    Send Heartbeat    alias=booted
    Send Heartbeat
    [Teardown]    The System That Requires A Boot Leaves

A Thousand Generated Invalid Frames Get The Right Reactions
    [Documentation]    100 charge points send invalid frames at the same time, each followed by a valid message. Each
    ...    frame is logged and counted once.
    [Tags]    R17.10    R17.6
    [Setup]    The System Is Well And Charge Points Can Connect
    1000 Generated Invalid Frames Of 100 Charge Points Get The Right Reactions
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

A Thousand Generated Invalid Messages Are Each Logged Once
    [Documentation]    Valid messages with one random defect; the seed in the log reproduces them.
    [Tags]    R17.6    R17.7
    ${log} =    Mark Server Log
    ${sent} =    Queue Generated Invalid Messages    1000    valid_between=1000
    ${drain} =    All Messages Should Be Answered    ${sent.valid}
    All Messages Should Be Refused    ${sent}
    Every Message Should Have Been Answered    R17.7    ${drain}
    Each Invalid Message Should Have One Log Record    ${sent}    ${log}

Valid Messages Are Answered As Quickly As Before After A Burst Of Invalid Ones
    [Documentation]    10,000 invalid messages mixed with 1,000 valid ones; each invalid message is logged.
    [Tags]    R17.6    R17.8
    [Setup]    The System Is Well And Watched
    ${normal} =    Measure Answer Time    samples=50
    ${log} =    Mark Server Log
    ${sent} =    Queue Generated Invalid Messages    10000    valid_between=1000
    ${recovered} =    Wait Until Answer Time Is Normal    ${normal}    timeout=60 s
    ${drain} =    All Messages Should Be Answered    ${sent.valid}
    Requirement Should Be Met    R17.8    invalid_messages    ${sent.doubtful.count}
    Requirement Should Be Met    R17.8    valid_messages    ${sent.valid.count}
    Every Message Should Have Been Answered    R17.8    ${drain}    name=valid_answered
    Requirement Should Be Met    R17.8    recovery_time    ${recovered}
    A Log That Is Read Should Have One Record Of Each    ${sent}    ${log}
    [Teardown]    Run Keywords    Stop Sampling    AND    The Effects Are Right And The Server Has Never Crashed

Memory Stays Stable Under Invalid Messages
    [Documentation]    Growth over 20,000 invalid messages, after a warm-up of 10,000.
    [Tags]    R17.9
    Queue Invalid Messages And Wait Until They Are Processed    10000
    ${before} =    Get Server Memory
    Queue Invalid Messages And Wait Until They Are Processed    20000
    ${growth} =    Get Memory Growth    ${before}
    Requirement Should Be Met    R17.9    memory_growth    ${growth}    samples=20000
