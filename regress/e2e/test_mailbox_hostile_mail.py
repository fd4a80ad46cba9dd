"""Messages that are made to be hard to read, and files that change under who reads them: what was delivered comes
out as it was, in seconds, and never as another message's text."""

import os
import pathlib
import poplib
import re
import shutil
import socket

import pytest

from imap_model import message
from postern import is_root, wait_for
from test_mailbox_dovecot import words
from test_mailbox_hostile import PASSWORD, USER, client, kept, opened, server, witness  # noqa: F401
from test_mailbox_hostile import say

MIB = 1024 * 1024


def mail(body="hello\r\n", *fields):
    return "".join(field + "\r\n" for field in ("From: a@client.test", *fields)) + "\r\n" + body


def multipart(body, boundary="x", kind="mixed", *fields):
    return mail(body, f'Content-Type: multipart/{kind}; boundary="{boundary}"', *fields)


def nested_multiparts(count):
    opening = "".join(f'--b{level}\r\nContent-Type: multipart/mixed; boundary="b{level + 1}"\r\n\r\n'
        for level in range(count))
    closing = "".join(f"--b{level}--\r\n" for level in range(count, -1, -1))
    return multipart(f"{opening}--b{count}\r\n\r\ninnermost\r\n{closing}", "b0")


MAILS = {
    "multiparts 1,000 deep": nested_multiparts(1000),
    "messages 1,000 deep": mail("Content-Type: message/rfc822\r\n\r\n" * 1000 + mail(),
        "Content-Type: message/rfc822"),
    "100,000 parts": multipart("--x\r\n\r\np\r\n" * 100000 + "--x--\r\n"),
    "parts of no line": multipart("--x\r\n" * 100000 + "--x--\r\n"),
    "a boundary of 10 KiB": multipart(f"--{'y' * 10240}\r\n\r\npart\r\n--{'y' * 10240}--\r\n", "y" * 10240),
    "no end": multipart("--x\r\n\r\npart\r\n--x\r\nContent-Type: text/html\r\n\r\npart that goes on"),
    "no boundary": mail("--\r\n--\r\n" * 10000, "Content-Type: multipart/mixed; boundary="),
    "boundaries in boundaries": multipart(("--x\r\n--xx\r\n--xxx--\r\n\r\n") * 20000),
    "20,000 parameters": mail("hello\r\n", "Content-Type: text/plain" + "".join(
        f";\r\n name*{number}*=utf-8''%41" for number in range(20000))),
    "50,000 addresses": mail("hello\r\n", "To: " + ",\r\n ".join(
        f"u{number}@client.test" for number in range(50000))),
    "20,000 groups": mail("hello\r\n", "To: " + ";\r\n ".join(f"g{number}:a@b" for number in range(20000))),
    "65,000 routes": mail("hello\r\n", "To: " + "<@>," * 65000),
    "200,000 nested comments": mail("hello\r\n", *(f"{name}: {'(' * 200000}{')' * 200000}" for name in
        ("To", "Subject", "Content-Type", "Content-Disposition"))),
    "comments that aren't closed": mail("hello\r\n", *(f"{name}: a{'(' * 200000}" for name in
        ("To", "Date", "MIME-Version", "Content-Transfer-Encoding", "Content-Language"))),
    "20,000 encoded words": mail("hello\r\n", "Subject: " + "\r\n ".join(
        f"=?{('utf-8', 'iso-2022-jp', 'x-none')[number % 3]}?q?=41{number}?=" for number in range(20000))),
    "a digest behind a long comment": multipart("--x\r\n\r\n\r\n" * 9000 + "--x--\r\n").replace(
        "multipart/mixed", f"({'c' * 250000}) multipart/digest"),
    "a line of a mebibyte": mail("z" * MIB + "\r\n"),
    "a field of a mebibyte": mail("hello\r\n", "Subject: " + "z" * (MIB - 100)),
    "200,000 fields": mail("hello\r\n", *["x:"] * 200000),
    "20,000 references": mail("hello\r\n", "References: " + "\r\n ".join(f"<{n}@x>" for n in range(20000))),
    "a subject of replies": mail("hello\r\n", "Subject: " + "[a] re: [b] " * 2700 + "[a]" * 9000),
    "many fields of parts": multipart("".join(f"--x\r\nContent-Type: text/plain; name={'n' * 200}\r\n\r\n\r\n"
        for _ in range(5000))),
}


@pytest.fixture(scope="module")
def sent(server):
    """Delivered by SMTP: their numbers by their names."""
    numbers = {}
    client = opened(server)
    for name, text in MAILS.items():
        server.send(USER, text)
        wait_for(lambda: (client.run("NOOP"), len(client.folder.uids) > 3 + len(numbers))[1], 20, name)
        numbers[name] = len(client.folder.uids)
    client.close()
    return numbers


def fetched(client, number, items):
    client.run(f"FETCH {number} ({items})")
    (parts,) = client.lines
    return parts


def delivered(name):
    text = MAILS[name].encode()
    return text if text.endswith(b"\r\n") else text + b"\r\n"


@pytest.mark.parametrize("name", MAILS)
def test_what_is_hard_to_read_comes_out_as_it_was(sent, client, name):
    whole = fetched(client, sent[name], "BODY.PEEK[]")[1]
    assert whole.endswith(b"\r\n" + delivered(name))
    header, text = whole.split(b"\r\n\r\n", 1)
    assert fetched(client, sent[name], "BODY.PEEK[HEADER]")[1] == header + b"\r\n\r\n"
    assert fetched(client, sent[name], "BODY.PEEK[TEXT]")[1] == text
    assert fetched(client, sent[name], f"BODY.PEEK[]<{len(whole) - 10}.100>")[1] == whole[-10:]
    assert fetched(client, sent[name], "RFC822.SIZE")[0].endswith(f" {len(whole)})")
    (got,) = [line[1] for line in fields(client, sent[name], "FROM")]
    assert got.endswith(b"From: a@client.test\r\n\r\n")


def fields(client, number, names):
    client.run(f"FETCH {number} BODY.PEEK[HEADER.FIELDS ({names})]")
    return client.lines


def is_well_formed(parts):
    """A response with its literals."""
    read = words(b"\r\n".join(part if isinstance(part, bytes) else part.encode() for part in parts))
    return len(read) == 4


@pytest.mark.parametrize("name", MAILS)
def test_the_parts_of_what_is_hard_to_read_are_told(sent, client, name):
    whole = fetched(client, sent[name], "BODY.PEEK[]")[1]
    for item in ("ENVELOPE", "BODYSTRUCTURE", "BODY", "PREVIEW"):
        parts = fetched(client, sent[name], item)
        assert item == "BODY" or is_well_formed(parts), item
        assert fetched(client, sent[name], item) == parts  # as it is kept
    for section in ("1", "2", "1.MIME", "9999", "10001", "4294967295", "1.1.1", ".".join("1" * 60),
            ".".join("1" * 60) + ".MIME"):
        parts = fetched(client, sent[name], f"BODY.PEEK[{section}]")
        assert parts[0].endswith(" NIL)") or parts[1] in whole
    for section in (".".join("1" * 1000), "4294967296", "1.4294967296"):
        assert say(client, f"x FETCH {sent[name]} BODY.PEEK[{section}]\r\n".encode())[0] == "BAD"


@pytest.mark.parametrize("name", MAILS)
def test_what_is_hard_to_read_is_searched_sorted_and_threaded(sent, client, name):
    number = sent[name]
    for key, is_found in (('TEXT "nowhere at all"', False), ('BODY "nowhere at all"', False),
            ('FROM "A@CLIENT"', True), ('SUBJECT "nowhere"', False), ('TO "nowhere"', False), ('HEADER Content-Type "nowhere"', False),
            ('TEXT "from: a@client.test"', True), ("SENTSINCE 1-Jan-2000 LARGER 100000000", False)):
        client.run(f"SEARCH {number} {key}")
        assert client.lines == [[f"* SEARCH {number}" if is_found else "* SEARCH"]], key
    client.run(f"SORT (SUBJECT FROM TO CC DATE SIZE ARRIVAL) UTF-8 {number},1")
    assert sorted(client.lines[0][0].split()[2:], key=int) == ["1", str(number)]
    for algorithm in "REFERENCES", "ORDEREDSUBJECT":
        client.run(f"THREAD {algorithm} UTF-8 {number},1")
        assert set(re.findall(r"\d+", client.lines[0][0])) == {"1", str(number)}


def test_pop3_sends_what_is_hard_to_read(server, sent):
    client = poplib.POP3("127.0.0.1", server.ports["pop3"], timeout=20)
    poplib._MAXLINE = 4 * MIB
    client.user(USER)
    client.pass_(PASSWORD)
    sizes = {int(line.split()[0]): int(line.split()[1]) for line in client.list()[1]}
    for name, number in sent.items():
        text = delivered(name)
        _, lines, _ = client.retr(number)
        whole = b"".join(line + b"\r\n" for line in lines)
        assert whole.endswith(b"\r\n" + text) and len(whole) == sizes[number], name
        header, body = whole.split(b"\r\n\r\n", 1)
        _, lines, _ = client.top(number, 2)
        assert b"".join(line + b"\r\n" for line in lines) == header + b"\r\n\r\n" + b"".join(
            line + b"\r\n" for line in body.split(b"\r\n")[:-1][:2])
    client.quit()


# Files that change

LARGE = b"Subject: large\r\nX-Token: m-2\r\n\r\n" + b"large text line\r\n" * (2 * MIB)


class Files:
    """A folder of three messages, and their files."""

    def __init__(self, server, client, second):
        client.select("INBOX")
        client.run("DELETE Files", ok=False)
        client.run("CREATE Files")
        self.directory = server.maildir(USER) / ".Files"
        self.paths = []
        for text in (message("m-1"), second, message("m-3")):
            client.run("APPEND Files", text)
            (new,) = set((self.directory / "cur").iterdir()) - set(self.paths)
            self.paths.append(new)
        self.second = self.paths[1]
        self.client = client
        client.select("Files")
        client.run("FETCH 1:* (RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[])")  # is known and kept

    def replace(self, text):
        """By another file, as a program does it that writes a new one and renames it."""
        path = self.directory / "tmp" / "other"
        path.write_bytes(text)
        if is_root():
            shutil.chown(path, "_vmail", "_vmail")
        path.rename(self.second)

    def others_are_right(self):
        self.client.run("NOOP")
        self.client.run("FETCH 1,* BODY.PEEK[]")
        assert [line[1] for line in self.client.lines] == [message("m-1"), message("m-3")]


@pytest.fixture
def files(server, client):
    made = Files(server, client, message("m-2"))
    yield made
    made.others_are_right()
    client.select("INBOX")


OTHER_TEXTS = {"nothing": b"", "half": message("m-2")[:len(message("m-2")) // 2], "another": message("m-9"),
    "larger": message("m-2") * 5000, "no header": b"x" * 100000 + b"\n", "a NUL": message("m-2") + b"\0" * 10}


@pytest.mark.parametrize("is_new", [True, False], ids=["new file", "same file"])
@pytest.mark.parametrize("name", OTHER_TEXTS)
def test_a_file_that_has_another_text_is_sent_as_it_is(files, client, name, is_new):
    text = OTHER_TEXTS[name]
    if is_new:
        files.replace(text)
    else:
        files.second.write_bytes(text)
    expected = re.sub(rb"\r?\n", b"\r\n", text)
    client.run("FETCH 2 (BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODY.PEEK[1] BODYSTRUCTURE ENVELOPE "
        "RFC822.SIZE)")
    (parts,) = client.lines
    literals = [part for part in parts if isinstance(part, bytes)]
    assert not literals or literals[0] == expected
    assert all(part in expected for part in literals)
    client.run('SEARCH TEXT "line 1"')
    client.run("SORT (SUBJECT SIZE) UTF-8 ALL")
    client.run("THREAD REFERENCES UTF-8 ALL")


def test_a_file_that_was_removed_is_gone(files, client):
    files.second.unlink()
    status, _ = client.run("FETCH 1:3 (BODY.PEEK[] ENVELOPE)", ok=False)
    assert status in ("OK", "NO")
    texts = [part for line in client.lines for part in line if isinstance(part, bytes)]
    assert texts == [message("m-1"), message("m-3")]
    wait_for(lambda: (client.run("NOOP"), len(client.folder.uids) == 2)[1])


def truncate(files):
    os.truncate(files.second, 1000)


def remove(files):
    files.second.unlink()


def put_another(files):
    files.replace(message("m-9") * 100000)


def grow(files):
    with files.second.open("ab") as file:
        file.write(message("m-9"))


@pytest.mark.parametrize("change", [truncate, remove, put_another, grow], ids=lambda change: change.__name__)
def test_a_file_that_changes_while_it_is_sent_is_sent_as_long_as_was_said(server, client, change):
    files = Files(server, client, LARGE)
    reader = opened(server)
    reader.select("Files")
    reader.begin("FETCH 2:3 BODY.PEEK[]")
    reader.socket.recv(1000, socket.MSG_PEEK)  # it has begun
    change(files)
    reader.end()
    text = reader.lines[0][1]
    if change is truncate:
        kept = len(os.path.commonprefix([text, LARGE]))
        assert len(text) == len(LARGE) and text[kept:].strip(b" ") == b""
    else:
        assert text == LARGE
    assert reader.lines[1][1] == message("m-3")
    reader.close()
    files.others_are_right()
    client.select("INBOX")


def test_a_file_that_becomes_shorter_while_pop3_sends_it_is_not_taken_for_whole(server):
    cur = server.maildir(USER) / "cur"
    opened(server).close()  # there is a Maildir
    path = cur / "1700000000.1.x:2,S"
    path.write_bytes(LARGE.replace(b"\r\n", b"\n"))
    shutil.chown(path, cur.owner(), cur.group())
    client = poplib.POP3("127.0.0.1", server.ports["pop3"], timeout=20)
    client.user(USER)
    client.pass_(PASSWORD)
    (number,) = [line.split()[0] for line in client.list()[1] if int(line.split()[1]) == len(LARGE)]
    client._putcmd(f"RETR {number.decode()}")
    client.sock.recv(1000, socket.MSG_PEEK)  # it has begun
    os.truncate(path, 1000)
    with pytest.raises((poplib.error_proto, OSError)):
        client._getlongresp()
    server.wait_log("pop3-disconnected", reason="a message can't be read")


def put_fifo(path, _server):
    os.mkfifo(path)


def put_directory(path, _server):
    path.mkdir()


def put_link_to_another_user(path, server):
    if not server.mails("bob@example.test"):
        server.send("bob@example.test", "Subject: secret\r\n\r\nsecret of bob\r\n")
    path.symlink_to(server.wait_mail("bob@example.test")[0].path)


def put_link_to_shadow(path, _server):
    path.symlink_to("/etc/shadow")


def put_link_to_a_device(path, _server):
    path.symlink_to("/dev/zero")


def put_link_to_a_message(path, _server):
    path.symlink_to(next(pathlib.Path(path.parent).glob("*")))


@pytest.mark.parametrize("put", [put_fifo, put_directory, put_link_to_another_user, put_link_to_shadow,
    put_link_to_a_device, put_link_to_a_message], ids=lambda put: put.__name__[4:])
@pytest.mark.parametrize("command", ["FETCH 2 BODY.PEEK[]", "FETCH 2 (ENVELOPE PREVIEW RFC822.SIZE)",
    'SEARCH 2 TEXT "secret"', "SORT (SUBJECT) UTF-8 2", "COPY 2 INBOX", "MOVE 2 INBOX", "STORE 2 +FLAGS (\\Flagged)", "UID EXPUNGE 2"])
def test_what_is_no_file_any_more_is_not_followed(server, files, client, command, put):
    client.run("STORE 2 +FLAGS (\\Deleted)")
    (path,) = set((files.directory / "cur").iterdir()) - set(files.paths)
    inbox = set((server.maildir(USER) / "cur").iterdir())
    path.unlink()
    put(path, server)
    client.run(command, ok=False)
    assert not [part for line in client.lines for part in line if isinstance(part, bytes)], client.lines
    assert not any(line[0].startswith("* SEARCH 2") for line in client.lines)
    assert set((server.maildir(USER) / "cur").iterdir()) == inbox
    wait_for(lambda: (client.run("NOOP"), len(client.folder.uids) == 2)[1])
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def test_pop3_follows_no_link_that_took_a_file_s_place(server):
    bob = "bob@example.test"
    for _ in range(3):
        server.send(bob, "Subject: to bob\r\n\r\nhello bob\r\n")
    server.wait_mail(bob, 3)
    client = poplib.POP3("127.0.0.1", server.ports["pop3"], timeout=20)
    client.user(bob)
    client.pass_(PASSWORD)
    count = client.stat()[0]
    path = server.mails(bob)[-1].path
    path.unlink()
    path.symlink_to(server.mails(USER)[0].path)
    for command in lambda: client.retr(count), lambda: client.top(count, 5):
        with pytest.raises(poplib.error_proto, match="gone|can't be read"):
            command()
    assert client.retr(count - 1)[1][-1] == b"hello bob"
    client.dele(count)
    client.quit()
    assert not path.exists()


def test_a_folder_that_is_a_link_is_none(server, client):
    link = server.maildir(USER) / ".Link"
    server.send("bob@example.test")
    link.symlink_to(server.maildir("bob@example.test"))
    client.run('LIST "" "*"')
    assert not any("Link" in line[0] for line in client.lines)
    for command in "COPY 1 Link", "STATUS Link (MESSAGES)", "SELECT Link":
        assert client.run(command, ok=False)[0] == "NO"
    client.select("INBOX")
    link.unlink()
