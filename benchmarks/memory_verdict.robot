*** Settings ***
Documentation    Is the memory verdict of the soak right? ``make leak`` (RUNS=10 LENGTH=60s RATE=300).
...
...              The same load, sampling and verdict as in the soak of suite 18. A server that keeps 1 KB of every
...              message must be found within two minutes; the sound one must not be accused in any of its runs, not
...              even by a verdict on every sample. Each run has a new server.

Resource         ../resources/load.resource

Suite Setup      Start Redis For Runs Of The Wanted Length
Test Teardown    Remove All Servers

Test Tags        memory


*** Variables ***
${RUNS}       10
${LENGTH}     60 seconds
${RATE}       ${300}
${WARM UP}    8 seconds
${IN TIME}    ${120}
${DEFECTS}    ${CURDIR}${/}..${/}tests${/}defects${/}inject


*** Tasks ***
A Leak Of A Kilobyte A Message Is Found
    [Documentation]    The defect is put into the server from outside, as for the defect catalogue.
    A New Server Starts    DEFECT=leaks_a_kilobyte_a_message    PYTHONPATH=${DEFECTS}
    ${memory}    ${after} =    Judge The Memory Under Load    with a leak of 1 KB a message
    Run Keyword And Expect Error    Memory grows beyond *    The Memory Should Be Stable    ${memory}
    Should Be True    $after is not None and $after <= $IN_TIME    msg=The leak was found after ${after} s.

The Sound Server Is Not Accused
    [Documentation]    As many runs as wanted, of the same length.
    FOR    ${run}    IN RANGE    ${RUNS}
        A New Server Starts
        ${memory}    ${after} =    Judge The Memory Under Load    sound, run ${run + 1}
        The Memory Should Be Stable    ${memory}
        Should Be Equal    ${after}    ${None}    msg=At one sample the sound server was accused.
        Remove All Servers
    END


*** Keywords ***
Start Redis For Runs Of The Wanted Length
    [Documentation]    Validates the values of ``robot --variable`` before.
    Variables Should Be Numbers    RUNS    at_least=1
    Variables Should Be Numbers    RATE    IN TIME    at_least=0.001    whole=False
    Variables Should Be Times    LENGTH    WARM UP
    Start Redis    service=${REDIS}

A New Server Starts
    [Documentation]    Settings go to its environment.
    [Arguments]    &{settings}
    ${redis} =    Get Redis Url
    Start Server    ${redis}    &{settings}
    Wait Until Server Is Ready
    Aim Loads At The Running Server

Judge The Memory Under Load
    [Documentation]    Returns how memory grew, and after how many seconds it would have been accused, if at all.
    [Arguments]    ${what}
    Watch The System
    ${schedule} =    Load Schedule    rate=${RATE}    duration=${LENGTH}    arrivals=poisson
    ${load} =    Run Load    profile=mix    schedule=${schedule}    seed=18
    ${required} =    Get Threshold    R18.4    duration
    ${memory} =    Stop Sampling    server    warm_up=${WARM UP}    required=${required}
    ${most share} =    Get Threshold    R18.4    memory_growth_share
    ${most} =    Get Threshold    R18.4    memory_growth
    ${after} =    Get Time To Leak Verdict    server    warm_up=${WARM UP}    required=${required}    most_mb=${most}
    ...    most_percent=${most share}
    ${verdict} =    Evaluate    'not accused' if $after is None else 'accused after %.0f s' % $after
    Log To Console    \n${what}, ${load.sent} messages: ${verdict}; ${memory.summary}
    Load Should Be Answered    ${load}
    RETURN    ${memory}    ${after}

The Memory Should Be Stable
    [Documentation]    The verdict of the soak, with the thresholds of R18.4.
    [Arguments]    ${memory}
    ${most share} =    Get Threshold    R18.4    memory_growth_share
    ${most} =    Get Threshold    R18.4    memory_growth
    Memory Should Be Stable    ${memory}    most_mb=${most}    most_percent=${most share}
