*** Settings ***
Documentation     Random faults under traffic, judged by the ledger: ``make chaos SEED=42 FAULTS=100``.
...
...               Fifty charge points charge on WebSockets, commands go to each of them, and messages of others are
...               queued in each fault. Servers and Redis are killed, stopped and paused, the network between them is
...               disturbed, replies to commits are lost. Beside that, the network before the gateway is disturbed for
...               some charge points, and they take over their own connections. The same seed makes the same faults in the
...               same order; without one it is random. Seed and schedule are shown.
...
...               ``make chaos REDIS=sentinel`` runs it on a primary with a replica and three sentinels; the primary is
...               lost in every way, too. Server and test wait for the replica (WAIT), so that nothing that was
...               acknowledged may be lost; what was not acknowledged in time counts apart, as undecided. ``REPLICAS:0``
...               leaves the waiting out: the losses that an asynchronous replica allows are then shown as lost.
...
...               Charge points reconnect by themselves, and repeat messages that were not answered. At the end nothing
...               may be lost, applied or answered twice, or out of order; refused messages may never have been applied; no
...               older connection may be left; and the system must be as healthy as before.

Library           LoadLibrary
Library           StateStoreLibrary
Resource          ../resources/network_before_gateway.resource
Resource          ../resources/faults.resource

Suite Setup       Start The System With Traffic Behind A Fault Proxy
Suite Teardown    Stop The System Behind A Fault Proxy

Test Tags         chaos


*** Variables ***
${SEED}                 ${EMPTY}
${FAULTS}               100
${EDGE FAULTS}          50
@{FLEET AT THE EDGE}    @{EMPTY}
${MESSAGES}             1000
${CHARGE POINTS}        50
${LONGEST FAULT}        1 s
${LONGEST PAUSE}        2 s
${SMALLEST SHARE}       ${{0.5 if $REDIS == 'sentinel' else 0.8}}
${REPLICAS}             ${{int($REDIS == 'sentinel')}}


*** Tasks ***
Faults By Chance Lose, Repeat And Reorder Nothing
    [Documentation]    All kinds of faults that there are, one after the other.
    ${seed} =    Start Traffic And Faults By Chance
    Queue Messages In Each Fault    ${FAULTS}    ${MESSAGES}
    ${happened} =    Fault Schedule Should End    timeout=30 minutes
    ${at the edge} =    Fault Schedule Should End    timeout=30 minutes    alias=${EDGE}
    Everything Should Work As Before
    The Fleet At The Edge Should Have Charged Through It
    ${commands}    ${load} =    End The Traffic
    The Ledgers Should Be Clean    ${commands}    ${load}
    Nothing Should Be Left Over    ${load}
    The Server Should Never Have Crashed
    Log To Console    Seed ${seed}, ${FAULTS} faults, ${EDGE FAULTS} at the edge.
    Every Fault Should Be Proven    ${{[*$happened, *$at_the_edge]}}
    [Teardown]    Heal All And End The Traffic


*** Keywords ***
Start The System With Traffic Behind A Fault Proxy
    [Documentation]    A restarted server must listen on the same port, or charge points cannot find it.
    The Variables Of The Faults Should Be Usable
    Skip Unless Target Supports    gateway
    ${http} =    Get Free Port
    ${ws} =    Get Free Port
    Start The System Behind A Fault Proxy
    ...    HTTP_PORT=${http}    WS_PORT=${ws}    PING_INTERVAL=${PING INTERVAL}    REDIS_WAIT_REPLICAS=${REPLICAS}
    ${redis} =    Get Redis Url
    Open The Queue Or Gateway Of    ${redis}    wait replicas=${REPLICAS}
    Commands To The System Can Be Sent
    ${gateway} =    Get Gateway Url
    Set Load Target    ${gateway}    redis=${redis}
    Open State Store    ${redis}
    @{ids} =    Get Load Charge Points    ${CHARGE POINTS}
    Add Charge Points To Test Data    ${ids}

The Variables Of The Faults Should Be Usable
    [Documentation]    Validates the values of ``robot --variable`` before anything is started.
    Variables Should Be Numbers    SEED    at_least=0    may_be_empty=True
    Variables Should Be Numbers    FAULTS    EDGE FAULTS    MESSAGES    CHARGE POINTS    at_least=1
    Variables Should Be Times    LONGEST FAULT    LONGEST PAUSE
    Variables Should Be Numbers    SMALLEST SHARE    at_least=0    at_most=1    whole=False

Start Traffic And Faults By Chance
    [Documentation]    Returns the seed, which was given, or is made now.
    Wait Until Health Is    healthy
    ${seed} =    Evaluate    int($SEED) if $SEED else random.randrange(2**32)    modules=random
    Keep Ledger    seed=${seed}
    ${profile} =    Load Profile    mix    persistent=True    commands=True
    Start Load
    ...    profile=${profile}
    ...    charge_points=${CHARGE POINTS}
    ...    duration=2 hours
    ...    pause=50 ms
    ...    seed=${seed}
    @{ids} =    Get Load Charge Points    ${CHARGE POINTS}
    Start Command Traffic    ${ids}    every=500 ms    seed=${seed}
    Command Traffic Should Reach All Charge Points
    A Fleet Charges At The Edge    ${seed}
    Start Random Fault Schedule    ${FAULTS}    seed=${seed}    longest=${LONGEST FAULT}    pause=${LONGEST PAUSE}
    Start Random Fault Schedule    ${EDGE FAULTS}    seed=${seed}    longest=${LONGEST FAULT}    pause=${LONGEST PAUSE}
    ...    alias=${EDGE}
    RETURN    ${seed}

A Fleet Charges At The Edge
    [Documentation]    Ten charge points behind a fault proxy of their own. Behind every twentieth message one connects
    ...    again while its older connection is open, and sends the message again.
    [Arguments]    ${seed}
    ${url} =    Start Fault Proxy    before=gateway    alias=${EDGE}    seed=${seed}
    Use Gateway    ${url}    alias=${EDGE}
    @{ids} =    Start Charging Fleet    10    alias=${EDGE}    gateway=${EDGE}    pause=100 ms
    ...    timeout=60 s    patience=3 s    takeovers=0.05    seed=${seed}
    Add Charge Points To Test Data    ${ids}
    VAR    @{FLEET AT THE EDGE} =    @{ids}    scope=SUITE    # robocop: off=VAR05

The Fleet At The Edge Should Have Charged Through It
    [Documentation]    Each CALL was answered or refused, older connections were ended, and the state is what the
    ...    messages say.
    ${fleet} =    Stop Charging Fleet    alias=${EDGE}
    Log To Console    \n${fleet}
    Should Be Empty    ${fleet.problems}    msg=${fleet}
    Should Be True    ${fleet.takeovers} > 0    msg=Nothing was taken over: ${fleet}
    ${history} =    Get Charge Point History    ${FLEET AT THE EDGE}
    State Should Equal The Model    ${history}    timeout=10 s

Queue Messages In Each Fault
    [Documentation]    Messages that Redis does not acknowledge meanwhile are in the ledger as refused or undecided.
    [Arguments]    ${count}    ${messages}
    FOR    ${_}    IN RANGE    ${count}
        Wait For Next Fault    timeout=60 s
        The Charge Points Should Be At Work
        Queue Generated Messages    ${messages}    mix=${TYPICAL MIX}    allow_partial=True
    END

The Charge Points Should Be At Work
    [Documentation]    The load goes on, whether or not its messages are answered.
    ${progress} =    Get Load Progress
    Should Not Be Equal    ${progress}[phase]    ended

Everything Should Work As Before
    [Documentation]    Health, connections, commands and the queue, while charge points still charge.
    Wait Until Health Is    healthy    timeout=30 s
    Command Traffic Should Reach All Charge Points    timeout=30 s
    Wait Until Keyword Succeeds    30 s    200 ms    The Whole Load Should Be Connected
    A Heartbeat Is Answered

The Whole Load Should Be Connected
    [Documentation]    The load reports it once a second.
    ${progress} =    Get Load Progress
    Should Be Equal As Integers    ${progress}[connected]    ${CHARGE POINTS}

Heal All And End The Traffic
    [Documentation]    In any case: nothing sends any more when the keys are compared.
    Heal All
    Run Keyword And Ignore Error    Stop Load
    Remove Charge Points

End The Traffic
    [Documentation]    No new sessions begin, running ones are finished. Returns the outcomes of commands and messages.
    ${commands} =    Stop Command Traffic
    ${load} =    Stop Load
    Wait Until Queue Is Empty    timeout=5 minutes
    Log To Console    \n${commands.summary}\n${load.summary}
    RETURN    ${commands}    ${load}

The Ledgers Should Be Clean
    [Documentation]    All messages, over all transports, judged as one history; and callers of commands got the true
    ...    outcome.
    [Arguments]    ${commands}    ${load}
    ${state} =    Compare State With Load    ${load}    all_known=True
    ${ledger} =    Ledger Should Be Clean
    ...    together_with=${{[*$load.ledgers, $state.effects, $commands.ledger]}}
    Log To Console    ${ledger.summary}.
    Should Be Empty    ${state.inconsistent}
    Should Be Equal As Integers    ${commands.mixed_up}    0    msg=${commands.summary}    values=False
    Should Be Equal As Integers    ${commands.unclear}    0    msg=${commands.summary}    values=False
    The Calls Should Have Been Answered Or Refused    ${load}
    Should Be True    $ledger.acknowledged >= int($FAULTS) * int($MESSAGES) * float($SMALLEST_SHARE)
    ...    msg=Too few messages to show anything: ${ledger.summary}.

The Calls Should Have Been Answered Or Refused
    [Documentation]    With a replica, a request that only the lost primary had is lost before anybody was told that it was
    ...    done: asynchronous replication allows that, and it counts apart.
    [Arguments]    ${load}
    ${silence} =    Evaluate    $load.failures.get('unanswered: timeout', 0)
    IF    $REDIS == 'sentinel'
        Log To Console    ${silence} CALLs were not answered, since only a lost primary had them.
    ELSE
        Should Be Equal As Integers    ${silence}    0    msg=CALLs were neither answered nor refused.
    END

Nothing Should Be Left Over
    [Documentation]    No command waits, no note of one is left in Redis, and no key hangs in the air or is there in part.
    [Arguments]    ${load}
    Queue Should Be Empty
    Pending Correlations Should Be    0
    Stored Correlations Should Be    0    timeout=15 s
    ${state} =    Compare State With Load    ${load}
    Should Be Empty    ${state.orphans}
    @{partial} =    Find Partial Writes
    Should Be Empty    ${partial}
    Keys Should Have Documented Types And Lifetimes

Every Fault Should Be Proven
    [Documentation]    A run whose faults had no effect shows nothing.
    [Arguments]    ${happened}
    ${unproven} =    Evaluate    [str(fault) for fault in $happened if not fault.proven]
    ${count} =    Get Length    ${unproven}
    Log    ${unproven}
    Should Be Equal    ${count}    ${0}    msg=The verdict is inconclusive, not proven: ${unproven}    values=False
