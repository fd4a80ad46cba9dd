"""file: and db: tables, with OpenSMTPD's formats, on the running suite."""

import dbm.ndbm
import os
import shutil
import subprocess
import time

import pytest

from postern import is_root, wait_for

OWNER = 5000 if is_root() else os.getuid()
GROUP = 5000 if is_root() else os.getgid()

# As OpenSMTPD's administrators write it, the directories apart.
OPENSMTPD = """
table vusers file:@BASE@/mail-vusers
table vbase file:@BASE@/mail-vbase
smtp max-message-size 100M
smtp limit max-mails 10000000
listen on 127.0.0.1 port @PORT@ hostname mx.example.test
action "in" maildir "@BASE@/vmail/%{dest.user:lowercase}" virtual <vusers> userbase <vbase>
action "out" relay
match from any for domain "example.test" action "in"
match from any for domain "remote.test" action "out"
"""


def write(postern, name, text):
    """As an editor does: a new file takes the old one's place."""
    path = postern.base / name
    new = postern.base / (name + ".new")
    new.write_text(text)
    new.chmod(0o644)
    new.rename(path)
    return path


@pytest.mark.root
def test_a_file_that_directory_may_not_read_is_warned_of(make_postern):
    postern = make_postern(config="listen on 127.0.0.1 port @PORT@\n"
        "table names file:@BASE@/names\naction \"in\" maildir alias <names>\n"
        "match for local action \"in\"\n", start=False)
    path = write(postern, "names", "a: b\n")
    postern.write_config()

    def check():
        result = subprocess.run([postern.stage / "usr/sbin/smtpd", "-n", "-f", postern.config_file],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=True)
        return result.stdout
    assert check() == "configuration OK\n"
    path.chmod(0o600)
    assert f'warning: table "names": the user _smtpt can\'t read {path}: ' in check()
    path.chmod(0o644)
    postern.allow("must be able to read|can't be used until")
    postern.start()
    path.chmod(0o600)
    postern.smtpctl("reload")
    wait_for(lambda: [line for line in postern.log_lines() if
        f"{path}: Permission denied: the user _smtpt must be able to read it" in line.text], 10, "a reason")


def home(postern, name="vmail"):
    path = postern.base / name
    path.mkdir(mode=0o755)
    os.chown(path, OWNER, GROUP)
    return path


def rcpt(postern, address, sender="sender@client.test"):
    with postern.wire() as wire:
        wire.hello()
        wire.command(f"MAIL FROM:<{sender}>", 250)
        return repr(wire.command(f"RCPT TO:<{address}>"))


@pytest.fixture
def opensmtpd(make_postern):
    postern = make_postern(start=False, config=OPENSMTPD)
    home(postern)
    write(postern, "mail-vusers", "".join(f"u{n}@example.test u{n}\n" for n in range(1, 101)) +
        "u@example.test u\n")
    write(postern, "mail-vbase", "".join(f"u{n} {OWNER}:{GROUP}:{postern.base}/vmail\n"
        for n in range(1, 101)) + f"u {OWNER}:{GROUP}:{postern.base}/vmail\n")
    return postern.start()


def test_opensmtpds_configuration_delivers_and_queues_what_it_relays(opensmtpd):
    opensmtpd.smtpctl("pause", "mta")
    opensmtpd.send(["u7@example.test", "U@Example.Test", "someone@remote.test"])
    opensmtpd.wait_mail(opensmtpd.base / "vmail/u7")
    opensmtpd.wait_mail(opensmtpd.base / "vmail/u")
    assert rcpt(opensmtpd, "u101@example.test").startswith("550 5.1.1")
    assert rcpt(opensmtpd, "u@elsewhere.test").startswith("550 5.7.1")
    (waiting,) = wait_for(lambda: len(opensmtpd.queue()) == 1 and opensmtpd.queue())
    assert "someone@remote.test" in str(waiting)


def test_a_changed_file_counts_without_a_reload(opensmtpd):
    assert rcpt(opensmtpd, "new@example.test").startswith("550")
    write(opensmtpd, "mail-vusers", "new@example.test u1\n")
    wait_for(lambda: rcpt(opensmtpd, "new@example.test").startswith("250"), 10)
    assert rcpt(opensmtpd, "u7@example.test").startswith("550 5.1.1")


def test_a_changed_userbase_counts_for_mail_that_waits(opensmtpd):
    """The queue is told to forget where mailboxes were."""
    other = home(opensmtpd, "other")
    opensmtpd.send("u1@example.test")
    opensmtpd.wait_mail(opensmtpd.base / "vmail/u1")
    opensmtpd.smtpctl("pause", "mda")
    opensmtpd.send("u1@example.test")
    opensmtpd.reload(OPENSMTPD.replace("/vmail/%", "/other/%"))
    opensmtpd.smtpctl("resume", "mda")
    opensmtpd.wait_mail(other / "u1")
    assert len(opensmtpd.mails(opensmtpd.base / "vmail/u1")) == 1


@pytest.mark.parametrize("text,line", [
    ("u1@example.test u1\n\"unclosed x\n", 2),
    ("u1@example.test\n", 1),
    ("a: b\n\n: x\n", 3),
])
def test_a_mistake_keeps_the_old_content_and_names_its_line(opensmtpd, text, line):
    path = write(opensmtpd, "mail-vusers", text)
    wait_for(lambda: f"{path}:{line}: " in opensmtpd.log_text(), 10)
    assert rcpt(opensmtpd, "u7@example.test").startswith("250")


def test_a_missing_file_is_temporary_until_it_is_there(make_postern):
    postern = make_postern(start=False, config=OPENSMTPD)
    home(postern)
    write(postern, "mail-vbase", f"u {OWNER}:{GROUP}:{postern.base}/vmail\n")
    write(postern, "mail-vusers", "# none yet\n")
    postern.start()
    (postern.base / "mail-vusers").unlink()
    postern.kill_and_wait_back("directory")
    wait_for(lambda: rcpt(postern, "u@example.test").startswith("451 4.3.0"), 10)
    write(postern, "mail-vusers", "u@example.test u\n")
    wait_for(lambda: rcpt(postern, "u@example.test").startswith("250"), 10)


@pytest.mark.time_limit(180)
def test_a_hundred_thousand_users_make_rcpt_no_slower(opensmtpd):
    def seconds():
        with opensmtpd.wire() as wire:
            wire.hello()
            wire.command("MAIL FROM:<sender@client.test>", 250)
            begin = time.monotonic()
            for n in range(1, 101):
                wire.command(f"RCPT TO:<u{n}@example.test>", 250)
            return time.monotonic() - begin
    few = min(seconds() for _ in range(5))
    write(opensmtpd, "mail-vusers", "".join(f"u{n}@example.test u{n % 100 + 1}\n"
        for n in range(100000)))
    wait_for(lambda: rcpt(opensmtpd, "u99999@example.test").startswith("250"), 30)
    many = min(seconds() for _ in range(5))
    # A search through all of them would be hundreds of times slower.
    assert many < few * 5 + 0.05


def test_db_tables_are_read_and_replaced(make_postern):
    config = OPENSMTPD.replace("file:@BASE@/mail-vusers", "db:@BASE@/mail-vusers.db")
    postern = make_postern(start=False, config=config)
    home(postern)
    write(postern, "mail-vbase", f"u1 {OWNER}:{GROUP}:{postern.base}/vmail\n"
        f"u2 {OWNER}:{GROUP}:{postern.base}/vmail\n")

    def make(entries):
        with dbm.ndbm.open(str(postern.base / "new"), "n", 0o644) as database:
            for key, value in entries.items():
                database[key] = value
        os.chmod(postern.base / "new.db", 0o644)
        shutil.move(postern.base / "new.db", postern.base / "mail-vusers.db")

    make({"u1@example.test": "u1", "@example.test": "u2"})
    postern.start()
    postern.send(["U1@example.test", "anyone@example.test"])
    postern.wait_mail(postern.base / "vmail/u1")
    postern.wait_mail(postern.base / "vmail/u2")
    make({"u1@example.test": "u1"})
    wait_for(lambda: rcpt(postern, "anyone@example.test").startswith("550 5.1.1"), 10)
    assert rcpt(postern, "u1@example.test").startswith("250")


def test_rules_use_tables_of_domains_senders_and_networks(make_postern):
    postern = make_postern(start=False, config="""
table domains file:@BASE@/domains
table spammers { "@spam.test", "joe@half.test" }
table nets { 192.0.2.0/24, 127.0.0.0/30 }
table vusers { "@" = "u" }
table vbase file:@BASE@/vbase
listen on 127.0.0.1 port @PORT@
action "in" maildir "@BASE@/vmail/%{dest.user}" virtual <vusers> userbase <vbase>
action "out" relay
match from any mail-from <spammers> for any reject
match from any for domain <domains> action "in"
match from src <nets> for domain "remote.test" action "out"
match !from src <nets> for domain "far.test" action "out"
""")
    home(postern)
    write(postern, "domains", "example.test\n*.wild.test\n")
    write(postern, "vbase", f"u {OWNER}:{GROUP}:{postern.base}/vmail\n")
    postern.start()
    assert rcpt(postern, "x@example.test").startswith("250")
    assert rcpt(postern, "x@a.b.wild.test").startswith("250")
    assert rcpt(postern, "x@wild.test").startswith("550 5.7.1")
    assert rcpt(postern, "x@example.test", "any@spam.test").startswith("550 5.7.1")
    assert rcpt(postern, "x@example.test", "joe@half.test").startswith("550 5.7.1")
    assert rcpt(postern, "x@example.test", "jim@half.test").startswith("250")
    assert rcpt(postern, "x@remote.test").startswith("250")
    assert rcpt(postern, "x@far.test").startswith("550 5.7.1")


@pytest.mark.parametrize("address", [
    "../../escape", "..", "/etc/passwd", "|touch /tmp/pwned", "-f", ";sleep 5;", "$(id)", "`id`",
    "a/../../b", "%2e%2e/x", "~root/x", ".hidden",
])
def test_no_address_leaves_the_mail_directory(make_postern, address):
    """Whatever a client calls the recipient, the mail lies in the mailbox of the user
    that the catch-all names, and nowhere else."""
    postern = make_postern(start=False, config="""
table vusers { "@" = "u" }
listen on 127.0.0.1 port @PORT@
table vbase file:@BASE@/vbase
action "in" maildir "@BASE@/vmail/%{rcpt.user}" virtual <vusers> userbase <vbase>
match from any for domain "example.test" action "in"
""")
    home(postern)
    write(postern, "vbase", f"u {OWNER}:{GROUP}:{postern.base}/vmail\n")
    postern.start()
    before = {path.name for path in postern.base.iterdir()}
    quoted = address.replace("\\", "\\\\").replace('"', '\\"')
    assert rcpt(postern, f'"{quoted}"@example.test').startswith("250")
    postern.send(f'"{quoted}"@example.test')
    wait_for(lambda: list((postern.base / "vmail").glob("*/new/*")), 20)
    assert {path.name for path in postern.base.iterdir()} == before
    assert [path.name for path in (postern.base / "vmail").iterdir()] == ["u"]


def test_a_user_of_two_domains_gets_one_copy_and_lmtp_a_reply_for_each(make_postern):
    postern = make_postern(start=False, config="""
table vusers { "@" = "u" }
table vbase file:@BASE@/vbase
listen on 127.0.0.1 port @PORT@ lmtp
action "in" maildir "@BASE@/vmail/%{dest.user}" virtual <vusers> userbase <vbase>
match from any for domain { "one.test", "two.test" } action "in"
""")
    home(postern)
    write(postern, "vbase", f"u {OWNER}:{GROUP}:{postern.base}/vmail\n")
    postern.start()
    with postern.wire() as wire:
        wire.expect(220)
        wire.command("LHLO client.test", 250)
        wire.command("MAIL FROM:<sender@client.test>", 250)
        wire.command("RCPT TO:<a@one.test>", 250)
        wire.command("RCPT TO:<b@two.test>", 250)
        wire.command("DATA", 354)
        wire.send("Subject: once\r\n\r\nhello\r\n.\r\n")
        wire.expect(250)
        wire.expect(250)
        wire.command("QUIT", 221)
    postern.wait_mail(postern.base / "vmail/u")
    postern.wait_queue_empty()
    assert len(postern.mails(postern.base / "vmail/u")) == 1


@pytest.mark.root
def test_with_user_each_address_of_a_virtual_table_has_its_own_mailbox(make_postern):
    """As on Debian's OpenSMTPD, but for the detail, which is kept there."""
    postern = make_postern(start=False, config="""
listen on 127.0.0.1 port @PORT@
action "in" maildir "@BASE@/vmail/%{rcpt.user}-%{user.username}" user daemon \\
	virtual { "@one.test" = vmail, "info@one.test" = joe, "two@one.test" = "other@one.test" }
match from any for domain "one.test" action "in"
""")
    os.chown(home(postern), 1, 1)
    postern.start()
    recipients = {"Ann@one.test": "ann", "ann+tag@one.test": "ann", "info@one.test": "info",
        "two@one.test": "other"}
    for recipient, user in recipients.items():
        told = postern.smtpctl("explain", "--to", recipient).stdout
        assert f"/vmail/{user}-daemon, which is {user}'s" in told
        postern.send(recipient)
    for user, count in (("ann", 2), ("info", 1), ("other", 1)):
        assert len(postern.wait_mail(postern.base / f"vmail/{user}-daemon", count)) == count
    postern.wait_queue_empty()
