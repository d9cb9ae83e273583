*** Settings ***
Documentation     The keywords of ChargePointLibrary, on a stand-in of a gateway that obeys the tests.

Library           ChargePointLibrary
Library           ../fakes/GatewayFake.py

Suite Setup       Start And Use The Fake
Suite Teardown    Stop Fake Gateway
Test Teardown     Be Good Again


*** Test Cases ***
A Charge Point Boots And Charges
    [Documentation]    Out of nothing but defaults, with an id that no other test uses.
    ${id}    Connect Charge Point
    Should Match Regexp    ${id}    ^CP-[0-9a-z]{7}-\\d{4}$
    ${answer}    Boot    firmwareVersion=1.2
    Should Be Equal    ${answer}[status]    Accepted
    ${session}    Charge Whole Session    energy=2500    meter_values=2
    Should Be Equal    ${session.transaction_id}    ${7}
    Should Be Equal    ${session.meter_stop}    ${3500}

Each Message Has A Keyword
    [Documentation]    They return the payload of the answer.
    Connect Charge Point
    Send Status    Faulted    connector=2    error_code=GroundFailure
    ${answer}    Send Authorize    TAG-1
    Should Be Equal    ${answer}[idTagInfo][status]    Accepted
    Send Data Transfer    hello    message=greeting
    @{sent}    Get Sent Frames    kind=CALL
    Length Should Be    ${sent}    3
    Should Be Equal    ${sent[0].payload}[status]    Faulted
    Should Be Equal    ${sent[2].payload}[data]    hello

A Transaction Is Made Of Three Messages
    [Documentation]    Numbers are sent as numbers.
    Connect Charge Point
    ${started}    Start Transaction    meter=1500
    Send Meter Values    ${started}[transactionId]    meter=1700
    Stop Transaction    ${started}[transactionId]    meter=2500    reason=EVDisconnected
    @{sent}    Get Sent Frames    kind=CALL
    Should Be Equal    ${sent[1].payload}[transactionId]    ${7}
    Should Be Equal    ${sent[2].payload}[meterStop]    ${2500}

What Is Not Answered Is Told With What Came Instead
    [Documentation]    No answer, and a CALLERROR.
    Connect Charge Point    CP-7
    Fake Should Ignore    Heartbeat
    VAR    ${expected}    REGEXP:Heartbeat of CP-7 \\(message id [0-9a-f]+-1\\) was not answered within 100 ms\\.
    ...    Since then it received nothing\\.    separator=${SPACE}
    Run Keyword And Expect Error    ${expected}    Send Heartbeat    timeout=100ms
    Fake Should Refuse    Authorize
    Run Keyword And Expect Error
    ...    REGEXP:Authorize of CP-7 \\(message id .*\\) was answered with the CALLERROR NotSupported: not here\\.
    ...    Send Authorize
    ${answer}    Send Call    Authorize
    Should Be Equal    ${answer.kind.name}    CALLERROR
    Should Be Equal    ${answer.code}    NotSupported

A Fleet Is Waited For Until Each Of Its Charge Points Has One More Answer
    @{points}    Start Charging Fleet    2    pause=0.3 s
    Wait Until Fleet Is Answered
    FOR    ${point}    IN    @{points}
        @{received}    Get Received Frames    kind=CALLRESULT    alias=${point}
        Should Be True    len($received) > 1
    END
    Stop Charging Fleet

A Wrong Password Is Refused
    [Documentation]    And the refusal can be asserted on.
    Fake Should Ask For    secret
    Connection Should Be Refused    CP-1    password=wrong    status=401
    Run Keyword And Expect Error    STARTS:CP-1 was refused at    Connect Charge Point    CP-1
    Connect Charge Point    CP-1    password=secret
    Run Keyword And Expect Error    EQUALS:CP-1 should have been refused, but it was connected.
    ...    Connection Should Be Refused    CP-1    password=secret

A Subprotocol That The Gateway Does Not Have Is Refused
    [Documentation]    Whatever is offered in the place of the target's own.
    VAR    @{foreign}    ocpp2.0.1
    Connection Should Be Refused    subprotocols=${foreign}    status=400

The End Of A Connection Is Known
    [Documentation]    Its close code, and who ended it.
    ${id}    Connect Charge Point
    Charge Point Should Be Connected
    Fake Hangs Up    ${id}    1012
    Charge Point Should Be Disconnected    code=1012
    Run Keyword And Expect Error
    ...    STARTS:${id} should be connected, but it is not connected: the connection was ended by the gateway
    ...    Charge Point Should Be Connected
    Reconnect Charge Point
    Abort Charge Point Connection
    ${code}    Charge Point Should Be Disconnected
    Should Be Equal    ${code}    ${1006}

A Connection That A Charge Point Ends Is Closed In Order
    [Documentation]    With the code that it gives; the next one works.
    ${id}    Connect Charge Point
    Disconnect Charge Point    code=1001    reason=going away
    ${code}    Charge Point Should Be Disconnected    code=1001
    Should Be Equal    ${code}    ${1001}
    Run Keyword And Expect Error    STARTS:${id} is not connected    Send Heartbeat
    Reconnect Charge Point
    Send Heartbeat

It Stays Known How Long A Connection Lasted
    [Documentation]    As long as it is open the time goes on.
    Connect Charge Point
    ${open}    Get Connection Time
    Send Heartbeat
    ${later}    Get Connection Time
    Disconnect Charge Point
    ${lasted}    Get Connection Time
    ${still}    Get Connection Time
    Should Be True    0 < $open.total_seconds() < $later.total_seconds() <= $lasted.total_seconds() < 60
    Should Be Equal    ${still}    ${lasted}

Frames Are Looked At From A Mark On
    [Documentation]    Of one kind, of one action, and only what came since.
    ${id}    Connect Charge Point
    Send Heartbeat
    ${mark}    Mark Frames
    @{none}    Get Received Frames    since=${mark}
    Fake Sends    ${id}    Reset    type=Soft
    Command Should Be Received    Reset
    Send Authorize    TAG-1
    @{answers}    Get Received Frames    since=${mark}    kind=CALLRESULT
    @{all}    Get Received Frames
    Should Be Equal    ${{[len($none), len($answers), len($all)]}}    ${{[0, 1, 3]}}

A Charge Point Has The Configuration That A Test Gives It
    [Documentation]    GetConfiguration tells of it, and what is read-only is not changed.
    ${id}    Connect Charge Point
    Set Charge Point Configuration    SerialNumber    S-1    readonly=True
    Fake Sends    ${id}    GetConfiguration    key=${{['SerialNumber', 'Size']}}
    Fake Sends    ${id}    ChangeConfiguration    key=SerialNumber    value=S-2
    Send Heartbeat
    @{answers}    Get Sent Frames    kind=CALLRESULT
    VAR    ${serial}    ${{ {'key': 'SerialNumber', 'readonly': True, 'value': 'S-1'} }}
    Should Be Equal    ${answers[0].payload}    ${{ {'configurationKey': [$serial], 'unknownKey': ['Size']} }}
    Should Be Equal    ${answers[1].payload}[status]    Rejected

Commands Are Answered Sensibly
    [Documentation]    ChangeConfiguration changes the configuration.
    ${id}    Connect Charge Point
    Fake Sends    ${id}    ChangeConfiguration    key=HeartbeatInterval    value=60
    ${command}    Command Should Be Received    ChangeConfiguration    key=HeartbeatInterval
    Should Be Equal    ${command.payload}[value]    60
    Send Heartbeat
    ${configuration}    Get Charge Point Configuration
    Should Be Equal    ${configuration}[HeartbeatInterval]    60

Commands Are Answered As The Test Says
    [Documentation]    Each action can have its own way.
    ${id}    Connect Charge Point
    Let Charge Points Answer    Reset    reject
    Let Charge Points Answer    ClearCache    callerror    code=InternalError
    Fake Sends    ${id}    Reset    type=Soft
    Fake Sends    ${id}    ClearCache
    Send Heartbeat
    @{answers}    Get Sent Frames    kind=CALLRESULT
    Should Be Equal    ${answers[0].payload}[status]    Rejected
    @{errors}    Get Sent Frames    kind=CALLERROR
    Should Be Equal    ${errors[0].code}    InternalError

A Charge Point Can Do What It Was Told
    [Documentation]    And not only accept it.
    ${id}    Connect Charge Point
    Let Charge Points Answer    TriggerMessage    obey
    Fake Sends    ${id}    TriggerMessage    requestedMessage=MeterValues
    Command Should Be Received    TriggerMessage
    Frame Should Be Sent    MeterValues

A Command That Did Not Come Is Told With Those That Did
    [Documentation]    And how the connection is.
    ${id}    Connect Charge Point    CP-9
    Fake Sends    ${id}    Reset    type=Soft
    Command Should Be Received    Reset
    VAR    ${expected}    EQUALS:CP-9 should have received Reset with {'type': 'Hard'}. Of commands it received
    ...    Reset (message id Reset-1). Reset came with {'type': 'Soft'}. (waited 100 ms)    separator=${SPACE}
    Run Keyword And Expect Error    ${expected}    Command Should Be Received    Reset    type=Hard    timeout=100ms
    No Command Should Be Received    ClearCache
    Run Keyword And Expect Error    STARTS:CP-9 should have received no Reset, but it received Reset
    ...    No Command Should Be Received    Reset

Broken Rules Of OCPP-J Are Found
    [Documentation]    The stand-in answers SignCertificate without a status.
    Connect Charge Point    CP-11
    Charge Whole Session
    ${count}    Protocol Should Have Been Kept
    Should Be Equal    ${count}    ${10}
    Send Call    SignCertificate
    VAR    ${expected}    STARTS:OCPP-J was violated 1 time in 11 received frames.
    ...    The first: CP-11: Frame 22, '[3,    separator=${SPACE}
    Run Keyword And Expect Error    ${expected}    Protocol Should Have Been Kept

A Raw Frame Is Sent As It Is
    [Documentation]    And its answer, if there is one, can be waited for.
    Connect Charge Point
    Send Raw Frame    not json
    ${sent}    Send Raw Frame    [2,"id-1","Heartbeat",{}]
    Answer Should Be Received    id-1    since=${sent}

Invalid Frames Are Sent From A File
    [Documentation]    The stand-in leaves it to websockets what costs the connection.
    ${report}    Send Invalid Frames    kind=oversized
    Should Be Empty    ${report.wrong}    ${report.summary}
    Should Be Equal    ${report.unanswered}    ${0}
    ${report}    Send Invalid Frames    kind=websocket
    Should Be Empty    ${report.wrong}    ${report.summary}

Wrong Reactions To Invalid Frames Are Told
    [Documentation]    The stand-in answers every CALL, whatever its action.
    ${report}    Send Invalid Frames    kind=action
    Should Not Be Empty    ${report.wrong}
    Should Not Be Empty    ${report.intolerable}
    Should Contain    ${report.summary}    unknown-action and 3 more: expected the CALLERROR NotImplemented to

Many Charge Points Act At The Same Time
    [Documentation]    In one keyword each.
    @{ids}    Connect Charge Points    50
    ${count}    All Charge Points Should Be Connected    ${ids}
    Should Be Equal    ${count}    ${50}
    Boot All    ${ids}
    ${exchange}    Send Call From All    Heartbeat    ${ids}    each=10
    All Calls Should Be Answered    ${exchange}
    Should Be Equal    ${exchange.answered}    ${500}
    ${sessions}    Charge Whole Sessions    ${ids}
    Length Should Be    ${sessions}    50

What Some Of Many Did Not Get Is Told
    [Documentation]    How many, and why.
    @{ids}    Connect Charge Points    3
    Fake Should Ignore    Heartbeat
    ${exchange}    Send Call From All    Heartbeat    ${ids}    timeout=100ms
    Run Keyword And Expect Error    STARTS:0 of 3 messages answered, 0 refused, 3 unanswered
    ...    All Calls Should Be Answered    ${exchange}
    Disconnect All Charge Points    ${ids}
    Run Keyword And Expect Error    STARTS:3 of 3 charge points are not connected.
    ...    All Charge Points Should Be Connected    ${ids}


*** Keywords ***
Start And Use The Fake
    [Documentation]    One gateway for all tests.
    ${url}    Start Fake Gateway
    Use Gateway    ${url}

Be Good Again
    [Documentation]    The gateway answers everything and asks for nothing; nobody is connected.
    Fake Should Ignore
    Fake Should Refuse
    Fake Should Ask For    ${None}
    Remove Charge Points
