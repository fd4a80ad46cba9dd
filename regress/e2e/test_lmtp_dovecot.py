"""Mail that Dovecot's LMTP server, with its own master, keeps in its mailboxes: over a Unix socket and TCP,
for users by name and by address, and what is asked of it when it isn't there or is killed."""

import contextlib
import os
import pathlib
import pwd
import re
import signal
import subprocess
import tempfile

import pytest

from disks import image  # noqa: F401
from lmtp_rules import USERBASE, make, send
from postern import TOP, Mail, free_port, wait_for

pytestmark = pytest.mark.root

CONFIG = """
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
default_internal_user = root
default_internal_group = root
default_login_user = root
first_valid_uid = 1
ssl = no
protocols = lmtp
recipient_delimiter = +
lmtp_save_to_detail_mailbox = yes
lda_mailbox_autocreate = yes
mail_location = maildir:~/
auth_mechanisms = plain
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service lmtp {{
  unix_listener {folder}/lmtp {{
    mode = 0600
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
"""


class Dovecot:
    """Debian's, laid over /usr in a mount namespace of its own; mailboxes in `mail`, or in its folder."""

    def __init__(self, folder, mail=None):
        self.folder, self.port = pathlib.Path(folder), free_port()
        self.mail = mail or self.folder / "mail"
        self.owner = pwd.getpwnam("_vmail")
        (self.folder / "dovecot.conf").write_text(CONFIG.format(folder=folder, port=self.port))
        self.mail.mkdir()
        os.chown(self.mail, self.owner.pw_uid, self.owner.pw_gid)
        (self.folder / "users").write_text("".join(f"{name}::{self.owner.pw_uid}:{self.owner.pw_gid}::"
            f"{self.mail}/{name}\n" for name in ("bob", "ann", "bob@users.test")))
        self.process = None

    def start(self):
        layers = ":".join(str(TOP / "build/tools" / name / "usr")
            for name in ("dovecot-core", "dovecot-lmtpd"))
        self.process = subprocess.Popen(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh",
            "-c", f"mount -t overlay overlay -o ro,lowerdir={layers}:/usr /usr && "
            f"exec dovecot -F -c {self.folder}/dovecot.conf"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_for(self._is_ready, what="Dovecot has started")

    def _is_ready(self):
        if self.process.poll() is not None:
            said = self.process.stderr.read().decode()
            if "mount" in said:
                pytest.skip(f"no overlay to be had: {said}")
            raise AssertionError(said)
        return (self.folder / "run/master.pid").exists() and (self.folder / "lmtp").exists()

    def kill(self):
        """All of it, at once."""
        if self.process is None:
            return
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stderr.read()  # until all that have it are gone
        self.process.stderr.close()
        self.process = None
        for name in ("lmtp", "run/master.pid"):
            (self.folder / name).unlink(missing_ok=True)

    def mails(self, user, folder=""):
        return [Mail(path) for path in sorted((self.mail / user / folder).glob("new/*"))]

    def wait_mail(self, user, count=1, folder=""):
        wait_for(lambda: len(self.mails(user, folder)) >= count,
            what=f"{count} mails for {user}\n{(self.folder / 'log').read_text()}")
        return self.mails(user, folder)


@contextlib.contextmanager
def dovecot_with(mail=None):
    if not (TOP / "build/tools/dovecot-lmtpd/complete").exists():
        pytest.skip("Dovecot's LMTP server isn't there (make test-deps)")
    with tempfile.TemporaryDirectory(prefix="lmtp-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        server = Dovecot(folder, mail)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@pytest.fixture
def dovecot():
    with dovecot_with() as server:
        yield server


def test_dovecot_takes_mail_for_users(make_postern, dovecot):
    """By name, over the socket and TCP; who isn't known there comes back."""
    postern = make(make_postern, f'"{dovecot.folder}/lmtp" {USERBASE}',
        f'"127.0.0.1:{dovecot.port}" {USERBASE}')
    body = "Gr\u00fc\u00dfe\r\n.\r\n..\r\n" + "x" * 5000 + "\r\nend\r\n"
    with postern.smtp() as client:
        client.sendmail("alice@example.test", ["bob@users.test", "ann@users.test", "zoe@users.test"],
            f"From: alice@example.test\r\nSubject: x\r\n\r\n{body}".encode(), ["BODY=8BITMIME"])
    for user in ("bob", "ann"):
        (mail,) = dovecot.wait_mail(user)
        assert mail.body.decode() == body.replace("\r\n", "\n")
        assert mail.data.startswith(b"Return-Path: <alice@example.test>\n")
        postern.wait_log("delivered", to=f"{user}@users.test")
    (bounce,) = postern.wait_mail("alice@example.test")
    assert re.search(rb"Diagnostic-Code: smtp; 550 5\.1\.1 .*zoe", bounce.data)
    send(postern, "ann@users1.test")
    dovecot.wait_mail("ann", 2)


def test_dovecot_takes_addresses(make_postern, dovecot):
    postern = make_postern(rules=f"""
action "in" lmtp "{dovecot.folder}/lmtp" rcpt-to virtual <accounts>
match from any for domain <accounts> action "in"
""")
    postern.add_domain("users.test")
    postern.add_user("bob@users.test")
    postern.add_alias("list@users.test", "bob+lists@users.test")
    send(postern, "bob@users.test", "list@users.test")
    dovecot.wait_mail("bob@users.test")
    dovecot.wait_mail("bob@users.test", folder=".lists")


def test_a_hundred_messages_go_on_few_connections(make_postern, dovecot):
    postern = make(make_postern, f'"{dovecot.folder}/lmtp" {USERBASE}')
    for number in range(100):
        send(postern, "bob@users.test", "ann@users.test", body=f"{number}\r\n")
    for user in ("bob", "ann"):
        mails = dovecot.wait_mail(user, 100)
        assert sorted(int(mail.body) for mail in mails) == list(range(100))
    assert len(postern.log_lines("relay-connected")) < 20


def test_mail_outlasts_dovecots_death(make_postern, dovecot):
    """Killed in the midst of a stream of mail, and started again: nothing is lost; what it had taken
    without saying so may be there twice."""
    postern = make(make_postern, f'"{dovecot.folder}/lmtp" {USERBASE}')
    for number in range(60):
        send(postern, "bob@users.test", body=f"{number}\r\n")
        if number == 30:
            dovecot.kill()
    postern.wait_log("delivery-deferred", to="bob@users.test")
    dovecot.start()
    postern.wait_queue_empty()
    numbers = [int(mail.body) for mail in dovecot.mails("bob")]
    assert set(numbers) == set(range(60))
    assert len(numbers) <= 60 + 10  # a connection each, at most


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_mail_waits_while_dovecots_disk_is_full(image, make_postern, kind):  # noqa: F811
    disk = image(kind, 64 << 20)
    with dovecot_with(disk.path / "mail") as dovecot:
        postern = make(make_postern, f'"{dovecot.folder}/lmtp" {USERBASE}')
        send(postern, "bob@users.test", "ann@users.test", body="0\r\n")
        postern.wait_queue_empty()
        disk.fill()
        line = "x" * 998 + "\r\n"
        for number in range(1, 6):
            send(postern, "bob@users.test", "ann@users.test", body=f"{number}\r\n" + line * 300)
        for user in ("bob", "ann"):
            postern.wait_log("delivery-deferred", to=f"{user}@users.test", count=5)
        assert all(len(dovecot.mails(user)) == 1 for user in ("bob", "ann"))
        assert all(e["error"].startswith("4") for e in postern.queue())
        disk.empty()
        postern.smtpctl("schedule", "all")
        postern.wait_queue_empty()
        for user in ("bob", "ann"):
            mails = dovecot.mails(user)
            assert sorted(mail.body.split(b"\n")[0] for mail in mails) == [b"%d" % n for n in range(6)]
            assert {len(mail.body) for mail in mails} == {2, 2 + 300 * 999}
        assert not postern.mails("alice@example.test"), "nothing came back"
