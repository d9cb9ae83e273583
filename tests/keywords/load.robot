*** Settings ***
Documentation    Keywords that load the gateway, on the reference server.

Library          CorrelationLibrary
Library          LoadLibrary
Library          OcppServerLibrary
Library          RedisQueueLibrary
Library          RedisServiceLibrary

Suite Setup      Start The Reference Server


*** Test Cases ***
Without Arguments The Load Is That Of The Data File
    Run Keyword And Expect Error    STARTS:load 'load' still runs    Two Loads Of The Same Name
    ${load}    Wait For Load
    Should Be Equal    ${load.sent}    ${5000}
    Load Should Be Answered    ${load}
    ${ledger}    Load Ledger Should Be Clean    ${load}
    Should Be Equal    ${ledger.acknowledged}    ${5000}

A Load With A Rate Is Sent On Schedule
    ${schedule}    Load Schedule    rate=100    duration=2 s    arrivals=poisson
    ${load}    Run Load    schedule=${schedule}    seed=7    charge_points=5    processes=2
    Load Should Be Answered    ${load}
    Should Be True    150 < ${load.due} < 250
    Should Be Equal    ${load.processes}    ${2}

What The State Kept Is Compared With What Charge Points Know
    ${charging}    Load Profile    session    sessions=1    together=yes
    ${load}    Run Load    profile=${charging}    charge_points=5
    ${state}    Compare State With Load    ${load}
    Should Be Equal    ${state.transactions}    ${5}
    Should Be Empty    ${state.inconsistent}
    Should Be Empty    ${state.orphans}
    Evaluate    setattr($load.sessions[0], 'meter_stop', -1)
    ${state}    Compare State With Load    ${load}
    Should Contain    ${state.inconsistent}[0]    the charge point knows -1

A Load Can Be Stopped And Watched
    Start Load    alias=background    duration=5 minutes    profile=mix    charge_points=5
    ${progress}    Get Load Progress    alias=background
    Should Be Equal    ${progress}[connected]    ${5}
    ${load}    Stop Load    alias=background
    Should Be True    ${load.duration} < 300

Commands Go On While Charge Points Charge, And Complete Each Other's Ledger
    Open Commands To The Reference Server
    @{points}    Get Load Charge Points    5
    ${charging}    Load Profile    session    persistent=yes    commands=yes
    Start Load    profile=${charging}    charge_points=5    duration=1 minute
    Start Command Traffic    ${points}    every=20 ms
    Command Traffic Should Reach All Charge Points    timeout=60 s
    ${traffic}    Stop Command Traffic
    ${load}    Stop Load
    # A server whose Redis the machine holds up refuses a command, which is an outcome as any other.
    Should Be Equal    ${{$traffic.answered + $traffic.refused}}    ${traffic.sent}
    The Ledgers Should Be Clean Together    ${load}    ${traffic}

Command Traffic Runs Once At A Time
    Open Commands To The Reference Server
    Run Keyword And Expect Error    No command traffic is running; *    Stop Command Traffic
    Start Command Traffic    ${{['LOAD-CP-001']}}
    Run Keyword And Expect Error    Command traffic is running already; *    Start Command Traffic    ${{['LOAD-CP-001']}}
    Run Keyword And Expect Error    No command was answered by LOAD-CP-001*
    ...    Command Traffic Should Reach All Charge Points    timeout=50 ms
    ${traffic}    Stop Command Traffic
    Should Be Equal    ${traffic.answered}    ${0}

Arguments That Do Not Go Together Are Refused
    Run Keyword And Expect Error    A load with a rate needs a duration.    Run Load    rate=10
    Run Keyword And Expect Error    to_rate and spike need a rate.    Load Schedule    spike=10
    Run Keyword And Expect Error    A load has a ramp (to_rate) or a spike, not both.
    ...    Load Schedule    rate=1    to_rate=2    spike=3    duration=1s
    Run Keyword And Expect Error    messages and pause belong to a load without a rate.
    ...    Run Load    rate=1    duration=1s    messages=3

What Is No Profile Or Schedule Is Refused
    ${schedule}    Load Schedule    rate=1    duration=1s
    Run Keyword And Expect Error    Give rate, duration, messages and pause to `Load Schedule`, not beside a schedule.
    ...    Run Load    schedule=${schedule}    rate=1
    Run Keyword And Expect Error    'day' is not a load profile (allowed: heartbeat, session, mix, churn, or *
    ...    Run Load    profile=day
    Run Keyword And Expect Error    'now' is not a schedule; create one with `Load Schedule`.    Run Load    schedule=now
    Run Keyword And Expect Error    `Start Load` has no argument 'sessions'; it belongs to `Load Profile`.
    ...    Run Load    sessions=2
    Run Keyword And Expect Error    `Start Load` has no argument 'spike'; it belongs to `Load Schedule`.
    ...    Run Load    spike=10
    Run Keyword And Expect Error    `Start Load` has no argument 'rates' (allowed: *    Run Load    rates=10

The Capacity Is Where The Schedule Slips
    ${capacity}    Find Capacity    charge_points=2    start=1000    factor=4    most=64000    longest=4 s
    Should Be True    ${capacity.capacity} > 10
    Should Be True    0 <= ${capacity.capacity_spread} < 1000
    Should Be True    $capacity.slipped_at is not None
    ${normal}    Measure Response Time    samples=20
    ${seconds}    Wait Until Response Time Is Normal    ${normal}    after=${capacity}    factor=10
    Should Be True    0 <= ${seconds} < 60


*** Keywords ***
Start The Reference Server
    [Documentation]    With a Redis of its own, and loads that go to it.
    ${redis}    Start Redis    append_only=off
    Start Server    ${redis}
    Wait Until Server Is Ready
    ${gateway}    Get Gateway Url
    Set Load Target    ${gateway}    redis=${redis}

Open Commands To The Reference Server
    [Documentation]    And a ledger to judge the others with.
    ${redis}    Get Redis Url
    ${server}    Get Server Url
    Open Commands    ${redis}    ${server}
    Open Queue    ${redis}
    Keep Ledger

The Ledgers Should Be Clean Together
    [Documentation]    That of the load alone says nothing of commands that it never sent; all of them know each other.
    [Arguments]    ${load}    ${traffic}
    Run Keyword And Expect Error    *never sent*    Load Ledger Should Be Clean    ${load}
    ${state}    Compare State With Load    ${load}
    ${ledger}    Ledger Should Be Clean    together_with=${{[*$load.ledgers, $state.effects, $traffic.ledger]}}
    Should Be Equal As Integers    ${ledger.acknowledged}    ${{$load.answered + $traffic.answered}}

Two Loads Of The Same Name
    [Documentation]    The second one has to be refused.
    Start Load
    Start Load
