*** Settings ***
Documentation    Ids of charge points that nobody else uses, and messages of just these charge points.

Library          Collections
Library          OcppServerLibrary
Library          RedisQueueLibrary
Library          RedisServiceLibrary

Suite Setup      Start A Server And Open Its Queue


*** Test Cases ***
Ids Are Given Once
    [Documentation]    One at a time or several, they never come twice; the part in the middle is that of the run.
    @{first} =    New Charge Point Ids    50
    ${one} =    New Charge Point Id
    @{second} =    New Charge Point Ids    50
    @{depot} =    New Charge Point Ids    2    prefix=DEPOT
    @{all} =    Combine Lists    ${first}    ${{[$one]}}    ${second}    ${depot}
    Length Should Be    ${{set($all)}}    103
    Should Match Regexp    ${first}[0]    ^CP-[0-9a-z]{7}-\\d{4}$
    Should Match Regexp    ${depot}[1]    ^DEPOT-[0-9a-z]{7}-\\d{4}$
    Length Should Be    ${{set(each.split('-')[1] for each in $all)}}    1

The Messages Of A Volume Are Of The Charge Points That Were Asked For
    [Documentation]    Each has its share, and its answers on a list of its own.
    @{ids} =    New Charge Point Ids    20
    ${sent} =    Queue Generated Messages    200    charge_points=${ids}
    All Messages Should Be Answered    ${sent}
    Lists Should Be Equal    ${sent.charge_points}    ${ids}    ignore_order=True
    Charge Point Should Have Answers    ${ids}[0]    10
    Charge Point Should Have Answers    ${ids}[19]    10

Ids That Could Not Be Used Are Not Given
    Run Keyword And Expect Error
    ...    REGEXP:The charge point id 'A B-[0-9a-z]{7}-\\d{4}' would be invalid: allowed are 1 to 48 printable .*
    ...    New Charge Point Ids    2    prefix=A B
    Run Keyword And Expect Error    EQUALS:count is 0, at least 1 is required.    New Charge Point Ids    0
    Run Keyword And Expect Error    *Argument 'count' got value 'many' that cannot be converted to integer.
    ...    New Charge Point Ids    many


*** Keywords ***
Start A Server And Open Its Queue
    [Documentation]    The reference server on a Redis of its own.
    ${redis} =    Start Redis    append_only=off
    Start Server    ${redis}
    Wait Until Server Is Ready
    Open Queue    ${redis}
