*** Settings ***
Documentation    The keywords of OcppServerLibrary, on a stand-in that obeys the tests and on the reference server.

Library          Collections
Library          OcppServerLibrary
Library          RedisServiceLibrary

Test Teardown    Remove All Servers


*** Variables ***
${FAKE}                ${CURDIR}/../fakes/fake.yaml
${REDIS}               redis://127.0.0.1:7777/0
${STDERR}              Its standard error ends with:
${SAID}                Its last words: MODE: 'exit' was asked for
${NO_HEALTH_ANSWER}    REGEXP:GET http://127\\.0\\.0\\.1:\\d+/status: no answer within 5 seconds\\.


*** Test Cases ***
A Server Is Started As Its Profile Says
    [Documentation]    The stand-in logs what it was given: placeholders are filled in.
    ${url}    Start Fake
    Should Match Regexp    ${url}    ^http://127\\.0\\.0\\.1:\\d+$
    ${again}    Get Server Url    alias=fake
    Should Be Equal    ${again}    ${url}
    ${record}    Wait For Log Record    alias=fake    event=begin
    Should Be Equal    ${record}[redis]    ${REDIS}
    Should Be Equal    ${record}[extra]    127.0.0.1:7777 fake
    ${seconds}    Get Server Start Time    alias=fake
    Should Be True    0 < ${seconds} < 30

A Test Can Override The Profile
    [Documentation]    Settings of the test are environment variables on top of the profile's.
    Start Fake    EXTRA=mine
    ${record}    Wait For Log Record    alias=fake    event=begin
    Should Be Equal    ${record}[extra]    mine
    Kill Server    alias=fake
    Start Fake    EXTRA=${None}
    Log Record Count Should Be    1    alias=fake    event=begin    extra=${None}

A Server That Exits While Starting Is Reported With Its Output
    [Documentation]    What earlier starts wrote is not shown.
    Start Fake
    Stop Server    alias=fake
    VAR    ${expected}
    ...    (?s)Server 'fake' exited with status 3 while starting\\. ${SAID}\\.\\n${STDERR}\\n
    ...    \\{"kind": "begin", [^\\n]*\\}\\nMODE: 'exit' was asked for
    ...    separator=${EMPTY}
    Run Keyword And Expect Error    REGEXP:${expected}    Start Fake    MODE=exit
    Server Should Have Exited    3    alias=fake

A Server That Has Exited Is Reported By Every Keyword That Needs It
    [Documentation]    With its status and the end of its output.
    Run Keyword And Expect Error    *    Start Fake    MODE=exit
    VAR    ${expected}    STARTS:Server 'fake' exited with status 3
    Run Keyword And Expect Error    ${expected}. ${SAID}.\n${STDERR}    Server Should Be Running    alias=fake
    Run Keyword And Expect Error    ${expected}. ${SAID}.\n${STDERR}    Get Health    alias=fake
    Run Keyword And Expect Error    ${expected}. ${SAID}.\n${STDERR}    Wait Until Server Is Ready    alias=fake
    Run Keyword And Expect Error    ${expected}, expected 0.\n${STDERR}
    ...    Server Should Have Exited    0    alias=fake
    Run Keyword And Expect Error    EQUALS:Server 'fake' has not been started successfully.
    ...    Get Server Start Time    alias=fake

A Server That Never Listens Is Killed And Reported
    [Documentation]    It does not stay behind.
    VAR    ${expected}
    ...    (?s)Server 'fake' did not say that it listens \\(waited 5 seconds\\) and was killed\\.\\n${STDERR}\\n.*
    Run Keyword And Expect Error    REGEXP:${expected}    Start Fake    timeout=5s    MODE=silent
    Server Should Have Exited    -9    alias=fake

A Server With An Impossible Port Is Killed And Reported
    [Documentation]    What the ready record says is checked.
    Run Keyword And Expect Error
    ...    EQUALS:Server 'fake' reported http=99999 when ready, which is not a port.
    ...    Start Fake    MODE=bad-port
    Server Should Have Exited    -9    alias=fake

Stop Says How Long It Took
    [Documentation]    In seconds, from the signal to the end.
    Start Fake
    ${seconds}    Stop Server    alias=fake    timeout=30s
    Should Be True    0 < ${seconds} < 30
    ${status}    Server Should Have Exited    alias=fake
    Should Be Equal    ${status}    ${0}
    Run Keyword And Expect Error    EQUALS:Cannot stop Server 'fake': it exited with status 0.
    ...    Stop Server    alias=fake

Stop Is Bounded
    [Documentation]    A server that ignores SIGTERM is killed, and that is a failure.
    Start Fake    MODE=deaf
    Run Keyword And Expect Error    EQUALS:Server 'fake' should have exited, but it still runs after 100 ms.
    ...    Server Should Have Exited    alias=fake    timeout=100ms
    Run Keyword And Expect Error
    ...    REGEXP:Server 'fake' \\(process \\d+\\) had not ended 300 ms after SIGTERM and was killed\\.
    ...    Stop Server    alias=fake    timeout=300ms
    Server Should Have Exited    -9    alias=fake

A Killed Server Is Started Again With Its Settings
    [Documentation]    As a new process.
    Start Fake    EXTRA=mine
    ${first}    Get Server Process Id    alias=fake
    Kill Server    alias=fake
    Server Should Have Exited    -9    alias=fake
    ${url}    Restart Server    alias=fake
    Should Start With    ${url}    http://127.0.0.1:
    ${second}    Get Server Process Id    alias=fake
    Should Not Be Equal    ${first}    ${second}
    Log Record Count Should Be    2    alias=fake    event=begin    extra=mine

Log Records Carry On Over Restarts
    [Documentation]    Whatever the way of the end.
    Start Fake
    Restart Server    alias=fake
    ${mark}    Mark Server Log    alias=fake
    Restart Server    kill    alias=fake
    Log Record Count Should Be    1    alias=fake    event=begin    since=${mark}
    Stop Server    alias=fake
    Start Fake
    Log Record Count Should Be    4    alias=fake    event=begin

A Paused Server Stays Silent Until It Is Resumed
    [Documentation]    Its process is there all the time.
    Start Fake
    Pause Server    alias=fake
    Server Should Be Running    alias=fake
    Run Keyword And Expect Error    ${NO_HEALTH_ANSWER}    Get Health    alias=fake
    Resume Server    alias=fake
    Health Should Be    healthy    alias=fake
    Run Keyword And Expect Error    EQUALS:Server 'fake' is not paused.    Resume Server    alias=fake

Health Is Told In The Words Of The Keywords
    [Documentation]    Whatever the target calls it.
    Start Fake
    Health Should Be    healthy    alias=fake
    ${health}    Get Health    alias=fake
    Should Be Equal    ${health}[state]    up
    Tell Fake    health/limping
    ${seconds}    Wait Until Health Is    degraded    alias=fake    timeout=60s
    Should Be True    0 <= ${seconds} < 60

Unexpected Health Is Reported
    [Documentation]    At once, or at the end of a wait.
    Start Fake
    Run Keyword And Expect Error    EQUALS:The health of Server 'fake' is healthy; expected degraded.
    ...    Health Should Be    degraded    alias=fake
    Run Keyword And Expect Error    EQUALS:Server 'fake' has not become degraded, it is healthy (waited 100 ms)
    ...    Wait Until Health Is    degraded    alias=fake    timeout=100ms
    Tell Fake    health/odd
    Run Keyword And Expect Error
    ...    GLOB:The health of Server 'fake' is 'odd': neither http.healthy, *; expected healthy.
    ...    Health Should Be    healthy    alias=fake
    Run Keyword And Expect Error    *'ill' that cannot be converted*    Health Should Be    ill    alias=fake

Waiting For Health Ends When The Server Does
    [Documentation]    The failure is about the exit, and comes at once.
    Start Fake
    Run Keyword And Ignore Error    Tell Fake    exit/4
    Run Keyword And Expect Error    REGEXP:(?s)Server 'fake' exited with status 4\\..*something went wrong
    ...    Wait Until Health Is    degraded    alias=fake    timeout=60s

Readiness Is Waited For
    [Documentation]    A server that listens need not be ready for work.
    Start Fake
    Wait Until Server Is Ready    alias=fake
    Tell Fake    ready/503
    Run Keyword And Expect Error    EQUALS:Server 'fake' is not ready for work, /ready answered 503: {} (waited 100 ms)
    ...    Wait Until Server Is Ready    alias=fake    timeout=100ms

Response Times Are Measured
    [Documentation]    In milliseconds, each sample a request of its own.
    Start Fake
    ${times}    Measure Health Response Time    20    alias=fake
    Should Be Equal    ${times}[samples]    ${20}
    Should Be True    0 < ${times}[min] <= ${times}[median] <= ${times}[p95] <= ${times}[max] < 5000
    Tell Fake    delay/0.2
    ${times}    Measure Health Response Time    2    alias=fake
    Should Be True    ${times}[min] >= 200
    Tell Fake    delay/30
    Run Keyword And Expect Error    ${NO_HEALTH_ANSWER}    Measure Health Response Time    1    alias=fake
    Run Keyword And Expect Error    EQUALS:samples is 0, at least 1 is required.    Measure Health Response Time    0

Metrics Are Numbers By Name And Labels
    [Documentation]    All of them, one of them, the sum over labels, and one that is not there.
    Start Fake
    ${metrics}    Get Metrics    alias=fake
    Should Be Equal    ${metrics}    ${{ {'done_total{kind="a"}': 2.0, 'done_total{kind="b"}': 3.5, 'up': 1.0} }}
    ${one}    Get Metric    done_total    alias=fake    kind=b
    ${sum}    Get Metric    done_total    alias=fake
    ${none}    Get Metric    done_total    alias=fake    default=0    kind=c
    Should Be Equal    ${{ [$one, $sum, $none] }}    ${{ [3.5, 5.5, 0.0] }}
    Run Keyword And Expect Error
    ...    EQUALS:Server 'fake' has no metric done_total with kind=c. It has: done_total, up.
    ...    Get Metric    done_total    alias=fake    kind=c

The Inspection Is Asked With The Token That The Server Has
    [Documentation]    The profile says which setting it is.
    Start Fake    TOKEN=secret
    ${processor}    Get Processor Inspection    alias=fake
    Should Be Equal    ${processor}    ${{ {'consumer': 'one', 'invalid': {'NotSupported': 2}} }}

The Shards Of A Server Are Waited For
    [Documentation]    A server that does not speak of shards fails at once, one with another number after the time.
    Start Fake
    Run Keyword And Expect Error    The inspection of Server 'fake' names no shards. Was it started with them?
    ...    Wait Until Server Owns Shards    4    alias=fake
    ${url}    Start Redis
    Start Server    ${url}    QUEUE_SHARDS=2    ROLE=processor
    ${shards}    Wait Until Server Owns Shards    2    timeout=60s
    Should Be Equal    ${shards}    ${{ [0, 1] }}
    Run Keyword And Expect Error    STARTS:Server 'server' owned 2 shards instead of 3: 0, 1 (waited
    ...    Wait Until Server Owns Shards    3    timeout=100ms

Log Records Are Data
    [Documentation]    Names and events are translated.
    Start Fake
    Tell Fake    log/{"kind": "rubbish", "why": "NotSupported", "who": "CP-1", "n": 1}
    ${record}    Wait For Log Record    alias=fake    event=invalid_message    charge_point_id=CP-1
    VAR    &{expected}    event=invalid_message    code=NotSupported    charge_point_id=CP-1    n=${1}
    Should Be Equal    ${record}    ${expected}

Log Records Are Filtered By Their Fields
    [Documentation]    Also by fields that are null or not there; lines that are no records are among them.
    Start Fake
    ${mark}    Mark Server Log    alias=fake
    Tell Fake    log/{"kind": "rubbish", "why": "NotSupported", "who": "CP-1"}
    Tell Fake    log/{"kind": "rubbish", "why": "NotSupported", "who": null}
    Tell Fake    log/Traceback
    Log Record Count Should Be    2    alias=fake    event=invalid_message    since=${mark}
    Log Record Count Should Be    1    alias=fake    code=NotSupported    charge_point_id=${None}
    Log Record Count Should Be    0    alias=fake    event=invalid_message    code=NotImplemented
    ${records}    Get Server Log Records    alias=fake    since=${mark}    event=${None}
    Should Be Equal    ${records}    ${{ [{'event': None, 'text': 'Traceback'}] }}

The Log Can Be Read As Text
    [Documentation]    Both outputs, their last lines.
    Start Fake
    Tell Fake    log/Traceback
    ${text}    Get Server Log    alias=fake    lines=1
    Should Be Equal    ${text}    ${STDERR}\nTraceback

Too Many Log Records Are Shown At Once
    [Documentation]    Nothing is waited for.
    Start Fake
    Tell Fake    log/{"kind": "rubbish", "n": 1}
    Tell Fake    log/{"kind": "rubbish", "n": 2}
    VAR    ${expected}
    ...    Expected 1 record with event=invalid_message in the log of Server 'fake', found 2. The newest:
    ...    {"event": "invalid_message", "n": 1}
    ...    {"event": "invalid_message", "n": 2}
    ...    separator=\n
    Run Keyword And Expect Error    EQUALS:${expected}
    ...    Log Record Count Should Be    1    alias=fake    event=invalid_message    timeout=60s

Missing Log Records Are Reported After A Wait
    [Documentation]    With what was there.
    Start Fake
    Tell Fake    log/{"kind": "rubbish", "n": 2}
    VAR    ${expected}
    ...    Expected 3 records with n=2 in the log of Server 'fake' within 100 ms, found 1. The newest:
    ...    {"event": "invalid_message", "n": 2}
    ...    separator=\n
    Run Keyword And Expect Error    EQUALS:${expected}
    ...    Log Record Count Should Be    3    alias=fake    n=2    timeout=100ms
    VAR    ${expected}
    ...    Expected 1 record with event=stopped in the log, found 0
    ...    (the last of 3 records: {"event": "invalid_message", "n": 2}) (waited 100 ms)
    Run Keyword And Expect Error    EQUALS:${expected}
    ...    Wait For Log Record    alias=fake    event=stopped    timeout=100ms

Memory Is That Of All Of Its Processes
    [Documentation]    A server may have processes of its own.
    Start Fake
    ${alone}    Get Server Memory    alias=fake
    Should Be Equal    ${alone}[processes]    ${1}
    Should Be True    1 < ${alone}[mib] < 200
    Should Be Equal    ${alone}[mib]    ${{ $alone['bytes'] / 1024**2 }}
    Kill Server    alias=fake
    Start Fake    CHILDREN=2
    ${all}    Get Server Memory    alias=fake
    Should Be Equal    ${all}[processes]    ${3}
    Should Be True    ${all}[bytes] > ${alone}[bytes]

Processor Time Is A Share Of One Core
    [Documentation]    In percent; a server that has ended uses none, but that is not what was asked.
    Start Fake
    ${percent}    Measure Server CPU    500ms    alias=fake
    Should Be True    0 <= ${percent} < 20
    Kill Server    alias=fake
    Run Keyword And Expect Error    EQUALS:Cannot measure Server 'fake': it exited with status -9.
    ...    Measure Server CPU    500ms    alias=fake
    Run Keyword And Expect Error    EQUALS:duration is 0 seconds, it has to be above 0.
    ...    Measure Server CPU    0s    alias=fake

Processor Time Is Watched While Other Things Are Done
    [Documentation]    What is left of the time is waited for at the end.
    Start Fake
    Run Keyword And Expect Error
    ...    EQUALS:Server 'fake' is not watched; call `Start Watching Server CPU` first.
    ...    Get Watched Server CPU    alias=fake
    Start Watching Server CPU    alias=fake
    ${percent}    Get Watched Server CPU    at_least=500ms    alias=fake
    Should Be True    0 <= ${percent} < 20
    Restart Server    alias=fake
    Run Keyword And Expect Error    EQUALS:Server 'fake' was started again while it was watched.
    ...    Get Watched Server CPU    alias=fake

A Target Can Run Twice When It Is Started As A Process
    [Documentation]    And when it knows several instances, which the stand-in does not.
    ${reference}    Target Can Run Twice
    ${fake}    Target Can Run Twice    target=${FAKE}
    Should Be Equal    ${{[$reference, $fake]}}    ${{[True, False]}}

Running Servers Are Counted By Their Redis
    Start Fake
    ${all}    Get Running Server Count
    ${own}    Get Running Server Count    ${REDIS}
    ${other}    Get Running Server Count    redis://127.0.0.1:7778/0
    Should Be Equal    ${{[$all, $own, $other]}}    ${{[1, 1, 0]}}

What Cannot Be Done Is Said
    [Documentation]    Wrong aliases, targets, settings.
    Run Keyword And Expect Error    EQUALS:There is no Server 'fake'; call `Start Server` first.
    ...    Get Health    alias=fake
    Start Fake
    Run Keyword And Expect Error    EQUALS:Server 'fake' is running already. Use another alias for a second one.
    ...    Start Fake
    Run Keyword And Expect Error    EQUALS:There is no Server 'server'; there is only 'fake'.    Stop Server
    Run Keyword And Expect Error    STARTS:There is no bundled target profile 'nothing' (there are:
    ...    Start Server    ${REDIS}    target=nothing
    Run Keyword And Expect Error
    ...    EQUALS:`Start Server` has no argument 'log_level'. Settings are in capitals, for example LOG_LEVEL.
    ...    Start Server    ${REDIS}    log_level=debug

What A Target Has Is Not Skipped
    [Documentation]    The skip itself is tested in a child run: tests/unit/test_suite_cleanup.py.
    Skip Unless Target Supports    metrics    target=${FAKE}
    Skip Unless Target Supports    processor inspection
    Run Keyword And Expect Error    *'flying' that cannot be converted*    Skip Unless Target Supports    flying

The Reference Server Starts, Tells About Itself And Stops
    [Documentation]    With the bundled profile.
    [Tags]    reference
    Start Reference Server
    Health Should Be    healthy
    ${times}    Measure Health Response Time    10
    Should Be True    ${times}[median] < 1000
    ${metrics}    Get Metrics
    Should Not Be Empty    ${metrics}
    ${processor}    Get Processor Inspection
    Dictionary Should Contain Key    ${processor}    in_flight
    Stop Server
    Server Should Have Exited    0

The Reference Server Survives What The Keywords Do
    [Documentation]    Redis away and back, paused, killed.
    [Tags]    reference
    Start Reference Server
    Stop Redis
    Wait Until Health Is    degraded    timeout=60s
    Wait For Log Record    event=redis_unavailable    timeout=60s
    Start Redis
    Wait Until Health Is    healthy    timeout=60s
    Pause Server
    Resume Server
    Restart Server    kill
    Wait Until Server Is Ready    timeout=60s

The Reference Server Refuses A Setting That It Cannot Use
    [Documentation]    The one line that it writes is in the failure.
    [Tags]    reference
    VAR    ${expected}    (?s)Server 'server' exited with status 2 while starting\\. Its last words: HTTP_PORT: .+\\.
    ...    ${STDERR}\\nHTTP_PORT: .*    separator=\\n
    Run Keyword And Expect Error    REGEXP:${expected}    Start Server    ${REDIS}    HTTP_PORT=none
    Server Should Have Exited    2


*** Keywords ***
Start Fake
    [Documentation]    Starts the stand-in.
    [Arguments]    &{settings}
    ${url}    Start Server    ${REDIS}    target=${FAKE}    alias=fake    &{settings}
    RETURN    ${url}

Tell Fake
    [Documentation]    Tells the stand-in what to do.
    [Arguments]    ${what}
    ${url}    Get Server Url    alias=fake
    Evaluate    urllib.request.urlopen($url + '/tell/' + urllib.parse.quote($what), timeout=30).close()
    ...    modules=urllib.request,urllib.parse

Start Reference Server
    [Documentation]    With a Redis of its own.
    TRY
        Redis Should Be Running
    EXCEPT    There is no Redis    type=START
        Start Redis
    END
    ${redis}    Get Redis Url
    Start Server    ${redis}
    Wait Until Server Is Ready
