*** Settings ***
Documentation    What goes on beside a test: schedules at several fault proxies, and messages that are queued meanwhile.

Library          FaultLibrary
Library          OcppServerLibrary
Library          RedisQueueLibrary
Library          RedisServiceLibrary

Suite Setup      Start Redis And Two Proxies


*** Test Cases ***
Faults Of A Schedule That A Setup Began Belong To The Test That Ends It
    [Documentation]    Whatever else is healed meanwhile.
    Add Latency    50 ms
    Heal All    alias=faults
    ${faults} =    Fault Schedule Should End    alias=other
    Length Should Be    ${faults}    2
    Should Be Equal    ${faults[0].test}    ${TEST NAME}
    Should Be Equal    ${faults[1].test}    ${TEST NAME}
    Should Be True    all(fault.proven for fault in $faults)

Each Proxy Has A Schedule Of Its Own
    [Documentation]    What is broken off or healed at the one goes on at the other.
    Start Fault Schedule    at 0 s    latency 30 ms for 1 minute
    Start Fault Schedule    at 0 s    latency 30 ms for 1 minute    alias=other
    Run Keyword And Expect Error
    ...    A fault schedule is running already; *
    ...    Start Fault Schedule
    ...    at 0 s
    ...    half-open
    Wait For Next Fault
    ${fault} =    Wait For Next Fault    alias=other
    Heal All    alias=faults
    Run Keyword And Expect Error    No fault schedule was started; *    Fault Schedule Should End
    Should Be Equal    ${fault.ended}    ${None}
    Heal All    alias=other
    Should Not Be Equal    ${fault.ended}    ${None}

Faults That A Test Begins For A Later One Belong To The Later One
    Start Fault Schedule    at 0 s    latency 30 ms for 1 minute    for_later_test=True
    ${fault} =    Wait For Next Fault
    Should Be Equal    ${fault.test}    ${None}
    Heal All

Faults Of Replication That Have Not Begun Cannot End
    Run Keyword And Expect Error    No faults of replication were started; *    Replication Faults Should End

A Fault At One Proxy Goes On While Another Proxy Is Healed
    ${here} =    Add Latency    30 ms
    ${there} =    Add Latency    30 ms    alias=other
    Heal All    alias=faults
    Should Not Be Equal    ${here.ended}    ${None}
    Should Be Equal    ${there.ended}    ${None}
    Heal All
    Should Not Be Equal    ${there.ended}    ${None}

A Proxy That Goes Leaves The Schedules Of The Others Alone
    ${redis} =    Get Redis Url
    Start Fault Proxy    ${redis}    alias=short-lived
    Start Fault Schedule    at 0 s    latency 30 ms for 5 s    alias=other
    ${fault} =    Wait For Next Fault    alias=other
    Remove Fault Proxy    alias=short-lived
    Should Be Equal    ${fault.ended}    ${None}
    Fault Schedule Should End    alias=other

Messages Are Queued While The Test Goes On
    [Documentation]    Evenly over the time, and all of them at its end.
    Start Queueing Generated Messages    200    over=1 s    charge_points=5
    Run Keyword And Expect Error    Messages are being queued on 'queue' already; *
    ...    Start Queueing Generated Messages    1    over=1 s
    ${sent} =    Queueing Should End
    Should Be Equal    ${{[$sent.count, $sent.acknowledged]}}    ${{[200, 200]}}
    Should Be True    0.9 < ${sent.seconds}
    ${length} =    Get Queue Length
    Should Be Equal    ${length}    ${200}

What Cannot Be Queued Meanwhile Is Said
    Run Keyword And Expect Error    over is 0 seconds, it has to be above 0.
    ...    Start Queueing Generated Messages    1    over=0 s
    Run Keyword And Expect Error    There is no queueing 'queue'; call `Start Queueing Generated Messages` first.
    ...    Queueing Should End
    Start Queueing Generated Messages    1000    over=1 minute
    Run Keyword And Expect Error    Only * of 1000 messages were queued (waited 200 ms).
    ...    Queueing Should End    timeout=200 ms

Health Is Watched While Other Things Are Done
    [Documentation]    What is left of the time is waited for at the end, which ends the watch.
    Start Server    redis://127.0.0.1:1
    Run Keyword And Expect Error    There is no watch of the health 'server'; call `Start Watching Health` first.
    ...    Get Watched Health Share    degraded
    Start Watching Health
    ${share} =    Get Watched Health Share    degraded    at_least=500 ms
    Should Be Equal    ${share}    ${100}
    Start Watching Health
    Start Watching Health
    ${share} =    Get Watched Health Share    healthy
    Should Be Equal    ${share}    ${0}
    [Teardown]    Remove Server

A Server That Ends While Its Health Is Watched Is Told Of
    Start Server    redis://127.0.0.1:1
    Start Watching Health
    Kill Server
    Run Keyword And Expect Error
    ...    Server 'server' exited *
    ...    Get Watched Health Share
    ...    degraded
    ...    at_least=1 minute
    [Teardown]    Remove Server


*** Keywords ***
Start Redis And Two Proxies
    [Documentation]    The schedule at the second one begins before there is a test, and somebody uses that way.
    ${redis} =    Start Redis
    Start Fault Proxy    ${redis}
    ${through} =    Start Fault Proxy    ${redis}    alias=other
    Open Queue    ${through}    alias=through
    Open Queue    ${redis}
    Start Fault Schedule    at 0 s    latency 30 ms for 0.2 s    at 0.5 s    latency 30 ms for 0.2 s    alias=other
