*** Settings ***
Documentation     What the reference server keeps in OCPP 2.0.1, read by keyword.

Library           Collections
Library           ChargePointLibrary
Library           OcppServerLibrary
Library           RedisServiceLibrary

Suite Setup       Start A System
Suite Teardown    Remove All Servers
Test Teardown     Remove Charge Points


*** Variables ***    # robocop: off=VAR02
${PROTOCOL}     ocpp2.0.1
&{COMPONENT}    name=EVSE    instance=left    evse=${{dict(id=1, connectorId=2)}}
&{VARIABLE}     name=Power    instance=a/b
&{ATTRIBUTE}    type=MaxSet    value=11    mutability=ReadOnly
&{POWER}        component=&{COMPONENT}    variable=&{VARIABLE}    variableAttribute=${{[$ATTRIBUTE]}}


*** Test Cases ***
A Transaction Is Read By Its Id And Its Charge Point
    [Documentation]    Charge points choose the ids: another one may have the same.
    ${point} =    Connect And Boot
    ${started} =    Send Transaction Event    Started
    VAR    ${id} =    ${started.transaction_id}
    ${record} =    Get Transaction Record    ${id}    charge_point=${point}
    Should Be Equal    ${record}[status]    active
    Should Be Equal    ${record}[seq_no]    ${0}
    Send Transaction Event    Ended
    @{wrong} =    Get Transactions With Other Status    completed    ${{[$id, 'other']}}    charge_point=${point}
    Should Be Equal    ${wrong}    ${{['other']}}

A Transaction That Is Not Kept Is Named
    [Documentation]    So is one without its charge point.
    Run Keyword And Expect Error
    ...    Transaction tx-1 needs charge_point: in OCPP 2.0.1 its id is unique there only.
    ...    Get Transaction Record    tx-1
    Run Keyword And Expect Error
    ...    Server 'server' has no record of transaction tx-1 CP-1.
    ...    Get Transaction Record    tx-1    charge_point=CP-1

A Connector Is Read By Its EVSE And Number
    [Documentation]    The transaction that runs on it is in its record.
    ${point} =    Connect And Boot
    ${started} =    Send Transaction Event    Started
    ${record} =    Get Connector Record    ${point}    1    evse=1
    Should Be Equal    ${record}[transaction_id]    ${started.transaction_id}
    Run Keyword And Expect Error    Server 'server' has no record of connector ${point} 2:1.
    ...    Get Connector Record    ${point}    1    evse=2

A Device Model Is Read Attribute By Attribute
    [Documentation]    Instances and EVSEs are part of the name.
    ${point} =    Connect And Boot
    ${variables} =    Get Device Model    ${point}
    Should Be Empty    ${variables}
    Send Call    NotifyReport    requestId=${1}    generatedAt=2026-01-15T10:30:00Z    seqNo=${0}
    ...    reportData=${{[$POWER]}}
    ${variables} =    Get Device Model    ${point}
    Dictionary Should Contain Key    ${variables}    EVSE[left]@1:2.Power[a/b] (MaxSet)
    VAR    &{expected} =    value=11    mutability=ReadOnly
    VAR    ${kept} =    ${variables}[EVSE[left]@1:2.Power[a/b] (MaxSet)]
    Should Be Equal    ${kept}    ${expected}


*** Keywords ***
Start A System
    [Documentation]    The reference server on a Redis of its own.
    ${redis} =    Start Redis
    Start Server    ${redis}
    ${url} =    Get Gateway Url
    Use Gateway    ${url}

Connect And Boot
    [Documentation]    A charge point of its own for a test.
    ${id} =    Connect Charge Point
    Boot
    RETURN    ${id}
