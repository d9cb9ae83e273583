*** Settings ***
Documentation    Faults at chosen commands, as a client of a real Redis sees them that comes through the proxy: what it
...              is answered, what Redis has then (asked on the direct way), and what the proof says.

Library          FaultLibrary
Library          RedisServiceLibrary

Suite Setup      Start Redis And A Way To It
Test Setup       Redis Command    SET    key    before
Test Teardown    Heal All


*** Variables ***
${CLOSED}    STARTS:Redis 'through' did not run 'SET key after': Connection closed by server


*** Test Cases ***
A Reply Is Cut In The Middle
    [Documentation]    The client has the beginning of a long value, and no connection any more; the next one has all.
    ${value} =    Evaluate    'x' * 1000
    Redis Command    SET    key    ${value}
    ${cut} =    Cut Mid-Reply    GET
    Run Keyword And Expect Error    STARTS:Redis 'through' did not run 'GET key': Connection closed by server
    ...    Redis Command    GET    key    alias=through
    Fault Should Take Effect    ${cut}
    Should Be Equal    ${cut.fault}    cut mid-reply
    Should Be Equal    ${cut.proof}    1 of 1 matching commands were hit
    ${whole} =    Redis Command    GET    key    alias=through
    Should Be Equal    ${whole}    ${value}

What Arrives Of A Reply That Is Cut Is Its Beginning
    [Documentation]    Half of it, as a client reads it that does not ask what it means.
    Redis Command    SET    key    ${{'0123456789' * 100}}
    ${cut} =    Cut Mid-Reply    GET
    ${bytes} =    Read The Reply To GET
    Should Match Regexp    ${bytes}    ^\\$1000\r\n(0123456789){30,60}\\d{0,9}$
    Fault Should Take Effect    ${cut}

A Command Whose Reply Is Cut Has Been Run
    [Documentation]    Of three writes it is the second that is chosen.
    ${cut} =    Cut Mid-Reply    SET    keys=${{['key']}}    occurrence=2
    Redis Command    SET    other    1    alias=through
    Redis Command    SET    key    first    alias=through
    Run Keyword And Expect Error    ${CLOSED}    Redis Command    SET    key    after    alias=through
    Redis Should Have    after
    Redis Command    SET    key    third    alias=through
    Fault Should Take Effect    ${cut}
    Redis Should Have    third

A Command Is Cut Off Before Or After It Is Run
    [Template]    Client Is Cut Off And Redis Has
    before    before
    after    after

A Command Is Swallowed Before Or After It Is Run
    [Documentation]    The connection stays, and the client waits for a reply that does not come.
    [Template]    Client Waits In Vain And Redis Has
    before    before
    after    after

An Error Stands In The Place Of What Happened
    [Template]    Client Is Answered An Error And Redis Has
    before    before
    after    after

A Command Is Held Back Before Or After It Is Run
    [Template]    Client Waits And Redis Has In The End
    before    after
    after    after

A Fault Goes On For As Many Commands As Asked For
    [Documentation]    From the second on, two; those of another name are left alone.
    ${fault} =    Disturb Command    INCR    error    before    occurrence=2    times=2    error=ERR not now
    @{replies} =    Increment Five Times
    Should Be Equal    ${replies}    ${{['1', 'ERR not now', 'ERR not now', '2', '3']}}
    Fault Should Take Effect    ${fault}
    Should Be Equal    ${fault.proof}    2 of 5 matching commands were hit

A Fault Without End Is Healed By Itself
    [Documentation]    Of two faults that last one is ended, and the other goes on.
    ${slow} =    Add Latency    100 ms
    ${refused} =    Disturb Command    INCR    error    before    times=0
    Run Keyword And Expect Error    STARTS:Redis 'through' did not run 'INCR n': injected fault
    ...    Redis Command    INCR    n    alias=through
    Heal Fault    ${refused}
    Redis Command    INCR    n    alias=through
    Should Be True    ${refused.proven} and $refused.ended is not None and $slow.ended is None
    Should Be Equal    ${refused.healed}    not measured beside latency
    ${healed} =    Heal All
    Should Be Equal    ${healed}    ${1}
    Should Not Be Equal    ${slow.ended}    ${None}

A Fault Is Healed Once
    [Documentation]    What has ended stays as it ended; the proof of one that never had its occasion says so.
    ${fault} =    Disturb Command    GET    cut
    Heal Fault    ${fault}
    VAR    ${ended} =    ${fault.ended}
    Heal Fault    ${fault}
    Should Be Equal    ${fault.ended}    ${ended}
    Run Keyword And Expect Error    *has ended and never took effect: 0 of 0 matching commands were hit.
    ...    Fault Should Take Effect    ${fault}

What Cannot Be Done To A Command Is Said
    [Template]    Run Keyword And Expect Error
    *occurrence starts at 1*    Disturb Command    GET    cut    occurrence=0
    *probability has to be from 0 to 1*    Disturb Command    GET    cut    probability=1.5
    *error has to be one line*    Disturb Command    GET    error    error=a\nb
    *'hurt' that cannot be converted*    Disturb Command    GET    hurt
    *does not describe its commit*    Cut Mid-Reply    commit    target=${CURDIR}/../other_server/profile.yaml


*** Keywords ***
Start Redis And A Way To It
    [Documentation]    The clients of the tests come through the proxy.
    ${url} =    Start Redis
    ${through} =    Start Fault Proxy    ${url}    seed=1
    Start Redis    alias=through    service=external    server=${through}

Read The Reply To GET
    [Documentation]    On a plain socket, up to its end, as text.
    ${url} =    Get Redis Url    alias=through
    ${address} =    Evaluate    urllib.parse.urlsplit($url)    modules=urllib.parse
    ${socket} =    Evaluate    socket.create_connection(($address.hostname, $address.port))
    Evaluate    $socket.settimeout(10)
    Evaluate    $socket.sendall(b'*2\\r\\n$3\\r\\nGET\\r\\n$3\\r\\nkey\\r\\n')
    ${bytes} =    Evaluate    $socket.makefile('rb').read()
    Evaluate    $socket.close()
    RETURN    ${bytes.decode()}

Redis Should Have
    [Documentation]    Asked on the direct way.
    [Arguments]    ${expected}
    ${value} =    Redis Command    GET    key
    Should Be Equal    ${value}    ${expected}

Client Is Cut Off And Redis Has
    [Documentation]    Whether the command was run is seen by what Redis has.
    [Arguments]    ${when}    ${expected}
    Redis Command    SET    key    before
    ${fault} =    Disturb Command    SET    cut    ${when}
    Run Keyword And Expect Error    ${CLOSED}    Redis Command    SET    key    after    alias=through
    Fault Should Take Effect    ${fault}
    Redis Should Have    ${expected}

Client Waits In Vain And Redis Has
    [Documentation]    Long enough for the command to be on its way, also on a busy machine.
    [Arguments]    ${when}    ${expected}
    Redis Command    SET    key    before
    ${fault} =    Disturb Command    SET    drop    ${when}
    Run Keyword And Expect Error    STARTS:Redis 'through' did not run 'SET key after': Timeout reading from
    ...    Redis Command    SET    key    after    alias=through    timeout=1.5 s
    Fault Should Take Effect    ${fault}
    Redis Should Have    ${expected}

Client Is Answered An Error And Redis Has
    [Documentation]    The one that was asked for.
    [Arguments]    ${when}    ${expected}
    Redis Command    SET    key    before
    ${fault} =    Disturb Command    SET    error    ${when}    error=NOTNOW try later
    Run Keyword And Expect Error    EQUALS:Redis 'through' did not run 'SET key after': NOTNOW try later.
    ...    Redis Command    SET    key    after    alias=through
    Fault Should Take Effect    ${fault}
    Redis Should Have    ${expected}

Client Waits And Redis Has In The End
    [Documentation]    A client that waits for less than the delay has no answer, one that waits longer has.
    [Arguments]    ${when}    ${expected}
    ${fault} =    Disturb Command    SET    delay    ${when}    delay=1 s    times=2
    Run Keyword And Expect Error    STARTS:Redis 'through' did not run 'SET key never': Timeout reading from
    ...    Redis Command    SET    key    never    alias=through    timeout=200 ms
    Redis Command    SET    key    after    alias=through    timeout=10 s
    Fault Should Take Effect    ${fault}
    Redis Should Have    ${expected}

Increment Five Times
    [Documentation]    Returns what each was answered, errors too.
    VAR    @{replies} =    @{EMPTY}
    FOR    ${_}    IN RANGE    5
        TRY
            ${reply} =    Redis Command    INCR    counter    alias=through
        EXCEPT    AS    ${error}
            ${reply} =    Evaluate    'ERR not now' if 'not now' in $error else $error
        END
        VAR    @{replies} =    @{replies}    ${{str($reply)}}
    END
    RETURN    @{replies}
