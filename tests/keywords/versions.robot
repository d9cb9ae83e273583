*** Settings ***
Documentation    Charge points of OCPP 1.6, 2.0.1 and 2.1 at one server at the same time, and the keywords of 2.x.

Library          Collections
Library          ChargePointLibrary
Library          CorrelationLibrary
Library          OcppServerLibrary
Library          RedisQueueLibrary
Library          RedisServiceLibrary

Suite Setup      Start Everything
Test Teardown    Remove Charge Points


*** Test Cases ***
Charge Points Of Three Versions Boot And Charge At The Same Time
    [Documentation]    The words are the same; the messages are those of each version.
    FOR    ${protocol}    IN    ocpp1.6    ocpp2.0.1    ocpp2.1
        A Charge Point Boots And Charges    ${protocol}
    END
    Frame Should Be Sent    StartTransaction    alias=ocpp1.6
    Frame Should Be Sent    TransactionEvent    alias=ocpp2.0.1
    Frame Should Be Sent    TransactionEvent    alias=ocpp2.1
    Protocol Should Have Been Kept

Events That Happened Without A Connection Count When They Are Told
    [Documentation]    They come in any order; the state is that of the highest number.
    Connect Charge Point    protocol=ocpp2.0.1
    ${started}    Send Transaction Event    Started    meter=${1500}
    ${offline}    Go Offline For    500 ms    order=reversed
    Should Be True    ${offline.events[0].payload}[offline]
    ${ended}    Send Transaction Event    Ended
    Should Be Equal    ${started.seq_no}    ${0}
    Should Be Equal    ${ended.seq_no}    ${{len($offline.events) + 1}}
    Should Be Equal    ${ended.transaction_id}    ${started.transaction_id}
    ${history}    Get Charge Point History
    State Should Equal The Model    ${history}

A Connector Has The Transaction That Runs There
    ${id}    Connect Charge Point    protocol=ocpp2.0.1
    ${started}    Send Transaction Event    Started    evse=2
    ${connector}    Get Connector Record    ${id}    1    evse=2
    Should Be Equal    ${connector}[transaction_id]    ${started.transaction_id}

A Transaction Has The Same Words In Every Version
    FOR    ${protocol}    IN    ocpp1.6    ocpp2.0.1    ocpp2.1
        Connect Charge Point    alias=${protocol}    protocol=${protocol}
        ${started}    Start Transaction    meter=${1500}    alias=${protocol}
        Send Meter Values    ${started}[transactionId]    meter=${1700}    alias=${protocol}
        Stop Transaction    ${started}[transactionId]    meter=${1900}    reason=EVDisconnected    alias=${protocol}
    END
    Run Keyword And Expect Error
    ...    * has no running transaction 'tx-1' (running: none).
    ...    Stop Transaction    tx-1    alias=ocpp2.1
    ${history}    Get Charge Point History    charge_points=${{['ocpp2.0.1']}}
    State Should Equal The Model    ${history}
    Run Keyword And Expect Error
    ...    The charge points use OCPP 1.6 and OCPP 2.0.1 and OCPP 2.1; all of them have to use one version.
    ...    Get Charge Point History

The Device Model That A Charge Point Reports Is Kept
    ${id}    Connect Charge Point
    Send Call    NotifyReport
    ${variables}    Get Device Model    ${id}
    Should Be Equal    ${variables}[OCPPCommCtrlr.HeartbeatInterval (Actual)][value]    300

A Charge Point Gives Its Variables
    [Documentation]    It is one of OCPP 2.1.
    ${id}    Connect Charge Point
    Boot
    Set Charge Point Configuration    OCPPCommCtrlr/HeartbeatInterval    60
    ${values}    Ask For Variables    ${id}    OCPPCommCtrlr/HeartbeatInterval
    Should Be Equal    ${values}[OCPPCommCtrlr/HeartbeatInterval]    60
    Command Should Be Received    GetConfiguration
    Count Commands    GetVariables    expected=1
    Run Keyword And Expect Error
    ...    ${id} should have given all variables, but EVSE/Colour is UnknownComponent.
    ...    Ask For Variables    ${id}    EVSE/Colour

A Message That The Version Does Not Have Is Named
    ${id}    Connect Charge Point    protocol=ocpp2.0.1
    ${old}    Connect Charge Point    alias=old    protocol=ocpp1.6
    Run Keyword And Expect Error
    ...    ${old} speaks OCPP 1.6, which has no TransactionEvent.
    ...    Send Transaction Event    Started    alias=old
    Run Keyword And Expect Error
    ...    ${id} has no transaction at EVSE 1; start one with the event 'Started'.
    ...    Send Transaction Event    Updated
    Run Keyword And Expect Error
    ...    STARTS: Target 'reference' does not support 'ocpp9' (allowed: ocpp1.6, ocpp2.0.1, ocpp2.1;
    ...    Connect Charge Point    alias=new    protocol=ocpp9


*** Keywords ***
A Charge Point Boots And Charges
    [Documentation]    In this version, with every word that all versions have.
    [Arguments]    ${protocol}
    Connect Charge Point    alias=${protocol}    protocol=${protocol}
    ${answer}    Boot    alias=${protocol}    vendor=ACME
    Should Be Equal    ${answer}[status]    Accepted
    Send Heartbeat    alias=${protocol}
    Send Status    Charging    alias=${protocol}
    Send Authorize    TAG-1    alias=${protocol}
    Send Meter Values    meter=${1700}    alias=${protocol}
    ${session}    Charge Whole Session    alias=${protocol}
    Length Should Be    ${session.answers}    10

Start Everything
    [Documentation]    A server, and charge points, queue and commands that find it.
    ${redis}    Start Redis
    Start Server    ${redis}
    ${url}    Get Gateway Url
    Use Gateway    ${url}    protocol=ocpp2.1
    ${server}    Get Server Url
    Open Commands    ${redis}    ${server}    protocol=ocpp2.1
