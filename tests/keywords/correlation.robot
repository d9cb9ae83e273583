*** Settings ***
Documentation    The keywords of CorrelationLibrary on the real embedded Redis. A small server with a known defect
...              stands behind them where a keyword has to fail.

Library          CorrelationLibrary
Library          OcppServerLibrary
Library          RedisServiceLibrary

Suite Setup      Start Redis
Test Teardown    End What The Test Started


*** Variables ***
${PROFILE}    ${CURDIR}/../fakes/fake_commands.yaml


*** Test Cases ***
Answers In Random Order Reach Their Callers
    [Documentation]    Three hundred wait at the same time, at twenty charge points.
    Start Server With Commands
    @{points}    Announce Charge Points    20
    Length Should Be    ${points}    20
    ${commands}    Start Commands    300    timeout=60s
    Pending Correlations Should Be    300    timeout=60s
    @{given}    Answer Commands    ${commands}    order=random    seed=7
    Length Should Be    ${given}    300
    ${told}    Commands Should Be Answered    ${commands}
    Should Be Equal    ${told.own_answers}    ${300}
    Pending Correlations Should Be    0    timeout=60s

Answers That Are Mixed Up Are Seen
    [Documentation]    The server goes by charge point instead of message id.
    Start Server With Commands    MODE=action
    Announce Charge Points
    ${commands}    Start Commands    2    timeout=60s
    Answer Commands    ${commands}    order=reversed
    Run Keyword And Expect Error
    ...    GLOB:Expected each command to get its own answer: 2 commands: 0 with their own answer, 2 mixed*
    ...    Commands Should Be Answered    ${commands}

Equal Commands Are Told Apart By Their Answers
    [Documentation]    They have the same field, which the test gives.
    ${first}    ${second}    Start Two Equal Commands
    ${to second}    Answer Commands    order=reversed    most=1    count=2
    Commands Should Be Answered    ${second}
    Command Should Have Answer    ${second}    ${to second}
    Should Be Equal    ${first.waiting}    ${1}
    ${to first}    Answer Commands    payload=${{ {'configurationKey': [], 'unknownKey': ['Same']} }}
    Commands Should Be Answered    ${first}
    Command Should Have Answer    ${first}    ${to first}
    Run Keyword And Expect Error    GLOB:Expected the answer * for GetConfiguration to * (Same)*; it received *
    ...    Command Should Have Answer    ${first}    ${to second}

One Command Is Answered When It Arrives
    [Documentation]    Fields have the types that they are given with.
    Start Server With Commands
    @{points}    Announce Charge Points    1    answering=at once
    ${reset}    Send Command    Reset    ${points}[0]    type=Soft
    Should Be Equal    ${reset.status}    ${200}
    Should Be Equal    ${reset.data}    ${{ {'status': 'Accepted'} }}
    Disconnect Charge Points    @{points}
    ${reset}    Send Command    Reset    ${points}[0]    type=Soft
    Commands Should Have Status    503    ${reset}

A Command That Is Not Answered Times Out
    [Documentation]    And one that is told something else is named.
    Start Server With Commands
    Announce Charge Points
    ${commands}    Start Commands    3    timeout=300ms
    ${told}    Command Should Time Out    ${commands}
    Should Be True    0.3 <= ${told.quickest} <= ${told.slowest} < 15
    Run Keyword And Expect Error
    ...    GLOB:Expected HTTP status 200 for each of 3 commands, 3 have a different outcome; *: 408*
    ...    Commands Should Have Status    200    ${commands}
    ${commands}    Start Commands    1    timeout=5s
    Run Keyword And Expect Error    GLOB:The caller has no outcome; Get*: no answer yet (waited 200 ms)
    ...    Wait For Commands    ${commands}    timeout=200ms

Answers That Nobody Waits For Are Counted
    [Documentation]    Late ones, surplus ones, those to nothing, and errors.
    Start Server With Commands
    Announce Charge Points
    ${mark}    Get Correlations
    Start Commands    2
    Answer Commands    count=2    way=twice
    ${refused}    Start Commands    1    timeout=60s
    Answer Commands    ${refused}    way=unknown
    Answer Commands    ${refused}    way=error
    Commands Should Have Status    502    ${refused}
    Correlation Totals Should Be    since=${mark}    resolved=2    duplicate=2    failed=1    unknown=1
    ...    timeout=60s

What Is Not Counted Is Seen
    [Documentation]    Waiting alone does not judge.
    Start Server With Commands    MODE=blind
    Announce Charge Points    1    answering=at once
    ${mark}    Get Correlations
    ${commands}    Start Commands    2    timeout=60s
    Commands Should Be Answered    ${commands}
    ${grown}    Wait For Correlation Totals    since=${mark}    resolved=2    timeout=100ms
    Should Be Equal    ${grown}[resolved]    ${0}
    Run Keyword And Expect Error
    ...    EQUALS:Expected the counters to grow by resolved 2 within 100 ms; they grew by resolved 0.
    ...    Correlation Totals Should Be    since=${mark}    resolved=2    timeout=100ms

What Is Left Is Seen
    [Documentation]    The server forgets to forget.
    Start Server With Commands    MODE=forgetful
    Announce Charge Points    1    answering=at once
    ${commands}    Start Commands    2    timeout=60s
    Commands Should Be Answered    ${commands}
    Run Keyword And Expect Error    EQUALS:Expected 0 pending commands, the system has 2 (waited 100 ms)
    ...    Pending Correlations Should Be    0    timeout=100ms
    ${left}    Get Pending Correlations
    Should Be Equal    ${left}    ${2}
    Run Keyword And Expect Error
    ...    EQUALS:Expected 0 commands noted in Redis as waited for, there are 2 (waited 100 ms)
    ...    Stored Correlations Should Be
    ...    0
    ...    timeout=100ms

Callers Can Go Away
    [Documentation]    The server notices.
    Start Server With Commands
    Announce Charge Points
    ${commands}    Start Commands    2    timeout=60s
    Wait For Received Commands    ${commands}
    Stored Correlations Should Be    2    timeout=60s
    Disconnect Command Callers    ${commands}
    Should Be Equal    ${commands.waiting}    ${0}
    Should Be Equal    ${commands[0].problem}    the caller went away
    Pending Correlations Should Be    0    timeout=60s
    Stored Correlations Should Be    0    timeout=60s

All Callers That Still Wait Can Go Away
    [Documentation]    Whatever they were started with.
    Start Server With Commands
    Announce Charge Points
    ${first}    Start Commands    2    timeout=60s
    ${second}    Start Commands    1    timeout=60s
    Pending Correlations Should Be    3    timeout=60s
    Disconnect Command Callers
    Should Be Equal    ${first.waiting}    ${0}
    Should Be Equal    ${second[0].problem}    the caller went away
    Pending Correlations Should Be    0    timeout=60s
    Disconnect Command Callers

A System That Does Not Say What Waits Is Asked Until The Time Is Up
    Start Server With Commands
    Stop Server    alias=fake
    Run Keyword And Expect Error
    ...    GLOB:Expected 0 pending commands, the system has an unknown number of them: *http*refused* (waited 100 ms)
    ...    Pending Correlations Should Be
    ...    0
    ...    timeout=100ms

The Manager Alone Is Measured
    [Documentation]    In a process of its own.
    Start Measuring Correlation Memory    2000    1000    end=resolve
    ${memory}    Measure Correlation Memory    2000    end=resolve
    Should Be Equal    ${memory.ended}    ${{ {'resolve': 2000} }}
    ${again}    Measure Correlation Memory    1000    end=resolve
    Should Be Equal    ${again.pending}    ${1000}
    Should Be True    50 < ${memory.bytes_each} < 5000
    Should Be Equal    ${memory.left_over}    ${0}
    ${report}    Run Correlation Workers    5    100    seed=3
    Should Be Equal    ${{ [$report.lost, $report.mixed_up, $report.left_over, $report.miscounted] }}    ${{ [0] * 4 }}
    Should Be Equal    ${{ sum($report.outcomes.values()) }}    ${500}

What Was Opened Can Be Closed
    [Documentation]    What is not open is named.
    Start Server With Commands
    Close Commands
    Run Keyword And Expect Error    EQUALS:There is no connection for commands 'commands'; call `Open Commands` first.
    ...    Start Commands


*** Keywords ***
Start Two Equal Commands
    [Documentation]    In this order, to one charge point.
    Start Server With Commands
    Announce Charge Points
    ${first}    Start Commands    1    key=Same    timeout=60s
    @{received}    Wait For Received Commands    ${first}
    Should Be Equal    ${received[0].action}    GetConfiguration
    ${second}    Start Commands    1    key=Same    timeout=60s
    RETURN    ${first}    ${second}

Start Server With Commands
    [Documentation]    Starts the small server, with a defect if one is given, and opens commands to it.
    [Arguments]    &{settings}
    ${redis}    Get Redis Url
    Start Server    ${redis}    target=${PROFILE}    alias=fake    &{settings}
    ${url}    Get Server Url    alias=fake
    Open Commands    ${redis}    ${url}    target=${PROFILE}

End What The Test Started
    [Documentation]    Each test has a server and charge points of its own.
    Run Keyword And Ignore Error    Close Commands
    Remove All Servers
