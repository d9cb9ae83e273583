*** Settings ***
Documentation    The keywords of RedisQueueLibrary on the real embedded Redis. A small processor with a known defect
...              stands behind the queue where a keyword needs one.

Library          Collections
Library          OperatingSystem
Library          Process
Library          RedisQueueLibrary
Library          RedisServiceLibrary

Suite Setup      Start Redis And Open The Queue
Test Teardown    End What The Test Started


*** Variables ***
${PROCESSOR}    ${CURDIR}/../fakes/fake_processor.py


*** Test Cases ***
A Message Is Made Of An Action Alone
    [Documentation]    It is valid, and of a charge point of its own.
    ${boot}    Queue Message    BootNotification
    Should Be Equal    ${boot.action}    BootNotification
    Should Be Equal    ${boot.delivery.value}    acknowledged
    Should Match Regexp    ${boot.charge_point}    ^CP-[0-9a-z]{7}-\\d{4}$

Fields Are Sent With Their Types
    [Documentation]    In the place of the default ones, or beside a payload of one's own.
    ${sent}    Queue Message    StatusNotification    charge_point=CP-7    format=flat
    ...    message_id=m1    connectorId=${2}    status=Faulted
    VAR    ${expected}    {"action":"StatusNotification","chargePointId":"CP-7","messageId":"m1"
    ...    "connectorId":2,"errorCode":"NoError","status":"Faulted"}    separator=,
    Should Be Equal    ${sent.text}    ${expected}
    ${payload}    Evaluate    {"vendorId": "V", "data": None}
    ${sent}    Queue Message    DataTransfer    payload=${payload}    messageId=x
    Should Contain    ${sent.text}    "DataTransfer",{"vendorId":"V","data":null,"messageId":"x"}]

A Field That The Flat Form Cannot Carry Is Refused
    [Documentation]    DataTransfer has a field `messageId`, which is the message's own id in the flat form.
    VAR    ${expected}    EQUALS:The payload field 'messageId' cannot be sent in the flat form,
    ...    where this name has another meaning. Use format=envelope.    separator=${SPACE}
    Run Keyword And Expect Error    ${expected}
    ...    Queue Message    DataTransfer    format=flat    messageId=x

Looking At The Queue Takes Nothing
    [Documentation]    The oldest message comes first.
    Queue Messages    BootNotification    StatusNotification    Heartbeat
    @{next}    Peek Queue    2
    Should Be Equal    ${next[0].action}    BootNotification
    Should Be Equal    ${next[1].action}    StatusNotification
    ${length}    Get Queue Length
    Should Be Equal    ${length}    ${3}

Text And Bytes Are Sent As They Are
    [Documentation]    And what can be read of them is recorded.
    ${sent}    Queue Raw Messages    {"action": "Heartbeat", "chargePointId": "CP-8"}    {"invalid": "malformed_json"
    Should Be Equal    ${sent[0].charge_point}    CP-8
    Should Be Equal    ${sent[1].answerable}    ${False}
    ${bytes}    Evaluate    b'\\xff\\x00'
    Queue Raw Message    ${bytes}
    @{queue}    Peek Queue    3
    Should Be Equal    ${queue[0].text}    {"action": "Heartbeat", "chargePointId": "CP-8"}
    Should Be Equal    ${queue[1].text}    {"invalid": "malformed_json"
    Should Be Equal    ${queue[2].data}    ${bytes}

A Queue That Is Not Empty Names Its Oldest Message
    [Documentation]    After the time that was given.
    Queue Should Be Empty
    Queue Message    Heartbeat    charge_point=CP-007    message_id=h1
    VAR    ${expected}    Queue 'ocpp:requests' still had 1 message (oldest: Heartbeat of CP-007 (message id h1))
    Run Keyword And Expect Error    EQUALS:${expected} (waited 100 ms)
    ...    Wait Until Queue Is Empty    timeout=100ms
    Run Keyword And Expect Error    STARTS:${expected}
    ...    Queue Should Be Empty

A Message Is Answered
    [Documentation]    The answer can be named by the record of the message, or by its ids.
    Start Processor
    ${sent}    Queue Message    Heartbeat
    ${answer}    Message Should Be Answered    ${sent}    timeout=60s
    Should Contain    ${answer.payload}    currentTime
    Should Be True    0 < ${answer.seconds} < 60
    ${same}    Wait For Answer    charge_point=${sent.charge_point}    message_id=${sent.message_id}
    Should Be Equal    ${same.text}    ${answer.text}

Several Messages Are Answered In Their Order
    [Documentation]    Each exactly once.
    Start Processor
    ${sent}    Queue Messages    BootNotification    StatusNotification    Heartbeat
    ${drain}    All Messages Should Be Answered    ${sent}    timeout=60s
    Should Be Equal    ${drain.messages}    ${3}
    Charge Point Should Have Answers    ${sent[0].charge_point}    3    timeout=60s
    @{answers}    Get Answers    ${sent[0].charge_point}
    Should Be Equal    ${answers[2].message_id}    ${sent[2].message_id}
    Wait Until Queue Is Empty    timeout=60s

A Volume Is Answered
    [Documentation]    The rate is measured, and a report says what became of the messages.
    Start Processor
    ${sent}    Queue Generated Messages    500    charge_points=20    order=shuffled    seed=1
    ...    mix={"Heartbeat": 3, "Authorize": 1}
    ${drain}    All Messages Should Be Answered    ${sent}    timeout=60s
    Should Be True    ${drain.rate} > 1
    Should Start With    ${drain.summary}    500 messages: 500 answered, 0 lost, 0 answered twice
    ${count}    Answers Should Be In Order    ${sent}
    Should Be Equal    ${count}    ${500}
    ${report}    Get Answer Report    ${sent}
    Length Should Be    ${report.answered}    500

A Refusal Is Told From An Answer
    [Documentation]    Both ways round, and the wrong code.
    Start Processor
    ${coffee}    Queue Message    MakeCoffee    charge_point=CP-C    message_id=c1
    ${answer}    Message Should Be Refused    ${coffee}    code=NotImplemented    timeout=60s
    Should Be Equal    ${answer.description}    no MakeCoffee here
    VAR    ${expected}    EQUALS:Expected MakeCoffee of CP-C (message id c1) to be
    VAR    ${refused}    NotImplemented (no MakeCoffee here).
    Run Keyword And Expect Error    ${expected} accepted, but it was refused: ${refused}
    ...    Message Should Be Answered    ${coffee}
    Run Keyword And Expect Error    ${expected} refused with NotSupported, but it was refused with ${refused}
    ...    Message Should Be Refused    ${coffee}    code=NotSupported
    ${heartbeat}    Queue Message    Heartbeat
    Run Keyword And Expect Error    GLOB:* to be refused, but it was accepted: {'currentTime': '*'}.
    ...    Message Should Be Refused    ${heartbeat}    timeout=60s

What Was Lost Is Named
    [Documentation]    With the time waited and a few examples.
    Start Processor    lose
    ${sent}    Queue Messages    Heartbeat    Heartbeat    Heartbeat
    Wait Until Queue Is Empty    timeout=60s
    VAR    ${lost}    Heartbeat of ${sent[2].charge_point} (message id ${sent[2].message_id})
    VAR    ${queue}    the queue 'ocpp:requests' holds 0 messages (waited 300 ms)
    VAR    ${expected}    EQUALS:No answer to ${lost}    the charge point has 2 answers, the newest to
    ...    separator=;${SPACE}
    VAR    ${expected}    ${expected} ${sent[0].message_id}, ${sent[1].message_id}; ${queue}
    Run Keyword And Expect Error    ${expected}    Wait For Answer    ${sent[2]}    timeout=300ms
    VAR    ${expected}    Not every message was answered: 3 messages: 2 answered, 1 lost, *; for example lost: ${lost}
    Run Keyword And Expect Error    GLOB:${expected} (waited 300 ms)\nlost: ${lost}
    ...    All Messages Should Be Answered    ${sent}    timeout=300ms

Too Few Answers Are Not Enough
    [Documentation]    Their order is right all the same.
    Start Processor    lose
    ${sent}    Queue Messages    Heartbeat    Heartbeat    Heartbeat
    Message Should Be Answered    ${sent[1]}    timeout=60s
    Run Keyword And Expect Error
    ...    GLOB:Expected 3 answers to ${sent[0].charge_point}; the charge point has 2 answers, *
    ...    Charge Point Should Have Answers    ${sent[0].charge_point}    3    timeout=300ms
    Answers Should Be In Order    ${sent}

What Was Answered Twice Is Named
    [Documentation]    The second answer comes right behind the first.
    Start Processor    twice
    ${sent}    Queue Messages    Heartbeat    Heartbeat    Heartbeat
    VAR    ${twice}    answered twice: 2 answers to Heartbeat of ${sent[2].charge_point} *
    Run Keyword And Expect Error
    ...    GLOB:Not every message was answered as it should be: 3 messages: 3 answered, 0 lost, *\n${twice}
    ...    All Messages Should Be Answered    ${sent}    timeout=60s
    Run Keyword And Expect Error
    ...    GLOB:Expected 3 answers to *, but there are 4: CALLRESULT to message *
    ...    Charge Point Should Have Answers    ${sent[0].charge_point}    3

What Is Out Of Order Is Named
    [Documentation]    Both by the check of everything and by that of the order alone.
    Start Processor    swap
    ${sent}    Queue Messages    BootNotification    Heartbeat
    VAR    ${swapped}    BootNotification of * was answered after Heartbeat of *, which was queued later
    Run Keyword And Expect Error
    ...    GLOB:Not every message was answered*1 out of order; *\nout of order: ${swapped}
    ...    All Messages Should Be Answered    ${sent}    timeout=60s
    Run Keyword And Expect Error    GLOB:Not every answer is in its place: *${swapped}
    ...    Answers Should Be In Order    ${sent}

What Nobody Asked For Is Named
    [Documentation]    An answer that belongs to no message.
    Start Processor    stray
    ${sent}    Queue Messages    Heartbeat    Heartbeat    Heartbeat
    Run Keyword And Expect Error
    ...    GLOB:Not every message was answered*1 unexpected*\nunexpected: CALLRESULT to message stray-*
    ...    All Messages Should Be Answered    ${sent}    timeout=60s
    ${broken}    Queue Raw Message    null
    Run Keyword And Expect Error
    ...    GLOB:Expected no answer to the message 'null', but there is CALLRESULT to message stray-*
    ...    No Answer Should Arrive For    ${broken}    duration=0s

A Refused Valid Message Is Named
    [Documentation]    Unless refusals are allowed.
    Start Processor    refuse
    ${sent}    Queue Messages    Heartbeat    Heartbeat
    VAR    ${refused}    valid but refused: CALLERROR NotImplemented to message * (Heartbeat): no Heartbeat here
    Run Keyword And Expect Error    GLOB:Not every message was answered*2 valid but refused; *\n${refused}\n*
    ...    All Messages Should Be Answered    ${sent}    timeout=60s
    All Messages Should Be Answered    ${sent}    refusals_allowed=True

A Message That Is Set Aside Is Found Among The Dead Letters
    [Documentation]    By the message itself, by its code and by its text.
    Start Processor
    ${broken}    Queue Raw Message    {"invalid": "malformed_json"
    ${behind}    Queue Message    Heartbeat
    Message Should Be Answered    ${behind}    timeout=60s
    No Answer Should Arrive For    ${broken}    duration=0s
    ${letter}    Dead Letter Should Exist    ${broken}    code=FormationViolation
    Should Not Be Empty    ${letter.reason}
    ${count}    Get Dead Letter Count    raw_contains=malformed_json
    Should Be Equal    ${count}    ${1}
    Run Keyword And Expect Error
    ...    GLOB:No dead letter of CP-9 with code NotSupported among 1; the newest is FormationViolation: *
    ...    Dead Letter Should Exist    charge_point=CP-9    code=NotSupported    timeout=0s

Only The Dead Letters After A Mark Count
    [Documentation]    Those before it are there as well.
    Start Processor
    ${broken}    Queue Raw Message    null and void
    Dead Letter Should Exist    ${broken}    timeout=60s
    ${mark}    Mark Dead Letters
    @{letters}    Get Dead Letters    since=${mark}
    Should Be Empty    ${letters}
    Queue Raw Message    null and void
    Dead Letter Should Exist    since=${mark}    timeout=60s
    ${count}    Get Dead Letter Count
    Should Be Equal    ${count}    ${2}

What Cannot Be Used Is Named With What Is Allowed
    [Documentation]    Numbers of a volume, aliases, and arguments that are something else.
    [Template]    Run Keyword And Expect Error
    EQUALS:charge_points is 0; allowed is 1 or more, or a list of ids.    Queue Generated Messages    10
    ...    charge_points=0
    STARTS:No charge point to queue messages for    Queue Generated Messages    10
    ...    charge_points=${{[]}}
    STARTS:Expected the result of `Queue Message` or another sending keyword, not 'text'.
    ...    Message Should Be Answered    text
    STARTS:This keyword takes one message, not 2.    Message Should Be Answered
    ...    ${{ocpp_resilience.transport.messages.SentMessages([None, None])}}
    STARTS:Give either a message that was queued, or charge_point and message_id.    Wait For Answer
    ...    charge_point=CP-1
    STARTS:There is no queue 'nowhere'; there is only 'queue'.    Queue Message    Heartbeat    alias=nowhere
    STARTS:Select the dead letter    Dead Letter Should Exist
    STARTS:Expected a case of `Load Invalid Messages`, not 'text'.    Queue Invalid Message    text

Several Queues Have An Alias Each
    [Documentation]    With key names of their own.
    ${url}    Get Redis Url
    Open Queue    ${url}    alias=other    requests=other:requests    responses=other:answers:{charge_point_id}
    ...    dead_letters=other:dead    message_format=flat
    ${sent}    Queue Message    StatusNotification    alias=other
    Should Start With    ${sent.text}    {"action":"StatusNotification"
    Queue Should Be Empty
    Redis Command    LPUSH    other:answers:${sent.charge_point}    [3, "${sent.message_id}", {}]
    Message Should Be Answered    ${sent}    alias=other
    Close Queue    alias=other
    ${exists}    Redis Command    EXISTS    other:requests    other:answers:${sent.charge_point}
    Should Be Equal    ${exists}    ${0}

Only What The Run Wrote Is Removed
    [Documentation]    Foreign keys, messages, answers and dead letters stay as they are.
    Write What Somebody Else Keeps In Redis
    ${before}    Take Key Snapshot    values=True
    ${sent}    Queue Messages    BootNotification    Heartbeat
    Queue Raw Message    {"action": "Heartbeat", "chargePointId": "OTHER"}
    Run Keyword And Expect Error
    ...    EQUALS:The keys differ from the snapshot: 1 changed (ocpp:requests) (waited 0 seconds)
    ...    Keys Should Equal Snapshot
    ...    ${before}
    Redis Command    SET    ocpp:chargepoint:${sent[0].charge_point}    {}
    ${removed}    Remove Test Data
    Should Be Equal    ${removed.messages}    ${3}
    Should Be Equal    ${removed.left}    ${{['OTHER']}}
    Keys Should Equal Snapshot    ${before}

A Suite Leaves Nothing Behind
    [Documentation]    A run of its own, whose test fails in the middle.
    ${url}    Get Redis Url
    Write What Somebody Else Keeps In Redis
    ${before}    Take Key Snapshot    values=True
    ${run}    Run A Suite That Fails After Queueing    ${url}
    Should Be Equal    ${run.rc}    ${1}
    Should Not Contain    ${run.stdout}${run.stderr}    WARN
    Keys Should Equal Snapshot    ${before}

Cases In A Form That The Target Does Not Take Are Left Out
    [Documentation]    A system that takes envelopes only finds no action and no id in a flat message.
    ${url}    Get Redis Url
    Open Queue    ${url}    target=${CURDIR}/../other_server/profile.yaml    alias=envelopes
    ${sent}    Queue Cases From File    requirement=R17.3    alias=envelopes
    @{cases}    Load Invalid Messages    requirement=R17.3
    Should Be True    0 < $sent.count < len($cases)
    FOR    ${each}    IN    @{sent}
        Should Not Start With    ${each.text}    {"action"
    END
    [Teardown]    Close Queue    alias=envelopes


*** Keywords ***
Start Redis And Open The Queue
    [Documentation]    For the whole suite.
    ${url}    Start Redis
    Open Queue    ${url}

Start Processor
    [Documentation]    One that is sound, or has the given defect.
    [Arguments]    ${defect}=${EMPTY}
    ${url}    Get Redis Url
    Start Process    ${{sys.executable}}    ${PROCESSOR}    ${url}    ${defect}    stdin=PIPE

Write What Somebody Else Keeps In Redis
    [Documentation]    A charge point, an answer to it, a message and a dead letter.
    Redis Command    SET    foreign    1
    Redis Command    SET    ocpp:chargepoint:OTHER    {}
    Redis Command    LPUSH    ocpp:responses:OTHER    [3, "x", {}]
    Redis Command    LPUSH    ocpp:requests    foreign message
    Redis Command    LPUSH    ocpp:dead-letters    {"code": "FormationViolation", "raw": "[]"}

Run A Suite That Fails After Queueing
    [Documentation]    Runs it in a process of its own, and returns how that ended.
    [Arguments]    ${url}
    ${suite}    Catenate    SEPARATOR=\n
    ...    *** Settings ***
    ...    Library${SPACE*4}RedisQueueLibrary
    ...    *** Test Cases ***
    ...    Fails
    ...    ${SPACE*4}Open Queue${SPACE*4}${url}
    ...    ${SPACE*4}Queue Generated Messages${SPACE*4}1000
    ...    ${SPACE*4}Fail${SPACE*4}on purpose
    VAR    ${folder}    ${OUTPUT DIR}/left_behind
    Create File    ${folder}/suite.robot    ${suite}
    ${run}    Run Process    ${{sys.executable}}    -m    robot    --outputdir    ${folder}    ${folder}/suite.robot
    RETURN    ${run}

End What The Test Started
    [Documentation]    And leave an empty Redis to the next test.
    Terminate All Processes
    Remove Test Data
    Redis Command    FLUSHALL
