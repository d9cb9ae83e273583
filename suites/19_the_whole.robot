*** Settings ***
Documentation     Requirements on all tests together: they leave no data behind and do not touch foreign keys.
...
...               The duration of the run, the comparison with the accepted baseline and with another kind of Redis
...               belong to the run as a whole and are on the page that is written at its end.

Resource          ../resources/system_under_test.resource
Resource          ../resources/queue.resource

Suite Setup       Start The System Under Test
Suite Teardown    Stop The System Under Test
Test Setup        The System Should Be Idle And Well

Test Tags         whole


*** Test Cases ***
Removing Test Data Leaves Nothing Behind And Touches Nothing Foreign
    [Documentation]    Another client uses the same system: foreign charge points, transactions, answers. The server
    ...    is restarted meanwhile, unless it is external.
    [Tags]    R0.4
    Another User Has Data In The System
    ${before} =    Take Key Snapshot    values=True
    ${sent} =    Queue A Mix Of Messages    1000
    All Messages Should Be Answered    ${sent}
    The Server Is Restarted If Possible
    Remove Test Data
    ${changes} =    Get Key Changes    ${before}
    Keys Left And Foreign Keys Changed Should Be Known    ${changes}
    [Teardown]    Remove Test Data    alias=somebody else
