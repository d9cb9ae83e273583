*** Settings ***
Documentation     How soon the system answers again after Redis is back: ``make recovery`` (OUTAGES=20).
...
...               Redis is killed, is away for a second, and comes back; a message is queued at that moment, and its
...               answer is timed. The quantiles are in the log and in ``evidence/measurements.jsonl``.

Resource          ../resources/faults.resource

Suite Setup       Start The System For The Wanted Outages
Suite Teardown    Stop The System Behind A Fault Proxy

Test Tags         recovery


*** Variables ***
${OUTAGES}    20
${MEDIAN}     0.3
${LONGEST}    5


*** Tasks ***
The System Answers Soon After Redis Is Back
    [Documentation]    Median and longest time to the first answer, and to the steady state.
    @{first} =    Create List
    @{steady} =    Create List
    FOR    ${_}    IN RANGE    ${OUTAGES}
        ${answer}    ${well} =    Time One Recovery
        Append To List    ${first}    ${answer}
        Append To List    ${steady}    ${well}
    END
    ${median} =    Record Quantiles    first_answer    ${first}
    Record Quantiles    steady_state    ${steady}
    Should Be True    ${median} <= ${MEDIAN}    msg=The median to the first answer is ${median} s.
    Should Be True    max($first) <= ${LONGEST}    msg=The longest to the first answer is ${{max($first)}} s.
    [Teardown]    Heal All


*** Keywords ***
Start The System For The Wanted Outages
    [Documentation]    Validates the values of ``robot --variable`` before.
    Variables Should Be Numbers    OUTAGES    at_least=1
    Variables Should Be Numbers    MEDIAN    LONGEST    at_least=0    whole=False
    Start The System Behind A Fault Proxy

Time One Recovery
    [Documentation]    Returns the seconds to the first answer and those until the health is normal.
    Wait Until Health Is    healthy    timeout=30 s
    Run Fault Schedule    at 0 s    kill redis for 1 s
    ${sent} =    Queue Message    Heartbeat
    ${answer} =    Message Should Be Answered    ${sent}    timeout=30 s
    ${well} =    Wait Until Health Is    healthy    timeout=30 s
    ${steady} =    Evaluate    $answer.seconds + $well
    RETURN    ${answer.seconds}    ${steady}

Record Quantiles
    [Documentation]    Shows and keeps median and maximum. Returns the median.
    [Arguments]    ${name}    ${seconds}
    ${sorted} =    Evaluate    sorted($seconds)
    ${median} =    Evaluate    statistics.median($sorted)    modules=statistics
    Log To Console
    ...    \n${name}: median ${{round($median, 3)}} s, longest ${{round($sorted[-1], 3)}} s, ${OUTAGES} outages
    Record Measurement    R16.3    ${name}_median    ${median}    unit=s    samples=${OUTAGES}
    Record Measurement    R16.3    ${name}_longest    ${sorted}[-1]    unit=s    samples=${OUTAGES}
    RETURN    ${median}
