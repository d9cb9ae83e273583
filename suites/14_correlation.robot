*** Settings ***
Documentation     Test 14: each command's answer reaches the caller that waits for it, and nothing is left behind.
...               Commands are sent over the HTTP API. The suite takes the place of a gateway behind Redis and answers
...               as each test requires: in any order, late, twice, or not at all. One command waits for the default
...               timeout while the other tests, and the suites before this one, run. If a system sends one command at a
...               time to a charge point, the commands are spread over more charge points; if its timeout is fixed, the
...               tests wait for that time.

Resource          ../resources/system_under_test.resource
Resource          ../resources/charge_points.resource
Resource          ../resources/correlation.resource
Resource          ../resources/reconnects.resource

Suite Setup       Start The System And An Unanswered Command
Suite Teardown    Close Commands And Stop The System
Test Setup        The System Should Be Idle And Well
Test Teardown     The Callers Leave And The Server Has Never Crashed

Test Tags         correlation


*** Test Cases ***
A Thousand Commands Answered In Random Order Reach Their Callers
    [Documentation]    All 1,000 commands are pending at the same time, 20 at each of 50 charge points, before the first
    ...    one is answered.
    [Tags]    R14.1
    Announce Charge Points    50    for_commands=1000
    ${commands} =    A Thousand Commands Are Pending
    Answer Commands    ${commands}    order=random
    Every Caller Should Get Its Own Answer    R14.1    ${commands}
    Nothing Should Be Pending

Two Equal Commands At One Charge Point Each Get Their Own Answer
    [Documentation]    Same action, same fields, same charge point. The second command is answered first, unless the
    ...    system sends one at a time.
    [Tags]    R14.1
    ${point} =    Announce A Charge Point
    ${most} =    Get Commands At Once
    IF    $most == 1
        Two Equal Commands In Turn Get Their Own Answers    ${point}
    ELSE
        Two Equal Commands Get Their Own Answers    ${point}
    END

A Late Answer Is Not Taken For That Of The Next Command
    [Documentation]    Same action, same fields, same charge point, after the first command has timed out.
    [Tags]    R14.1    R14.6
    A Late Answer Should Not Reach The Next Command

Commands To Charge Points At The Gateway Are Sent One After The Other
    [Documentation]    Ten concurrent commands to each of five charge points, then again after a reconnect and after a
    ...    takeover. OCPP-J allows one unanswered command at a time.
    [Tags]    R14.1    R14.5
    [Setup]    The System Is Well And Charge Points Can Connect
    ${charge points} =    5 Charge Points Have Booted
    Commands At The Gateway Should Be Answered    50    ${charge points}
    All Of Them Connect Again    ${charge points}
    Commands At The Gateway Should Be Answered    50    ${charge points}
    Take Over Connections    ${charge points}
    Commands At The Gateway Should Be Answered    50    ${charge points}
    [Teardown]    The Callers And The Charge Points Leave

A Command That Is Not Answered Holds Up The Next Ones Until Its Time Is Up    # robocop: off=LEN06
    [Documentation]    A charge point at the gateway does not answer the first command. It sends answers to commands
    ...    that never existed, and a CALL. The waiting commands are sent in order, after the timeout of the first; one
    ...    whose own time is up by then is not sent.
    [Tags]    R14.1    R14.2    R14.5
    [Setup]    The System Is Well And Charge Points Can Connect
    Notes Of Commands Can Be Read
    @{point} =    1 Charge Points Have Booted
    ${first} =    A Command Is Received And Not Answered    ${point}[0]    timeout=2 s
    The Note Of The Command Should Live No Longer Than    2    ${point}[0]
    ${overdue} =    A Command Waits That Will Be Overdue    ${point}[0]    timeout=500 ms
    @{keys} =    Commands Are Sent One Behind The Other    5    ${point}[0]
    Other Frames Than The Answer Come From    ${point}[0]
    Command Should Time Out    ${first}
    Command Should Time Out    ${overdue}
    The Next Commands Should Have Come Behind The First    1.9    ${keys}    ${point}[0]
    Nothing Should Be Pending
    No Waiting Should Be Noted In Redis
    [Teardown]    The Callers And The Charge Points Leave    command timeout=1.9 s

Commands End When Their Connection Ends
    [Documentation]    One command is unanswered and nine wait behind it when the charge point reconnects. Their callers
    ...    are told at once, and none of the nine is sent over the newer connection.
    [Tags]    R14.5    R14.9
    [Setup]    The System Is Well And Charge Points Can Connect
    [Template]    Commands Should End With The Connection When It Is
    cut off
    taken over
    [Teardown]    The Callers And The Charge Points Leave

Commands Reach The Charge Point Whose Id They Name
    [Documentation]    Very similar ids, at the gateway and in the paths of the API.
    [Tags]    R14.1
    [Setup]    The System Is Well And Charge Points Can Connect
    @{ids} =    Charge Points With Similar Ids Have Booted
    ${count} =    Get Length    ${ids}
    ${commands} =    Start Commands    ${2 * ${count}}    charge_points=${ids}    timeout=20 s
    Commands Should Be Answered    ${commands}
    Commands Received By Each Should Be    2    ${ids}
    [Teardown]    The Callers And The Charge Points Leave

A Caller Gets The Error Of The Charge Point
    [Documentation]    Code and description of the charge point's CALLERROR.
    [Tags]    R14.1
    [Setup]    The System Is Well And Charge Points Can Connect
    ${charge points} =    1 Charge Points Have Booted
    Let Charge Points Answer    GetConfiguration    callerror    code=SecurityError    description=Door 17 is open
    ${command} =    Send Command    GetConfiguration    ${charge points}[0]
    VAR    ${told} =    ${command.reason} ${command.data}
    Should Contain    ${told}    SecurityError
    Should Contain    ${told}    Door 17 is open
    Reset Charge Point Answers
    Commands At The Gateway Should Be Answered    2    ${charge points}
    [Teardown]    The Callers And The Charge Points Leave

An Unanswered Command Expires When Its Time Is Up
    [Documentation]    The caller chooses the timeout. The last test of this suite covers the default timeout.
    [Tags]    R14.2
    Announce Charge Points    5    for_commands=50
    ${commands} =    Start Commands    50    timeout=1 s
    ${told} =    Command Should Time Out    ${commands}
    Expiry Should Be Prompt    ${told}    1
    Nothing Should Be Pending

A Thousand Commands Expire At Once And The Next One Is Answered
    [Documentation]    While they wait, the memory of pending commands is measured for a later test.
    [Tags]    R14.5
    [Setup]    The System Is Well And Watched
    The Memory Of Pending Commands Is Measured Beside The Next Tests
    Announce Charge Points    50    for_commands=1000
    ${timeout} =    Time For A Thousand Commands
    ${commands} =    Start Commands    1000    timeout=${timeout}
    Run Keyword And Continue On Failure    Commands Should Be Pending    ${commands}
    ${told} =    Wait For Commands    ${commands}
    Run Keyword And Continue On Failure    Number Of Expired Commands Should Be    ${told}
    Run Keyword And Continue On Failure    The Next Command Should Be Answered    R14.5
    Nothing Should Be Pending
    [Teardown]    Run Keywords    Stop Sampling    AND    The Callers Leave And The Server Has Never Crashed

Every Way In Which A Command Ends Cleans Up
    [Tags]    R14.5
    [Template]    Nothing Should Be Left After Commands That End By
    an answer
    a CALLERROR
    a timeout
    a disconnect
    a caller who goes away

A Shutdown Fails The Waiting Callers And Leaves Nothing
    [Documentation]    A second server is stopped while commands are pending there.
    [Tags]    R14.5
    [Setup]    A Second Server Joins
    Skip Unless Target Supports    waiting callers
    Announce Charge Points    2    for_commands=20    alias=second
    ${commands} =    Start Commands    20    timeout=20 s    alias=second
    Wait For Received Commands    ${commands}    alias=second
    Stop Server    alias=second
    Server Should Have Exited    0    alias=second
    Commands Should Have Status    503    ${commands}    alias=second
    No Waiting Should Be Noted In Redis
    [Teardown]    The Second Server Leaves

Late, Duplicate And Unknown Answers Are Counted, Logged And Harmless
    [Documentation]    Ten answers of each kind.
    [Tags]    R14.6
    ${log} =    Mark Server Log
    ${mark} =    Mark Correlations
    Give Late Answers    10
    Give Answers Twice    10
    Give Answers To Unknown Commands    10
    Late, Duplicate And Unknown Answers Should Be Counted    ${mark}    10
    Run Keyword And Continue On Failure    The Next Command Should Be Answered    R14.6
    Nothing Should Be Pending
    Late, Duplicate And Unknown Answers Should Be Logged    ${log}    10

Answers That Another Server Consumed Reach Their Callers
    [Documentation]    Two servers share a queue, which only one of them drains at a time. 200 commands are sent through
    ...    each, so one server gets all of its answers through the other. Other
    ...    commands are answered with errors.
    [Tags]    R14.7
    [Setup]    A Second Server Joins
    Commands Through Each Of Two Servers Should Be Answered    200
    Errors Of Charge Points Should Reach Callers At    20    commands
    Errors Of Charge Points Should Reach Callers At    20    second
    [Teardown]    The Second Server Leaves

Commands And Calls That Cross Are Both Answered
    [Documentation]    A charge point sends a CALL while a command to it is unanswered. The second order needs a few
    ...    more commands, because some arrive between two CALLs.
    [Tags]    R14.8
    [Setup]    The System Is Well And Takes Commands
    [Template]    Commands And Calls That Cross Should Be Answered
    command first    1000
    call first    1500
    [Teardown]    The Charge Points Leave And Commands End

A Command Goes To The Newest Connection After A Takeover
    [Documentation]    20 charge points reconnect while their older connection is still open.
    [Tags]    R14.9
    [Setup]    The System Is Well And Takes Commands
    @{ids} =    20 Charge Points Have Booted
    ${report} =    Take Over Connections    ${ids}    timeout=5 s
    The Older Connections Should Have Been Closed    ${report}
    Commands Should Go To The Newest Connections    ${ids}    after a takeover
    [Teardown]    The Charge Points Leave And Commands End

A Command Follows Its Charge Point To Another Gateway
    [Documentation]    20 charge points connect to the gateway of another server while their older connections are open.
    [Tags]    R14.9
    [Setup]    Another Gateway Joins
    @{ids} =    20 Charge Points Have Booted
    ${report} =    Take Over Connections    ${ids}    gateway=second    timeout=5 s
    The Older Connections Should Have Been Closed    ${report}
    Commands Should Go To The Newest Connections    ${ids}    after a move to another gateway
    [Teardown]    The Other Gateway Leaves

Commands For Older Connections Do Not Come Over The Newer Ones
    [Documentation]    The gateway of the older connections is held still, so that the commands for them still wait in
    ...    Redis when their charge points have connected again at another gateway.
    [Tags]    R14.9
    [Setup]    Another Gateway Joins
    Skip Unless Target Supports    state_keys
    @{ids} =    Connect Charge Points    5    gateway=second
    Boot All    ${ids}
    ${commands} =    Commands Wait At A Gateway That Stands Still    ${ids}    second
    ${more} =    The Next Command Should Renew The Lifetime Of Its List    ${ids}[0]
    The Charge Points Move    ${ids}    gateway
    The Commands Should Have Ended With The Older Connections    ${commands}    ${ids}
    Commands Should Have Status    503    ${more}    timeout=5 s    alias=to connected
    Resume Server    alias=second
    [Teardown]    The Other Gateway Leaves

A Hundred Thousand Pending Commands Fit Into Memory And Leave None Behind
    [Documentation]    The correlation manager of the reference server alone in a process, first with 1,000 pending
    ...    requests.
    [Tags]    R14.3    R14.5
    [Setup]    Skip Unless Target Supports    correlation manager
    [Template]    Pending Commands Should Cost Little And Leave Nothing
    1000
    100000

Fifty Workers At Once Lose, Mix Up And Leave Nothing
    [Documentation]    Each registers 1,000 requests, which others answer, refuse, cancel or let expire.
    [Tags]    R14.4
    [Setup]    Skip Unless Target Supports    correlation manager
    ${report} =    Run Correlation Workers    50    1000
    Requirement Should Be Met    R14.4    workers    ${report.workers}
    Requirement Should Be Met    R14.4    operations    ${report.operations}
    Requirement Should Be Met    R14.4    lost    ${report.lost}    message=${report.summary}.
    Requirement Should Be Met    R14.4    mixed_up    ${report.mixed_up}    message=${report.summary}.
    Requirement Should Be Met    R14.4    left_over    ${report.left_over}    message=${report.summary}.
    Should Be Equal    ${report.miscounted}    ${0}    msg=Totals and outcomes differ: ${report.summary}.

The Default Timeout Is Thirty Seconds
    [Documentation]    The command was sent at the start of the suite or before it; its result is checked here.
    [Tags]    R14.2
    Skip Unless Target Supports    chosen command timeouts
    Skip Unless Target Supports    gateway stand in
    ${told} =    Wait For Commands    ${THE SLOW ONE}
    Requirement Should Be Met    R14.2    timeout    ${told.quickest}
    Expiry Should Be Prompt    ${told}    30
    Nothing Should Be Pending    alias=silent
