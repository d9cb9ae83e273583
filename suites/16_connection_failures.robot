*** Settings ***
Documentation     Test 16: Redis fails, its network fails, the server is killed; nothing is lost and everything recovers
...               by itself.
...
...               Every fault is proven by measuring its effect; results under an unproven fault are inconclusive, which
...               is a failure. All faults with begin and end are in ``evidence/faults.jsonl``.

Resource          ../resources/failover.resource
Resource          ../resources/faults.resource

Suite Setup       Start The System And Another One Under Outages
Suite Teardown    Stop The System And The Other One
Test Setup        The System Should Be Idle And Well
Test Teardown     Everything Is Healed And The Server Has Never Crashed

Test Tags         faults


*** Test Cases ***
The Server Starts Without Redis And Connects When It Appears
    [Documentation]    It runs, reports that it is degraded, neither floods its log nor spins, and works as soon as
    ...    Redis is there.
    [Tags]    R16.1    R16.2
    ${url} =    A Server Runs While    A Redis Of Its Own Is Down    early
    The Server Should Not Spin    R16.1    early
    The Server Should Say That It Is Degraded    R16.1    early
    The Log Should Say So Once And Then Seldom    early
    Start Redis    alias=early
    The Server Connects When Redis Appears    early    ${url}
    [Teardown]    The Late Redis And Its Server Leave    early

The Server Starts While Redis Hangs And Connects When It Answers
    [Documentation]    Connections are accepted and nothing is answered, until Redis runs on.
    [Tags]    R16.1    R16.2
    ${url} =    A Server Runs While    A Redis Of Its Own Hangs    patient
    The Server Should Say That It Is Degraded    R16.1    patient
    The Log Should Say So Once And Then Seldom    patient
    Resume Redis    alias=patient
    The Server Connects When Redis Appears    patient    ${url}
    [Teardown]    The Late Redis And Its Server Leave    patient

The Server Starts With The Wrong Password And Connects When It Is Right
    [Documentation]    Redis asks for another password than the server has, until it is changed back.
    [Tags]    R16.1    R16.2
    ${url} =    A Server Runs While    A Redis Of Its Own Refuses The Password    stranger
    The Server Should Say That It Is Degraded    R16.1    stranger
    The Log Should Say So Once And Then Seldom    stranger
    Heal All    alias=stranger
    The Server Connects When Redis Appears    stranger    ${url}
    [Teardown]    Run Keywords    The Late Redis And Its Server Leave    stranger    AND
    ...    Remove Fault Proxy    alias=stranger

A Connection That Is Lost In Operation Is Made Again
    [Documentation]    Under traffic the network to Redis is cut, or Redis ends, in order or by kill -9; then it is
    ...    there again. With an external Redis only the network can be cut.
    [Tags]    R16.3
    [Template]    The Connection Is Made Again After
    The Way To Redis Is Cut    The Way To Redis Is Open Again
    Stop Redis    Start Redis
    Kill Redis    Start Redis

A Connection That Is Half-Open Is Given Up And Made Again
    [Documentation]    The other end of each connection is gone without a word, and stays so; new ones work.
    [Tags]    R16.3    R16.7
    Half Open
    The First Answer After Redis Is There    R16.3    reconnect_time    queue    server
    No Server Should Have Crashed For    R16.3

Five Short Outages Under Traffic Lose Nothing
    [Documentation]    Half a second each, two seconds apart; messages are queued all the time. They are those of the
    ...    other system and began with the suite; the rest of them is waited for here.
    [Tags]    R16.4
    [Setup]    The System Should Be Idle And Well And Messages Should Wait
    ${outages}    ${sent} =    Five Short Outages Are Over
    ${count} =    Get Length    ${outages}
    Requirement Should Be Met    R16.4    outages    ${count}
    Server Should Be Running    alias=${FLAPPING}[server]
    ${drain} =    All Messages Should Be Answered    ${sent}    alias=${FLAPPING}[queue]
    Every Message Should Have Been Answered    R16.4    ${drain}
    The Server Should Never Have Crashed    ${FLAPPING}[server]
    The Fleet Should Have Charged Through It    R16.4    ${FLAPPING}[server]    ${FLAPPING}[queue]
    [Teardown]    Run Keywords    Everything Is Healed And The Effects Are Right In Both Systems    AND
    ...    The Long Outage Begins Beside The Next Tests

After Outages Of Every Kind Everything Works And The Ledger Is Clean
    [Documentation]    Redis is killed, paused and cut off under traffic. The ledger of all messages is kept and judged.
    [Tags]    R16.5
    [Setup]    The System Is Well And Watched
    Keep Ledger
    A Fleet Charges At
    Start Fault Schedule
    ...    at 0 s    disconnect for 0.5 s
    ...    at 1 s    pause redis for 0.5 s
    ...    at 2 s    kill redis for 0.5 s
    ${sent} =    Messages Are Queued In Each Of 3 Outages
    Fault Schedule Should End
    Server Should Be Running
    All Messages Should Be Answered    ${sent}
    The Fleet Should Have Charged Through It    R16.5
    Every Operation Should Work    R16.5
    The Ledger Should Show Nothing Lost Or Applied Twice    R16.5
    [Teardown]    Run Keywords    Stop Sampling    AND    Everything Is Healed And The Server Has Never Crashed

Charge Points Stay Connected And Their Heartbeats Are Answered Without Redis
    [Documentation]    Fifty charge points; Redis goes, is missed, and comes back.
    [Tags]    R16.6
    [Setup]    The System Is Well And Charge Points Can Connect
    Skip Unless Target Supports    health    target=${TARGET}
    ${charge points} =    50 Charge Points Have Booted
    Redis Goes Away
    Wait Until Health Is    degraded    timeout=10 s
    A Heartbeat Of Each Should Be Answered    R16.6    ${charge points}
    Redis Comes Back
    Wait Until Health Is    healthy    timeout=30 s
    A Heartbeat Of Each Should Be Answered    R16.6    ${charge points}
    No Charge Point Should Have Been Disconnected    R16.6    ${charge points}
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

Commands Are Refused Clearly And At Once Without Redis
    [Documentation]    The callers of commands to connected charge points get a refusal without waiting.
    [Tags]    R16.6
    [Setup]    The System Is Well And Charge Points Can Connect
    Skip Unless Target Supports    health    target=${TARGET}
    Commands To The System Can Be Sent
    ${charge points} =    10 Charge Points Have Booted
    Redis Goes Away
    Wait Until Health Is    degraded    timeout=10 s
    Commands Should Be Refused Clearly And At Once    R16.6    ${charge points}
    Redis Comes Back
    Wait Until Health Is    healthy    timeout=30 s
    Commands Should Be Answered Again    ${charge points}[0]
    [Teardown]    Run Keywords    Close Commands    missing_ok=True    AND
    ...    The Charge Points Leave And The Server Has Never Crashed

Charge Points That Charge Through A Long Outage Are Answered Or Refused
    [Documentation]    Eight seconds without Redis, longer than a gateway holds a CALL. Refused messages are never
    ...    applied. It is the other system's, and began in an earlier test.
    [Tags]    R16.6
    [Setup]    Skip Unless Target Supports    gateway    target=${TARGET}
    The Long Outage Is Over
    ${fleet} =    The Fleet Should Have Charged Through It    R16.6    ${FLAPPING}[server]    ${FLAPPING}[queue]
    ${refusals} =    Evaluate    sum($fleet.refused.values())
    Requirement Should Be Met    R16.6    refusals    ${refusals}    samples=${fleet.sent}    message=${fleet}.

Every Partial Failure Is Survived And Recovered From
    [Documentation]    Each under traffic: before it, while it lasts, after it. The two of a row hit two systems, or one
    ...    system in turn; a failure that an external Redis or proxy does not have is last in its row, or has it alone.
    [Tags]    R16.7
    [Timeout]    6 minutes    # a row takes half a minute where nothing recovers
    [Setup]    Both Systems Are Idle And Well
    [Template]    Both Are Survived And Recovered From
    black hole for 3 s    pause redis for 2.5 s
    half-open for 3 s    cut mid-reply for 0.5 s
    cut mid-reply for 0.5 s    reset connections
    latency 300 ms for 1 s    read-only for 1 s
    bandwidth 20 for 1 s    keep resetting for 1 s
    slow drip for 1 s    kill clients
    out of memory for 1 s    busy for 1 s
    too many clients for 1 s    wrong password for 1 s
    failed snapshot for 1 s    disk full for 1 s
    failed rewrite for 1 s    packet loss for 1 s
    [Teardown]    Everything Is Healed And The Effects Are Right In Both Systems

The Server Is Killed Under Traffic And Loses Nothing
    [Documentation]    kill -9 while the queue is being drained.
    [Tags]    R16.8
    [Setup]    The System Should Be Idle And Well And Messages Should Wait
    ${sent} =    5000 Messages Are Queued While A Fleet Charges
    Kill Server
    Restart Server
    ${drain} =    All Messages Should Be Answered    ${sent}
    The Fleet Should Have Charged Through It    R16.8
    Nothing Should Be Lost Or Applied Twice    R16.8    ${drain}

The Server Is Stopped Under Traffic And Loses Nothing
    [Documentation]    SIGTERM while the queue is being drained.
    [Tags]    R16.8
    [Setup]    The System Should Be Idle And Well And Messages Should Wait
    ${sent} =    5000 Messages Are Queued While A Fleet Charges
    ${seconds} =    Stop Server
    Requirement Should Be Met    R16.8    shutdown    ${seconds}
    Restart Server
    ${drain} =    All Messages Should Be Answered    ${sent}
    The Fleet Should Have Charged Through It    R16.8
    Nothing Should Be Lost Or Applied Twice    R16.8    ${drain}

A Commit Whose Reply Is Lost Is Neither Lost Nor Applied Twice
    [Documentation]    Redis runs the commit, and the connection is cut before the server has its reply; three times.
    [Tags]    R16.9
    [Setup]    The System Should Be Idle And Well And Messages Should Wait
    A Fleet Charges At
    ${fault} =    Lose The Reply To    commit    times=3    target=${TARGET}
    ${sent} =    Queue A Mix Of Messages    3000
    ${drain} =    All Messages Should Be Answered    ${sent}
    The Fleet Should Have Charged Through It    R16.9
    Fault Should Take Effect    ${fault}
    Nothing Should Be Lost Or Applied Twice    R16.9    ${drain}

Charge Points Whose Connection Died Leave No Ghost
    [Documentation]    The charge points lose their power, or the line to them dies, or a router forgets them: the
    ...    gateway gets no error, and has to end their sessions by its pings.
    [Tags]    R16.12
    [Setup]    The System Is Well And Charge Points Come Over A Bad Network
    [Template]    Sessions End After
    half-open
    black hole
    nat timeout 500 ms
    [Teardown]    The Bad Network Is Healed And Gone

The Network Before The Gateway Fails And Nothing Is Lost
    [Documentation]    Charge points reconnect by themselves and repeat unanswered messages.
    [Tags]    R16.12
    [Setup]    The System Is Well And Charge Points Come Over A Bad Network
    Charge Points Charge Over The Bad Network
    Run Fault Schedule
    ...    at 0 s    latency 100 ms jitter=50 ms for 0.5 s
    ...    at 1 s    packet loss 0.1 for 1 s
    ...    at 2.5 s    slow drip for 0.5 s
    ...    at 3.5 s    bandwidth 20 for 0.5 s
    ...    at 4.5 s    reset connections
    ...    at 5.5 s    half-open for 1 s
    ...    at 7.5 s    black hole for 1 s
    ...    at 9.5 s    keep resetting 100 ms for 0.5 s
    ...    at 11 s    disconnect for 0.5 s
    ...    alias=${EDGE}    target=${TARGET}
    The Ledger Of The Charge Points Should Be Clean
    [Teardown]    The Bad Network Is Healed And Gone

The Server Follows The Primary Through Failovers Of Every Kind
    [Documentation]    The primary is killed, demoted, cut off from the sentinels or stands still until it is replaced,
    ...    and comes back as a stale one; the sentinels and ROLE of both nodes prove it.
    [Tags]    R16.10
    [Setup]    A System With A Replica Runs
    [Template]    The Server Follows After The Primary Is Lost By
    kill
    demote
    pause
    partition
    [Teardown]    The System With A Replica Leaves

A Charge Point Is Served Again When Redis Has Lost What It Kept
    [Documentation]    It stays connected while everything is deleted, the scripts are, or Redis comes back empty.
    [Tags]    R16.13
    [Setup]    A System Whose Redis Keeps Nothing Runs
    [Template]    A Connected Charge Point Is Served Again After
    Redis Command    FLUSHALL
    Redis Command    SCRIPT    FLUSH
    Restart Redis    kill
    [Teardown]    The System Whose Redis Keeps Nothing Leaves
