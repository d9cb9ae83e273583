*** Settings ***
Documentation     Test 18: the system handles its required load, and degrades gracefully under overload.
...               Charge points use real WebSockets and run in separate processes. The soak runs on a second system
...               during the other tests, for the time of ``--variable SOAK:10min``; a soak that is shorter than
...               required is inconclusive.

Resource          ../resources/load.resource
Resource          ../resources/charge_points.resource
Resource          ../resources/reconnects.resource

Suite Setup       Start The System Under Load And A Soak Beside It
Suite Teardown    Stop The System Under Test
Test Setup        The System Is Well And Loads Find It
Test Teardown     The Server Should Never Have Crashed
Test Timeout      40 minutes

Test Tags         load    alone


*** Test Cases ***
Fifty Charge Points Charge At The Same Time
    [Documentation]    All charge points wait until each has a transaction; start, meter values and stop are compared.
    [Tags]    R18.1    R18.2    R18.7
    ${charging} =    Load Profile    session    sessions=2    together=True
    ${load} =    Run Load    profile=${charging}    charge_points=${FLEET}
    All Charge Points Should Have Been Connected    ${load}
    Load Should Be Answered    ${load}
    Transactions Should Add Up    ${load}
    The Load Should Have Corrupted Nothing    ${load}

The Default Burst Is Answered Completely
    [Documentation]    50 charge points x 100 messages, 10 ms apart, from the data file.
    [Tags]    R18.3    R18.6    R18.7
    ${normal} =    Measure Response Time
    ${load} =    Run Load
    The Burst Should Be Answered Completely    ${load}
    The Server Should Recover    R18.6    ${normal}    ${load}
    The Load Should Have Corrupted Nothing    ${load}

The Required Rate Is Sustained At A Normal Response Time
    [Documentation]    Messages are sent on schedule, independent of the answers. Times are compared with those of the
    ...    nearly idle fleet before and after.
    [Tags]    R18.3    R18.5
    ${before} =    Run Load    rate=20    duration=2 s
    ${load} =    Run Load    rate=100    duration=${LOAD LENGTH}
    ${after} =    Run Load    rate=20    duration=2 s
    The Required Rate Should Have Been Sustained    ${load}    ${before}    ${after}

All Charge Points Reconnect At Once After A Blackout
    [Documentation]    All connections are cut under load; all charge points reconnect at once, and no data is
    ...    corrupted.
    [Tags]    R18.1    R18.6    R18.7
    ${normal} =    Measure Response Time
    ${blackout} =    Load Schedule    rate=100    duration=3 s    blackout_at=1 s
    ${load} =    Run Load    profile=mix    schedule=${blackout}
    All Charge Points Should Be Back After The Blackout    ${load}
    The Server Should Recover    R18.6    ${normal}    ${load}
    The Load Should Have Corrupted Nothing    ${load}

Memory Stays Stable While Charge Points Come And Go
    [Documentation]    Growth over 1,600 connections, after a warm-up of 800.
    [Tags]    R18.4
    [Setup]    The System Is Well And Charge Points Can Connect
    400 Charge Points Come And Go 2 Times
    ${before} =    Get Server Memory
    400 Charge Points Come And Go 4 Times
    ${growth} =    Get Memory Growth    ${before}
    Requirement Should Be Met    R18.4    memory_growth_share    ${growth}    samples=1600
    [Teardown]    The Charge Points Leave And The Server Has Never Crashed

Takeovers By Newer Connections Lose Nothing Under Load
    [Documentation]    50 charge points at a time reconnect while their older connection is open, and retry a CALL that
    ...    is in flight; a command to each follows. 50 others send at the required rate.
    [Tags]    R18.9
    [Setup]    The System Is Well For Loads And Takes Commands
    ${reports}    ${answers} =    Take Over Connections Under Load    ${TAKEOVERS}
    The Newer Connections Should Have Won    ${reports}    ${answers}
    There Should Have Been Enough Takeovers    ${reports}
    [Teardown]    The Charge Points Leave And Commands End

Successive Connections Leave Nothing Behind
    [Documentation]    Memory, file descriptors and keys after many successive connections; a release run opens the
    ...    required number (``COMINGS AND GOINGS``).
    [Tags]    R18.10
    Charge Points Come And Go Through The Load    1000
    ${keys} =    Take Key Snapshot
    ${descriptors} =    Get Server Descriptors
    ${memory} =    Get Server Memory
    ${connections} =    Charge Points Come And Go Through The Load    ${COMINGS AND GOINGS}
    Nothing Should Be Left Of Charge Points That Came And Went
    ...    ${connections}    ${memory}    ${descriptors}    ${keys}

A Processor That Is Killed Under Load Is Replaced And Nothing Is Lost
    [Documentation]    Two processors behind a gateway; the active one is killed in the middle of the load.
    [Tags]    R18.7
    [Setup]    A Gateway And Two Processors Share The Work
    Start Load    profile=mix    rate=200    duration=${LOAD LENGTH}
    The Working Processor Is Killed In The Middle Of The Load
    ${load} =    Wait For Load
    Load Should Be Answered    ${load}
    No Answer Should Have Taken Longer Than A Takeover    ${load}
    The Load Should Have Corrupted Nothing    ${load}
    [Teardown]    The Gateway And The Processors Leave

Beyond Its Capacity The Server Refuses Or Answers But Never Goes Silent
    [Documentation]    The capacity is measured first; then 500 charge points send twice as many messages.
    [Tags]    R18.6    R18.8
    ${normal} =    Measure Response Time
    ${capacity} =    The Capacity Of The Server
    ${before} =    Get Server Memory
    ${load} =    Twice The Capacity Is Offered    ${capacity}
    The Overload Should Have Been Survived    ${load}    ${capacity}    ${before}
    The Server Should Recover    R18.8    ${normal}    ${load}
    The Server Should Recover    R18.6    ${normal}    ${load}

Memory Stays Bounded Under Extended Operation
    [Documentation]    Mixed traffic of 50 charge points at the required rate for the length of the soak. It started
    ...    with the suite, and its result is checked here.
    [Tags]    R18.4    R18.7
    ${load} =    Wait For The Soak
    Load Should Be Answered    ${load}
    The Load Should Have Corrupted Nothing    ${load}
    Memory Should Have Stayed Bounded    ${load}    warm up messages=${800}
    [Teardown]    The Server Should Never Have Crashed    ${SOAKED SERVER}
