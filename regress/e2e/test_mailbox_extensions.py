"""Each extension that CAPABILITY names, by a dialogue: what is said, and patterns of which each must be in the
answer, in this order."""

import re

import pytest

from imap_model import Client
from postern import free_port
from test_auth import USER

FIRST = (b"From: Ann <ann@example.test>\r\nTo: bob@example.test\r\nSubject: first\r\n"
    b"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.test>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8sIEJvYi4=\r\n")
SECOND = (b"From: Cat <cat@example.test>\r\nTo: bob@example.test\r\nSubject: Re: first\r\n"
    b"Date: Mon, 2 Nov 2026 09:00:00 +0000\r\nMessage-ID: <2@example.test>\r\n"
    b"In-Reply-To: <1@example.test>\r\n\r\nhello\r\n")
YESTERDAY = '(\\Seen) "01-Nov-2020 10:00:00 +0000"'

DIALOGUES = {
    "ID": [("ID NIL", r'^\* ID \("name" "Postern"', "OK")],
    "ENABLE": [("ENABLE CONDSTORE X-NONE", r"^\* ENABLED CONDSTORE$", "OK")],
    "NAMESPACE": [("NAMESPACE", r'^\* NAMESPACE \(\("" "\."\)\) NIL NIL', "OK")],
    "UIDPLUS": [("UID COPY 1 Other", r"OK \[COPYUID \d+ 1 1\]"), ("UID STORE 1:2 +FLAGS.SILENT (\\Deleted)", "OK"),
        ("UID EXPUNGE 2", r"^\* 2 EXPUNGE", "OK"), ("UID SEARCH ALL", r"^\* SEARCH 1$", "OK")],
    "MOVE": [("MOVE 1 Other", r"^\* OK \[COPYUID \d+ 1 1\]", r"^\* 1 EXPUNGE", "OK"),
        ("STATUS Other (MESSAGES)", r"\(MESSAGES 1\)", "OK")],
    "SPECIAL-USE": [('LIST (SPECIAL-USE) "" "*"', r"^\* LIST \(.*\\Sent.*\) .*Sent", "OK")],
    "CREATE-SPECIAL-USE": [("CREATE Gone (USE (\\Trash))", "OK"),
        ('LIST (SPECIAL-USE) "" "*"', r"^\* LIST \(.*\\Trash.*\) .*Gone", "OK"),
        ("CREATE All (USE (\\Nonsense))", r"NO \[USEATTR\]")],
    "LIST-EXTENDED": [('LIST (SUBSCRIBED) "" "*"', r"^\* LIST \(.*\\Subscribed.*\) .*Other", "OK"),
        ('LIST "" (INBOX Oth%) RETURN (SUBSCRIBED)', r"^\* LIST .*INBOX", r"^\* LIST .*\\Subscribed.*Other", "OK"),
        ('LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"', "OK"),
        ('LIST (RECURSIVEMATCH) "" "%"', "BAD")],
    "LIST-STATUS": [('LIST "" "INBOX" RETURN (STATUS (MESSAGES UIDNEXT))', r"^\* LIST .*INBOX",
        r'^\* STATUS "INBOX" \(MESSAGES 2 UIDNEXT 3\)', "OK")],
    "CHILDREN": [("CREATE Other.Below", "OK"), ('LIST "" "Other" RETURN (CHILDREN)', r"\\HasChildren", "OK"),
        ('LIST "" "Other.Below" RETURN (CHILDREN)', r"\\HasNoChildren", "OK")],
    "ESEARCH": [("UID SEARCH RETURN (MIN MAX COUNT ALL) ALL",
        r'^\* ESEARCH \(TAG "t\d+"\) UID MIN 1 MAX 2 (?=.*COUNT 2)(?=.*ALL 1:2)', "OK"),
        ("SEARCH RETURN (COUNT) SUBJECT nowhere", r"COUNT 0", "OK")],
    "SEARCHRES": [("SEARCH RETURN (SAVE) SUBJECT re:", "OK"), ("FETCH $ (UID)", r"^\* 2 FETCH \(UID 2\)", "OK"),
        ("UID STORE $ +FLAGS (\\Flagged)", r"^\* 2 FETCH .*\\Flagged", "OK"),
        ("UID SEARCH $ UID 1", r"^\* SEARCH$", "OK")],
    "WITHIN": [("SEARCH OLDER 86400", r"^\* SEARCH 1$", "OK"), ("SEARCH YOUNGER 86400", r"^\* SEARCH 2$", "OK"),
        ("SEARCH YOUNGER 0", "BAD")],
    "SORT": [("SORT (DATE) UTF-8 ALL", r"^\* SORT 2 1$", "OK"), ("SORT (REVERSE DATE) UTF-8 ALL", r"^\* SORT 1 2$", "OK"),
        ("SORT (DATE) KLINGON ALL", r"NO \[BADCHARSET")],
    "THREAD=REFERENCES": [("THREAD REFERENCES UTF-8 ALL", r"^\* THREAD \(1 2\)$", "OK")],
    "THREAD=ORDEREDSUBJECT": [("THREAD ORDEREDSUBJECT UTF-8 ALL", r"^\* THREAD \(2 1\)$", "OK")],
    "CONDSTORE": [("FETCH 1 (MODSEQ)", r"^\* 1 FETCH \(MODSEQ \(\d+\)\)", "OK"),
        ("STORE 1 (UNCHANGEDSINCE 1) +FLAGS (\\Flagged)", r"OK \[MODIFIED 1\]"),
        ("SEARCH MODSEQ 1", r"^\* SEARCH 1 2 \(MODSEQ \d+\)$", "OK")],
    "QRESYNC": [("ENABLE QRESYNC", r"^\* ENABLED QRESYNC", "OK"), ("UID STORE 1 +FLAGS.SILENT (\\Deleted)", "OK"),
        ("EXPUNGE", r"^\* VANISHED 1$", r"OK \[HIGHESTMODSEQ \d+\]"),
        ("UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)", r"^\* VANISHED \(EARLIER\) 1", r"^\* 1 FETCH", "OK")],
    "UNSELECT": [("STORE 1 +FLAGS.SILENT (\\Deleted)", "OK"), ("UNSELECT", "OK"), ("FETCH 1 FLAGS", "BAD"),
        ("STATUS INBOX (MESSAGES)", r"MESSAGES 2", "OK")],
    "BINARY": [("FETCH 1 (BINARY.SIZE[1])", r"BINARY.SIZE\[1\] 11", "OK"),
        ("FETCH 1 (BINARY.PEEK[1])", r"BINARY\[1\] (\{11\}|~\{11\})\r\nHello, Bob\.", "OK"),
        ("FETCH 1 (BINARY.PEEK[1]<7.3>)", r"BINARY\[1\]<7> .*\r\nBob", "OK")],
    "APPENDLIMIT": [("STATUS INBOX (APPENDLIMIT)", r"\(APPENDLIMIT \d+\)", "OK")],
    "QUOTA": [("GETQUOTAROOT INBOX", r'^\* QUOTAROOT "INBOX"', "OK"), ("SETQUOTA x (STORAGE 1)", "NO")],
    "STATUS=SIZE": [("STATUS INBOX (SIZE DELETED)", rf"SIZE {len(FIRST) + len(SECOND)}\b", "OK")],
    "OBJECTID": [("FETCH 1 (EMAILID THREADID)", r"EMAILID \([A-Za-z0-9_-]+\)", "OK"),
        ("STATUS INBOX (MAILBOXID)", r"MAILBOXID \([A-Za-z0-9_-]+\)", "OK")],
    "SAVEDATE": [("FETCH 1 (SAVEDATE)", r'SAVEDATE "\d\d-[A-Z][a-z]{2}-20\d\d ', "OK"),
        ("SEARCH SAVEDSINCE 1-Jan-2026", r"^\* SEARCH 1 2$", "OK"), ("SEARCH SAVEDATESUPPORTED", r"^\* SEARCH 1 2$", "OK")],
    "PREVIEW": [("FETCH 1 (PREVIEW)", r'PREVIEW "Hello, Bob\."', "OK"), ("FETCH 2 (PREVIEW (LAZY))", r"PREVIEW", "OK")],
    "METADATA": [('SETMETADATA Other (/private/comment "mine")', "OK"),
        ("GETMETADATA Other (/private/comment)", r'^\* METADATA "Other" \("/private/comment" "mine"\)', "OK"),
        ("SETMETADATA Other (/private/comment NIL)", "OK")],
    "NOTIFY": [("NOTIFY SET STATUS (PERSONAL (MessageNew MessageExpunge))", r"^\* STATUS \"?INBOX", "OK"),
        ("NOTIFY NONE", "OK")],
    "UTF8=ACCEPT": [("ENABLE UTF8=ACCEPT", r"^\* ENABLED UTF8=ACCEPT", "OK"), ('CREATE "Grüße"', "OK"),
        ('LIST "" "Gr*"', 'Grüße', "OK"), ('SELECT "Grüße"', "OK")],
    "IMAP4rev2": [("ENABLE IMAP4rev2", r"^\* ENABLED IMAP4rev2", "OK"), ("SEARCH ALL", r"^\* ESEARCH .*ALL 1:2", "OK"),
        ("SELECT INBOX", r"^\* OK \[CLOSED\]", r"^\* 2 EXISTS", r"^\* LIST .*INBOX", "OK"), ('LIST "" "Other"', r"^\* LIST .*Other", "OK")],
}
ELSEWHERE = {
    "IMAP4rev1", "LITERAL+", "MULTIAPPEND", "REPLACE",  # below
    "SASL-IR", "IDLE",  # test_mailbox_login.py
    "COMPRESS=DEFLATE",  # below
    "QUOTA=RES-STORAGE", "QUOTA=RES-MESSAGE",  # test_mailbox_full.py
}


@pytest.fixture
def client(make_postern):
    port = free_port()
    make_postern(extra=f"listen on 127.0.0.1 port {port} imap auth-cleartext\n")
    made = Client(port, USER)
    made.run("CREATE Other")
    made.run("SUBSCRIBE Other")
    made.run("CREATE Sent (USE (\\Sent))")
    made.run(f"APPEND INBOX {YESTERDAY}", FIRST)
    made.run("APPEND INBOX", SECOND)
    yield made
    made.close()


def ask(client, command, *literals):
    """The whole answer, as lines with their literals."""
    tag = client.begin(command, *literals)
    client.pending.clear()
    lines = []
    while True:
        parts = client.read_line()
        text = parts[0]
        for literal, after in zip(parts[1::2], parts[2::2]):
            text += "\r\n" + literal.decode() + after
        lines.append(text)
        if text.startswith(tag + " "):
            return lines


def check(client, command, *patterns):
    lines = ask(client, command)
    *before, status = patterns
    assert re.match(rf"t\d+ ({status})", lines[-1]), (command, lines)
    at = 0
    for pattern in before:
        while at < len(lines) and not re.search(pattern, lines[at], re.MULTILINE):
            at += 1
        assert at < len(lines), (command, pattern, lines)


@pytest.mark.parametrize("extension", DIALOGUES)
def test_extension_is_there(client, extension):
    ask(client, "SELECT INBOX")
    for exchange in DIALOGUES[extension]:
        check(client, *exchange)


def test_each_extension_named_is_tested(client):
    (line,) = [line for line in ask(client, "CAPABILITY") if line.startswith("* CAPABILITY ")]
    named = set(line.removeprefix("* CAPABILITY ").split())
    assert named == set(DIALOGUES) | ELSEWHERE


def test_messages_are_appended_together_and_replaced(client):
    lines = ask(client, "APPEND Other", FIRST, SECOND)
    assert re.search(r"OK \[APPENDUID \d+ 1:2\]", lines[-1]), lines
    ask(client, "SELECT Other")
    lines = ask(client, "UID REPLACE 1 Other", SECOND)
    assert any(re.search(r"\[APPENDUID \d+ 3\]", line) for line in lines), lines
    assert "* 1 EXPUNGE" in lines and re.match(r"t\d+ OK", lines[-1])
    check(client, "UID SEARCH ALL", r"^\* SEARCH 2 3$", "OK")
