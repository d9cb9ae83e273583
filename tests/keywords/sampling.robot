*** Settings ***
Documentation    Keywords that watch a system while something else goes on, on the reference server.

Library          Process
Library          EvidenceLibrary
Library          OcppServerLibrary
Library          RedisQueueLibrary
Library          RedisServiceLibrary

Suite Setup      Start The Reference Server


*** Variables ***
${SERVER}    ${NONE}
${URL}       ${NONE}


*** Test Cases ***
Memory Of The Server And Of Redis Is Watched Meanwhile
    Watch    server=${SERVER}    redis_url=${REDIS}
    # Twelve times as many looks as are needed: on a busy machine some come late.
    Repeat Keyword    6 s    Answer Messages    500
    ${memory}    Stop Sampling    server    warm_up=0 s
    Should Be True    10 < ${memory.base_mb} < 500
    ${memory}    Stop Sampling    redis    warm_up=0 s
    Should Be True    1 < ${memory.base_mb} < 500

The Depth Of The Queue Is Seen
    Pause Server
    Watch    redis_url=${REDIS}
    ${sent}    Queue Generated Messages    100
    Wait Until Keyword Succeeds    60 s    50 ms    Highest Sample Should Be    queue depth    100
    Resume Server
    All Messages Should Be Answered    ${sent}
    Stop Sampling
    Highest Sample Should Be    queue depth    100

Pending Correlations Are Seen Where The Target Has An Inspection
    Watch    server_url=${URL}
    Wait Until Keyword Succeeds    60 s    50 ms    Highest Sample Should Be    pending correlations    0
    Stop Sampling
    Run Keyword And Expect Error    'queue depth' was not sampled; pending correlations was.    Get Highest Sample

Without An Inspection They Are Left Out
    Watch    server_url=${URL}    target=${CURDIR}/../other_server/profile.yaml    server=${SERVER}
    Run Keyword And Expect Error    'pending correlations' was not sampled; nothing was.
    ...    Get Highest Sample    pending correlations
    Stop Sampling

Memory Is Judged At Each Look As It Would Be At The End
    [Documentation]    A process that takes 20 MB a second is accused of it; the server, which is idle, is not.
    ${process}    Start A Process That Takes Memory
    Watch    hoarder=${process}    server=${SERVER}
    Wait Until Keyword Succeeds    60 s    100 ms    Should Be Accused Of Taking 100 MB In 10 Seconds    hoarder
    Stop Sampling
    ${sound}    Get Time To Leak Verdict
    ...    server
    ...    required=10 s
    ...    most_mb=100
    ...    most_percent=1000
    ...    warm_up=0.2 s
    Should Be Equal    ${sound}    ${NONE}
    Run Keyword And Expect Error    'nobody' was not sampled; hoarder, server was.
    ...    Get Time To Leak Verdict    nobody    most_mb=100    most_percent=10
    [Teardown]    Terminate Process

What Cannot Be Sampled Is Refused
    Run Keyword And Expect Error    There is no process to sample; *    Start Sampling
    Run Keyword And Expect Error    The Redis URL 'nowhere' cannot be used: *    Start Sampling    redis_url=nowhere
    Watch    server=${SERVER}
    Run Keyword And Expect Error    'redis' was not sampled; server was.    Stop Sampling    redis


*** Keywords ***
Start The Reference Server
    [Documentation]    With a Redis of its own.
    ${redis}    Start Redis    append_only=off
    Start Server    ${redis}
    Wait Until Server Is Ready
    Open Queue    ${redis}
    ${process}    Get Server Process Id
    ${url}    Get Server Url
    VAR    ${SERVER}    ${process}    scope=SUITE    # robocop: off=VAR05
    VAR    ${REDIS}    ${redis}    scope=SUITE    # robocop: off=VAR05
    VAR    ${URL}    ${url}    scope=SUITE    # robocop: off=VAR05

Watch
    [Documentation]    Twenty looks a second.
    [Arguments]    &{what}
    Start Sampling    every=50 ms    &{what}

Start A Process That Takes Memory
    [Documentation]    At most 400 MB. Returns its id.
    ${python}    Evaluate    sys.executable
    VAR    ${program}    import time; kept \= []
    ...    while len(kept) < 400: kept.append(b'x' * 1000000); time.sleep(0.05)
    ...    time.sleep(60)    separator=\n
    ${handle}    Start Process    ${python}    -c    ${program}
    ${process}    Get Process Id    ${handle}
    RETURN    ${process}

Should Be Accused Of Taking 100 MB In 10 Seconds
    [Documentation]    By what was seen so far.
    [Arguments]    ${name}
    ${seconds}    Get Time To Leak Verdict    ${name}    required=10 s    most_mb=100    most_percent=1000
    ...    warm_up=0.2 s
    Should Be True    $seconds is not None and 0 < $seconds < 60    msg=Not accused yet: ${seconds}.

Answer Messages
    [Documentation]    Something to do meanwhile.
    [Arguments]    ${count}
    ${sent}    Queue Generated Messages    ${count}
    All Messages Should Be Answered    ${sent}

Highest Sample Should Be
    [Documentation]    So far.
    [Arguments]    ${name}    ${expected}
    ${highest}    Get Highest Sample    ${name}
    Should Be Equal As Numbers    ${highest}    ${expected}
