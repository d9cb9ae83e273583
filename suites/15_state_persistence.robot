*** Settings ***
Documentation     Test 15: records of charge points, connectors, transactions and configuration stay complete with many
...               concurrent writers and through all failures of Redis.
...
...               The tests use the store as the programs of a back end do, and check its keys in Redis.

Resource          ../resources/system_under_test.resource
Resource          ../resources/state.resource
Resource          ../resources/state_over_http.resource
Resource          ../resources/charge_points.resource

Suite Setup       Start The System Under Test With Its State Store
Suite Teardown    Stop The System Under Test With Its State Store
Test Setup        The System Is Well And Stores As Documented
Test Teardown     The Effects Are Right And The Server Has Never Crashed

Test Tags         state


*** Test Cases ***
A Charge Point Is Read As It Was Written And Deleted Without A Trace
    [Tags]    R15.1
    ${before} =    Take Key Snapshot    values=True
    ${point} =    New Charge Point Id
    ${saved} =    Save A Full Charge Point    ${point}
    The Charge Point Should Be Stored As    ${saved}
    ${updated} =    Update Charge Point    ${point}    firmware=2.0    is_online=False
    Records Should Be Equal    ${updated}    ${saved}    ignore=["firmware", "is_online", "version"]
    The Charge Point Should Be Stored As    ${updated}
    Delete Charge Point    ${point}
    State Error Should Be Raised    not_found    Get Charge Point    ${point}
    Nothing Should Be Left Since    R15.1    ${before}

All Of A Thousand Charge Points Are Listed
    [Tags]    R15.1
    @{points} =    New Charge Points    1000
    ${saved} =    Save Charge Points At Once    ${points}
    Charge Points Should Be Listed    ${saved}

A Connector Is Read As It Was Written And Deleted Without A Trace
    [Tags]    R15.1
    ${before} =    Take Key Snapshot    values=True
    ${point} =    New Charge Point Id
    ${saved} =    Save Connector    ${point}    2    status=Charging    error_code=NoError    transaction_id=7
    &{listed} =    List Connectors    ${point}
    The Records Should Be As Written    R15.1    ${listed}[${2}]    ${saved}
    ${updated} =    Update Connector    ${point}    2    status=Finishing
    ${read} =    Get Connector    ${point}    2
    The Records Should Be As Written    R15.1    ${read}    ${updated}
    Delete Connector    ${point}    2
    Nothing Should Be Left Since    R15.1    ${before}

Deleting A Charge Point Takes Everything With It
    [Tags]    R15.1
    ${before} =    Take Key Snapshot    values=True
    ${point} =    New Charge Point Id
    A Charge Point With Everything    ${point}
    Delete Charge Point    ${point}
    Nothing Should Be Left Since    R15.1    ${before}

Messages Of A Deleted Charge Point Bring Nothing Of It Back
    [Documentation]    A program deletes a charge point that the system has just worked for. Its next messages make new
    ...    records, without anything of the deleted ones.
    [Tags]    R15.1
    ${boot} =    Queue Message    BootNotification
    Message Should Be Answered    ${boot}
    ${transaction} =    Start Queued Transaction    ${boot.charge_point}
    Delete Charge Point    ${boot.charge_point}
    ${status} =    Queue Message    StatusNotification    charge_point=${boot.charge_point}
    Message Should Be Answered    ${status}
    Nothing Should Have Come Back Of    ${transaction}
    Forget Message History

A Transaction That Messages Start And Stop Is Active And Then Completed
    [Documentation]    The record of the server is read as the profile describes.
    [Tags]    R15.1    R15.2
    [Setup]    The System Is Well And Its State Can Be Read
    ${boot} =    Queue Message    BootNotification
    Message Should Be Answered    ${boot}
    ${record} =    Get Charge Point Record    ${boot.charge_point}
    The Record Should Say    The charge point    ${record}    vendor=Acceptance    model=Test
    ${transaction} =    Start Queued Transaction    ${boot.charge_point}    meter=${100}
    The Transaction Should Be    ${transaction}    active    meter_start=${100}
    Stop Queued Transaction    ${transaction}    meter=${900}
    The Transaction Should Be    ${transaction}    completed    meter_stop=${900}

A Connector Keeps Its Transaction While Its Status Changes
    [Documentation]    One charge point, one transaction and one status after it, so that other faults cannot hide a
    ...    lost transaction.
    [Tags]    R13.8
    [Setup]    The System Is Well And Its State Can Be Read
    ${boot} =    Queue Message    BootNotification
    Message Should Be Answered    ${boot}
    ${transaction} =    Start Queued Transaction    ${boot.charge_point}
    ${status} =    Queue Message    StatusNotification    charge_point=${boot.charge_point}
    Message Should Be Answered    ${status}
    The First Connector Should Have The Transaction    ${transaction}

Things That Do Not Exist Are Not Found
    [Documentation]    An unknown charge point, connector and transaction are answered with 404.
    [Tags]    R15.1
    [Setup]    The System Should Be Idle And Well
    @{found} =    Find Unknown Resources
    ${count} =    Get Length    ${found}
    ${some} =    Get Examples    ${found}
    Requirement Should Be Met    R15.1    unknown_found    ${count}    message=${some}.

A Charge Point Cannot Change The Transactions Of Another
    [Documentation]    Stops and meter values for a transaction that runs at another charge point, a finished one, and
    ...    one that never existed. In OCPP 2.x, its id names another transaction at each charge point.
    [Tags]    R15.9
    [Setup]    The System Is Well And Its State Can Be Read
    ${attempts} =    Queue Messages For Foreign Transactions    10
    The Attempts Should Have Changed Nothing    ${attempts}

Connected Charge Points Are Reported Everywhere
    [Documentation]    Ten charge points connect, three disconnect, and two are taken over by a newer connection. The
    ...    list of connected charge points with its times, the records, the metrics and the events in Redis agree with
    ...    that.
    [Tags]    R15.1
    [Setup]    Run Keywords    The State Can Be Read And Charge Points Can Connect    AND    Nobody Else Is Connected
    Skip Unless Target Supports    state api
    ${since} =    The Events Of Connections Are Heard
    @{ids} =    10 Charge Points Have Booted
    Connected Charge Points Should Be Reported    ${ids}    since=${since}
    @{gone} =    Get Slice From List    ${ids}    0    3
    @{there} =    Get Slice From List    ${ids}    3
    Disconnect All Charge Points    ${gone}
    ${taken over} =    Get Slice From List    ${there}    0    2
    Newer Connections Take Over    ${taken over}
    Connected Charge Points Should Be Reported And Announced    ${there}    ${gone}    since=${since}
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

A Charge Point That Changes Its Version Is Known By The New One
    [Documentation]    It reconnects in every version that the system speaks, as after an update of its firmware, and
    ...    back again. Its record has the version of its last message.
    [Tags]    R15.1
    [Setup]    The State Can Be Read And Charge Points Can Connect
    Skip Unless Target Supports    state store
    The Version Should Be That Of The Last Boot
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

A Transaction Is Read As It Was Written And Deleted Without A Trace
    [Tags]    R15.2
    ${before} =    Take Key Snapshot    values=True
    ${point} =    New Charge Point Id
    ${saved} =    Save Transaction    ${point}    connector_id=2    meter_start=1000    id_tag=TAG-ü
    ${read} =    Get Transaction    ${saved.id}
    Records Should Be Equal    ${read}    ${saved}
    ${updated} =    Update Transaction    ${saved.id}    status=completed    meter_stop=2000    reason=EVDisconnected
    Transactions Should Be    ${point}    active=True
    Transactions Should Be    ${point}    ${updated}    active=False
    Delete Transaction    ${saved.id}
    Keys Should Equal Snapshot    ${before}    ignore=${KEYS OF CONNECTIONS}

A Configuration Is Read As It Was Written And Deleted Without A Trace
    [Documentation]    One that is saved in the place of another has none of its keys.
    [Tags]    R15.3
    ${before} =    Take Key Snapshot    values=True
    ${point} =    New Charge Point Id
    ${written} =    Save Generated Configuration    ${point}    keys=20
    The Configuration Should Be Stored As    ${point}    ${written}
    ${updated} =    Update Configuration Key    ${point}    Key00007    changed
    Set To Dictionary    ${written}    Key00007=${updated}
    The Configuration Should Be Stored As    ${point}    ${written}
    A Shorter Configuration Should Take Its Place    ${point}
    Delete Configuration    ${point}
    Nothing Should Be Left Since    R15.3    ${before}

Configuration That Is Stored Over HTTP Is Kept And Read
    [Documentation]    Keys of several charge points: new ones, changed ones, read-only ones, and one that is refused.
    [Tags]    R15.3
    [Setup]    The System Is Well And Its State Can Be Read
    Skip Unless Target Supports    configuration
    @{points} =    3 Charge Points Have Sent Something
    Configuration Of Each Is Stored    ${points}
    The Configuration Should Be As Stored    ${points}

Programs That Write Different Keys Of One Configuration Lose Nothing
    [Tags]    R15.4
    ${point} =    New Charge Point Id
    ${result} =    Write Keys From Several Programs    ${point}    programs=4    updates=50
    No Update Should Be Lost    ${result}

A Program And The System Write One Charge Point And Lose Nothing
    [Documentation]    A program changes the record while messages of the charge point are processed.
    [Tags]    R15.4
    ${first} =    Queue Message    Heartbeat
    Message Should Be Answered    ${first}
    VAR    @{point} =    ${first.charge_point}
    Start Queueing Generated Messages    500    over=1 s    charge_points=${point}    mix=${NOTIFICATIONS}
    ${result} =    Write Charge Point Beside The System    ${point}[0]    updates=200
    ${sent} =    Queueing Should End
    All Messages Should Be Answered    ${sent}
    No Update Should Be Lost    ${result}
    Forget Message History

Fifty Concurrent Writers Of One Record Lose No Update
    [Documentation]    The writers may be slow on a busy machine, but must not block each other.
    [Tags]    R15.4
    [Timeout]    10 minutes
    ${point} =    New Charge Point Id
    ${saved} =    Save Transaction    ${point}
    ${result} =    Update With Concurrent Writers    ${saved.id}    writers=50    updates=100
    Requirement Should Be Met    R15.4    writers    ${result.writers}
    Requirement Should Be Met    R15.4    updates    ${result.visible}    message=${result}.

Every Acknowledged Write Survives A Restart Of Redis
    [Documentation]    Redis is restarted while twenty writers are active.
    [Tags]    R15.5    R15.7
    [Template]    Acknowledged Writes Survive A Restart Of Redis
    graceful
    kill

State Without Concurrent Writes Survives A Restart Of Redis
    [Tags]    R15.5
    [Template]    Settled State Survives A Restart Of Redis
    graceful
    kill

A Value Of A Mebibyte Survives Unchanged
    [Tags]    R15.6
    ${point} =    New Charge Point Id
    ${large} =    Generate Text    ${MEBIBYTE}
    ${saved} =    Save Charge Point    ${point}    vendor=${large}
    ${read} =    Get Charge Point    ${point}
    Records Should Be Equal    ${read}    ${saved}
    The Size Should Be As Required    ${read.vendor}

A Configuration Of A Thousand Keys Survives Unchanged
    [Tags]    R15.6
    ${point} =    New Charge Point Id
    ${written} =    Save Generated Configuration    ${point}    keys=1000
    ${read} =    Get Configuration    ${point}
    Records Should Be Equal    ${read}    ${written}
    ${keys} =    Get Length    ${read}
    Requirement Should Be Met    R15.6    configuration_keys    ${keys}

A Value Over The Limit Is Refused And Nothing Is Written
    [Tags]    R15.6
    ${before} =    Take Key Snapshot    values=True
    ${point} =    New Charge Point Id
    ${large} =    Generate Text    ${OVER THE LIMIT}
    State Error Should Be Raised    too_large    Save Charge Point    ${point}    vendor=${large}
    State Error Should Be Raised    too_large    Save Connector    ${point}    1    status=${large}
    State Error Should Be Raised    too_large    Save Transaction    ${point}    id=999999999    id_tag=${large}
    VAR    &{values} =    Small=1    Large=${large}
    State Error Should Be Raised    too_large    Save Configuration    ${point}    ${values}
    Nothing Should Have Been Written Since    R15.6    ${before}

Each Failure Of Redis Has Its Own Error And Leaves No Write Half Done
    [Documentation]    Five writes, most of them to several keys, during each of four failures. Refused writes change
    ...    nothing; writes without an answer are stored completely or not at all.
    [Tags]    R15.7
    [Setup]    The System Is Well And Redis Is Ours
    ${known} =    New Charge Point Id
    A Charge Point With Everything    ${known}
    ${before} =    Take Key Snapshot    values=True
    Writing While Redis Is Down Should Fail    ${known}
    Writing While Redis Is A Replica Should Fail    ${known}
    Writing While Redis Is Full Should Fail    ${known}
    Keys Should Equal Snapshot    ${before}    ignore=${KEYS OF CONNECTIONS}
    Writing While Redis Stands Still Should Fail    ${known}
    The Four Failures Should Have Their Own Errors
    Everything Should Be Whole

A Corrupt Record Is Reported And Not Half Read
    [Documentation]    The record of a charge point was truncated, or has another type; lists report the error, too.
    [Tags]    R15.7
    ${point} =    New Charge Point Id
    Save A Full Charge Point    ${point}
    ${key} =    Truncate Stored Charge Point    ${point}
    ${error} =    State Error Should Be Raised    corrupt    Get Charge Point    ${point}
    Should Be Equal    ${error.key}    ${key}
    State Error Should Be Raised    corrupt    Update Charge Point    ${point}    vendor=W
    State Error Should Be Raised    corrupt    List Charge Points
    Replace Key By Another Type    charge_point    charge_point_id=${point}
    State Error Should Be Raised    corrupt    List Charge Points
    Delete Charge Point    ${point}

Only Documented Keys Exist, Each With Its Type And Lifetime
    [Tags]    R15.8
    [Setup]    The System Is Well And Its Keys Are Documented
    A Full Key Space
    The Keys Should Be As Documented
    Keys Should Have Documented Types And Lifetimes    foreign=${FOREIGN KEYS}

The Keys Of Connected Charge Points Are Documented, Each With Its Type And Lifetime
    [Documentation]    Sessions, connections and the gateway's own keys.
    [Tags]    R15.8
    [Setup]    Charge Points Can Connect And All Keys Are Documented
    Connect Charge Points    10
    Boot All
    ${report} =    The Keys Should Be As Documented
    Dictionary Should Contain Key    ${report.names}    session
    Dictionary Should Contain Key    ${report.names}    connected
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

Answers Are Kept For An Hour After The Last One
    [Documentation]    The list's lifetime is set to ten seconds before the next answer, as if most of the hour had
    ...    passed.
    [Tags]    R15.8
    [Setup]    The System Is Well And Its Keys Are Documented
    ${first} =    Queue Message    Heartbeat
    Message Should Be Answered    ${first}
    The Answers Should Wait For An Hour    ${first.charge_point}
    Set Key Lifetime    responses    10 s    charge_point_id=${first.charge_point}
    ${second} =    Queue Message    Heartbeat    charge_point=${first.charge_point}
    Message Should Be Answered    ${second}
    The Answers Should Wait For An Hour    ${first.charge_point}

A Key Of Another Type Affects Only Its Charge Point
    [Documentation]    Replaces each key of a connected charge point in turn. Whatever this charge point is answered,
    ...    another one is served. When the key is deleted, the first one is served again after a reconnect.
    [Tags]    R15.7
    [Setup]    Charge Points Can Connect And All Keys Are Documented
    @{two} =    2 Charge Points Have Booted
    Keys Of Another Type Should Be Survived    @{two}
    # How often its record was changed is not known to anybody.
    VAR    @{without its record} =    ${two}[0]
    Remove Charge Points    ${without its record}
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

Transactions Whose Start Was Answered Survive Kill -9
    [Documentation]    Redis is killed while the server handles 2,000 messages; every id that was answered is stored.
    [Tags]    R15.5    R15.2
    [Setup]    The System Is Well And Its State Can Be Read
    ${sent} =    Queue Generated Messages    2000    charge_points=2000    action=StartTransaction
    Restart Redis    kill
    Server Should Be Running
    All Messages Should Be Answered    ${sent}    timeout=30 s
    @{started} =    Get Started Transactions    ${sent}
    Answered Transactions Should Be Stored    ${started}
    Everything Should Be Whole    samples=${sent.count}

Five Thousand Transactions Saved At Once Have Distinct Ids
    [Documentation]    Saved through the store. Each is active, and completed after it was stopped.
    [Tags]    R15.2
    @{points} =    New Charge Points    50
    ${started} =    Start Transactions At Once    5000    ${points}
    The Transactions Should Have Distinct Ids    ${started}
    The Transactions Should Be Stored As    active    ${started}
    ${completed} =    Complete Transactions At Once    ${started}
    The Transactions Should Be Stored As    completed    ${completed}

Five Thousand Charge Points That Start At Once Get Distinct Ids
    [Documentation]    Sent to the server as 5,000 messages of as many charge points. In OCPP 2.x charge points
    ...    choose the ids; there, all events of each transaction are stored and counted once.
    [Tags]    R15.2
    [Setup]    The System Is Well And Its State Can Be Read
    ${sent} =    Queue Generated Messages    5000    charge_points=5000    action=StartTransaction
    All Messages Should Be Answered    ${sent}    timeout=60 s
    @{started} =    Get Started Transactions    ${sent}
    The Transactions Should Be Told Apart    ${started}
    The Transactions Should Be Active    ${started}
