*** Settings ***
Documentation     Faults by chance under traffic, judged by the ledger: ``make chaos SEED=42 FAULTS=100``.
...
...               The same seed makes the same faults in the same order; without one it is made by chance and shown.
...               Messages are queued in each fault. At the end nothing may be lost, answered twice or out of order,
...               and the server may not have ended by itself.

Resource          ../resources/faults.resource

Suite Setup       Start The System Behind A Fault Proxy
Suite Teardown    Stop The System Behind A Fault Proxy

Test Tags         chaos


*** Variables ***
${SEED}        ${EMPTY}
${FAULTS}      100
${MESSAGES}    1000


*** Tasks ***
Faults By Chance Lose, Repeat And Reorder Nothing
    [Documentation]    All kinds of faults that there are, one after the other.
    Wait Until Health Is    healthy
    ${seed} =    Start Faults By Chance
    Keep Ledger    seed=${seed}
    Queue Messages In Each Fault    ${FAULTS}    ${MESSAGES}
    ${happened} =    Fault Schedule Should End    timeout=30 minutes
    Wait Until Health Is    healthy    timeout=30 s
    Wait Until Queue Is Empty    timeout=5 minutes
    ${ledger} =    Ledger Should Be Clean
    ${crashes} =    Get Server Crashes
    Should Be Equal    ${crashes}    ${0}
    Log To Console    \nSeed ${seed}, ${FAULTS} faults. ${ledger.summary}.
    Every Fault Should Be Proven    ${happened}
    [Teardown]    Heal All


*** Keywords ***
Start Faults By Chance
    [Documentation]    From the seed that was given, or from a new one. Returns the seed.
    IF    $SEED
        ${seed} =    Start Random Fault Schedule    ${FAULTS}    seed=${SEED}    target=${TARGET}
    ELSE
        ${seed} =    Start Random Fault Schedule    ${FAULTS}    target=${TARGET}
    END
    RETURN    ${seed}

Queue Messages In Each Fault
    [Documentation]    What Redis does not acknowledge meanwhile is in the ledger as refused or undecided.
    [Arguments]    ${count}    ${messages}
    FOR    ${_}    IN RANGE    ${count}
        Wait For Next Fault    timeout=60 s
        Queue Generated Messages    ${messages}    mix=${TYPICAL MIX}    allow_partial=True
    END

Every Fault Should Be Proven
    [Documentation]    A run whose faults had no effect shows nothing.
    [Arguments]    ${happened}
    ${unproven} =    Evaluate    [str(fault) for fault in $happened if not fault.proven]
    ${count} =    Get Length    ${unproven}
    Log    ${unproven}
    Should Be Equal    ${count}    ${0}    msg=The verdict is inconclusive, not proven: ${unproven}    values=False
