*** Settings ***
Documentation    The keywords that keep and judge a ledger, on the real embedded Redis, with a small processor behind
...              the queue that is sound or has a known defect.

Library          Process
Library          RedisQueueLibrary
Library          RedisServiceLibrary

Suite Setup      Start Redis And Open The Queue
Test Teardown    Terminate All Processes


*** Variables ***
${PROCESSOR}    ${CURDIR}/../fakes/fake_processor.py


*** Test Cases ***
A Ledger Of A Sound Queue Is Clean, And Can Be Judged Again From Its File
    [Documentation]    What was queued before it was kept, and what is invalid, is not in it.
    Start Processor
    Queue Message    Heartbeat
    ${file}    Keep Ledger    seed=7
    ${sent}    Queue Generated Messages    100    charge_points=5
    Queue Raw Messages    {"invalid": "malformed_json"
    All Messages Should Be Answered    ${sent}    timeout=60s
    ${ledger}    Ledger Should Be Clean
    Should Start With    ${ledger.summary}    100 messages: 100 acknowledged, 0 refused
    Judging The File Again Should Say    ${file}    clean: ${ledger.summary}

A Ledger That Is Not Kept Cannot Be Judged
    [Documentation]    The failure says how to keep one.
    Run Keyword And Expect Error    EQUALS:No ledger of queue 'ocpp:requests' is kept; call `Keep Ledger` first.
    ...    Ledger Should Be Clean

What A Defect Does To A Queue Is In The Ledger
    [Documentation]    Each kind, with the message named.
    [Template]    The Ledger Of A Processor With A Defect Should Say
    lose    lost: Heartbeat '*' of CP-* was acknowledged, but has no answer
    twice    duplicated: Heartbeat '*' of CP-* was answered 2 times
    swap    out of order: Heartbeat '*' of CP-* was answered after Heartbeat '*' of CP-*, which was sent later
    stray    unexpected: result for message '*' of CP-*, which was never sent


*** Keywords ***
Start Redis And Open The Queue
    [Documentation]    For the whole suite.
    ${url}    Start Redis
    Open Queue    ${url}

Start Processor
    [Documentation]    One that is sound, or has the given defect.
    [Arguments]    ${defect}=${EMPTY}
    ${url}    Get Redis Url
    Start Process    ${{sys.executable}}    ${PROCESSOR}    ${url}    ${defect}    stdin=PIPE

The Ledger Of A Processor With A Defect Should Say
    [Documentation]    Queues messages behind which the defect shows, and compares the judgement.
    [Arguments]    ${defect}    ${violation}
    Keep Ledger
    Start Processor    ${defect}
    ${sent}    Queue Messages    Heartbeat    Heartbeat    Heartbeat    Heartbeat
    Wait For Answer    ${sent[3]}    timeout=60s
    Terminate All Processes
    Run Keyword And Expect Error    GLOB:Ledger ledger-queue-*.jsonl is violated: 4 messages: *\n${violation}
    ...    Ledger Should Be Clean

Judging The File Again Should Say
    [Documentation]    From the command line, in a process of its own.
    [Arguments]    ${file}    ${expected}
    ${again}    Run Process    ${{sys.executable}}    -m    ocpp_resilience.ledger    check    ${file}
    Should Be Equal    ${again.rc}    ${0}
    Should Be Equal    ${again.stdout}    ${expected}
