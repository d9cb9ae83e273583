"""The queue of a charging back end, seen from outside: sending, reading answers without taking them, judging both.

`client` is the way in; everything here is plain Python and works without Robot Framework. Key names come from a
`QueueKeys`, filled from a target profile.
"""
