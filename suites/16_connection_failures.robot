*** Settings ***
Documentation     Test 16: Redis fails, the network fails, the server is killed; nothing is lost, and the system
...               recovers by itself.
...
...               Every fault is proven by measuring its effect; results under an unproven fault are inconclusive, which
...               is a failure. All faults with begin and end are in ``evidence/faults.jsonl``.

Resource          ../resources/failover.resource
Resource          ../resources/faults.resource
Resource          ../resources/secure_redis.resource

Suite Setup       Start The System And Another One Under Outages
Suite Teardown    Stop The System And The Other One
Test Setup        The System Should Be Idle And Well
Test Teardown     Everything Is Healed And The Server Has Never Crashed

Test Tags         faults


*** Variables ***
@{SILENT ENDS}         half-open    black hole    nat timeout 500 ms
@{SAFE ENDS}           half-open    black hole
@{FAILOVERS}           kill primary    demote primary    partition primary    stale primary
@{SILENT SENTINELS}    partition sentinels    partition sentinels 3
@{NETWORK FAILURES}    at 0 s    latency 100 ms jitter=50 ms for 0.5 s
...                    at 0.8 s    packet loss 0.1 for 1 s
...                    at 2.1 s    slow drip for 0.5 s
...                    at 2.9 s    bandwidth 20 for 0.5 s
...                    at 3.7 s    reset connections
...                    at 4.4 s    half-open for 1 s
...                    at 6.2 s    black hole for 1 s
...                    at 8 s    keep resetting 100 ms for 0.5 s
...                    at 9.2 s    disconnect for 0.5 s


*** Test Cases ***
A Lost Connection To Redis Is Restored
    [Documentation]    Under traffic the network to Redis is cut, or Redis is stopped or killed, and then restored.
    ...    With an external Redis only the network can be cut.
    [Tags]    R16.3
    [Template]    The Connection Is Made Again After
    The Network To Redis Is Cut    The Network To Redis Is Restored
    Stop Redis    Start Redis
    Kill Redis    Start Redis

The Server Starts While Redis Hangs And Connects When It Answers
    [Documentation]    Redis accepts connections but does not answer until it is resumed. Until then state is refused at
    ...    once, not after a time limit.
    [Tags]    R16.1    R16.2    R16.6
    ${url} =    A Server Runs While    A Redis Of Its Own Hangs    patient
    The Health Of The Server Is Recorded    patient
    State Should Be Refused Clearly And At Once    patient
    The Log Should Report The Outage Once And Then Rarely    patient
    Resume Redis    alias=patient
    The Server Connects When Redis Appears    patient    ${url}
    [Teardown]    The Late Redis And Its Server Leave    patient

The Server Starts With The Wrong Password And Connects When It Is Right
    [Documentation]    The password of Redis differs from that of the server until it is changed back.
    [Tags]    R16.1    R16.2
    ${url} =    A Server Runs While    A Redis Of Its Own Refuses The Password    stranger
    The Health Of The Server Is Recorded    stranger
    The Log Should Report The Outage Once And Then Rarely    stranger
    Heal All    alias=stranger
    The Server Connects When Redis Appears    stranger    ${url}
    [Teardown]    Run Keywords    The Late Redis And Its Server Leave    stranger    AND
    ...    Remove Fault Proxy    alias=stranger    AND
    ...    The Health Of The Server Without Redis Is Watched Beside The Next Tests

A Half-Open Connection To Redis Is Dropped And Restored
    [Documentation]    The other end of each open connection is gone without notice; new connections work.
    [Tags]    R16.3    R16.7
    Half Open
    The First Answer After Redis Is There    R16.3    reconnect_time    queue    server
    No Server Should Have Crashed For    R16.3

The Server Starts Without Redis And Connects When It Appears
    [Documentation]    The server keeps running without flooding its log or using much processor time, and works as soon
    ...    as Redis appears. Its processor time was measured since the start of the suite, its health checks after that;
    ...    another test judges them.
    [Tags]    R16.1    R16.2
    ${url} =    A Server Runs While    A Redis Of Its Own Is Down    early
    The Server Should Not Spin    R16.1    early
    The Health Of The Server Is Recorded    early
    The Log Should Report The Outage Once And Then Rarely    early
    Start Redis    alias=early
    The Server Connects When Redis Appears    early    ${url}
    [Teardown]    The Late Redis And Its Server Leave    early

Health Says Degraded While Redis Is Away And Healthy When It Is Back
    [Documentation]    Judges the health checks of the preceding starts without Redis, and those in operation. No other
    ...    test judges them.
    [Tags]    R16.1    R16.6
    Skip Unless Target Supports    health
    Health Should Follow Redis In Operation
    Health Should Have Been Degraded At The Start

After Outages Of Every Kind Everything Works And The Ledger Is Clean
    [Documentation]    Redis is killed, paused and disconnected under traffic. The ledger of all messages is judged.
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

Five Short Outages Under Traffic Lose Nothing
    [Documentation]    Half a second each, two seconds apart, while messages are queued. The outages run on a second
    ...    system since the start of the suite; this test waits for their end.
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

Charge Points Stay Connected And Their Heartbeats Are Answered Without Redis
    [Documentation]    Fifty charge points are connected while Redis goes away and comes back. The outage lasts long
    ...    enough to notice times that do not advance.
    [Tags]    R16.6
    [Setup]    The System Is Well And Charge Points Can Connect
    ${charge points} =    50 Charge Points Have Booted
    ${before} =    The Number Of Reconnects
    ${from}    ${to} =    Redis Goes Away And Is Missed
    Heartbeats Should Be Answered For    2 s    R16.6    ${charge points}
    Health Should Date The Last Change    ${from}    ${to}
    Redis Comes Back And Health Dates It
    The Reconnect Should Be Counted    ${before}
    A Heartbeat Of Each Should Be Answered    R16.6    ${charge points}
    No Charge Point Should Have Been Disconnected    R16.6    ${charge points}
    Their Last Activity Should Be Behind Their Connect    1 s    ${charge points}
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

Commands Are Refused Clearly And At Once Without Redis
    [Documentation]    Commands to connected charge points are refused without waiting.
    [Tags]    R16.6
    [Setup]    The System Is Well And Charge Points Can Connect
    Commands To The System Can Be Sent
    ${charge points} =    10 Charge Points Have Booted
    Redis Goes Away
    Let Outage Be Noticed
    Commands Should Be Refused Clearly And At Once    R16.6    ${charge points}
    Redis Comes Back
    Wait Until Server Is Healthy    timeout=30 s
    Commands Should Be Answered Again    ${charge points}[0]
    [Teardown]    Run Keywords    Close Commands    missing_ok=True    AND
    ...    The Charge Points Leave And The Server Has Never Crashed

A Commit Whose Reply Is Lost Is Neither Lost Nor Applied Twice    # robocop: off=LEN06
    [Documentation]    Redis runs the commit, and the connection is cut before the server receives the reply; three
    ...    times. The same is done with the writes of gateways: queued messages, received answers, and sessions. The
    ...    first pushes carry boots, which may come twice; a later one shows whether a message was applied twice. What
    ...    is set aside meanwhile is logged once.
    [Tags]    R16.9    R17.6
    [Setup]    The System Should Be Idle And Well And Messages Should Wait
    @{faults} =    Replies Are Lost To    sessions    deliver
    @{pushes} =    Replies Are Lost To    push    occurrence=4
    A Fleet Charges At
    ${log} =    Mark Server Log
    ${mixed}    ${more}    ${fault} =    Messages Wait Whose Commits Lose Their Replies
    ${sent} =    Join Messages    ${mixed.valid}    ${more}
    ${drain} =    All Messages Should Be Answered    ${sent}
    Each Should Take Effect    ${fault}    @{faults}    @{pushes}
    The Fleet Should Have Charged Through It    R16.9
    Nothing Should Be Lost Or Applied Twice    R16.9    ${drain}
    A Log That Is Read Should Have One Record Of Each    ${mixed}    ${log}

A Command Or A Stored Key Whose Reply Is Lost Happens Once At Most
    [Documentation]    Redis runs the write for a caller's request, or the commit of the answer to it, and the
    ...    connection is cut before the server receives the reply. The answer to the caller has to agree with the state.
    [Tags]    R16.9
    [Setup]    The System Is Well And Charge Points Can Connect
    Commands To The System Can Be Sent
    @{charge points} =    3 Charge Points Have Booted
    Commands Whose Replies Are Lost Should Fit What Was Received    ${charge points}
    An Answer In A Commit Whose Reply Is Lost Should Reach Its Caller    ${charge points}[0]
    Keys Whose Replies Are Lost Should Be As Callers Were Told    ${charge points}
    [Teardown]    Run Keywords    Close Commands    missing_ok=True    AND    Heal All    alias=faults    AND
    ...    The Charge Points Leave And The Server Has Never Crashed

Scripts That Redis Forgets Under Traffic Are Sent Again
    [Documentation]    SCRIPT FLUSH is repeated while messages are queued and charge points charge.
    [Tags]    R16.13
    [Setup]    The System Should Be Idle And Well And Messages Should Wait
    Skip If Redis Is External
    A Fleet Charges At
    ${sent} =    Messages Are Queued While Redis Forgets Scripts 20 Times
    ${drain} =    All Messages Should Be Answered    ${sent}
    The Fleet Should Have Charged Through It    R16.13
    Nothing Should Be Lost Or Applied Twice    R16.13    ${drain}

Charge Points That Charge Through A Long Outage Are Answered Or Refused
    [Documentation]    Eight seconds without Redis, longer than a gateway holds a CALL. Refused messages are never
    ...    applied. The outage hits a second system and began in an earlier test.
    [Tags]    R16.6
    [Setup]    Skip Unless Target Supports    gateway
    The Long Outage Is Over
    ${fleet} =    The Fleet Should Have Charged Through It    R16.6    ${FLAPPING}[server]    ${FLAPPING}[queue]
    Requirement Should Be Met    R16.6    refusals    ${fleet.refusals}    samples=${fleet.sent}    message=${fleet}.

Every Partial Failure Is Survived And Recovered From    # robocop: off=LEN04,LEN06
    [Documentation]    Messages are sent before, during and after each failure. The two failures of a row hit two
    ...    systems, the second of them until the next row, or one system in turn. A failure that an external Redis or
    ...    proxy cannot cause is last in its row, or alone.
    [Tags]    R16.7
    [Timeout]    6 minutes    # a row takes half a minute where nothing recovers
    [Setup]    Run Keywords    Both Systems Are Idle And Well    AND
    ...    The Failovers Begin Beside The Next Tests    @{FAILOVERS}
    [Template]    Both Are Survived And Recovered From
    black hole for 3 s    pause redis for 2.5 s
    half-open for 3 s    cut mid-reply for 0.5 s
    reset connections    no replicas for 2 s
    latency 300 ms for 1 s    read-only for 2 s
    bandwidth 20 for 1 s    keep resetting for 1 s
    slow drip for 1 s    kill clients
    out of memory for 2 s    busy for 1 s
    too many clients for 1 s    wrong password for 1 s
    failed snapshot for 2 s    disk full for 2 s
    failed rewrite for 1 s    packet loss for 1 s
    ${LOADING} for 1 s    ${MASTERDOWN} for 1 s
    nothing more
    [Teardown]    Everything Is Healed And The Effects Are Right In Both Systems

The Server Is Killed Under Traffic And Loses Nothing
    [Documentation]    kill -9 while the queue is being drained, five times, to find servers that lose a message only
    ...    sometimes.
    [Tags]    R16.8
    [Setup]    The System Should Be Idle And Well And Messages Should Wait
    ${sent}    ${times} =    Messages Are Queued And The Server Ends Five Times    Kill Server
    Nothing Should Be Lost By Ends Of The Server    ${sent}    ${times}
    Charge Points Of A Killed Server Should Be Gone

The Server Follows The Primary Through Failovers Of Every Kind
    [Documentation]    The primary is killed, demoted, cut off from the sentinels, or paused until it is replaced and
    ...    comes back as a stale primary. The sentinels and ROLE on both nodes prove each failover. They began with the
    ...    partial failures; this test waits for their end.
    [Tags]    R16.10
    [Setup]    A Primary And A Replica Are Possible
    The Server Should Have Followed Each Of    @{FAILOVERS}
    No Failover Should Have Ended The Server
    [Teardown]    Run Keywords    Replication Is Healed    AND
    ...    The Sentinels Fall Silent Beside The Next Tests    @{SILENT SENTINELS}

The Server Is Stopped Under Traffic And Loses Nothing
    [Documentation]    SIGTERM while the queue is being drained, five times; the slowest shutdown counts.
    [Tags]    R16.8
    [Setup]    The System Should Be Idle And Well And Messages Should Wait
    ${sent}    ${times} =    Messages Are Queued And The Server Ends Five Times    Stop Server
    The Server Should Have Ended In Time    ${times}
    Nothing Should Be Lost By Ends Of The Server    ${sent}    ${times}

The Server Ends In Order Without Redis
    [Documentation]    SIGTERM to a server that has never reached its Redis, and to a busy server without Redis. The
    ...    messages of the busy server are handled when both are back.
    [Tags]    R16.8
    [Setup]    The System Should Be Idle And Well And Messages Should Wait
    Skip Unless Target Can Be Started
    Skip Unless Target Supports    health
    A Server That Has Never Reached Redis Ends In Order
    ${sent} =    2000 Messages Are Queued While A Fleet Charges
    The Server Ends In Order While The Network To Redis Is Cut
    Restart Server
    ${drain} =    All Messages Should Be Answered    ${sent}
    The Fleet Should Have Charged Through It    R16.8
    Nothing Should Be Lost Or Applied Twice    R16.8    ${drain}

Charge Points Whose Connection Died Leave No Ghost
    [Documentation]    Charge points lose power, their line fails, or a router drops their connections without notice.
    ...    The gateway gets no error and has to detect this by pings. All of it happens at the same time.
    [Tags]    R16.12
    [Setup]    The System Is Well And Charge Points Can Connect
    Sessions End After    @{SILENT ENDS}
    [Teardown]    The Networks Are Healed And Gone    @{SILENT ENDS}

Charge Points With TLS Whose Connection Died Leave No Ghost
    [Documentation]    The same with TLS, whose own closing handshake such a charge point never answers. It happens at
    ...    the same time as in the test before.
    [Tags]    R16.12
    [Setup]    A Gateway With TLS Is Possible
    Sessions With TLS Should Have Ended After    @{SAFE ENDS}
    [Teardown]    The Charge Points And The Gateway With TLS Leave

A Charge Point Is Served Again When Redis Has Lost What It Kept
    [Documentation]    The charge point stays connected while all keys or all scripts are deleted, Redis restarts empty,
    ...    or the sessions expire.
    [Tags]    R16.13
    [Setup]    Run Keywords    A System Whose Redis Keeps Nothing Runs    AND
    ...    The Network Before The Gateway Begins To Fail Beside The Next Tests    @{NETWORK FAILURES}
    [Template]    A Connected Charge Point Is Served Again After
    Redis Command    FLUSHALL
    Redis Command    SCRIPT    FLUSH
    Restart Redis    kill
    The Sessions Are Gone
    [Teardown]    The Session Gets Another Lifetime

Everything Works Over TLS With A User Of Least Privilege
    [Documentation]    The user has permission only for the keys, channels and commands in the target's profile.
    [Tags]    R16.11
    [Setup]    A System With TLS And A User Of Least Privilege Runs
    Messages Of Every Kind Should Be Answered
    A Command To A Charge Point Should Be Answered
    Redis Should Have Refused The User Nothing
    [Teardown]    The Secured System Is Healed And Well

A Bad Certificate Or A Missing Permission Is A Clear Error Until It Is Mended
    [Documentation]    Each error is reported within five seconds, and the server works again after the correction
    ...    without a crash.
    [Tags]    R16.11
    [Setup]    A System With TLS And A User Of Least Privilege Runs
    [Template]    An Error Is Reported Until It Is Corrected
    bad certificate expired    certificate has expired
    bad certificate another host    certificate is not valid for
    bad certificate unknown authority    unable to get local issuer certificate
    missing permission commit user=ocpp-server    no permissions to run
    [Teardown]    The Secured System Is Healed And Well

The Server Goes On While Sentinels Are Silent
    [Documentation]    Two of three sentinels, so that no replica can be promoted, then all of them. The primary keeps
    ...    working, and all messages are answered. The silence began after the failovers; this test waits for its end.
    [Tags]    R16.7
    [Setup]    A Primary And A Replica Are Possible
    The Server Should Have Gone On While Sentinels Were Silent    @{SILENT SENTINELS}
    [Teardown]    Replication Is Healed

Nothing Is Confirmed Before A Replica Has It
    [Documentation]    The server waits for a replica that lags behind. It is degraded and sends no answer until the
    ...    replica has caught up.
    [Tags]    R16.7    R16.10
    [Setup]    A System With A Replica And A Charge Point Runs
    ${lag} =    Inject Fault    lag replica    alias=${REPLICATED}    redis=${REPLICATED}
    ${sent} =    A Message Is Sent That The Replica Will Not Have
    Wait Until Health Is    degraded    alias=${REPLICATED}    timeout=10 s
    It Should Not Be Answered Yet    ${sent}
    Heal Fault    ${lag}
    It Should Be Answered Now    ${sent}
    [Teardown]    Replication Is Healed

Idle Charge Points Are Registered Again After Redis Has Lost Its Data
    [Documentation]    The charge points are listed and receive commands after an earlier test has deleted the data of
    ...    Redis, and their sessions get their lifetime anew.
    [Tags]    R16.13
    [Setup]    Redis Has Lost What It Kept
    The Silent Charge Points Should Be Known Again
    The Lifetime Of The Session Should Have Been Renewed
    [Teardown]    The System Whose Redis Keeps Nothing Leaves

The Network Before The Gateway Fails And Nothing Is Lost
    [Documentation]    Charge points reconnect by themselves and retry unanswered messages. The failures began in an
    ...    earlier test; this test waits for their end.
    [Tags]    R16.12
    [Setup]    The Network Before The Gateway Is Failing    @{NETWORK FAILURES}
    Fault Schedule Should End    alias=${EDGE}    timeout=60 s
    The Ledger Of The Charge Points Should Be Clean
    [Teardown]    The Bad Network Is Healed And Gone
