"""Hostile clients of IMAP and POP3: each is refused with a clear answer, or hung up on where that can't be, and
the user's other sessions are served meanwhile."""

import os
import re

import pytest

from imap_model import Client, Ended, message
from postern import Postern, free_port

USER = "alice@example.test"
PASSWORD = "correct horse battery"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server(stage):
    ports = {name: free_port() for name in ("imap", "pop3")}
    instance = Postern(stage, extra="smtp limit header-size 8M\n" + "".join(
        f"listen on 127.0.0.1 port {port} {name} auth-cleartext\n" for name, port in ports.items()))
    instance.ports = ports
    instance.start()
    try:
        instance.add_domain("example.test")
        instance.add_user(USER)
        instance.add_user("bob@example.test")
        with_mail(instance)
        yield instance
    finally:
        instance.destroy()


def with_mail(instance):
    client = Client(instance.ports["imap"], USER)
    for token in ("m-1", "m-2", "m-3"):
        client.run("APPEND INBOX", message(token))
    client.close()


class Hostile(Client):
    is_over = False  # nothing more is answered

    def end(self):
        self.is_over = True
        answer = super().end()
        self.is_over = False
        return answer


def opened(server, kind=Client):
    client = kind(server.ports["imap"], USER)
    client.select("INBOX")
    return client


@pytest.fixture(scope="module")
def witness(server):
    client = opened(server)
    yield client
    client.close()


@pytest.fixture(scope="module")
def kept():
    """The hostile session, as long as it isn't hung up on."""
    return []


@pytest.fixture
def client(server, witness, kept):
    """The session that is hostile; another of the same user, there before, works after it."""
    client = kept.pop() if kept else opened(server, Hostile)
    yield client
    if client.is_over:
        client.close()
    else:
        kept.append(client)
    witness.run("FETCH 1 (BODY.PEEK[])")
    assert message("m-1") in [line[1] for line in witness.lines if len(line) > 1]
    server.check()


def say(client, text):
    """Sends these bytes, a command of tag x; status and words of its answer."""
    client.lines, client.codes = [], {}
    client.is_over = True
    client.socket.sendall(text)
    client.pending.append(("x", "FETCH"))
    return client.end()


def refused(client, text, why, status="BAD"):
    answer = " ".join(say(client, text))
    assert re.match(f"{status} .*({why})", answer), answer
    client.run("NOOP")


def hung_up(client, text):
    with pytest.raises(Ended):
        say(client, text)
    with pytest.raises(ConnectionError):
        client.read_line()


def flood(client, text):
    """Ends with a BYE, which may be lost as there still was text to be read."""
    with pytest.raises((Ended, ConnectionError)):
        say(client, text)


# Literals

@pytest.mark.parametrize("size, why", [(2**32, "too long"), (2**63 - 1, "too long"),
    (2**63, "too large|missing"), (2**64, "too large|missing"), (-1, "missing"), ("", "missing")])
def test_a_literal_of_no_possible_size_is_refused_before_it_comes(client, size, why):
    for command in ("SEARCH SUBJECT", "CREATE", "STATUS"):
        refused(client, b"x %b {%b}\r\n" % (command.encode(), str(size).encode()), why)


@pytest.mark.parametrize("size", [2**32, 2**63 - 1])
def test_a_message_of_4_gib_is_refused_before_it_comes(client, size):
    refused(client, b"x APPEND INBOX {%d}\r\n" % size, "TOOBIG", "NO")


@pytest.mark.parametrize("size", [2**32, 2**63 - 1])
@pytest.mark.parametrize("command", ["SEARCH SUBJECT", "APPEND INBOX"])
def test_a_literal_of_4_gib_that_comes_unasked_ends_the_session(client, command, size):
    hung_up(client, b"x %b {%d+}\r\n" % (command.encode(), size))


@pytest.mark.parametrize("count, is_taken", [(5000, True), (30000, False)])
def test_thousands_of_literals_in_a_command(client, count, is_taken):
    text = b"x SEARCH 1" + b" TEXT {1+}\r\nm" * count + b"\r\n"
    if not is_taken:
        refused(client, text, "TOOBIG")
        return
    assert say(client, text)[0] == "OK"
    assert client.lines == [["* SEARCH 1"]]


def test_literals_that_go_on_for_ever_end_the_session(client):
    flood(client, b"x SEARCH" + b" {1048576+}\r\n".join([b""] + [b"y" * MIB] * 80))


# Lines

def test_a_tag_of_a_mebibyte_is_refused(client):
    client.socket.sendall(b"x" * MIB + b" NOOP\r\n")
    assert client.read_line()[0].startswith("* BAD ")
    client.run("NOOP")


def test_a_line_without_an_end_ends_the_session(client):
    flood(client, b"x NOOP " + b"y" * (80 * MIB))


NESTED = {
    "parentheses": b"SEARCH " + b"(" * 10000 + b"ALL" + b")" * 10000,
    "parentheses of FETCH": b"FETCH 1 " + b"(" * 10000 + b"FLAGS" + b")" * 10000,
    "parentheses of STORE": b"STORE 1 FLAGS " + b"(" * 10000 + b")" * 10000,
    "NOT": b"SEARCH " + b"NOT " * 1000 + b"ALL",
    "OR": b"SEARCH " + b"OR " * 1000 + b"ALL " * 1000 + b"ALL",
    "OR to the right": b"SEARCH " + b"OR ALL " * 1000 + b"ALL",
    "sections": b"FETCH 1 BODY[" + b"1." * 1000 + b"1]",
    "a section of 2^32": b"FETCH 1 BODY[4294967296]",
    "keys": b"SEARCH " + b"ALL " * 20000 + b"ALL",
    "items": b"FETCH 1 (" + b"BODY[] " * 20000 + b"FLAGS)",
}


@pytest.mark.parametrize("what", NESTED)
def test_what_is_nested_too_deeply_or_too_much_is_refused(client, what):
    refused(client, b"x " + NESTED[what] + b"\r\n", "nested|missing|too|no such item")


@pytest.mark.parametrize("keys", [b"NOT " * 90 + b"1", b"OR 2 " * 90 + b"1", b"(" * 90 + b"1" + b")" * 90],
    ids=["NOT", "OR", "parentheses"])
def test_what_is_nested_deeply_is_answered(client, keys):
    assert say(client, b"x SEARCH " + keys + b"\r\n")[0] == "OK"
    assert client.lines[0][0].startswith("* SEARCH 1")


def test_a_set_of_100_kib_names_each_message_once(client):
    numbers = b"1:*," * 25600 + b"1"
    for command, answers in ((b"FETCH %b UID", 3), (b"UID FETCH %b FLAGS", 3), (b"SEARCH %b", 1),
            (b"UID SEARCH UID %b", 1), (b"STORE %b +FLAGS (a)", 3)):
        assert say(client, b"x " + command % numbers + b"\r\n")[0] == "OK"
        assert len(client.lines) == answers, command
    refused(client, b"x FETCH 4294967296 FLAGS\r\n", "too large")
    refused(client, b"x FETCH 0 FLAGS\r\n", "0 isn't allowed")


# Names

NAMES = {
    "parent": b"..", "parents": b"../../bob", "slash": b"a/b", "root": b"/etc", "dots": b"a..b", "dot": b".",
    "first dot": b".a", "NUL": b"a\0b", "NUL at the end": b"INBOX\0", "control": b"a\x01b", "lines": b"a\r\nb",
    "no shift": b"a&b", "shift that isn't ended": b"a&Jjo", "shift of ASCII": b"&AGE-", "lone surrogate": b"&2AA-",
    "what is no base64": b"&!!!-", "padding that isn't zero": b"&Jjp-", "shift of a slash": b"&AC8-",
    "shift of dots": b"&AC4ALgAvAGI-", "shift of NUL": b"&AAA-", "no UTF-8": b"\xff\xfe", 
    "overlong": b"\xc0\xae\xc0\xae",
    "surrogate in UTF-8": b"\xed\xa0\x80", "long": b"a" * 300, "deep": b".".join([b"a"] * 200), "empty": b"",
}


def tree(server):
    """Names below the directory of all mailboxes, but for files whose names are new each time."""
    return {os.path.join(at, name) for at, below, files in os.walk(server.mail) for name in below + files
        if os.path.basename(at) not in ("tmp", "new", "cur")}


@pytest.mark.parametrize("what", NAMES)
def test_a_name_that_is_none_is_refused_and_leaves_nothing(server, client, what):
    before = tree(server)
    name = b"{%d+}\r\n%b" % (len(NAMES[what]), NAMES[what])
    for command in (b"CREATE %b", b"SELECT %b", b"RENAME INBOX %b", b"RENAME %b other", b"APPEND %b {1+}\r\nx",
            b"COPY 1 %b", b"MOVE 1 %b", b"DELETE %b", b"SUBSCRIBE %b", b"STATUS %b (MESSAGES)"):
        status, words = say(client, b"x " + command % name + b"\r\n")
        assert status in ("NO", "BAD"), (command, status, words)
        if command.startswith(b"SELECT"):
            client.run("SELECT INBOX")
    assert tree(server) == before
    client.run('LIST "" "*"')
    assert [line[0].split()[-1] for line in client.lines] == ['"INBOX"']


# Before the login

NEED_LOGIN = ("SELECT INBOX", "EXAMINE INBOX", "CREATE a", "DELETE a", "RENAME a b", "SUBSCRIBE a", "UNSUBSCRIBE a",
    'LIST "" *', 'LSUB "" *', "NAMESPACE", "STATUS INBOX (MESSAGES)", "APPEND INBOX {1}", "IDLE", "CHECK", "CLOSE",
    "UNSELECT", "EXPUNGE", "SEARCH ALL", "UID SEARCH ALL", "SORT (DATE) UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL",
    "FETCH 1 FLAGS", "UID FETCH 1 FLAGS", "STORE 1 FLAGS ()", "COPY 1 a", "MOVE 1 a", "REPLACE 1 INBOX {1}",
    "GETQUOTA a", "GETQUOTAROOT INBOX", "SETQUOTA a ()", "GETMETADATA a /shared/a", "SETMETADATA a (/shared/a NIL)",
    "NOTIFY NONE", "COMPRESS DEFLATE", "ENABLE QRESYNC")


def greeted(server, kind):
    wire = server.wire(server.ports[kind])
    wire.line()
    return wire


def test_no_command_of_imap_that_needs_a_login_is_done_before_it(server):
    for at in range(0, len(NEED_LOGIN), 5):
        with greeted(server, "imap") as wire:
            for command in NEED_LOGIN[at:at + 5]:
                wire.send(f"x {command}\r\n")
                assert wire.line().startswith(b"x BAD "), command
            wire.send(f'y LOGIN {USER} "{PASSWORD}"\r\n')
            assert wire.line().startswith(b"y OK ")


def test_no_command_of_pop3_that_needs_a_login_is_done_before_it(server):
    for commands in (("STAT", "LIST", "LIST 1", "RETR 1", "DELE 1"), ("TOP 1 0", "UIDL", "UIDL 1", "RSET", "LAST")):
        with greeted(server, "pop3") as wire:
            for command in commands:
                wire.send(f"{command}\r\n")
                assert wire.line().startswith(b"-ERR "), command
            wire.send(f"USER {USER}\r\nPASS {PASSWORD}\r\n")
            assert wire.line().startswith(b"+OK") and wire.line().startswith(b"+OK 3 ")


@pytest.mark.parametrize("command", [b"LOGIN {1048576%b}\r\n", b"LOGIN alice {1048576%b}\r\n",
    b"AUTHENTICATE PLAIN {1048576%b}\r\n", b"APPEND INBOX {1048576%b}\r\n"])
def test_a_literal_of_a_mebibyte_is_refused_before_the_login(server, command):
    with greeted(server, "imap") as wire:
        wire.send(b"x " + command % b"")
        assert wire.line().startswith(b"x BAD ")
        wire.send(b"y " + command % b"+" + b"z" * MIB + b"\r\n")
        assert wire.line().startswith(b"y BAD ")
        wire.send(f'x LOGIN {USER} "{PASSWORD}"\r\n')
        assert wire.line().startswith(b"x OK ")


@pytest.mark.parametrize("kind, text", [
    ("imap", b"x LOGIN {4294967296+}\r\n"), ("imap", b"x LOGIN " + b"y" * 80 * MIB),
    ("imap", b"x AUTHENTICATE PLAIN\r\n" + b"y" * MIB), ("pop3", b"USER " + b"y" * MIB),
    ("pop3", b"AUTH PLAIN " + b"y" * MIB), ("pop3", b"AUTH PLAIN\r\n" + b"y" * MIB)],
    ids=["literal", "line", "response", "pop3 line", "pop3 initial response", "pop3 response"])
def test_what_has_no_end_before_the_login_ends_the_session(server, kind, text):
    with greeted(server, kind) as wire:
        try:
            wire.send(text)
        except ConnectionError:
            pass
        assert wire.is_closed()
    with greeted(server, kind) as wire:
        wire.send("x LOGOUT\r\n" if kind == "imap" else "QUIT\r\n")
        assert wire.line().startswith(b"* BYE" if kind == "imap" else b"+OK")


def test_lines_of_pop3_that_are_none_are_refused(server):
    with greeted(server, "pop3") as wire:
        wire.send(f"USER {USER}\r\nPASS {PASSWORD}\r\n")
        assert wire.line().startswith(b"+OK") and wire.line().startswith(b"+OK 3 ")
        for line in (b"RETR 4294967297", b"RETR -1", b"RETR 0", b"RETR", b"RETR 99999999999999999999", b"TOP 1 -1",
                b"TOP 1 99999999999999999999", b"TOP 1", b"DELE 4", b"LIST 4", b"UIDL 4", b"NO\0OP", b"\xff",
                b"RETR 1" + b" " * 2000 + b"1", b"", b"x" * MIB):
            wire.send(line + b"\r\n")
            assert wire.line().startswith(b"-ERR "), line
            wire.send(b"NOOP\r\n")
            assert wire.line() == b"+OK"


# Sessions against each other

def tokens(client):
    """Of the messages in the order of their numbers."""
    client.run("NOOP")
    client.learn()
    client.run("FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (X-Token)])")
    assert [int(line[0].split()[1]) for line in client.lines] == list(range(1, len(client.folder.uids) + 1))
    return [re.search(rb"X-Token: (\S+)", line[1]).group(1).decode() for line in client.lines]


def test_two_sessions_that_expunge_move_and_append_against_each_other(server):
    first, second = opened(server), opened(server)
    first.run("CREATE Box")
    first.run("CREATE Other")
    for number in range(20):
        first.run("APPEND Box", message(f"m-{number}"))
    first.select("Box")
    second.select("Box")
    first.run("STORE 1,3,5,20 +FLAGS (\\Deleted)")
    # Each begins before it has heard what the other does.
    second.begin("MOVE 3:6 Other")
    first.begin("EXPUNGE")
    second.end(), first.end()
    first.begin("APPEND Box", message("n-1"))
    second.begin("UID MOVE 1:2 Other")
    second.begin("EXPUNGE")
    first.begin("STORE 1:* +FLAGS (\\Seen)")
    second.begin("APPEND Box", message("n-2"))
    first.begin("EXPUNGE")
    for _ in range(3):
        second.end()
    for _ in range(3):
        first.end()
    here = tokens(first)
    assert tokens(second) == here
    assert first.folder.uids == second.folder.uids
    second.select("Other")
    there = tokens(second)
    assert set(here) == {f"m-{number}" for number in range(6, 19)} | {"n-1", "n-2"}
    # Of what one marked and the other moved, each went one way.
    assert {"m-1", "m-3", "m-5"} <= set(there) <= {f"m-{number}" for number in range(1, 6)}
    assert len(here) == len(set(here)) and len(there) == len(set(there))
    fresh = opened(server)
    fresh.select("Box")
    assert tokens(fresh) == here and fresh.folder.uids == first.folder.uids
    for client in first, second, fresh:
        client.close()
