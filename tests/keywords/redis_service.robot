*** Settings ***
Documentation    The keywords of RedisServiceLibrary, on the real embedded Redis.

Library          Collections
Library          OperatingSystem
Library          String
Library          RedisServiceLibrary

Suite Setup      Start Redis
Test Teardown    Redis Should Be Running


*** Variables ***
${CONNECTED}    redis://127\\.0\\.0\\.1:\\d{5}


*** Test Cases ***
A Started Redis Answers And Tells Where It Is
    [Documentation]    URL, version and log of the Redis of the suite.
    Redis Should Be Running
    ${url}    Get Redis Url
    Should Match Regexp    ${url}    ^${CONNECTED}$
    ${other}    Get Redis Url    database=5
    Should End With    ${other}    /5
    ${version}    Get Redis Version
    Should Match Regexp    ${version}    ^(valkey|redis) \\d+\\.\\d+
    ${log}    Get Redis Log    lines=100
    Should Contain    ${log}    eady to accept connections

A Redis With A Replica Has Not Failed Over By Itself
    [Documentation]    With a primary, a replica and three sentinels; one without has no failovers at all.
    ${url}    Start Redis    alias=replicated    service=sentinel    timeout=60 s
    Should Match Regexp    ${url}    ^redis\\+sentinel://.+:\\d+,.+:\\d+,.+:\\d+/ocpp$
    Run Keyword And Expect Error    Redis 'replicated' has not failed over*    Get Last Failover    alias=replicated
    Run Keyword And Expect Error    Redis 'redis' has no replica*    Get Clients Of Old Primary
    [Teardown]    Remove Redis    alias=replicated

A Command Returns What Redis Replies
    [Documentation]    Text, numbers, lists and nothing.
    ${reply}    Redis Command    CONFIG    GET    appendonly
    Should Be Equal    ${reply}    ${{['appendonly', 'yes']}}
    ${ok}    Redis Command    SET    colour    grün
    ${text}    Redis Command    GET    colour
    ${number}    Redis Command    STRLEN    colour
    ${nothing}    Redis Command    GET    nothing
    Should Be Equal    ${{ [$ok, $text, $number, $nothing] }}    ${{ ['OK', 'grün', 5, None] }}
    Run Keyword And Expect Error
    ...    STARTS:Redis 'redis' did not run 'INCR colour': value is not an integer
    ...    Redis Command    INCR    colour

What Redis Refuses To A User Is Told
    [Documentation]    The latest first.
    @{refused}    Get Refused Commands
    Should Be Empty    ${refused}
    Run Keyword And Expect Error    *invalid username-password pair*    Redis Command    AUTH    nobody    wrong
    @{refused}    Get Refused Commands
    Should Be Equal    ${refused}    ${{["auth 'AUTH' was refused to the user 'nobody' 1 time"]}}

Port And Data Survive A Restart
    [Documentation]    Graceful and kill -9: acknowledged writes are on the disk.
    [Template]    Data Should Survive Restart
    graceful
    kill

A Stopped Redis Does Not Answer Until It Is Started Again
    [Documentation]    Port and data are those from before.
    ${before}    Get Redis Url
    Redis Command    SET    kept    yes
    Stop Redis
    Redis Should Not Answer
    Run Keyword And Expect Error
    ...    EQUALS:Redis 'redis' should answer PING, but it exited with status 0.
    ...    Redis Should Be Running
    Run Keyword And Expect Error
    ...    EQUALS:Cannot kill Redis 'redis': it exited with status 0.
    ...    Kill Redis
    ${after}    Start Redis
    Should Be Equal    ${after}    ${before}
    ${kept}    Redis Command    GET    kept
    Should Be Equal    ${kept}    yes

A Killed Redis Does Not Answer
    [Documentation]    Connections are refused when the keyword returns.
    Kill Redis
    Redis Should Not Answer    timeout=0s
    VAR    ${expected}    REGEXP:Redis 'redis' did not run 'PING': Error \\d+ connecting to .* Connection refused\\.
    Run Keyword And Expect Error    ${expected}    Redis Command    PING
    Start Redis

A Paused Redis Does Not Answer And Goes On When Resumed
    [Documentation]    It is still there: its process lives and connections are accepted.
    Redis Command    SET    before    1
    Pause Redis
    Redis Should Not Answer    timeout=0s
    Run Keyword And Expect Error
    ...    EQUALS:Redis 'redis' should answer PING, but it is paused.
    ...    Redis Should Be Running
    Run Keyword And Expect Error    STARTS:Redis 'redis' is paused already, at redis://    Start Redis
    Resume Redis
    ${value}    Redis Command    GET    before
    Should Be Equal    ${value}    1
    Run Keyword And Expect Error    EQUALS:Redis 'redis' is not paused.    Resume Redis

A Check That Fails Says What Was Seen
    [Documentation]    A Redis that answers with an error is neither running nor silent.
    Run Keyword And Expect Error
    ...    EQUALS:Redis 'redis' still answers PING (waited 100 ms)
    ...    Redis Should Not Answer    timeout=100ms
    Redis Command    CONFIG    SET    requirepass    secret
    VAR    ${expected}
    ...    Redis 'redis' should answer PING at 127\\.0\\.0\\.1:\\d+;
    ...    it is running, last seen: -NOAUTH .* \\(waited 100 ms\\)
    Run Keyword And Expect Error    REGEXP:${expected}    Redis Should Be Running    timeout=100ms
    Run Keyword And Expect Error    STARTS:Redis 'redis' still answers PING    Redis Should Not Answer    timeout=0s
    Restart Redis    kill

Settings Hold At Each Start
    [Documentation]    They cannot change while the data is kept.
    Start Redis    alias=second    append_only=off    maxmemory=10mb
    Restart Redis    alias=second
    ${reply}    Redis Command    CONFIG    GET    appendonly    alias=second
    Should Be Equal    ${reply}[1]    no
    ${reply}    Redis Command    CONFIG    GET    maxmemory    alias=second
    Should Be Equal    ${reply}[1]    10485760
    Stop Redis    alias=second
    Run Keyword And Expect Error
    ...    EQUALS:Redis 'second' cannot be started with other settings; leave them out, or call `Remove Redis` first.
    ...    Start Redis    alias=second    maxmemory=20mb
    [Teardown]    Remove Redis    alias=second

Several Servers Have An Alias Each
    [Documentation]    What happens to one does not happen to the other.
    ${url}    Get Redis Url
    ${second}    Start Redis    alias=second
    Should Not Be Equal    ${second}    ${url}
    Kill Redis    alias=second
    Redis Should Not Answer    alias=second
    Redis Should Be Running
    Restart Redis    alias=second    timeout=30s
    [Teardown]    Remove Redis    alias=second

A Removed Redis Leaves Its Alias Free
    [Documentation]    Process and data are gone.
    Start Redis    alias=once
    Redis Command    SET    a    b    alias=once
    Pause Redis    alias=once
    Remove Redis    alias=once
    Remove Redis    alias=once    missing_ok=True
    Run Keyword And Expect Error
    ...    EQUALS:There is no Redis 'once'; there is only 'redis'.
    ...    Redis Should Be Running    alias=once
    Start Redis    alias=once
    ${size}    Redis Command    DBSIZE    alias=once
    Should Be Equal    ${size}    ${0}
    [Teardown]    Remove Redis    alias=once

What Cannot Be Done Is Said
    [Documentation]    Wrong aliases, a second start, a program that does not exist, a setting that Redis refuses.
    Run Keyword And Expect Error
    ...    EQUALS:There is no Redis 'other'; there is only 'redis'.
    ...    Kill Redis    alias=other
    Run Keyword And Expect Error
    ...    REGEXP:Redis 'redis' is running already, at ${CONNECTED}\\. Use another alias for a second one\\.
    ...    Start Redis
    Run Keyword And Expect Error
    ...    STARTS:server names '/no/such/redis', which does not exist.
    ...    Start Redis    alias=bad    server=/no/such/redis
    Run Keyword And Expect Error
    ...    STARTS:Redis 'bad' does not accept the setting maxmemory-policy much: argument(s) must be
    ...    Start Redis    alias=bad    maxmemory-policy=much
    Run Keyword And Expect Error    STARTS:There is no Redis 'bad'    Get Redis Url    alias=bad
    Run Keyword And Expect Error    *'cluster' that cannot be converted*    Start Redis    alias=bad    service=cluster

The Environment Can Name Another Program
    [Documentation]    REDIS_SERVER goes before the bundled one.
    ${before}    Get Environment Variable    REDIS_SERVER    ${EMPTY}
    Set Environment Variable    REDIS_SERVER    /no/such/redis
    Run Keyword And Expect Error
    ...    STARTS:The environment variable REDIS_SERVER names '/no/such/redis', which does not exist.
    ...    Start Redis    alias=other
    [Teardown]    Set Environment Variable    REDIS_SERVER    ${before}


*** Keywords ***
Data Should Survive Restart
    [Documentation]    Writes, restarts, reads.
    [Arguments]    ${how}
    ${before}    Get Redis Url
    ${value}    Generate Random String
    Redis Command    SET    survivor    ${value}
    Restart Redis    ${how}
    ${after}    Get Redis Url
    Should Be Equal    ${after}    ${before}
    ${found}    Redis Command    GET    survivor
    Should Be Equal    ${found}    ${value}
