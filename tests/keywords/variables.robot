*** Settings ***
Documentation    What a run is given with ``--variable``: what is accepted, and what a mistake is told.

Library          EvidenceLibrary


*** Variables ***    # robocop: off=VAR02
${RUNS}       abc
${RATE}       0.5
${SHARE}      2
${NO TIME}    -5 s
${SOAK}       abc
${LENGTH}     90 s
${BESIDE}     perhaps
${SEED}       ${EMPTY}


*** Test Cases ***
What Can Be Used Is Accepted
    Variables Should Be Numbers    SHARE    at_least=2    at_most=2
    Variables Should Be Numbers    RATE    whole=False
    Variables Should Be Times    LENGTH
    Variable Should Be One Of    BESIDE    yes    perhaps

What May Be Empty Is Accepted
    Variables Should Be Numbers    SEED    may_be_empty=True
    Variables Should Be Times    SEED    NEVER SET    may_be_empty=True
    Variable Should Be One Of    SEED    yes    no    may_be_empty=True

A Number That Is None Is Named With What Is Allowed
    Run Keyword And Expect Error
    ...    EQUALS:The variable RUNS is 'abc', allowed is a whole number at least 1.
    ...    Variables Should Be Numbers    SHARE    RUNS    at_least=1
    Run Keyword And Expect Error
    ...    EQUALS:The variable RATE is '0.5', allowed is a whole number.
    ...    Variables Should Be Numbers    RATE

A Number Beyond Its Limits Is Named With Them
    Run Keyword And Expect Error
    ...    EQUALS:The variable SHARE is '2', allowed is a number at least 0 and at most 1.
    ...    Variables Should Be Numbers    SHARE    at_least=0    at_most=1    whole=False

A Time That Is None Is Named With What Is Allowed
    VAR    ${allowed} =    allowed is a time above 0, such as '90 seconds' or '10 min'.
    Run Keyword And Expect Error    EQUALS:The variable SOAK is 'abc', ${allowed}    Variables Should Be Times    SOAK
    Run Keyword And Expect Error    EQUALS:The variable NO TIME is '-5 s', ${allowed}
    ...    Variables Should Be Times    LENGTH    NO TIME

A Choice That There Is Not Is Named With Those That There Are
    Run Keyword And Expect Error    EQUALS:The variable BESIDE is 'perhaps', allowed is one of yes, no.
    ...    Variable Should Be One Of    BESIDE    yes    no

An Empty Variable Is Called Empty
    Run Keyword And Expect Error    EQUALS:The variable SEED is empty, allowed is a whole number.
    ...    Variables Should Be Numbers    SEED
