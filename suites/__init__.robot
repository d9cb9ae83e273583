*** Settings ***
Documentation     Acceptance tests of a charging back end with Redis transport under real-world conditions.
...               The tags of a test are the ids of the requirements that it proves; the thresholds are in
...               ``resources/requirements.yaml``. Run everything with ``robot suites/``.

Library           EvidenceLibrary
Resource          ../resources/correlation.resource

Suite Setup       The Variables Are Usable And An Unanswered Command Waits
Suite Teardown    The Command And Its System Leave
Test Timeout      2 minutes


*** Variables ***
${TARGET}    reference
${REDIS}     embedded


*** Keywords ***
The Variables Are Usable And An Unanswered Command Waits
    [Documentation]    Invalid variables of later suites are reported before the first suite begins.
    Variable Should Be One Of    REDIS    embedded    sentinel    container    external
    Variables Should Be Times    SOAK    may_be_empty=True
    Variable Should Be One Of    SOAK BESIDE    yes    no    may_be_empty=True
    A Command That Nobody Answers Waits From Now On
