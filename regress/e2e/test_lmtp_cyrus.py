"""Mail that Cyrus's LMTP server, with its own master, keeps in its mailboxes: over a Unix socket and TCP, what
it refuses or puts off by recipient, and what becomes of mail while it isn't there. Read by its IMAP server."""

import contextlib
import imaplib
import os
import pathlib
import pwd
import re
import signal
import subprocess
import tempfile

import pytest

from lmtp_rules import USERBASE, make, send
from postern import TOP, free_port, wait_for

pytestmark = pytest.mark.root

CONFIG = """
configdirectory: {folder}/state
defaultpartition: default
partition-default: {folder}/mail
proc_path: {folder}/state/proc
mboxname_lockpath: {folder}/state/lock
cyrus_user: _vmail
admins: admin
allowplaintext: yes
sasl_mech_list: PLAIN
unixhierarchysep: yes
"""

# imapd -N: any password will do. lmtpd -a: whoever comes by TCP may send.
SERVICES = """
START {{
  recover cmd="ctl_cyrusdb -r -C {folder}/imapd.conf"
}}
SERVICES {{
  imap cmd="imapd -N -C {folder}/imapd.conf" listen="127.0.0.1:{imap_port}" prefork=0
  lmtp cmd="lmtpd -a -C {folder}/imapd.conf" listen="127.0.0.1:{port}" prefork=0
  lmtpunix cmd="lmtpd -C {folder}/imapd.conf" listen="{folder}/lmtp" prefork=0
}}
"""


class Cyrus:
    """Debian's, laid over /usr in a mount namespace of its own. Mailboxes for bob and ann."""

    def __init__(self, folder):
        self.folder, self.port, self.imap_port = pathlib.Path(folder), free_port(), free_port()
        owner = pwd.getpwnam("_vmail")
        for name in ("state", "mail"):
            (self.folder / name).mkdir()
            os.chown(self.folder / name, owner.pw_uid, owner.pw_gid)
        for name, text in ("imapd.conf", CONFIG), ("cyrus.conf", SERVICES):
            (self.folder / name).write_text(text.format(**vars(self)))
        self.process = None

    def start(self):
        layers = ":".join(str(TOP / "build/tools" / name / "usr")
            for name in ("cyrus-imapd", "cyrus-common"))
        self.process = subprocess.Popen(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh",
            "-c", f"mount -t overlay overlay -o ro,lowerdir={layers}:/usr /usr && "
            f"exec /usr/lib/cyrus/bin/master -C {self.folder}/imapd.conf -M {self.folder}/cyrus.conf "
            f"-p {self.folder}/pid"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE)
        wait_for(self._is_ready, what="Cyrus has started")

    def _is_ready(self):
        if self.process.poll() is not None:
            said = self.process.stderr.read().decode()
            if "mount" in said:
                pytest.skip(f"no overlay to be had: {said}")
            raise AssertionError(said)
        try:
            with self.imap("admin"):
                return (self.folder / "lmtp").exists()
        except OSError:
            return False

    def kill(self):
        """All of it, at once: the master is the first process of its namespace."""
        if self.process is None:
            return
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for pid in children.read_text().split() if children.exists() else ():
            os.kill(int(pid), signal.SIGKILL)
        self.process.wait()
        self.process.stderr.close()
        self.process = None
        for name in ("lmtp", "pid"):
            (self.folder / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def imap(self, user):
        with imaplib.IMAP4("127.0.0.1", self.imap_port) as client:
            client.login(user, "x")
            yield client

    def create(self, mailbox):
        with self.imap("admin") as client:
            assert client.create(mailbox)[0] == "OK"
            assert client.setacl(mailbox, "anyone", "p")[0] == "OK"

    def set_quota(self, user, kilobytes):
        with self.imap("admin") as client:
            assert client.setquota(f"user/{user}", f"(STORAGE {kilobytes})")[0] == "OK"

    def mails(self, user, mailbox="INBOX"):
        """Each as (header, body)."""
        with self.imap(user) as client:
            count = int(client.select(mailbox, readonly=True)[1][0])
            if count == 0:
                return []
            got = client.fetch(f"1:{count}", "BODY.PEEK[]")[1]
        return [tuple(part[1].split(b"\r\n\r\n", 1)) for part in got if isinstance(part, tuple)]

    def wait_mail(self, user, count=1, mailbox="INBOX"):
        wait_for(lambda: len(self.mails(user, mailbox)) >= count, what=f"{count} mails for {user}")
        return self.mails(user, mailbox)


@pytest.fixture
def cyrus():
    for name in ("cyrus-common", "cyrus-imapd"):
        if not (TOP / "build/tools" / name / "complete").exists():
            pytest.skip(f"{name} isn't there (make test-deps)")
    with tempfile.TemporaryDirectory(prefix="cyrus-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        server = Cyrus(folder)
        server.start()
        try:
            server.create("user/bob")
            server.create("user/ann")
            yield server
        finally:
            server.kill()


def test_cyrus_takes_mail_and_says_whom_it_doesnt_know(make_postern, cyrus):
    """Over the socket and TCP, to the byte; who isn't known there comes back with the code that Cyrus
    gives in the last of its reply's lines."""
    postern = make(make_postern, f'"{cyrus.folder}/lmtp" {USERBASE}',
        f'"127.0.0.1:{cyrus.port}" {USERBASE}')
    body = "Gr\u00fc\u00dfe\r\n.\r\n..\r\n" + "x" * 5000 + "\r\nFrom here\r\nend\r\n"
    send(postern, "bob@users.test", "ann@users.test", "zoe@users.test", body=body)
    send(postern, "bob@users1.test", body=body)
    for user, count in ("bob", 2), ("ann", 1):
        mails = cyrus.wait_mail(user, count)
        assert [mail[1].decode() for mail in mails] == [body] * count
        assert mails[0][0].startswith(b"Return-Path: <alice@example.test>\r\n")
        postern.wait_log("delivered", to=f"{user}@users.test")
    (bounce,) = postern.wait_mail("alice@example.test")
    assert b"\nStatus: 5.1.1\n" in bounce.data
    assert re.search(rb"Diagnostic-Code: smtp; 550[ -].*User unknown", bounce.data, re.DOTALL)


def test_addresses_and_their_details(make_postern, cyrus):
    cyrus.create("user/bob/lists")
    postern = make_postern(rules=f"""
action "in" lmtp "{cyrus.folder}/lmtp" rcpt-to virtual <accounts>
match from any for domain <accounts> action "in"
""")
    postern.add_domain("users.test")
    postern.add_user("bob@users.test")
    postern.add_alias("list@users.test", "bob+lists@users.test")
    send(postern, "bob@users.test", "list@users.test")
    cyrus.wait_mail("bob")
    cyrus.wait_mail("bob", mailbox="lists")


def test_a_full_mailbox_waits_and_others_have_theirs(make_postern, cyrus):
    """One message to both: Cyrus takes it for one of them, and for the other when there is room, once.
    The first one that makes a mailbox too full it takes."""
    postern = make(make_postern, f'"{cyrus.folder}/lmtp" {USERBASE}')
    cyrus.set_quota("ann", 1)
    send(postern, "ann@users.test", body="large\r\n" * 1000)
    cyrus.wait_mail("ann")
    send(postern, "bob@users.test", "ann@users.test")
    cyrus.wait_mail("bob")
    wait_for(lambda: [e for e in postern.queue() if "4.2.2" in e["error"]], what="over quota")
    cyrus.set_quota("ann", 100)
    cyrus.wait_mail("ann", 2)
    postern.wait_queue_empty()
    assert [len(cyrus.mails(user)) for user in ("bob", "ann")] == [1, 2]


def test_many_messages_go_on_few_connections(make_postern, cyrus):
    postern = make(make_postern, f'"{cyrus.folder}/lmtp" {USERBASE}')
    postern.smtpctl("pause", "mta")
    for number in range(50):
        send(postern, "bob@users.test", "ann@users.test", body=f"{number}\r\n")
    postern.smtpctl("resume", "mta")
    postern.wait_queue_empty()
    for user in ("bob", "ann"):
        assert sorted(int(mail[1]) for mail in cyrus.mails(user)) == list(range(50))
    assert len(postern.log_lines("relay-connected")) <= 10


def test_mail_waits_while_cyrus_is_away(make_postern, cyrus):
    """Killed while an idle connection to it is kept, and started again: each comes once."""
    postern = make(make_postern, f'"{cyrus.folder}/lmtp" {USERBASE}')
    send(postern, "bob@users.test", body="0\r\n")
    cyrus.wait_mail("bob")
    postern.wait_queue_empty()
    cyrus.kill()
    for number in range(1, 4):
        send(postern, "bob@users.test", body=f"{number}\r\n")
    postern.wait_log("delivery-deferred", to="bob@users.test")
    cyrus.start()
    postern.wait_queue_empty()
    assert sorted(int(mail[1]) for mail in cyrus.mails("bob")) == list(range(4))
