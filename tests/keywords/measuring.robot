*** Settings ***
Documentation    Keywords that compare what a server does with what it was given, on the reference server.

Library          Collections
Library          OcppServerLibrary
Library          RedisQueueLibrary
Library          RedisServiceLibrary

Suite Setup      Start The Reference Server
Test Setup       Ensure Server Is Running


*** Test Cases ***
Invalid Messages Are Matched With Their Log Records
    ${log}    Mark Server Log
    ${sent}    Queue Cases From File    requirement=R17.3    valid_behind=True
    ${records}    Match Log Records To Invalid Messages    ${sent}    since=${log}
    Should Be Equal    ${records.missing}    ${0}    msg=${records.summary}
    Should Be Equal    ${records.extra}    ${0}    msg=${records.summary}

Log Records Too Many Are Counted And Shown
    ${log}    Mark Server Log
    ${sent}    Queue Cases From File    requirement=R17.3
    Match Log Records To Invalid Messages    ${sent}    since=${log}
    ${without two}    Match Log Records To Invalid Messages    ${sent[2:]}    since=${log}
    Should Be Equal    ${without two.extra}    ${2}
    Should Contain    ${without two.summary}
    ...    0 without a log record, 2 log records too many; too many: NotImplemented of CP-

Invalid Messages Are Matched With Their Dead Letters
    ${before}    Mark Dead Letters
    ${sent}    Queue Cases From File    requirement=R17.3    valid_behind=True
    ${letters}    Match Dead Letters To Invalid Messages    ${sent}    since=${before}
    Should Be Equal    ${letters.percent}    ${100}    msg=${letters.summary}
    Should Be Equal    ${letters.extra}    ${0}    msg=${letters.summary}

Missing Dead Letters Are Counted And Named
    ${sent}    Queue Cases From File    requirement=R17.3
    Wait Until Queue Is Empty    timeout=60s
    ${after}    Mark Dead Letters
    ${letters}    Match Dead Letters To Invalid Messages    ${sent}    since=${after}    timeout=0s
    Should Be Equal    ${letters.percent}    ${0}
    Should Contain    ${letters.summary}    14 without a dead letter, 0 dead letters too many; no dead letter with

Answer Times Are Measured
    ${times}    Measure Answer Time    samples=10    timeout=60s
    Should Be True    0 < ${times}[min] <= ${times}[median] <= ${times}[p95] <= ${times}[max]
    Should Be Equal    ${times}[samples]    ${10}
    Run Keyword And Expect Error    samples is 0; allowed is 1 or more.    Measure Answer Time    samples=0

Answer Times Are Compared With Those Of Before
    ${normal}    Measure Answer Time    samples=10    timeout=60s
    # Other programs may come between the two measurements, and make answers take several times as long.
    Set To Dictionary    ${normal}    median=${{ 10 * $normal['median'] }}
    ${seconds}    Wait Until Answer Time Is Normal    ${normal}    timeout=60s    samples=10
    Should Be True    0 <= ${seconds} < 60
    Set To Dictionary    ${normal}    median=${0.0001}
    Run Keyword And Expect Error    REGEXP:Answers still take .* more than 2 x the 0.0 ms of before \\(waited 100 ms\\)
    ...    Wait Until Answer Time Is Normal    ${normal}    timeout=0.1s    samples=2

Without A Server There Is No Answer Time
    Kill Server
    Run Keyword And Expect Error    STARTS:No answer to Heartbeat    Measure Answer Time    samples=1    timeout=0.1s

The Silence Since The Last Message Grows
    Queue Message    Heartbeat
    ${first}    Get Time Since Last Message
    ${second}    Get Time Since Last Message
    Should Be True    0 <= $first.total_seconds() <= $second.total_seconds() < 60

An End That Was Asked For Is No Crash
    Kill Server
    Crashes Should Be    0
    ${started}    Ensure Server Is Running
    Should Be True    ${started}
    Stop Server
    Crashes Should Be    0

A Crash Is Counted Until The Server Is Ensured To Run Again
    ${process}    Get Server Process Id
    Evaluate    os.kill(${process}, 9)    modules=os
    Server Should Have Exited    -9
    Crashes Should Be    1
    Running Servers Should Be    0
    Ensure Server Is Running
    Crashes Should Be    0
    Running Servers Should Be    1

A Server That Runs Is Left Alone
    ${before}    Get Server Process Id
    ${started}    Ensure Server Is Running
    ${after}    Get Server Process Id
    Should Not Be True    ${started}
    Should Be Equal    ${before}    ${after}

Memory Growth Is In Percent Of What Was Before
    ${memory}    Get Server Memory
    ${growth}    Get Memory Growth    ${memory}
    Should Be True    -50 < ${growth} < 50
    Set To Dictionary    ${memory}    bytes=${{ $memory['bytes'] // 2 }}
    ${growth}    Get Memory Growth    ${memory}
    Should Be True    50 < ${growth} < 150


*** Keywords ***
Start The Reference Server
    [Documentation]    With a Redis of its own.
    ${url}    Start Redis
    Start Server    ${url}
    Wait Until Server Is Ready
    Open Queue    ${url}

Crashes Should Be
    [Documentation]    So many since the server was last ensured to run.
    [Arguments]    ${expected}
    ${crashes}    Get Server Crashes
    Should Be Equal As Integers    ${crashes}    ${expected}

Running Servers Should Be
    [Documentation]    So many of those that the suite started.
    [Arguments]    ${expected}
    ${count}    Get Running Server Count
    Should Be Equal As Integers    ${count}    ${expected}
