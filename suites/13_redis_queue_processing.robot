*** Settings ***
Documentation     Test 13: messages of charge points through the Redis queue are processed, in order, without loss.
...
...               Messages are put on the queue as a gateway would, and answers are read where a gateway would find
...               them.

Resource          ../resources/system_under_test.resource
Resource          ../resources/queue.resource
Resource          ../resources/charge_points.resource

Suite Setup       Start The System Under Test And A Quiet One Beside It
Suite Teardown    Stop The System Under Test And The Quiet One
Test Setup        The System Should Be Idle And Well
Test Teardown     The Effects Are Right And The Server Has Never Crashed

Test Tags         queue


*** Test Cases ***
Every Action In Every Message Format Is Answered In Time
    [Documentation]    All ten actions of OCPP 1.6, in the flat form and in the envelope. In OCPP 2.x, the corresponding
    ...    actions in the envelope.
    [Tags]    R13.1
    [Template]    ${action} Is Answered In Every Format
    Authorize
    BootNotification
    DataTransfer
    DiagnosticsStatusNotification
    FirmwareStatusNotification
    Heartbeat
    MeterValues
    StartTransaction
    StatusNotification
    StopTransaction

A Thousand Mixed Messages Are All Answered In Time
    [Documentation]    Complete charging sessions and notifications of 50 charge points at the same time.
    [Tags]    R13.1
    ${sent} =    Queue A Mix Of Messages    1000
    ${drain} =    All Messages Should Be Answered    ${sent}
    Every Message Should Have Been Answered    R13.1    ${drain}
    Requirement Should Be Met    R13.1    answer_time    ${drain.seconds}    samples=${sent.count}

Valid Messages Of Every Shape Are Answered
    [Documentation]    Each value of each enumeration, each optional field, numbers and texts at their limits, as the
    ...    official schemas allow them.
    [Tags]    R13.1
    ${sent} =    Queue Messages Of Every Shape
    ${drain} =    All Messages Should Be Answered    ${sent}    timeout=30 s
    Every Message Should Have Been Answered    R13.1    ${drain}

The State After Sessions Of Every Shape Equals The Model
    [Documentation]    Several connectors, units, readings in any order, repeated starts and stops, transactions of
    ...    other charge points, concurrent messages about one record. The seed in the log reproduces the sessions.
    [Tags]    R13.8
    [Setup]    The System Is Well And Its State Can Be Read
    ${sent} =    Queue Varied Sessions    100
    Wait For Answers    ${sent}
    ${history} =    Get Message History
    The State Should Equal The Effects Of The Messages    ${history}

The HTTP API Lists And Filters The Stored State
    [Documentation]    Lists, filtered lists and single records. Missing records are answered with 404, invalid filters
    ...    with 400.
    [Tags]    R13.8
    [Setup]    The System Is Well And Its State Can Be Read
    Skip Unless Target Supports    state api
    ${sent} =    Queue Varied Sessions    12
    All Messages Should Be Answered    ${sent}
    ${history} =    Get Message History
    The HTTP API Should Show The Effects Of The Messages    ${history}

Metrics And Health Count The Queued Messages
    [Documentation]    Processed messages by action, dead letters by error code, and an empty queue.
    [Tags]    R13.1
    Skip Unless Target Supports    metrics
    ${before} =    Get Counts
    ${valid} =    Queue A Mix Of Messages    300
    ${others} =    Queue Generated Invalid Messages    50    valid_between=50
    All Messages Should Be Answered    ${valid}
    All Messages Should Be Answered    ${others.valid}
    The Counts Should Be Right    ${before}    ${valid}    ${others}

Charge Points Whose Ids Are Nearly The Same Are Kept Apart
    [Documentation]    One id is a prefix of others; some ids differ only in case, in an accent, or in the last of 48
    ...    characters; some look like patterns or URLs.
    [Tags]    R13.8
    [Setup]    The System Is Well And Its State Can Be Read
    @{ids} =    New Similar Charge Point Ids
    ${sent} =    Queue Varied Sessions    ${ids}    rounds=25
    Wait For Answers    ${sent}
    ${history} =    Get Message History
    The State Should Equal The Effects Of The Messages    ${history}
    The HTTP API Should Show The Effects Of The Messages    ${history}

The State After Sessions Over WebSockets Equals The Model
    [Documentation]    The same with charge points that are connected to the gateway.
    [Tags]    R13.8
    [Setup]    The State Can Be Read And Charge Points Can Connect
    ${charge points} =    40 Charge Points Have Booted
    ${sent} =    Charge Varied Sessions    ${charge points}
    All Calls Should Be Answered    ${sent}
    ${history} =    Get Charge Point History
    The State Should Equal The Effects Of The Messages    ${history}
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

Charge Points At The Gateway Whose Ids Are Nearly The Same Are Kept Apart
    [Documentation]    The same ids as on the queue, in the paths of their connections.
    [Tags]    R13.8
    [Setup]    The State Can Be Read And Charge Points Can Connect
    ${charge points} =    Charge Points With Similar Ids Have Booted
    ${sent} =    Charge Varied Sessions    ${charge points}    rounds=25
    All Calls Should Be Answered    ${sent}
    ${history} =    Get Charge Point History
    The State Should Equal The Effects Of The Messages    ${history}
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

A Message Id That Comes Again Over A New Connection Is Another Message
    [Documentation]    OCPP-J requires unique message ids only within one connection.
    [Tags]    R13.7
    [Setup]    The State Can Be Read And Charge Points Can Connect
    ${charge points} =    5 Charge Points Have Booted
    Message Ids That Are Used Again Should Get Answers Of Their Own    ${charge points}
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

Messages That Are Sent Again Count Once
    [Documentation]    Each message of a session is repeated: over a new connection with the same message id, whether it
    ...    was answered before or not, and with a new message id.
    [Tags]    R13.7
    [Setup]    The State Can Be Read And Charge Points Can Connect
    ${charge points} =    10 Charge Points Have Booted
    ${repeated} =    Charge Sessions With Repeated Messages    ${charge points}
    ${history} =    Get Charge Point History
    Nothing Should Have Counted Twice    ${repeated}    ${history}
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

A Malformed Message Is Set Aside And The Valid Ones Around It Are Processed
    [Documentation]    The literal example of the requirement. OCPP 2.x has no flat form, so its messages are in
    ...    envelopes.
    [Tags]    R13.2
    Skip Unless Target Supports    dead letters
    ${log} =    Mark Server Log
    ${dead letters} =    Mark Dead Letters
    ${sent} =    Queue The Four Messages Of The Example    CP-001
    Dead Letter Should Exist    ${sent}[2]    code=FormationViolation    since=${dead letters}
    Three Messages Should Be Processed And One Set Aside    CP-001    ${dead letters}    ${log}
    Wait For Log Record    event=invalid_message    code=FormationViolation    since=${log}

The Newest Thousand Dead Letters Are Kept
    [Tags]    R13.2
    Skip Unless Target Supports    state_keys
    Skip Unless Target Supports    dead letters
    ${sent} =    Queue Generated Invalid Messages    1100    valid_between=${0}
    Wait Until Queue Is Empty
    Dead Letters Should Be The Newest    1000    message=${sent}[-1]

The Newest Thousand Dead Letters Are Kept At The Gateway Too
    [Documentation]    The gateway refuses twenty frames while there are a thousand dead letters already.
    [Tags]    R13.2
    [Setup]    The System Is Well And Charge Points Can Connect
    Skip Unless Target Supports    state_keys
    Skip Unless Target Supports    dead letters
    Queue Generated Invalid Messages    1000    valid_between=${0}
    Wait Until Queue Is Empty
    Connect Charge Point
    Boot
    ${last} =    Broken Frames Are Sent    20
    Dead Letters Should Be The Newest    1000    raw_contains=${last}
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

Batches Of Every Size Are Answered Whole And In Order
    [Documentation]    Batches just below and just above the batch size of the server, then batches whose size in bytes
    ...    is the limit.
    [Tags]    R13.4
    [Setup]    The System Should Be Idle And Well And Messages Should Wait
    Batches Should Be Answered Whole
    ...    1
    ...    2
    ...    3
    ...    99
    ...    100
    ...    101
    ...    127
    ...    128
    ...    129
    ...    255
    ...    256
    ...    257
    ...    511
    ...    513
    Large Messages Should Be Answered In Order    40    100000

The Server Shuts Down Quickly While The Queue Is Empty
    [Documentation]    SIGTERM to an idle server. It is restarted for the following tests.
    [Tags]    R13.3
    ${seconds} =    Stop Server
    Server Should Have Exited    0
    Requirement Should Be Met    R13.3    shutdown    ${seconds}
    [Teardown]    Restart Server

Messages Of One Charge Point Are Answered In The Order Queued
    [Tags]    R13.4
    5000 Messages Of 1 Charge Points Should Be Answered In The Order Queued

Messages Of Fifty Charge Points Are Answered In The Order Of Each
    [Documentation]    The server reports how many of them wait.
    [Tags]    R13.4    R13.1
    ${points} =    5000 Messages Of 50 Charge Points Should Wait And Then Be Answered In The Order Queued
    Requirement Should Be Met    R13.4    charge_points    ${points}

Refused Messages Are Answered In Their Place
    [Documentation]    Invalid messages among valid ones of the same charge points: the refusals are in the order
    ...    queued, too.
    [Tags]    R13.4
    ${sent} =    Queue Generated Invalid Messages    500    valid_between=500    charge_points=20
    All Should Be Answered Or Refused In The Order Queued    ${sent}

Several Processors Keep The Order Of Each Charge Point
    [Documentation]    Three instances of the server share one queue.
    [Tags]    R13.4
    [Setup]    A Second And A Third Processor Join
    5000 Messages Of 1 Charge Points Should Be Answered In The Order Queued
    5000 Messages Of 50 Charge Points Should Be Answered In The Order Queued
    ${redis} =    Get Redis Url
    ${processors} =    Get Running Server Count    ${redis}
    Requirement Should Be Met    R13.4    processors    ${processors}
    [Teardown]    Run Keywords    The Messages Should Have Had The Right Effects    AND
    ...    The Second And The Third Processor Leave

Processors That Share Eight Shards Keep The Order Of Each Charge Point
    [Documentation]    Messages are pushed to the unsharded queue. One of two instances is stopped, and the other one
    ...    owns all shards immediately, without waiting for the end of the lease.
    [Tags]    R13.4
    [Setup]    Two Processors Share Eight Shards    lease=20
    Each Processor Should Own Four Shards
    ${sent} =    Queue Generated Messages    5000    charge_points=50    order=interleaved
    Stop Server    alias=first of shards
    Wait Until Server Owns Shards    8    alias=second of shards
    All Should Be Answered In The Order Queued    ${sent}
    Stop Server    alias=second of shards
    [Teardown]    Run Keywords    The Messages Should Have Had The Right Effects    AND
    ...    The Processors Of Shards Leave

A Processor Of Shards That Dies Is Replaced And The Order Is Kept
    [Documentation]    One of two instances is killed while it handles messages, and the other one takes over its
    ...    shards.
    [Tags]    R13.4
    [Setup]    Two Processors Share Eight Shards
    Each Processor Should Own Four Shards
    ${sent} =    Both Have 5000 Messages In Their Shards
    Kill Server    alias=first of shards
    Wait Until Server Owns Shards    8    alias=second of shards
    All Should Be Answered In The Order Queued    ${sent}
    Stop Server    alias=second of shards
    [Teardown]    Run Keywords    The Messages Should Have Had The Right Effects    AND
    ...    The Processors Of Shards Leave

A Processor Of Shards That Wakes Up Too Late Changes Nothing
    [Documentation]    One of two instances is paused while it handles messages until the other one has taken over its
    ...    shards; then it resumes.
    [Tags]    R13.4
    [Setup]    Two Processors Share Eight Shards
    Each Processor Should Own Four Shards
    ${sent} =    Both Have 5000 Messages In Their Shards
    Pause Server    alias=first of shards
    Wait Until Server Owns Shards    8    alias=second of shards
    Resume Server    alias=first of shards
    Each Processor Should Own Four Shards
    All Should Be Answered In The Order Queued    ${sent}
    [Teardown]    Run Keywords    The Messages Should Have Had The Right Effects    AND
    ...    The Processors Of Shards Leave

A Processor That Dies Is Replaced And The Order Is Kept
    [Documentation]    The instance that drains the queue is paused, 5,000 messages are queued, and it is killed;
    ...    another one takes over. Without a queue, the charge points connect to that one.
    [Tags]    R13.4    R13.1
    [Setup]    A Second And A Third Processor Join
    Skip Unless Queue Keeps Messages
    Pause Server
    ${sent} =    Queue Generated Messages    5000    charge_points=50    order=interleaved
    The Queue Depth Should Be Reported    5000    second processor
    Kill Server
    Charge Points Carry The Messages If There Is No Queue    second processor
    All Should Be Answered In The Order Queued    ${sent}
    [Teardown]    Run Keywords    The Messages Should Have Had The Right Effects    AND
    ...    The Second And The Third Processor Leave    AND    Restart Server    AND
    ...    Charge Points Carry The Messages If There Is No Queue

Twenty Thousand Messages Are Drained At The Required Rate
    [Tags]    R13.5
    [Timeout]    5 minutes    # at the required rate it takes 200 seconds
    [Setup]    The System Is Well And Watched
    ${sent} =    Queue Generated Messages    20000    charge_points=50    action=Heartbeat
    ${drain} =    All Messages Should Be Answered    ${sent}    timeout=210 s
    Requirement Should Be Met    R13.5    messages    ${drain.messages}
    Requirement Should Be Met    R13.5    drain_rate    ${drain.rate}    samples=${drain.messages}
    The Peak Of The Queue Is Recorded    R13.5
    [Teardown]    Stop Sampling

A Running Server Survives An Outage Of Redis And Answers Everything Once
    [Documentation]    Redis is killed while the server is busy, and restarted after the server has noticed.
    [Tags]    R13.6
    [Setup]    The System With A Redis Is Idle And Well And Messages Should Wait
    @{points} =    New Known Charge Points    50
    ${before} =    Queue A Mix Of Messages    5000    charge points=${points}
    Kill Redis
    Let Outage Be Noticed
    Start Redis
    Server Should Be Running
    ${after} =    Queue A Mix Of Messages    1000    charge points=${points}
    ${sent} =    Join Messages    ${before}    ${after}
    Nothing Of It Should Be Lost, Repeated Or Reordered    R13.6    ${sent}
    [Teardown]    The Effects Are Right And The Server Has Never Crashed

Messages Queued Before And After A Redis Restart Are All Answered Once
    [Documentation]    The server is paused while messages are queued and Redis is stopped, so all of these messages are
    ...    still waiting. Then both resume, and more messages follow.
    [Tags]    R13.6
    [Timeout]    4 minutes    # two rows, each of which has a minute for the answers
    [Setup]    The System With A Redis Is Idle And Well And Messages Should Wait
    [Template]    Messages Queued Before And After A Restart Of Redis Are All Answered Once
    graceful
    kill

An Empty Queue Leaves The Server Idle And Quick To Answer
    [Documentation]    Ten seconds without a message: little processor time, quick health checks, then a quick answer.
    ...    A second, idle server is measured since the start of the suite; this test waits for the rest of the time.
    [Tags]    R13.3
    ${required silence} =    Get Threshold    R13.3    silence
    ${cpu} =    Get Processor Time Of The Silence    ${required silence}
    ${health} =    Health Checks Are Quick And Leave Nothing Open    100
    ${silence} =    Get Time Since Last Message    alias=${QUIET QUEUE}
    ${answer} =    A Heartbeat Is Answered    ${QUIET QUEUE}
    Requirement Should Be Met    R13.3    idle_cpu    ${cpu}
    Requirement Should Be Met    R13.3    health_response_time    ${health}[max]    samples=100
    Requirement Should Be Met    R13.3    silence    ${silence}
    Requirement Should Be Met    R13.3    answer_after_silence    ${answer.seconds}
