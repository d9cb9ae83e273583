*** Settings ***
Documentation    The keywords of EvidenceLibrary: what they accept, what they keep, and what their failures say.

Library          Collections
Library          DateTime
Library          OperatingSystem
Library          EvidenceLibrary    measurements=${MEASUREMENTS}

Suite Setup      Remove File    ${MEASUREMENTS}


*** Variables ***
${MEASUREMENTS}    ${OUTPUT DIR}/evidence-keywords.jsonl


*** Test Cases ***
A Number In The Unit Of The Threshold Is Accepted
    Requirement Should Be Met    R13.3    health_response_time    ${85.5}

A Length Of Time Is Accepted
    ${length} =    Convert Time    85 ms    result_format=timedelta
    Requirement Should Be Met    R13.3    health_response_time    ${length}

Text Is Read As A Number Or As A Length Of Time
    Requirement Should Be Met    R13.3    health_response_time    85
    Requirement Should Be Met    R13.3    health_response_time    0.085 s

A Missed Threshold Says What Was Required, What Was Measured And By How Much It Missed
    VAR    ${failure} =
    ...    R13.3 health_response_time: required < 100 ms (maximum: health check while the queue is empty),
    ...    measured 140 ms, missed by 40 ms (40 %).
    Run Keyword And Expect Error    EQUALS:${failure}
    ...    Requirement Should Be Met    R13.3    health_response_time    ${140}

Samples, Method And An Own Message Are Said Too
    VAR    ${failure} =
    ...    The idle server is busy. R13.3 idle_cpu:
    ...    required < 2 % (mean: processor time of one core while the queue is empty),
    ...    measured 3.5 % (10 samples, read from the process every second), missed by 1.5 % (75 %).
    Run Keyword And Expect Error    EQUALS:${failure}
    ...    Requirement Should Be Met    R13.3    idle_cpu    ${3.5}    samples=10
    ...    method=read from the process every second    message=The idle server is busy.

A Rate Below Its Threshold Is Not Met
    VAR    ${failure} =
    ...    R13.5 drain_rate: required >= 100 msg/s (rate: messages divided by the time to the last answer),
    ...    measured 60 msg/s, missed by 40 msg/s (40 %).
    Run Keyword And Expect Error    EQUALS:${failure}
    ...    Requirement Should Be Met    R13.5    drain_rate    60

A Count Has To Be Exact
    Requirement Should Be Met    R13.5    messages    20000
    VAR    ${failure} =
    ...    R13.5 messages: required == 20,000 messages (count: messages queued and answered),
    ...    measured 19,999 messages, missed by 1 message.
    Run Keyword And Expect Error    EQUALS:${failure}
    ...    Requirement Should Be Met    R13.5    messages    19999

The Limit Itself Is Not Below The Limit
    VAR    ${failure} =
    ...    R13.3 shutdown: required < 2 s (single: time from SIGTERM to the end of the process),
    ...    measured 2 s, exactly the limit, which is not below it.
    Run Keyword And Expect Error    EQUALS:${failure}
    ...    Requirement Should Be Met    R13.3    shutdown    2 seconds

Unknown Names Are Answered With The Known Ones
    Run Keyword And Expect Error
    ...    REGEXP:There is no requirement 'R13\\.99' in .*requirements\\.yaml\\. Known: R13\\.1, .*
    ...    Requirement Should Be Met    R13.99    drain_rate    60
    Run Keyword And Expect Error
    ...    REGEXP:Requirement R13\\.5 has no threshold 'rate' in .*\\. Known: messages, drain_rate\\.
    ...    Requirement Should Be Met    R13.5    rate    60

A Length Of Time Does Not Fit A Rate
    Run Keyword And Expect Error
    ...    EQUALS:A duration (0:00:05) cannot be given in 'msg/s'. Give a number of msg/s.
    ...    Requirement Should Be Met    R13.5    drain_rate    5 seconds

What Is No Number Is Refused
    Run Keyword And Expect Error
    ...    EQUALS:A measured value has to be a finite number or a duration, not nan.
    ...    Requirement Should Be Met    R13.5    drain_rate    ${{float('nan')}}

A Threshold Of Time Is A Length Of Time
    ${limit} =    Get Threshold    R13.3    shutdown
    Should Be Equal    ${limit}    ${{datetime.timedelta(seconds=2)}}

A Threshold Of Something Else Is A Number
    ${limit} =    Get Threshold    R13.5    messages
    Should Be Equal    ${limit}    ${20000}

A Measurement Is Kept With Its Threshold And Test
    Record Measurement    R13.5    drain_rate    5000    samples=3    method=the slowest of three runs
    ${kept} =    Last Measurement
    ${recorded_at} =    Evaluate    datetime.datetime.fromisoformat($kept.pop('recorded_at'))
    Should Not Be Equal    ${recorded_at.tzinfo}    ${None}
    Should Not Be Empty    ${kept.pop('run')}
    Should Match Regexp    ${kept.pop('start')}    ^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{6}$
    VAR    &{expected} =
    ...    suite=${SUITE NAME}    test=${TEST NAME}    requirement=R13.5    name=drain_rate    value=${5000}
    ...    unit=msg/s    comparison=>=    threshold=${100}    margin=${4900}    verdict=met    samples=${3}
    ...    method=the slowest of three runs    doubt=${EMPTY}
    Dictionaries Should Be Equal    ${kept}    ${expected}

A Measurement Without A Threshold Needs Its Unit
    Record Measurement    R13.5    queue_depth_peak    1500    unit=messages
    ${kept} =    Last Measurement
    Should Be Equal    ${kept}[value]    ${1500}
    Should Be Equal    ${kept}[threshold]    ${None}
    Should Be Equal    ${kept}[verdict]    ${None}
    VAR    ${failure} =
    ...    R13.5 has no threshold 'queue_depth_peak', so the unit of the value has to be given, for example unit=ms.
    ...    Thresholds: messages, drain_rate.
    Run Keyword And Expect Error    EQUALS:${failure}
    ...    Record Measurement    R13.5    queue_depth_peak    1500

A Measurement In Another Unit Than The Threshold Is Refused
    Run Keyword And Expect Error
    ...    EQUALS:The threshold R13.3 shutdown is in s, not in ms. Leave the unit out.
    ...    Record Measurement    R13.3    shutdown    900    unit=ms

A Missed Threshold Is Kept Before The Test Fails
    Run Keyword And Expect Error    *missed by*    Requirement Should Be Met    R13.3    idle_cpu    5
    ${kept} =    Last Measurement
    Should Be Equal    ${kept}[verdict]    not met
    Should Be Equal    ${kept}[margin]    ${-3}

A Chart Is Drawn In The Log And Kept For The Page
    [Documentation]    With its limit, and for a requirement that there is.
    VAR    @{memory} =    ${{(1700000000.0, 51.2)}}    ${{(1700000001.0, 51.9)}}
    VAR    &{lines} =    server=${memory}
    Record Chart    Memory of a test    MB    ${lines}    requirement=R18.4    limit=${100}
    ${kept} =    Get File    ${OUTPUT DIR}/evidence/series.jsonl
    ${last} =    Evaluate    json.loads($kept.splitlines()[-1])
    VAR    &{expected} =    title=Memory of a test    unit=MB    requirement=R18.4    suite=${SUITE NAME}
    ...    test=${TEST NAME}    limit=${100}
    Dictionary Should Contain Sub Dictionary    ${last}    ${expected}
    Should Be Equal    ${last}[lines]    ${{ {'server': [[1700000000.0, 51.2], [1700000001.0, 51.9]]} }}
    Run Keyword And Expect Error    REGEXP:There is no requirement 'R99\\.9' in .*
    ...    Record Chart    Memory    MB    ${lines}    requirement=R99.9

What Was Found Is Named In One Line
    [Documentation]    The first three, and how many more.
    ${some} =    Get Examples    ${{ ['CP-1', 'CP-2', 'CP-3', 'CP-4', 'CP-5'] }}
    Should Be Equal    ${some}    CP-1; CP-2; CP-3; and 2 more
    ${some} =    Get Examples    ${{ [7, 8] }}    most=1
    Should Be Equal    ${some}    7; and 1 more
    ${none} =    Get Examples    ${{ [] }}
    Should Be Equal    ${none}    none

Recording A Missed Threshold Does Not Fail The Test
    Record Measurement    R13.3    idle_cpu    5
    ${kept} =    Last Measurement
    Should Be Equal    ${kept}[verdict]    not met


*** Keywords ***
Last Measurement
    [Documentation]    The newest line of the file, which has to be complete.
    ${text} =    Get File    ${MEASUREMENTS}
    Should End With    ${text}    }\n
    ${last} =    Evaluate    json.loads($text.splitlines()[-1])
    RETURN    ${last}
