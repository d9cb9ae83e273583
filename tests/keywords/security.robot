*** Settings ***
Documentation     The keywords about passwords, certificates, tokens and floods, and what they say when something fails.

Library           ChargePointLibrary
Library           LoadLibrary
Library           OcppServerLibrary
Library           RedisServiceLibrary

Suite Setup       Start A Guarded Server
Suite Teardown    Run Keywords    Remove Charge Points    AND    Remove All Servers    AND    Remove Redis


*** Variables ***
&{PASSWORDS}    CP-1=first-2b81    CP-2=second-90ae


*** Test Cases ***
A Connection Has A Status
    ${right} =    Get Connection Status    CP-1    password=first-2b81
    ${wrong} =    Get Connection Status    CP-1    password=second-90ae
    Should Be Equal    ${{[$right, $wrong]}}    ${{[101, 401]}}

A Connection That Is Not Refused Is A Failure
    Run Keyword And Expect Error
    ...    CP-1 should have been refused with HTTP 401, but it was connected.
    ...    Connection Should Be Refused    CP-1    password=first-2b81    status=401

A Refusal With Another Status Is A Failure
    Run Keyword And Expect Error
    ...    Expected a refusal with HTTP 403. CP-1 was refused at * with HTTP 401: Wrong credentials..
    ...    Connection Should Be Refused    CP-1    password=wrong    status=403

Passwords Are Not In The Log
    ${shown} =    Count Lines Of Server Log    first-2b81    second-90ae
    Should Be Equal    ${shown}    ${0}
    ${ready} =    Count Lines Of Server Log    "event":"ready"
    Should Be Equal    ${ready}    ${1}

The Time To A Line Of The Log Is Measured
    [Documentation]    Above the timeout where none comes.
    ${there} =    Measure Time To Log Line    "event":"ready"    timeout=30 s
    Should Be True    0 <= ${there} < 30
    ${none} =    Measure Time To Log Line    "event":"ready"    before=1    timeout=50 ms
    Should Be True    ${none} > 0.05

Certificates Are Files
    ${certificates} =    Make Certificates    CP-1
    &{settings} =    Get Settings For Certificates    ${certificates}
    Should Be Equal As Strings    ${settings}[TLS_CLIENT_CRL]    ${certificates.client_crl}
    &{settings} =    Get Settings For Certificates    ${certificates}    clients=False
    Should Not Contain    ${settings}    TLS_CLIENT_CA

The Token Of The API Is A Setting
    ${setting} =    Get Token Setting
    Should Be Equal    ${setting}    API_TOKEN

A Flood Has Sent Something, And Is Ended Once
    ${url} =    Get Gateway Url    alias=open
    Set Load Target    ${url}
    @{ids} =    Start Flood    2    longest=10 s
    Length Should Be    ${ids}    2
    Run Keyword And Expect Error    A flood is running already; call `Stop Flood` first.    Start Flood
    ${flood} =    Stop Flood
    Should Be True    ${flood.sent} > 0
    Run Keyword And Expect Error    No flood is running; call `Start Flood` first.    Stop Flood

A Flood That Cannot Begin Says Why
    ${url} =    Get Gateway Url
    Set Load Target    ${url}
    Run Keyword And Expect Error
    ...    The flood could not start: ws://*/ocpp/FLOOD-* answered HTTP/1.1 401 Unauthorized
    ...    Start Flood


*** Keywords ***
Start A Guarded Server
    [Documentation]    One server that asks for passwords, and one that does not.
    ${redis} =    Start Redis
    &{settings} =    Get Settings For Passwords    ${PASSWORDS}
    Start Server    ${redis}    &{settings}
    ${url} =    Get Gateway Url
    Use Gateway    ${url}
    Start Server    ${redis}    alias=open
