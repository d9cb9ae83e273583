*** Settings ***
Documentation     Test 20: the system authenticates its peers, and no charge point hurts the others.
...
...               OCPP security profiles 1 to 3, the token of the HTTP API, and charge points that send as fast as they
...               can. Passwords and certificates are made for each test, which starts a server of its own.

Resource          ../resources/security.resource

Suite Setup       Start The System Under Test
Suite Teardown    Forget The Fleet And Stop The System
Test Teardown     The Guarded Server Ends
Test Timeout      5 minutes

Test Tags         security


*** Test Cases ***
A Charge Point Is Accepted With Its Own Password Only
    [Documentation]    None, a wrong one and another charge point's are refused with 401; no password is in the log.
    [Tags]    R20.1
    Start A Server That Asks For Passwords
    Connections Without The Right Password Should Be Refused
    The Right Password Should Be Accepted
    The Log Should Show No Password

The Gateway Accepts Safe TLS Versions Only
    [Documentation]    A plain connection, TLS 1.0 and TLS 1.1 are refused; TLS 1.2 and 1.3 are taken.
    [Tags]    R20.2
    ${certificates} =    Start A Server With TLS
    Plain Connections And Old Versions Should Be Refused    ${certificates}
    New Versions Should Be Accepted    ${certificates}

A Charge Point Is Accepted With Its Own Certificate Only
    [Documentation]    No certificate, one of an unknown authority, an expired or revoked one, and another charge
    ...    point's are refused.
    [Tags]    R20.3
    ${certificates} =    Start A Server That Asks For Certificates
    Connections Without The Right Certificate Should Be Refused    ${certificates}
    The Right Certificate Should Be Accepted    ${certificates}

Commands Need The Token Of The API
    [Documentation]    Every command without a token and with a wrong one is refused, and none reaches the charge point;
    ...    so are inspections, other methods and paths in other forms.
    [Tags]    R20.4
    Start A Server With A Token
    Commands Should Be Refused    token=${EMPTY}
    Commands Should Be Refused    token=wrong
    Requests Without The Token Should Be Refused
    Commands With The Token Should Be Carried Out

A Web Page Of Another Origin Is Refused
    [Documentation]    It may run in the browser of an operator, but neither connects as a charge point nor sends
    ...    commands.
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
    [Documentation]    The same with frames that hold nothing.
    [Tags]    R20.5    alone
    [Setup]    The System Is Well And Loads Find It
    The Others Should Be Answered During A Flood    charge_points=1    frame=[]

A Charge Point That Reads Nothing Is Cut Off
    [Documentation]    It sends pings without a pause, whose answers pile up; the server takes messages at any rate.
    [Tags]    R20.5
    Start A Guarded Server    WS_MESSAGE_RATE=0
    The Server Should Cut Off A Charge Point That Reads Nothing

Charge Points That Use Up The Descriptors Do Not Hurt The Others
    [Documentation]    The server may open 256: it refuses charge points before, answers health and those that are
    ...    connected, and takes new ones when some have left.
    [Tags]    R20.5
    Start A Guarded Server
    Charge Points Use Up The Descriptors    256
    Health And The Connected Charge Points Should Be Answered
    New Charge Points Should Be Taken When Some Have Left
