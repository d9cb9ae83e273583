*** Settings ***
Documentation    The keywords of FaultLibrary: each fault on a real Redis, proven, noted, and gone after healing.

Library          Collections
Library          OperatingSystem
Library          EvidenceLibrary
Library          FaultLibrary
Library          OcppServerLibrary
Library          RedisServiceLibrary

Suite Setup      Start Redis, A Proxy And A Server
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

Lines That Lose Packets Or Connections Are Proven
    [Tags]    own-proxy
    [Template]    Fault Is Proven And Can Be Healed
    Lose Packets    0.3    rto=50 ms
    Forget Idle Connections    idle=300 ms
    Half Open    gone=client

Every Fault Of Redis Itself Is Proven
    [Template]    Fault Is Proven And Can Be Healed
    Make Redis Read-Only
    Make Redis Run Out Of Memory
    Make Redis Busy
    Limit Redis Clients
    Change Redis Password

Every Fault Of The Files Of Redis Is Proven
    [Template]    Fault Is Proven And Can Be Healed
    Inject Fault    failed snapshot
    Inject Fault    failed rewrite
    Inject Fault    disk full

Any Fault Can Be Injected By Its Name
    [Template]    Fault Is Proven And Can Be Healed
    Inject Fault    latency 60 ms jitter\=5 ms direction\=upstream
    Inject Fault    Read-Only
    Inject Fault    pause redis

A Fault That Does Not Exist Is Refused With The Names Of Those That Do
    Run Keyword And Expect Error    *Unknown fault 'fog' (allowed: bad certificate, bandwidth, black hole,*
    ...    Inject Fault    fog
    Run Keyword And Expect Error    *'latency' has no argument 'wobble'*    Inject Fault    latency 5 ms wobble=1

What Needs A Redis Is Refused Before A Gateway
    [Tags]    own-proxy
    ${gateway} =    Start Fault Proxy    before=gateway    alias=edge
    Should Match Regexp    ${gateway}    ^ws://127\\.0\\.0\\.1:\\d+$
    Run Keyword And Expect Error
    ...    *'lose commit reply' needs a fault proxy for Redis; Fault proxy 'edge' is not one.
    ...    Lose The Reply To    commit    alias=edge
    Run Keyword And Expect Error
    ...    *'read-only' needs a fault proxy for Redis; Fault proxy 'edge' is not one.
    ...    Run Fault Schedule    at 0 s    read-only    alias=edge
    [Teardown]    Remove Fault Proxy    alias=edge

A Fault That Is Over At Once Is Proven Too
    ${reset} =    Reset Connections
    Should Be True    ${reset.proven}
    Should Not Be Equal    ${reset.ended}    ${None}

Killing Clients Is Proven By How Many There Were
    ${killed} =    Kill Redis Clients
    Should Be True    ${killed.proven}

Killing Clients Where There Are None Proves Nothing
    A Redis That Nobody Uses
    ${killed} =    Kill Redis Clients    alias=lonely
    Should Not Be True    ${killed.proven}
    Requirement Should Be Inconclusive
    [Teardown]    The Redis That Nobody Uses Leaves

A Fault That Falls On Nothing Makes The Verdict Inconclusive
    [Documentation]    Toxicity 0: the proxy has the fault, and no connection feels it.
    [Template]    Fault Shows Nothing
    Black Hole    toxicity=0
    Add Latency    30 ms    toxicity=0
    Limit Bandwidth    50    toxicity=0

A Fault On A Way That Nobody Takes Makes The Verdict Inconclusive
    [Documentation]    The server has Redis' own address: the fault works, and the server does not feel it.
    [Tags]    own-proxy
    A Redis That Is Used Directly
    Fault Shows Nothing    Black Hole    alias=lonely
    ${through proxy} =    Get Fault Proxy Url    alias=lonely
    Start Server    ${through proxy}    alias=late
    Fault Shows Something Once Somebody Comes    Black Hole    alias=lonely
    [Teardown]    The Redis That Nobody Uses Leaves

A Schedule Whose Fault Falls On Nobody Makes The Verdict Inconclusive
    [Tags]    own-proxy
    A Redis That Is Used Directly
    ${faults} =    Run Fault Schedule    at 0 s    reset connections    at 0.1 s    half-open for 0.1 s    alias=lonely
    Should Be True    not any(fault.proven for fault in $faults)
    Requirement Should Be Inconclusive
    [Teardown]    The Redis That Nobody Uses Leaves

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
    ${lines} =    Get File    ${OUTPUT DIR}/evidence/faults.jsonl
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
    Run Keyword And Expect Error    *Unknown fault 'hurt redis'*    Run Fault Schedule    at 1 s    hurt redis
    Run Keyword And Expect Error    *is not a time of a fault schedule*    Run Fault Schedule    soon    kill redis
    Run Keyword And Expect Error
    ...    *OcppServerLibrary has not started 'absent'*
    ...    Run Fault Schedule
    ...    at 0 s
    ...    kill server
    ...    server=absent

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
Start Redis, A Proxy And A Server
    [Documentation]    One Redis, the proxy before it, and a server that comes through the proxy, for all tests.
    ${redis} =    Start Redis
    ${through proxy} =    Start Fault Proxy    ${redis}    seed=1
    Start Server    ${through proxy}
    Wait Until Server Is Ready

A Redis That Nobody Uses
    [Documentation]    A second Redis with a proxy of its own. Returns Redis' own address.
    ${redis} =    Start Redis    alias=lonely
    Start Fault Proxy    ${redis}    alias=lonely
    RETURN    ${redis}

A Redis That Is Used Directly
    [Documentation]    A second Redis with a proxy of its own, and a server that does not come through that proxy.
    ${redis} =    A Redis That Nobody Uses
    Start Server    ${redis}    alias=direct
    Wait Until Server Is Ready    alias=direct

The Redis That Nobody Uses Leaves
    [Documentation]    Ends what a test with a second Redis has started.
    Remove Server    alias=late    missing_ok=True
    Remove Server    alias=direct    missing_ok=True
    Remove Fault Proxy    alias=lonely
    Remove Redis    alias=lonely
    Everything Should Be Well Again

Fault Shows Nothing
    [Documentation]    Its effect is not seen, or nobody feels it; the verdict of what is shown then is inconclusive.
    [Arguments]    ${keyword}    @{arguments}    &{options}
    ${fault} =    Run Keyword    ${keyword}    @{arguments}    &{options}
    Should Not Be True    ${fault.proven}
    Requirement Should Be Inconclusive
    Heal All

Fault Shows Something Once Somebody Comes
    [Documentation]    Somebody who comes through the proxy while the fault lasts makes it one that is proven.
    [Arguments]    ${keyword}    &{options}
    ${fault} =    Run Keyword    ${keyword}    &{options}
    Fault Should Take Effect    ${fault}

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
    ${lines} =    Get File    ${OUTPUT DIR}/evidence/measurements.jsonl
    Should Match Regexp    ${lines}    "verdict":"inconclusive".*\\n$

Everything Should Be Well Again
    [Documentation]    Nothing of a test is left.
    Heal All
    Redis Should Be Running
