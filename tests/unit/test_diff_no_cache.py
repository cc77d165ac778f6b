"""A repo-server gets answers at once, and none of them is from a cache."""

import socket

from doks_gitops.diff.no_cache import NoCache


def command(*words: bytes) -> bytes:
    parts = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    return b"*%d\r\n%s" % (len(words), parts)


def test_nothing_that_is_set_can_be_read() -> None:
    with NoCache() as address:
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as client:
            replies = client.makefile("rb")
            for words, reply in (
                ([b"HELLO", b"3"], b"-ERR unknown command\r\n"),
                ([b"SET", b"key", b"two\r\nlines", b"EX", b"60"], b"+OK\r\n"),
                ([b"get", b"key"], b"$-1\r\n"),
                ([b"PING"], b"+PONG\r\n"),
                ([b"DEL", b"key"], b":0\r\n"),
            ):
                client.sendall(command(*words))
                assert replies.readline() == reply
