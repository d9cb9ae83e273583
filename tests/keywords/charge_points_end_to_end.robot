*** Settings ***
Documentation    Charge points on WebSockets, commands by HTTP and the reference server between them: what the keywords
...              of three libraries say about the same commands fits together.

Library          Collections
Library          ChargePointLibrary
Library          CorrelationLibrary
Library          OcppServerLibrary
Library          RedisServiceLibrary

Suite Setup      Start Everything
Test Setup       Connect Fifty Charge Points
Test Teardown    Remove Charge Points


*** Variables ***
${IDS}    ${NONE}


*** Test Cases ***
A Thousand Commands Are Answered In Random Order While The Charge Points Charge
    [Documentation]    Each caller gets its own answer, and no charge point has two commands at a time.
    Let Charge Points Answer    spread=20ms
    ${commands}    Start Commands    1000    charge_points=${IDS}    timeout=60s
    ${sessions}    Charge Whole Sessions    ${IDS}    timeout=60s
    Length Should Be    ${sessions}    50
    Commands Should Be Answered    ${commands}
    Count Commands    GetConfiguration    charge_points=${IDS}    expected=1000
    ${frames}    Protocol Should Have Been Kept    ${IDS}
    Should Be True    ${frames} >= 1500

Each Caller Hears What Its Charge Point Said
    [Documentation]    Yes, no, an error, nothing, and a hang-up.
    Let Charge Points Answer    Reset    reject
    ${rejected}    Send Command    Reset    charge_point=${IDS}[0]    type=Soft
    Should Be Equal    ${rejected.data}[status]    Rejected
    Let Charge Points Answer    Reset    callerror    code=NotSupported
    ${error}    Send Command    Reset    charge_point=${IDS}[1]    type=Soft
    Should Contain    ${error.reason}    NotSupported
    Let Charge Points Answer    Reset    disconnect
    ${lost}    Send Command    Reset    charge_point=${IDS}[2]    type=Hard
    Should Be Equal    ${lost.status}    ${503}
    Charge Point Should Be Disconnected    alias=${IDS}[2]    code=1001

Charge Points That Keep Silent Do Not Hold Up Their Next Command
    [Documentation]    Two hundred at the same time are told that the time is up; the next are answered.
    Let Charge Points Answer    how=silence
    ${silent}    Start Commands    200    charge_points=${IDS}    timeout=1s
    Wait For Commands    ${silent}
    Commands Should Have Status    408    ${silent}
    Reset Charge Point Answers
    ${answered}    Start Commands    200    charge_points=${IDS}    timeout=60s
    Commands Should Be Answered    ${answered}

A Charge Point Does What It Was Told
    [Documentation]    A transaction is started and stopped from afar.
    Let Charge Points Answer    how=obey
    Send Command    RemoteStartTransaction    charge_point=${IDS}[0]    connectorId=${1}    idTag=AFAR
    ${started}    Frame Should Be Sent    StartTransaction    alias=${IDS}[0]
    Should Be Equal    ${started.payload}[idTag]    AFAR
    ${answer}    Answer Should Be Received    ${started.message_id}    alias=${IDS}[0]
    Send Command    RemoteStopTransaction    charge_point=${IDS}[0]    transactionId=${answer.payload}[transactionId]
    ${stopped}    Frame Should Be Sent    StopTransaction    alias=${IDS}[0]
    Should Be Equal    ${stopped.payload}[transactionId]    ${answer.payload}[transactionId]

What A Charge Point Sends Again Is The Same Transaction
    [Documentation]    The same frame after a reconnect, and the same event under a new message id.
    ${first}    Send Call    StartTransaction    alias=${IDS}[0]    meterStart=${77}
    ${again}    Repeat Last Call    alias=${IDS}[0]
    Should Be Equal    ${again.payload}    ${first.payload}
    ${renamed}    Repeat Last Call    alias=${IDS}[0]    new_message_id=True    reconnect=False
    Should Be Equal    ${renamed.payload}[transactionId]    ${first.payload}[transactionId]

The Newest Connection Of A Charge Point Is The One That Counts
    [Documentation]    The older one was left open, is ended by the gateway, and gets no command.
    ${ghost}    Reconnect As Ghost    alias=${IDS}[0]
    ${commands}    Start Commands    10    charge_points=${IDS}[0]    timeout=60s
    Commands Should Be Answered    ${commands}
    ${seconds}    Ghost Should End    ${ghost}    timeout=30s
    Should Be True    ${seconds} < 30
    Should Be Equal    ${ghost.end.code}    ${1008}

A Charge Point Finds A Server That Was Killed Where It Was
    [Documentation]    It listens on the port that it was given, in each of its lives.
    ${port}    Get Free Port
    ${gateway}    Start A Server At    ${port}
    Should End With    ${gateway}    :${port}
    Use Gateway    ${gateway}    alias=same
    Connect Charge Point    alias=loyal    gateway=same
    Kill Server    alias=same
    Charge Point Should Be Disconnected    alias=loyal
    Start A Server At    ${port}
    Reconnect Charge Point    alias=loyal
    Boot    alias=loyal
    [Teardown]    Run Keywords    Remove Charge Points    AND    Remove Server    alias=same


*** Keywords ***
Start Everything
    [Documentation]    One server for all tests.
    ${redis}    Start Redis
    Start Server    ${redis}
    Wait Until Server Is Ready
    ${gateway}    Get Gateway Url
    Use Gateway    ${gateway}
    ${http}    Get Server Url
    Open Commands    ${redis}    ${http}

Start A Server At
    [Documentation]    Returns where charge points connect to it.
    [Arguments]    ${port}
    ${redis}    Get Redis Url
    Start Server    ${redis}    alias=same    WS_PORT=${port}
    ${gateway}    Get Gateway Url    alias=same
    RETURN    ${gateway}

Connect Fifty Charge Points
    [Documentation]    New ones for each test.
    @{ids}    Connect Charge Points    50
    Boot All    ${ids}
    VAR    @{IDS}    @{ids}    scope=TEST    # robocop: off=VAR06
