*** Settings ***
Documentation    The keywords of RedisQueueLibrary end to end: with the reference server behind the queue.

Library          OcppServerLibrary
Library          RedisQueueLibrary
Library          RedisServiceLibrary

Suite Setup      Start Redis And Open The Queue
Test Setup       Start The Reference Server
Test Teardown    Stop The Server And Empty Redis


*** Test Cases ***
The Examples Of The Contract Are Processed By The Reference Server
    [Documentation]    Three valid messages, one that is not JSON between them.
    ${sent}    Queue Raw Messages
    ...    {"action": "BootNotification", "chargePointId": "CP-001"}
    ...    {"action": "Heartbeat", "chargePointId": "CP-001"}
    ...    {"invalid": "malformed_json"
    ...    {"action": "StatusNotification", "chargePointId": "CP-001"}
    All Messages Should Be Answered    ${sent}    timeout=60s
    Charge Point Should Have Answers    CP-001    3
    ${letter}    Dead Letter Should Exist    ${sent[2]}
    Should Be Equal    ${letter.code}    FormationViolation
    ${count}    Get Dead Letter Count
    Should Be Equal    ${count}    ${1}

Every Action Is Processed By The Reference Server
    [Documentation]    With the default payloads, in both forms.
    ${mix}    Evaluate    dict.fromkeys(ocpp_resilience.ocpp.ocpp_version().core, 1)
    FOR    ${format}    IN    envelope    flat
        ${sent}    Queue Generated Messages    100    charge_points=5    mix=${mix}    format=${format}
        All Messages Should Be Answered    ${sent}    timeout=60s
    END

Every Case Is Refused By The Reference Server
    [Documentation]    Each with its code; a case that nobody can be answered for stays unanswered.
    ${sent}    Queue Cases From File    valid_behind=True
    All Messages Should Be Answered    ${sent.valid}    timeout=60s
    All Messages Should Be Refused    ${sent}    timeout=60s
    @{cases}    Load Invalid Messages    requirement=R17.3
    FOR    ${case}    IN    @{cases}[:3]
        ${invalid}    Queue Invalid Message    ${case}
        Message Should Be Refused    ${invalid}    code=${case.code}    timeout=60s
    END

Generated Invalid Messages Are Refused By The Reference Server
    [Documentation]    Each with its code, and the valid ones between them are answered.
    ${sent}    Queue Generated Invalid Messages    900    valid_between=90
    All Messages Should Be Answered    ${sent.valid}    timeout=60s
    All Messages Should Be Refused    ${sent}    timeout=60s
    FOR    ${code}    ${expected}    IN    &{sent.codes}
        ${count}    Get Dead Letter Count    code=${code}
        Should Be Equal    ${count}    ${expected}
    END

The Record Of A Transaction Is Read By Its Number
    [Documentation]    Also by a number that is text, as an id in a suite is; a name is no id in OCPP 1.6.
    ${transaction}    Start Queued Transaction    CP-1
    FOR    ${id}    IN    ${transaction.id}    ${{str($transaction.id)}}
        ${record}    Get Transaction Record    ${id}    charge_point=CP-1
        Should Be Equal    ${record}[status]    active
    END
    Run Keyword And Expect Error
    ...    'tx-1' is no id of a transaction in OCPP 1.6, allowed is a whole number.*
    ...    Get Transaction Record    tx-1    charge_point=CP-1

Nothing Is Left Behind By The Reference Server
    [Documentation]    State, transactions, answers and dead letters are removed; its own keys stay.
    ${before}    Take Key Snapshot    values=True
    ${sent}    Queue Messages    BootNotification    StatusNotification    StartTransaction    MeterValues
    All Messages Should Be Answered    ${sent}    timeout=60s
    Queue Raw Message    null
    Wait Until Queue Is Empty    timeout=60s
    Remove Test Data
    ${own}    Evaluate    ['ocpp:transaction-id', 'ocpp:requests:owner', 'ocpp:consumer:*']
    Keys Should Equal Snapshot    ${before}    ignore=${own}

Answers Survive A Killed Redis
    [Documentation]    The keyword that waits goes on while Redis is away.
    ${before}    Queue Generated Messages    2000    charge_points=10
    Kill Redis
    Run Keyword And Expect Error    GLOB:* 2000 messages: *; Redis at * was not reachable at the end: *
    ...    All Messages Should Be Answered    ${before}    timeout=200ms
    Start Redis
    ${after}    Queue Generated Messages    500    charge_points=${before.charge_points}
    ${sent}    Join Messages    ${before}    ${after}
    All Messages Should Be Answered    ${sent}    timeout=60s


*** Keywords ***
Start Redis And Open The Queue
    [Documentation]    For the whole suite.
    ${url}    Start Redis
    Open Queue    ${url}

Start The Reference Server
    [Documentation]    On the Redis of the suite.
    ${url}    Get Redis Url
    Start Server    ${url}
    Wait Until Server Is Ready

Stop The Server And Empty Redis
    [Documentation]    The next test has both for itself.
    Run Keyword And Ignore Error    Stop Server
    Remove Test Data
    Redis Command    FLUSHALL
