*** Settings ***
Documentation    The keywords of StateStoreLibrary, on the real embedded Redis.

Library          Collections
Library          RedisQueueLibrary
Library          RedisServiceLibrary
Library          StateStoreLibrary

Suite Setup      Start Redis And Open The Store


*** Variables ***
${KEY}    ocpp:chargepoint


*** Test Cases ***
A Charge Point Is Saved With The Types Of Its Fields
    [Documentation]    Text is converted.
    ${saved}    Save Charge Point    KW-0    vendor=V    is_online=true
    Should Be Equal    ${{ ($saved.vendor, $saved.is_online, $saved.version) }}    ${{ ('V', True, 1) }}

A Charge Point Is Saved, Read, Updated, Listed And Deleted
    [Documentation]    What is not given stays.
    ${saved}    Save Charge Point    KW-1    vendor=V    is_online=true
    ${read}    Get Charge Point    KW-1
    Records Should Be Equal    ${read}    ${saved}
    ${updated}    Update Charge Point    KW-1    vendor=W
    Should Be Equal    ${{ ($updated.vendor, $updated.is_online, $updated.version) }}    ${{ ('W', True, 2) }}
    @{all}    List Charge Points
    List Should Contain Value    ${all}    ${updated}
    Delete Charge Point    KW-1
    ${again}    Delete Charge Point    KW-1
    Should Not Be True    ${again}

A Field That Does Not Exist Or Fit Is Refused
    [Documentation]    The message names what is allowed.
    Run Keyword And Expect Error
    ...    STARTS:A ChargePoint has no field 'colour' (allowed: id, vendor, model,
    ...    Save Charge Point    KW-1    colour=red
    Run Keyword And Expect Error
    ...    STARTS:A Transaction cannot be made of
    ...    Save Transaction    KW-1    meter_start=much
    Run Keyword And Expect Error
    ...    STARTS:'KW:1' is no charge point id
    ...    Save Charge Point    KW:1

A Failure Begins With The Name Of The Error
    [Documentation]    And names operation and key.
    Run Keyword And Expect Error
    ...    EQUALS:StateNotFound: read ${KEY}:nobody: there is no such record
    ...    Get Charge Point    nobody
    ${error}    State Error Should Be Raised    not_found    Update Charge Point    nobody    vendor=V
    Should Be Equal    ${error.operation} of ${error.key}    update charge point of ${KEY}:nobody

An Error That Is Expected Has To Come
    [Documentation]    None, another one, and one that is not of the store.
    Save Charge Point    KW-2
    Run Keyword And Expect Error
    ...    EQUALS:'Get Charge Point' should fail with 'corrupt', but it worked.
    ...    State Error Should Be Raised    corrupt    Get Charge Point    KW-2
    Run Keyword And Expect Error
    ...    STARTS:'Get Charge Point' should fail with 'corrupt', but failed with 'not_found': StateNotFound:
    ...    State Error Should Be Raised    corrupt    Get Charge Point    nobody
    Run Keyword And Expect Error
    ...    EQUALS:on purpose
    ...    State Error Should Be Raised    corrupt    Fail    on purpose

A Connector Is Saved, Read, Updated, Listed And Deleted
    [Documentation]    Numbers are numbers.
    ${saved}    Save Connector    KW-3    2    status=Charging    transaction_id=${7}
    Should Be Equal    ${saved.transaction_id}    ${7}
    ${updated}    Update Connector    KW-3    2    status=Finishing
    ${read}    Get Connector    KW-3    2
    &{all}    List Connectors    KW-3
    Records Should Be Equal    ${all}    ${{ {2: $read} }}
    Records Should Be Equal    ${read}    ${updated}
    ${there}    Delete Connector    KW-3    2
    Should Be True    ${there}

A Transaction Gets An Id Where None Is Named
    [Documentation]    And values in the fields that are not given.
    ${saved}    Save Transaction    KW-4    meter_start=100
    Should Be Equal    ${{ ($saved.meter_current, $saved.status.value) }}    ${{ (100, 'active') }}
    ${next}    New Transaction Id
    Should Be True    ${next} == ${saved.id} + 1
    Delete Charge Point    KW-4

A Transaction Is Saved, Read, Updated, Listed And Deleted
    [Documentation]    By its id, and by its charge point.
    ${saved}    Save Transaction    KW-4    meter_start=100
    @{active}    List Transactions    charge_point=KW-4    active=True
    Records Should Be Equal    ${active}    ${{ [$saved] }}
    ${updated}    Update Transaction    ${saved.id}    status=completed    meter_stop=200
    ${read}    Get Transaction    ${saved.id}
    Records Should Be Equal    ${read}    ${updated}
    Records Should Be Equal    ${read}    ${saved}    ignore=["status", "meter_stop", "version"]
    ${there}    Delete Transaction    ${saved.id}
    Should Be True    ${there}

A Configuration Is Saved, Read And Updated
    [Documentation]    As a whole and key by key.
    VAR    &{values}    HeartbeatInterval=300    NumberOfConnectors=2
    ${saved}    Save Configuration    KW-5    ${values}    readonly=["NumberOfConnectors"]
    ${read}    Get Configuration    KW-5
    Records Should Be Equal    ${read}    ${saved}
    Update Configuration Key    KW-5    HeartbeatInterval    60
    ${key}    Get Configuration Key    KW-5    HeartbeatInterval
    Should Be Equal    ${key.value} ${key.readonly}    60 False

A Configuration Is Listed And Deleted
    [Documentation]    Key by key and as a whole.
    ${generated}    Save Generated Configuration    KW-5    keys=3
    Length Should Be    ${generated}    3
    ${there}    Delete Configuration Key    KW-5    Key00001
    Should Be True    ${there}
    @{all}    List Configurations
    Should Contain    ${all}    KW-5
    ${gone}    Delete Configuration    KW-5
    Should Be True    ${gone}

Records That Differ Are Told Field By Field
    [Documentation]    Values, types, and what is only in one of them.
    ${one}    Save Charge Point    KW-6    vendor=V
    ${other}    Update Charge Point    KW-6    vendor=W
    Run Keyword And Expect Error
    ...    EQUALS:2 fields differ: vendor: 'V' and 'W'; version: 1 and 2.
    ...    Records Should Be Equal    ${one}    ${other}
    @{differing}    Get Differing Fields    ${one}    ${other}    ignore=["version"]
    Should Be Equal    ${differing}    ${{ ["vendor: read 'V', written 'W'"] }}
    Run Keyword And Expect Error    EQUALS:1 field differs: vendor: 'V' and 'W'.
    ...    Records Should Be Equal    ${one}    ${other}    ignore=["version"]
    Run Keyword And Expect Error
    ...    EQUALS:2 fields differ: [a]: 1 and True; [b]: nothing and 2.
    ...    Records Should Be Equal    ${{ {'a': 1} }}    ${{ {'a': True, 'b': 2} }}

A Text Has The Size Asked For
    [Documentation]    In bytes, whatever the characters.
    ${text}    Generate Text    1001
    Should Be Equal    ${{ len($text.encode()) }}    ${1001}
    Should Be True    ${{ len($text) }} < 1001

Charge Points Are Saved All At Once And Listed
    [Documentation]    One that is not there, or other than written, is named; so is having none to save.
    VAR    @{points}    KW-20    KW-21    KW-22
    ${saved}    Save Charge Points At Once    ${points}
    Charge Points Should Be Listed    ${saved}
    Delete Charge Point    KW-20
    Update Charge Point    KW-22    model=Other
    Run Keyword And Expect Error
    ...    EQUALS:Of 3 charge points: 1 not listed (for example KW-20); 1 other than written (for example KW-22).
    ...    Charge Points Should Be Listed    ${saved}
    Run Keyword And Expect Error
    ...    EQUALS:There are no charge points to save; at least one is required.
    ...    Save Charge Points At Once    ${{ [] }}

Transactions Are Started And Completed All At Once
    [Documentation]    With ids of their own.
    VAR    @{points}    KW-7    KW-8
    ${started}    Start Transactions At Once    100    ${points}
    ${repeated}    Get Repeated Ids    ${started}
    ${wrong}    Get Stored Transactions With Other Status    active    ${started}
    Should Be Equal    ${{ [$repeated, $wrong] }}    ${{ [[], []] }}
    ${completed}    Complete Transactions At Once    ${started}
    ${wrong}    Get Stored Transactions With Other Status    completed    ${completed}
    Should Be Empty    ${wrong}
    ${still}    Get Stored Transactions With Other Status    active    ${completed}
    Length Should Be    ${still}    100

Transactions In Another State Are Named
    [Documentation]    With their charge points.
    @{started}    Start Transactions At Once    1    ${{ ['KW-7'] }}
    @{named}    Get Stored Transactions With Other Status    completed    ${started}
    Should Be Equal    ${named}    ${{ ['%s of KW-7' % $started[0].id] }}

Repeated Ids Are Counted
    [Documentation]    Each that was there before.
    VAR    @{points}    KW-7
    ${started}    Start Transactions At Once    10    ${points}
    @{ids}    Get Repeated Ids    ${{ $started + $started[:3] }}
    Length Should Be    ${ids}    3
    @{ids}    Get Repeated Ids    ${{ $started + $started[:1] + $started[:1] }}
    Should Be Equal    ${ids}    ${{ ['%s (3 times)' % $started[0].id] }}
    @{ids}    Get Repeated Ids    ${{ [7, 8, 7] }}
    Should Be Equal    ${ids}    ${{ ['7 (2 times)'] }}

Concurrent Writers Add Up
    [Documentation]    Ten writers in three programs.
    ${saved}    Save Transaction    KW-9
    ${result}    Update With Concurrent Writers    ${saved.id}    writers=10    updates=20    programs=3
    Should Be Equal    ${{ ($result.acknowledged, $result.visible) }}    ${{ (200, 200) }}

Writers Go On While Redis Is Restarted
    [Documentation]    And what was acknowledged is there.
    VAR    @{points}    KW-10    KW-11
    Start Writing State    ${points}    at_least=20    timeout=60 s
    Run Keyword And Expect Error
    ...    EQUALS:Writers are running already; call `Stop Writing State` first.
    ...    Start Writing State    ${points}
    Restart Redis    kill
    ${report}    Stop Writing State    further=20    timeout=60 s
    Should Be Empty    ${report.lost}
    Should Be Empty    ${report.changed}
    Should Be True    ${report.acknowledged} >= 40
    Run Keyword And Expect Error
    ...    EQUALS:No writers are running; call `Start Writing State` first.
    ...    Stop Writing State

Writes That Were Acknowledged And Are Gone Are Found
    [Documentation]    Somebody empties Redis under the writers.
    VAR    @{points}    KW-12
    Start Writing State    ${points}    at_least=20    timeout=60 s
    Redis Command    FLUSHALL
    ${report}    Stop Writing State    further=5    timeout=60 s
    Should Not Be Empty    ${report.lost}

A Key Difference Says What Is New, Gone And Changed
    [Documentation]    Against a snapshot with values.
    [Setup]    Run Keywords    Save Charge Point    KW-13    AND    Save Charge Point    KW-14
    ${before}    Take Key Snapshot    values=True
    Update Charge Point    KW-13    vendor=V
    Delete Charge Point    KW-14
    Save Connector    KW-13    1
    ${changes}    Get Key Changes    ${before}
    Should Be Equal    ${changes.added}    ${{ ['ocpp:connector:KW-13:1', 'ocpp:connectors:KW-13'] }}
    Should Be Equal    ${changes.removed}    ${{ ['${KEY}:KW-14'] }}
    Should Be Equal    ${changes.changed}    ${{ ['${KEY}:KW-13', '${KEY}s'] }}
    Run Keyword And Expect Error
    ...    STARTS:The keys differ from the snapshot: 2 added (
    ...    Keys Should Equal Snapshot    ${before}

Keys That Were There Before Are Not Held Against The System
    Redis Command    SET    somebody:else    1
    ${foreign}    Take Key Snapshot    values=True
    Redis Command    SET    ocpp:surprise    1
    ${report}    Get Key Report    foreign=${foreign}
    Should Be Equal    ${report.undocumented}    ${{ ['ocpp:surprise'] }}
    Redis Command    DEL    ocpp:surprise
    Keys Should Have Documented Types And Lifetimes    foreign=${foreign}
    [Teardown]    Redis Command    DEL    ocpp:surprise    somebody:else

Keys That Are Not As Documented Are Found
    [Documentation]    Unknown, of another type, with another lifetime.
    Keys Should Have Documented Types And Lifetimes
    Redis Command    SET    ocpp:surprise    1
    Redis Command    LPUSH    ocpp:transaction:99    x
    Save Charge Point    KW-15
    Redis Command    EXPIRE    ${KEY}:KW-15    100
    ${report}    Get Key Report
    Should Be Equal    ${report.undocumented}    ${{ ['ocpp:surprise'] }}
    Should Be Equal    ${report.wrong_type}    ${{ ['ocpp:transaction:99 is a list, documented is a string'] }}
    Length Should Be    ${report.wrong_lifetime}    1
    Run Keyword And Expect Error
    ...    STARTS:Keys are not as documented: 3 of
    ...    Keys Should Have Documented Types And Lifetimes
    [Teardown]    Redis Command    DEL    ocpp:surprise    ocpp:transaction:99

Records Without Their Index Are Found
    [Documentation]    Each kind, and a cut record.
    ${nothing}    Find Partial Writes
    Should Be Empty    ${nothing}
    ${saved}    Save Transaction    KW-16
    Redis Command    DEL    ocpp:transactions:KW-16
    @{found}    Find Partial Writes
    Should Be Equal    ${found}    ${{ ['transaction ${saved.id} of KW-16 is not in the index of its charge point'] }}
    [Teardown]    Delete Charge Point    KW-16

A Record That Was Cut Is Found
    [Documentation]    And refused by the store.
    Save Charge Point    KW-16
    ${key}    Truncate Stored Charge Point    KW-16
    @{found}    Find Partial Writes
    Should Contain    ${found}    the value of ${key} is broken
    State Error Should Be Raised    corrupt    Get Charge Point    KW-16
    [Teardown]    Delete Charge Point    KW-16

Each Kind Of Write Is Tried
    [Documentation]    All work, or all meet the same error.
    Save Charge Point    KW-17
    ${attempt}    Attempt State Writes    KW-17    KW-18
    Length Should Be    ${attempt.worked}    5
    Redis Command    CONFIG    SET    maxmemory    1
    ${attempt}    Attempt State Writes    KW-17    KW-19    transaction=999999
    Should Be Equal    ${attempt.kind}    out_of_memory
    [Teardown]    Redis Command    CONFIG    SET    maxmemory    0

What A Store Has Written Goes With It
    [Documentation]    And nothing else.
    ${before}    Take Key Snapshot    values=True
    ${url}    Get Redis Url
    Open State Store    ${url}    alias=other
    Save Charge Point    KW-20    alias=other
    Save Transaction    KW-20    alias=other
    Close State Store    alias=other
    Keys Should Equal Snapshot    ${before}
    Run Keyword And Expect Error
    ...    STARTS:There is no state store 'other'; there is only 'state'.
    ...    List Charge Points    alias=other

A Redis That Is Not There Is No Store
    [Documentation]    The message says where it was looked for.
    Run Keyword And Expect Error
    ...    STARTS:No state store at redis://127.0.0.1:1/0:
    ...    Open State Store    redis://127.0.0.1:1/0    alias=nowhere


*** Keywords ***
Start Redis And Open The Store
    [Documentation]    A Redis of the suite's own.
    ${url}    Start Redis
    Open State Store    ${url}    reply_timeout=30 s
    Open Queue    ${url}
