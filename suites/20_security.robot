*** Settings ***
Documentation     Test 20: the system authenticates its peers, and a charge point cannot affect the others.
...
...               OCPP security profiles 1 to 3, the token of the HTTP API, and charge points that send as fast as they
...               can. Each test creates its passwords and certificates and starts its own server.

Resource          ../resources/security.resource

Suite Setup       Start The System Under Test
Suite Teardown    Forget The Fleet And Stop The System
Test Teardown     The Guarded Server Ends
Test Timeout      5 minutes

Test Tags         security


*** Test Cases ***
A Charge Point Is Accepted With Its Own Password Only
    [Documentation]    A missing password, a wrong one and that of another charge point are refused with 401. No
    ...    password appears in the log.
    [Tags]    R20.1
    Start A Server That Asks For Passwords
    Connections Without The Right Password Should Be Refused
    The Right Password Should Be Accepted
    The Log Should Show No Password

The Gateway Accepts Safe TLS Versions Only
    [Documentation]    A plain connection, TLS 1.0 and TLS 1.1 are refused; TLS 1.2 and 1.3 are accepted.
    [Tags]    R20.2
    ${certificates} =    Start A Server With TLS
    Plain Connections And Old Versions Should Be Refused    ${certificates}
    New Versions Should Be Accepted    ${certificates}

A Charge Point Is Accepted With Its Own Certificate Only
    [Documentation]    A missing certificate, one from an unknown authority, an expired or revoked one, and that of
    ...    another charge point are refused.
    [Tags]    R20.3
    ${certificates} =    Start A Server That Asks For Certificates
    Connections Without The Right Certificate Should Be Refused    ${certificates}
    The Right Certificate Should Be Accepted    ${certificates}

Commands Need The Token Of The API
    [Documentation]    Every command without a token or with a wrong one is refused, and none reaches the charge point.
    ...    The same holds for inspections, other methods and other spellings of the path.
    [Tags]    R20.4
    Start A Server With A Token
    Commands Should Be Refused    token=${EMPTY}
    Commands Should Be Refused    token=wrong
    Requests Without The Token Should Be Refused
    Commands With The Token Should Be Carried Out

A Web Page Of Another Origin Is Refused
    [Documentation]    A web page in the browser of an operator can neither connect as a charge point nor send commands.
    [Tags]    R20.4
    Skip Unless Target Supports    origin checks
    Start A Server With A Token
    Web Pages Should Not Connect
    Web Pages Should Not Send Commands

The Flood Of One Charge Point Does Not Hurt The Others
    [Documentation]    One of fifty sends Heartbeats as fast as it can; the others are answered as quickly as before.
    [Tags]    R20.5    alone
    [Setup]    The System Is Well And Loads Find It
    The Others Should Be Answered During A Flood    charge_points=1

A Flood Of Broken Frames Does Not Hurt The Others
    [Documentation]    The same with empty frames.
    [Tags]    R20.5    alone
    [Setup]    The System Is Well And Loads Find It
    The Others Should Be Answered During A Flood    charge_points=1    frame=[]

A Flood Of Long Messages Does Not Hurt The Others
    [Documentation]    The same with valid messages of 200 KB, of which a few a second are as much work.
    [Tags]    R20.5    alone
    [Setup]    The System Is Well And Loads Find It
    The Others Should Be Answered During A Flood
    ...    charge_points=1
    ...    frame=${LONG FRAME}
    ...    duration=1.5 s
    ...    after=1 s

A Charge Point That Reads Nothing Is Cut Off
    [Documentation]    The charge point sends pings without reading, so the answers accumulate. The server has no rate
    ...    limit in this test.
    [Tags]    R20.5
    Start A Guarded Server    WS_MESSAGE_RATE=0
    The Server Should Cut Off A Charge Point That Reads Nothing

Charge Points That Use Up The Descriptors Do Not Hurt The Others
    [Documentation]    With a limit of 256 the server refuses further charge points in time, still answers health checks
    ...    and connected charge points, and accepts new ones when some have disconnected.
    [Tags]    R20.5
    Start A Guarded Server
    Charge Points Use Up The Descriptors    256
    Health And The Connected Charge Points Should Be Answered
    New Charge Points Should Be Taken When Some Have Left
