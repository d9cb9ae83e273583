*** Settings ***
Documentation    The keywords of FaultLibrary: each fault on a real Redis, proven, noted, and gone after healing.

Library          Collections
Library          OperatingSystem
Library          EvidenceLibrary
Library          FaultLibrary
Library          RedisServiceLibrary

Suite Setup      Start Redis And A Proxy
Test Teardown    Everything Should Be Well Again


*** Test Cases ***
Every Fault On The Way Is Proven
    [Documentation]    What it looks like from a client is measured by each keyword.
    [Template]    Fault Is Proven And Can Be Healed
    Add Latency    80 ms    jitter=10 ms
    Add Latency    50 ms    direction=upstream
    Limit Bandwidth    50
    Black Hole
    Half Open
    Slow Drip
    Keep Resetting Connections
    Disconnect Redis

Every Fault Of Redis Itself Is Proven
    [Template]    Fault Is Proven And Can Be Healed
    Make Redis Read-Only
    Make Redis Run Out Of Memory
    Make Redis Busy
    Let No More Clients In
    Change Redis Password

A Fault That Is Over At Once Is Proven Too
    ${reset} =    Reset Connections
    Should Be True    ${reset.proven}
    Should Not Be Equal    ${reset.ended}    ${None}

Killing Clients Where There Are None Proves Nothing
    ${killed} =    Kill Redis Clients
    Should Not Be True    ${killed.proven}
    Requirement Should Be Inconclusive

A Fault That Falls On Nothing Makes The Verdict Inconclusive
    [Documentation]    Toxicity 0: the proxy has the fault, and no connection feels it.
    ${fault} =    Black Hole    toxicity=0
    Should Not Be True    ${fault.proven}
    Requirement Should Be Inconclusive
    ${lines} =    Get File    ${OUTPUT DIR}/measurements.jsonl
    Should Contain    ${lines}    "verdict":"inconclusive"

A Fault That Never Had Its Occasion Makes The Verdict Inconclusive
    ${fault} =    Lose The Reply To    NOSUCHCOMMAND
    Requirement Should Be Inconclusive
    Run Keyword And Expect Error    *has not taken effect: 0 of 0*
    ...    Fault Should Take Effect    ${fault}    timeout=50 ms

A Proven Fault Leaves The Verdict Alone
    Black Hole
    Requirement Should Be Met    R16.3    crashes    ${0}

What Other Keywords Do Is Noted Too
    Kill Redis
    ${faults} =    Get Faults
    Should Be Equal    ${faults[-1].fault}    killed
    Should Be True    ${faults[-1].proven}
    Should Be Equal    ${faults[-1].ended}    ${None}
    Start Redis
    Should Not Be Equal    ${faults[-1].ended}    ${None}
    ${lines} =    Get File    ${OUTPUT DIR}/faults.jsonl
    Should Match Regexp    ${lines}    "op":"begin".*"fault":"killed"
    Should Match Regexp    ${lines}    "op":"end".*"fault":"killed"

A Schedule Is Carried Out Row By Row
    ${faults} =    Run Fault Schedule
    ...    at 0 s    kill redis
    ...    at 0.3 s    start redis
    ...    at 0.6 s    latency 60 ms for 0.3 s
    ...    at 1.5 s    pause redis for 0.3 s
    Length Should Be    ${faults}    3
    Should Be Equal    ${faults[0].fault}    kill redis
    Should Be Equal    ${faults[1].fault}    latency
    Should Be Equal    ${faults[2].fault}    pause redis
    Redis Should Be Running

A Row That Is Not Understood Is Refused
    Run Keyword And Expect Error    *'hurt redis' is no fault*    Run Fault Schedule    at 1 s    hurt redis
    Run Keyword And Expect Error    *is no time of a fault schedule*    Run Fault Schedule    soon    kill redis
    Run Keyword And Expect Error    *There is no 'server'*    Run Fault Schedule    at 0 s    kill server

A Random Schedule Is The Same For The Same Seed
    ${seed} =    Start Random Fault Schedule    3    seed=42    faults=${{['disconnect', 'latency']}}
    ...    shortest=50 ms    longest=100 ms    pause=100 ms
    ${first} =    Fault Schedule Should End
    Start Random Fault Schedule    3    seed=${seed}    faults=${{['disconnect', 'latency']}}
    ...    shortest=50 ms    longest=100 ms    pause=100 ms
    ${second} =    Fault Schedule Should End
    Should Be Equal    ${{[each.fault for each in $first]}}    ${{[each.fault for each in $second]}}

A Flapping Redis Is Away As Often As Asked For
    ${faults} =    Flap Redis    3    down=100 ms    up=200 ms
    Length Should Be    ${faults}    3
    Should Be True    all(fault.proven for fault in $faults)


*** Keywords ***
Start Redis And A Proxy
    [Documentation]    One Redis and the proxy before it, for all tests.
    ${redis} =    Start Redis
    Start Fault Proxy    ${redis}    seed=1

Fault Is Proven And Can Be Healed
    [Documentation]    The effect is measured when the fault begins, and gone when it ends.
    [Arguments]    ${keyword}    @{arguments}    &{options}
    ${record} =    Run Keyword    ${keyword}    @{arguments}    &{options}
    Should Be True    ${record.proven}    msg=${keyword}: ${record.proof}
    ${healed} =    Heal All
    Should Be Equal    ${healed}    ${1}
    Should Contain Any    ${record.healed}    PONG    +OK

Requirement Should Be Inconclusive
    [Documentation]    A value that keeps its threshold is not shown as met.
    Run Keyword And Expect Error
    ...    R16.3 crashes is inconclusive*
    ...    Requirement Should Be Met
    ...    R16.3
    ...    crashes
    ...    ${0}

Everything Should Be Well Again
    [Documentation]    Nothing of a test is left.
    Heal All
    Redis Should Be Running
