"""The programs with which people read, configured as they configure them, over TLS with a certificate that
is checked: they get every byte, take changes both ways, and remove."""

import imaplib
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import tempfile

import pytest

from postern import free_port, is_root, wait_for
from test_auth import PASSWORD, USER
from test_tls import Pair

BODIES = {f"letter {number}": f"Grüße {number}\n.\nFrom here\n" + "x" * (700 * number) + "\n"
    for number in range(1, 4)}


class Server:
    """Three letters are in alice's mailbox; the ports, and the authority that clients trust."""

    def __init__(self, make_postern, folder):
        self.folder = folder
        self.pair = Pair(folder, "localhost")
        self.ports = {kind: free_port() for kind in ("imap", "imaps", "pop3", "pop3s")}
        self.postern = make_postern(extra=self.pair.statements("localhost") + "".join(
            f"listen on 127.0.0.1 port {port} {kind}{'' if kind[-1] == 's' else ' tls-require'} "
            "pki localhost hostname localhost\n"
            for kind, port in self.ports.items()))
        for subject, body in BODIES.items():
            self.postern.send(USER, f"From: bob@example.test\nSubject: {subject}\n\n{body}".encode()
                .replace(b"\n", b"\r\n"))
        self.delivered = {subject_of(mail.data): mail.data
            for mail in self.postern.wait_mail(USER, len(BODIES))}

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def run(self, *words, good=(0,), timeout=60, **environment):
        result = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL,
            timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.folder,
            env={**os.environ, "HOME": str(self.folder), "LC_ALL": "C.UTF-8", "TERM": "xterm",
                **environment})
        assert result.returncode in good, result.stdout.decode(errors="replace")
        return result.stdout.decode(errors="replace")

    def imap(self, folder="INBOX"):
        context = ssl.create_default_context(cafile=self.pair.cert)
        client = imaplib.IMAP4_SSL("localhost", self.ports["imaps"], ssl_context=context, timeout=20)
        client.login(USER, PASSWORD)
        assert client.select(folder)[0] == "OK"
        return client

    def there(self, folder="INBOX"):
        """{subject: flags} in the mailbox."""
        client = self.imap(folder)
        found = {}
        for number in client.search(None, "ALL")[1][0].split():
            flags = imaplib.ParseFlags(client.fetch(number, "(FLAGS)")[1][0])
            text = client.fetch(number, "(BODY.PEEK[])")[1][0][1]
            found[subject_of(text)] = {flag.decode() for flag in flags} - {"\\Recent"}
        client.logout()
        return found


def subject_of(data):
    return re.search(rb"^Subject: ([^\r\n]*)", data, re.MULTILINE).group(1).decode()


def body_of(data):
    return data.replace(b"\r\n", b"\n").partition(b"\n\n")[2].decode()


def mails_in(directory):
    """{subject: file} of a Maildir."""
    return {subject_of(path.read_bytes()): path for part in ("cur", "new")
        for path in (directory / part).iterdir()}


def header_of(data):
    return data.replace(b"\r\n", b"\n").partition(b"\n\n")[0].split(b"\n")


def check_mails(directory, delivered):
    """They are `delivered`, {subject: bytes}, but for header fields that a client adds of its own."""
    mails = mails_in(directory)
    assert {subject: body_of(path.read_bytes()) for subject, path in mails.items()} == BODIES
    for subject, path in mails.items():
        header, taken = header_of(delivered[subject]), header_of(path.read_bytes())
        assert [line for line in taken if line in header] == header, (subject, taken)
    return mails


@pytest.fixture
def server(make_postern):
    """In a folder that others can look into: getmail doesn't deliver as root."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-clients-", dir="/tmp"))
    folder.chmod(0o755)
    yield Server(make_postern, folder)
    shutil.rmtree(folder)


def mbsync(server, tool):
    config = server.file("mbsyncrc", f"""IMAPAccount a
Host localhost
Port {server.ports["imap"]}
User {USER}
Pass "{PASSWORD}"
SSLType STARTTLS
CertificateFile {server.pair.cert}

IMAPStore remote
Account a

MaildirStore local
Path {server.folder}/local/
Inbox {server.folder}/local/INBOX
SubFolders Verbatim

Channel c
Far :remote:
Near :local:
Patterns *
Create Both
Expunge Both
SyncState *
Sync All
""")
    (server.folder / "local").mkdir()
    return lambda: server.run(tool("mbsync"), "-c", config, "c")


def offlineimap(server, tool):
    config = server.file("offlineimaprc", f"""[general]
accounts = a
metadata = {server.folder}/metadata
ui = basic
[Account a]
localrepository = local
remoterepository = remote
[Repository local]
type = Maildir
localfolders = {server.folder}/local
sync_deletes = yes
[Repository remote]
type = IMAP
remotehost = localhost
remoteport = {server.ports["imaps"]}
remoteuser = {USER}
remotepass = {PASSWORD}
ssl = yes
sslcacertfile = {server.pair.cert}
""")
    return lambda: server.run(tool("offlineimap"), "-c", config, "-o")


@pytest.mark.parametrize("program", [mbsync, offlineimap])
def test_changes_go_both_ways(server, tool, program):
    sync = program(server, tool)
    inbox = server.folder / "local/INBOX"
    sync()
    mails = check_mails(inbox, server.delivered)
    # Here: one read, one removed, one new.
    base = mails["letter 1"].name.partition(":2,")[0]
    mails["letter 1"].rename(inbox / "cur" / f"{base}:2,S")
    if program is mbsync:
        base = mails["letter 2"].name.partition(":2,")[0]
        mails["letter 2"].rename(inbox / "cur" / f"{base}:2,ST")
    else:
        mails["letter 2"].unlink()
    (inbox / "new" / "1780000000.1.here").write_text("Subject: from here\n\nhello\n")
    sync()
    assert server.there() == {"letter 1": {"\\Seen"}, "letter 3": set(), "from here": set()}
    # There: one flagged, one removed, one new, and a folder.
    client = server.imap()
    client.create("Saved")
    client.append("Saved", None, None, b"Subject: saved\r\n\r\nhello\r\n")
    client.append("INBOX", None, None, b"Subject: from there\r\n\r\nhello\r\n")
    for subject, flag in (("from here", "\\Flagged"), ("letter 3", "\\Deleted")):
        (found,) = client.uid("SEARCH", "SUBJECT", f'"{subject}"')[1]
        assert client.uid("STORE", found, "+FLAGS", f"({flag})")[0] == "OK"
    client.expunge()
    client.logout()
    sync()
    mails = mails_in(inbox)
    assert sorted(mails) == ["from here", "from there", "letter 1"]
    assert "F" in mails["from here"].name.partition(":2,")[2]
    assert list(mails_in(server.folder / "local/Saved")) == ["saved"]
    # Nothing is left to be done.
    before = server.there()
    sync()
    assert server.there() == before and sorted(mails_in(inbox)) == sorted(mails)


def test_mutt_saves_and_removes(server, tool):
    name = USER.replace("@", "%40")
    rc = server.file("muttrc", f"""set folder="imaps://{name}@localhost:{server.ports["imaps"]}/"
set spoolfile="+INBOX" imap_user="{USER}" imap_pass="{PASSWORD}" certificate_file="{server.pair.cert}"
set ssl_force_tls=yes quit=yes delete=yes confirmappend=no confirmcreate=no move=no wait_key=no
push "<tag-pattern>~s 'letter 2'<enter><tag-prefix><save-message>=Saved<enter><delete-pattern>~s 'letter 3'<enter><sync-mailbox><quit>"
""")
    server.run("script", "-qec", f"{tool('mutt')} -n -F {rc}", "/dev/null")
    assert list(server.there()) == ["letter 1"]
    assert list(server.there("Saved")) == ["letter 2"]
    client = server.imap("Saved")
    assert body_of(client.fetch("1", "(BODY.PEEK[])")[1][0][1]) == BODIES["letter 2"]
    client.logout()


def fetchmail(server, tool, kind, keep):
    protocol, mode = ("POP3" if "pop3" in kind else "IMAP"), "keep" if keep else "no keep"
    tls = "ssl" if kind.endswith("s") else "sslproto TLS1.2+"
    script = server.file("take", '#!/bin/sh\nexec cat >"$HOME/taken/new/$$"\n')
    os.chmod(script, 0o700)
    rc = server.file("fetchmailrc", f"""poll localhost protocol {protocol} port {server.ports[kind]} {
        "uidl" if protocol == "POP3" else ""}
user "{USER}" password "{PASSWORD}" {tls} sslcertck sslcertfile "{server.pair.cert}" {mode}
mda "{script}" no rewrite
""")
    # 1: there was no new mail.
    server.run(tool("fetchmail"), "-f", rc, "--idfile", server.folder / "ids", "--nosyslog",
        "--pidfile", server.folder / "pid", "--nodetach", good=(0, 1))


def getmail(server, tool, kind, keep):
    name = ("SimplePOP3" if "pop3" in kind else "SimpleIMAP") + "SSLRetriever"
    rc = server.file("getmailrc", f"""[retriever]
type = {name}
server = localhost
port = {server.ports[kind]}
username = {USER}
password = {PASSWORD}
ca_certs = {server.pair.cert}
{'mailboxes = ("INBOX",)' if "imap" in kind else ""}
[destination]
type = Maildir
path = {server.folder}/taken/
{"user = nobody" if is_root() else ""}
[options]
read_all = false
delete = {not keep}
received = false
delivered_to = false
""")
    server.run(tool("getmail"), "--getmaildir", server.folder, "--rcfile", rc)


def mpop(server, tool, kind, keep):
    rc = server.file("mpoprc", f"""account a
host localhost
port {server.ports[kind]}
tls on
tls_starttls {"off" if kind == "pop3s" else "on"}
tls_trust_file {server.pair.cert}
user {USER}
password {PASSWORD}
delivery maildir {server.folder}/taken
uidls_file {server.folder}/uidls
keep {"on" if keep else "off"}
received_header off
""")
    server.run(tool("mpop"), "-C", rc, "a")


@pytest.mark.parametrize("program, kind", [(fetchmail, "pop3"), (fetchmail, "imaps"), (getmail, "pop3s"),
    (getmail, "imaps"), (mpop, "pop3s"), (mpop, "pop3")])
def test_mail_is_taken_once_and_then_away(server, tool, program, kind):
    taken = server.folder / "taken"
    for part in ("cur", "new", "tmp"):
        (taken / part).mkdir(parents=True, exist_ok=True)
        if is_root():
            shutil.chown(taken / part, "nobody")
    program(server, tool, kind, True)
    check_mails(taken, server.delivered)
    assert sorted(server.there()) == sorted(BODIES)
    # What is left there is known again, by its UIDL or its flag.
    program(server, tool, kind, True)
    assert sum(1 for part in ("cur", "new") for _ in (taken / part).iterdir()) == len(BODIES)
    server.postern.send(USER, b"From: bob@example.test\r\nSubject: last\r\n\r\nlast\r\n")
    wait_for(lambda: "last" in server.there(), 10, "the last one is there")
    program(server, tool, kind, False)
    assert "last" in mails_in(taken)
    assert "last" not in server.there()
