"""This suite and Dovecot on one Maildir, in turn: each finds what the other left, with the same uids, and
what they say of the same messages is the same."""

import concurrent.futures
import hashlib
import imaplib
import os
import pwd
import re
import shlex
import subprocess

import pytest

import odd_answers
import odd_mails
from postern import wait_for
from test_auth import USER
from test_mailbox_login import imap, server  # noqa: F401 (a fixture)
from test_tls import folder, rsa  # noqa: F401 (fixtures)

pytestmark = pytest.mark.root  # Dovecot's imap changes to the mailbox's owner


class Dovecot:
    """Its imap and doveadm on alice's Maildir, without its master."""

    def __init__(self, program, postern, tmp_path):
        self.program, self.config = program, tmp_path / "dovecot.conf"
        owner = pwd.getpwnam("_vmail")
        (tmp_path / "run").mkdir()
        tmp_path.chmod(0o755)
        self.config.write_text(f"base_dir={tmp_path}/run\n"
            f"mail_location=maildir:{postern.maildir(USER)}\nssl=no\n"
            f"mail_uid={owner.pw_uid}\nmail_gid={owner.pw_gid}\nfirst_valid_uid=1\n"
            "default_internal_user=root\ndefault_login_user=root\nstats_writer_socket_path=\n"
            "namespace inbox {\n inbox = yes\n}\n")

    def imap(self):
        return imaplib.IMAP4_stream(f"HOME=/nonexistent USER=alice {shlex.quote(self.program)} "
            f"{shlex.quote(str(self.config))} imap 2>{self.config}.complaints")

    def doveadm(self, *words):
        result = subprocess.run([self.program, self.config, "doveadm", *words], text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20,
            env={"HOME": "/nonexistent", "USER": "alice"})
        assert result.returncode == 0, result.stderr
        return result.stdout


@pytest.fixture
def dovecot(server, tool, tmp_path):  # noqa: F811
    return Dovecot(tool("dovecot"), server, tmp_path)


def good(answer):
    kind, data = answer
    assert kind == "OK", data
    return data


def folders(client):
    names = []
    for line in good(client.list()):
        names.append(re.search(rb' (?:"([^"]*)"|(\S+))$', line).group(1, 2))
    return sorted((quoted or plain).decode() for quoted, plain in names)


def subscribed(client):
    return sorted(re.search(rb'"?([^ "]+)"?$', line).group(1).decode() for line in good(client.lsub())
        if line)


def look(client):
    """All that there is: by folder its UIDVALIDITY, UIDNEXT and messages by uid."""
    found = {}
    for name in folders(client):
        status = good(client.status(f'"{name}"', "(UIDVALIDITY UIDNEXT MESSAGES)"))[0]
        numbers = dict(zip(("UIDVALIDITY", "UIDNEXT", "MESSAGES"), (int(
            re.search(word + rb" (\d+)", status).group(1)) for word in
            (b"UIDVALIDITY", b"UIDNEXT", b"MESSAGES"))))
        good(client.select(f'"{name}"', readonly=True))
        messages = {}
        data = good(client.uid("FETCH", "1:*", "(FLAGS RFC822.SIZE INTERNALDATE BODY.PEEK[])"))
        for index, item in enumerate(data):
            if not isinstance(item, tuple):
                continue
            head = item[0] + (data[index + 1] if index + 1 < len(data) and
                isinstance(data[index + 1], bytes) else b"")
            uid = int(re.search(rb"UID (\d+)", head).group(1))
            flags = re.search(rb"FLAGS \(([^)]*)\)", head).group(1).split()
            messages[uid] = (sorted(set(flags) - {b"\\Recent"}),
                re.search(rb"RFC822.SIZE (\d+)", head).group(1),
                re.search(rb'INTERNALDATE "[ 0]?([^"]*)"', head).group(1),  # " 1" and "01" are the same
                hashlib.sha256(item[1]).hexdigest())
        assert len(messages) == numbers["MESSAGES"]
        found[name] = (numbers["UIDVALIDITY"], numbers["UIDNEXT"], messages)
    return found, subscribed(client)


def letter(number, body="hello\r\n"):
    return (f"From: Bob <bob@example.test>\r\nTo: {USER}\r\nSubject: letter {number}\r\n"
        f"Date: Sun, {1 + number % 28} Nov 2026 10:00:00 +0000\r\n"
        f"Message-ID: <{number}@example.test>\r\n\r\n{body}").encode()


def append(client, mailbox, number, flags=""):
    good(client.append(f'"{mailbox}"', f"({flags})", '"01-Nov-2026 10:00:00 +0000"', letter(number)))


def make_mailbox(client):
    for name in ("Archive", "Archive.2025", "Drafts"):
        good(client.create(f'"{name}"'))
    for name in ("INBOX", "Archive.2025"):
        good(client.subscribe(f'"{name}"'))
    for number in range(6):
        append(client, "INBOX", number, ("", "\\Seen", "\\Flagged Work", "$Forwarded", "\\Answered",
            "Work Later")[number])
    for number in range(10, 13):
        append(client, "Archive.2025", number, "\\Seen")
    good(client.select("INBOX"))
    good(client.uid("STORE", "2", "+FLAGS", "(\\Deleted)"))
    good(client.expunge())
    good(client.uid("COPY", "3", '"Archive"'))


def change_mailbox(client, number):
    good(client.select("INBOX"))
    uids = good(client.uid("SEARCH", "ALL"))[0].split()
    good(client.uid("STORE", uids[0], "+FLAGS", f"(\\Seen Mark{number})"))
    good(client.uid("STORE", uids[1], "-FLAGS", "(\\Flagged Work)"))
    good(client.uid("MOVE", uids[-1], '"Archive.2025"'))
    append(client, "INBOX", 100 + number, f"Mark{number} Work")
    append(client, "Drafts", 200 + number, "\\Draft")
    good(client.create(f'"New{number}"'))
    good(client.subscribe(f'"New{number}"'))
    good(client.rename(f'"New{number}"', f'"Archive.New{number}"'))


def visit(open_client, what, *arguments):
    client = open_client()
    try:
        return what(client, *arguments)
    finally:
        client.logout()


@pytest.mark.parametrize("first", ["dovecot", "here"])
def test_each_takes_over_what_the_other_left(server, dovecot, first):  # noqa: F811
    openers = [dovecot.imap, lambda: imap(server)]
    if first == "here":
        openers.reverse()
    server.send(USER)
    server.wait_mail(USER)
    visit(openers[0], make_mailbox)
    seen = visit(openers[0], look)
    assert visit(openers[1], look) == seen
    for number in range(3):
        # Who changes it, and what the other makes of that.
        visit(openers[(number + 1) % 2], change_mailbox, number)
        seen = visit(openers[(number + 1) % 2], look)
        assert visit(openers[number % 2], look) == seen
    assert len(seen[0]["INBOX"][2]) == 6


def test_doveadm_before_and_after(server, dovecot):  # noqa: F811
    visit(lambda: imap(server), make_mailbox)
    fetched = dovecot.doveadm("fetch", "uid hdr.subject", "mailbox", "INBOX", "ALL")
    assert re.findall(r"uid: (\d+)", fetched) == ["1", "3", "4", "5", "6"]
    assert "letter 5" in fetched
    assert dovecot.doveadm("search", "mailbox", "INBOX", "keyword", "Work").count("\n") == 2
    dovecot.doveadm("flags", "add", "\\Seen Later", "mailbox", "INBOX", "uid", "3")
    dovecot.doveadm("expunge", "mailbox", "INBOX", "uid", "1")
    dovecot.doveadm("mailbox", "create", "Made")
    found, _ = visit(lambda: imap(server), look)
    assert sorted(found["INBOX"][2]) == [3, 4, 5, 6]
    assert found["INBOX"][2][3][0] == sorted([b"\\Flagged", b"Work", b"\\Seen", b"Later"])
    assert "Made" in found
    assert visit(dovecot.imap, look)[0] == found


def test_both_at_once_end_in_the_same_state(server, dovecot):  # noqa: F811
    """A session here and one of Dovecot's, and doveadm, change the same folders without waiting for one
    another; mail arrives meanwhile."""
    kept, removed = [], []
    rounds = 24

    def work(open_client, name, first):
        client = open_client()
        for number in range(first, first + rounds):
            append(client, "INBOX", number, name)
            good(client.select("INBOX"))
            (uids,) = good(client.uid("SEARCH", "SUBJECT", f'"letter {number}"'))
            assert len(uids.split()) == 1, (number, uids)
            what = number % 4
            if what == 0:
                good(client.uid("STORE", uids, "+FLAGS", "(\\Deleted)"))
                good(client.uid("EXPUNGE", uids))
            elif what == 1:
                good(client.uid("MOVE", uids, '"Archive"'))
            elif what == 2:
                good(client.uid("STORE", uids, "+FLAGS", "(\\Flagged Both)"))
            (removed if what == 0 else kept).append(f"letter {number}")
        client.logout()

    visit(lambda: imap(server), lambda client: good(client.create('"Archive"')))
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(work, lambda: imap(server), "Here", 1000),
            pool.submit(work, dovecot.imap, "There", 2000)]
        for number in range(3000, 3000 + rounds // 2):
            server.send(USER, letter(number))
            kept.append(f"letter {number}")
            if number % 4 == 0:
                dovecot.doveadm("flags", "add", "\\Answered", "mailbox", "INBOX", "keyword", "Here")
        for job in jobs:
            job.result()
    wait_for(lambda: len(visit(lambda: imap(server), subjects)) == len(kept), what="all has arrived")
    seen = visit(lambda: imap(server), look)
    assert visit(dovecot.imap, look) == seen
    assert sorted(visit(lambda: imap(server), subjects)) == sorted(kept)
    assert not set(removed) & set(kept) and len(removed) == rounds // 2


def subjects(client):
    found = []
    for name in ("INBOX", "Archive"):
        good(client.select(f'"{name}"', readonly=True))
        found += [re.search(rb"Subject: ([^\r]*)", part[1]).group(1).decode()
            for part in good(client.uid("FETCH", "1:*", "(BODY.PEEK[HEADER])")) if isinstance(part, tuple)]
    return found


ITEMS = ("ENVELOPE", "BODYSTRUCTURE", "BODY", "RFC822.SIZE", "RFC822.HEADER", "BODY.PEEK[TEXT]", "BODY.PEEK[1]",
    "BODY.PEEK[1.MIME]", "BODY.PEEK[2]", "BODY.PEEK[2.MIME]", "BODY.PEEK[2.HEADER]", "BODY.PEEK[2.TEXT]",
    "BODY.PEEK[1.1]", "BODY.PEEK[1.2]", "BODY.PEEK[2.1]", "BODY.PEEK[HEADER.FIELDS (SUBJECT CC)]",
    "BODY.PEEK[HEADER.FIELDS.NOT (DATE SUBJECT)]", "BODY.PEEK[TEXT]<3.10>")
SEARCHES = ('SUBJECT "plain"', 'SUBJECT "GRÜSSE"', 'SUBJECT "grüße"', 'FROM "a@example"', 'TO "b@"', 'CC "john"',
    'CC "müller"', 'BODY "hello"', 'BODY "grüße"', 'BODY "base64"', 'TEXT "inner"', 'BODY "inner"', "LARGER 2000",
    "SMALLER 100", "SENTSINCE 5-Jun-2026", "SENTBEFORE 5-Jun-2026", "SENTON 2-Jun-2026", "BEFORE 1-Jan-2020",
    "SINCE 1-Jan-2020", 'HEADER Message-ID ""', 'HEADER References "11@"', "NOT SUBJECT plain",
    "OR SUBJECT plain BODY hello", 'BODY ".bin"', "1:5 ALL", "UNSEEN", "KEYWORD x")
SORTS = ("DATE", "REVERSE DATE", "SUBJECT", "FROM", "TO", "CC", "SIZE", "SUBJECT REVERSE DATE")


def say(client):
    """All that a server says of the messages: {what: answer}."""
    answers = {}
    good(client.select("INBOX", readonly=True))
    for item in ITEMS:
        data = good(client.fetch("1:*", f"({item})"))
        answers[item] = split(data, item.startswith("BODY.PEEK"))
    for search in SEARCHES:
        client.literal = None
        answers[f"SEARCH {search}"] = good(client._simple_command("SEARCH", "CHARSET", "UTF-8",
            search.encode())) and client._untagged_response("OK", [None], "SEARCH")[1]
    for sort in SORTS:
        answers[f"SORT {sort}"] = good(client.sort(f"({sort})", "UTF-8", "ALL"))
    for thread in ("REFERENCES", "ORDEREDSUBJECT"):
        answers[f"THREAD {thread}"] = good(client.thread(thread, "UTF-8", "ALL"))
    return answers


def words(text):
    """A response as a nested list: strings without their form, NIL and atoms in upper case."""
    stack, at = [[]], 0
    while at < len(text):
        if text[at:at + 1] == b"(":
            stack.append([])
        elif text[at:at + 1] == b")":
            stack[-2].append(stack.pop())
        elif match := re.compile(rb"\{(\d+)\}\r\n").match(text, at):
            at = match.end() + int(match.group(1))
            stack[-1].append(text[match.end():at])
            continue
        elif match := re.compile(rb'"((?:[^"\\]|\\.)*)"').match(text, at):
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", match.group(1)))
            at = match.end()
            continue
        elif match := re.compile(rb"[^ ()\"]+").match(text, at):
            stack[-1].append(match.group().upper())
            at = match.end()
            continue
        at += 1
    assert len(stack) == 1, text
    return stack[0]


def split(data, may_be_missing):
    """Each message's own part of an answer to FETCH. A part that isn't there may be NIL or empty (RFC 3501
    6.4.5 doesn't say)."""
    found, text = {}, b""
    for part in data:
        text += part[0] + b"\r\n" + part[1] if isinstance(part, tuple) else part
        if not isinstance(part, tuple):
            number, (_, *answer) = words(text)
            if may_be_missing:
                answer = [None if word in (b"NIL", b"") else word for word in answer]
            found[int(number)] = answer
            text = b""
    return found


# Why the two answer differently of a mail; odd_answers.py has our answers.
REASONS = {
    "folded subject": "RFC 5322 2.2.3: unfolding takes the CRLF away, and the tab stays",
    "odd addresses": "RFC 9051 7.5.2: what isn't there is an empty string here; there MISSING_DOMAIN",
    "header only": "RFC 9051 6.4.5.1: the empty line is there in any case",
    "same field twice": "RFC 5322 3.6 has at most one; the first counts here, there all or the last",
    "report": "RFC 2045 5.2: only text/plain is us-ascii without a charset",
    "no parts": "a multipart without a part is told with an empty one, of which there is nothing to fetch",
    "no boundary": "RFC 2045 5.2: what can't be parted is text/plain",
    "an empty part": "its header is an empty line here, and nothing there",
    "boundary of another": "RFC 2046 5.1.1: a line that goes on isn't the boundary",
    "rfc 2231": "RFC 3501 has no say; the parameters are as they stand here, put together there",
    "odd type": "RFC 2045 5.2: what can't be understood is text/plain",
    "odd encoding": "RFC 2045 6.4: of an encoding that isn't known no charset is made up",
}
DIFFERENT_SEARCHES = {
    'BODY "hello"': {"odd type", "odd encoding"},  # found here as well
    "SENTBEFORE 5-Jun-2026":  # RFC 3501 6.4.4: by the Date field, which these don't have
        {"no header", "header only", "nothing", "no date", "bad date"},
}


def compare_fetch(what, name, ours, theirs, parents):
    """What is wrong, or None. `parents`: theirs of the part that this is a part of."""
    pinned = odd_answers.OURS.get((what, name))
    if pinned is not None:
        if ours != pinned:
            return f"{what} of {name!r} is\n  {ours}, was\n  {pinned}"
        return f"{what} of {name!r} isn't different any more" if ours == theirs else None
    # A part that has no parts is its own part 1 to Dovecot, and has none here.
    if ours == theirs or (parents is not None and ours == [None] and theirs == parents):
        return None
    return f"{what} of {name!r}:\n  {ours}\n  {theirs}"


def test_odd_messages_are_the_same_to_both(server, dovecot):  # noqa: F811
    owner = pwd.getpwnam("_vmail")
    server.send(USER)
    server.wait_mail(USER)
    maildir = server.maildir(USER)
    for file in (maildir / "new").iterdir():
        file.unlink()
    names = {}
    for number, (name, data) in enumerate(odd_mails.mails().items(), 1):
        file = maildir / "cur" / f"{1780000000 + number}.M{number}.x:2,"
        file.write_bytes(data.replace(b"\r\n", b"\n"))
        os.chown(file, owner.pw_uid, owner.pw_gid)
        names[number] = name
    ours, theirs = visit(lambda: imap(server), say), visit(dovecot.imap, say)
    assert {name for _, name in odd_answers.OURS} == set(REASONS)
    wrong = []
    for what, answer in ours.items():
        if isinstance(answer, dict):
            parent = theirs.get(what[:-3] + "]", {}) if what.endswith(".1]") else {}
            wrong += [compare_fetch(what, name, answer[number], theirs[what][number],
                parent.get(number)) for number, name in names.items()]
        elif what.startswith("SEARCH"):
            both = [{names[int(number)] for number in (side[0] or b"").split()}
                for side in (answer, theirs[what])]
            if both[0] ^ both[1] != DIFFERENT_SEARCHES.get(what.removeprefix("SEARCH "), set()):
                wrong.append(f"{what}:\n  {both[0]}\n  {both[1]}")
        elif answer != theirs[what]:
            wrong.append(f"{what}:\n  {answer}\n  {theirs[what]}")
    wrong = [what for what in wrong if what]
    assert not wrong, "\n".join(wrong)
