"""Actions that give mail to a command: what it gets, what its end means, who it runs as, and that no
address can make a shell do anything. With procmail, maildrop, vacation and Dovecot's LDA where they are."""

import os
import shutil
import subprocess

import pytest

from postern import TOP, is_root, wait_for
from system_users import Users

UID = 54321 if is_root() else os.geteuid()
GID = 54321 if is_root() else os.getegid()


class User:
    """A user of a userbase table with a home of his own, and an action with a command."""

    def __init__(self, make_postern, command, extra="", options=""):
        self.postern = make_postern(start=False)
        self.home = self.postern.base / "walter"
        self.home.mkdir(0o700)
        os.chown(self.home, UID, GID)
        self.postern.extra = extra
        self.postern.rules = (f'table users {{ walter = "{UID}:{GID}:{self.home}", '
            f'"wal-ter" = "{UID}:{GID}:{self.home}" }}\n'
            f'action "in" mda "{command}" userbase <users> {options}\n'
            'match from any for domain "box.test" action "in"\n')
        self.postern.start()

    def send(self, text="Subject: x\r\n\r\nhello\r\n", to="walter@box.test", **arguments):
        self.postern.send(to, text, **arguments)

    def file(self, name):
        return wait_for(lambda: (self.home / name).exists() and (self.home / name).read_text(), 15)

    def mails(self, folder="Maildir"):
        return self.postern.mails(self.home / folder)


@pytest.fixture
def make_user(make_postern):
    return lambda *arguments, **options: User(make_postern, *arguments, **options)


def test_a_command_runs_as_its_user_and_is_told_of_the_mail(make_user):
    user = make_user("cat >message; id -u >id; id -G >>id; pwd >>id; env >e; "
        "echo %{sender} '%{rcpt.user}' \\\"%{rcpt.user:lowercase|strip}\\\" %{dest} "
        "%{user.username} %{user.directory} %{mbox.from} >words; mv e env")
    user.send(to="Walter+Box@box.test")
    environment = dict(line.split("=", 1) for line in user.file("env").splitlines())
    assert environment["USER"] == environment["LOGNAME"] == "walter"
    assert environment["HOME"] == str(user.home) and environment["SHELL"] == "/bin/sh"
    assert environment["SENDER"] == "sender@client.test"
    assert environment["ORIGINAL_RECIPIENT"] == "Walter+Box@box.test"
    assert environment["EXTENSION"] == "Box" and environment["DOMAIN"] == "box.test"
    assert environment["RECIPIENT"] == "walter@box.test" and environment["LOCAL"] == "walter"
    assert set(environment) <= {"USER", "LOGNAME", "HOME", "SHELL", "SENDER", "RECIPIENT",
        "ORIGINAL_RECIPIENT", "EXTENSION", "DOMAIN", "LOCAL", "PATH", "PWD", "_", "SHLVL"}
    assert user.file("id").split() == [str(UID), str(GID), str(user.home)]
    assert user.file("words").split() == ["sender@client.test", "Walter+Box", "walter",
        "walter@box.test", "walter", str(user.home), "sender@client.test"]
    assert user.file("message").startswith("Return-Path: <sender@client.test>\n")
    user.postern.wait_queue_empty()


def test_no_address_reaches_a_shell_as_a_command(make_user):
    user = make_user("echo %{sender.user:raw} '%{rcpt.user:raw}' \\\"%{sender}\\\" >>words; "
        "sh -c 'echo inner %{sender}' >>words")
    attacks = [";touch hit;", "$(touch hit)", "`touch hit`", "';touch hit;'", "|touch hit", ">hit"]
    for attack in attacks:
        user.send(sender=f'"{attack}"@client.test')
        user.send(to=f'"walter+{attack}"@box.test')
    user.postern.wait_queue_empty()
    assert not (user.home / "hit").exists()
    words = user.file("words")
    for attack in attacks:
        assert attack in words and "walter+" + attack in words
    assert "inner :::touch:hit:::@client.test" in words
    assert os.listdir(user.home) == ["words"]


@pytest.mark.parametrize("end, enhanced, permanent", [
    ("exit 67", "5.1.1", True), ("exit 77", "5.7.0", True), ("exit 255", "5.3.0", True),
    ("exit 75", "4.3.0", False), ("kill -KILL $$", "signal 9", False),
    ("exec no-such-program", "4.3.5", False),
])
def test_what_its_end_means(make_user, end, enhanced, permanent):
    user = make_user(f"echo its words; {end}")
    if permanent:
        user.send()
        line = user.postern.wait_log("delivery-failed")
        assert f"550 {enhanced}" in str(line) and "its words" in str(line)
    else:
        user.send()
        wait_for(lambda: [e for e in user.postern.queue() if enhanced in e["error"]], 15)


def test_one_that_never_reads_writes_much_and_leaves_children(make_user):
    user = make_user("head -c 1073741824 /dev/zero; sleep 600 & echo $! >child")
    user.send("Subject: x\r\n\r\n" + ("x" * 998 + "\r\n") * 1000)
    user.postern.wait_queue_empty()
    child = int(user.file("child"))
    wait_for(lambda: not os.path.exists(f"/proc/{child}"), 10)


def test_one_that_has_ended_is_not_run_again_after_a_stop(make_user):
    """Though what it left behind is running still when the stop begins."""
    user = make_user("sleep 600 & echo >>ran")
    user.send()
    user.file("ran")
    user.postern.stop()
    user.postern.start()
    user.postern.wait_queue_empty()
    assert user.file("ran") == "\n"


def test_a_home_that_is_gone_waits(make_user):
    user = make_user("cat >message")
    user.home.rename(user.home.with_suffix(".away"))
    user.send()
    wait_for(lambda: [e for e in user.postern.queue() if "home directory" in e["error"]], 15)
    user.home.with_suffix(".away").rename(user.home)
    user.postern.smtpctl("schedule", "all")
    user.postern.wait_queue_empty()
    assert user.file("message")


def test_a_wrapper_stands_around_the_command(make_user):
    user = make_user("sed s/^/inner:/ >%{user.username}", options='wrapper "tag"',
        extra='mda wrapper "tag" "sed s/^/%{rcpt.user}:/ | %{mda}"')
    user.send()
    user.postern.wait_queue_empty()
    assert "inner:walter:Subject: x\n" in user.file("walter")


def test_users_who_share_a_home_each_get_theirs(make_user):
    user = make_user("cat >/dev/null; echo %{user.username} >>who")
    user.postern.send(["walter@box.test", "wal-ter@box.test"])
    user.postern.wait_queue_empty()
    assert sorted(user.file("who").split()) == ["wal-ter", "walter"]


def test_users_of_the_accounts_database(make_postern):
    postern = make_postern(rules='action "in" mda "cat >../%{user.username}"\n'
        'match from any for domain <accounts> action "in"\n')
    for name in ("alice", "bob"):
        postern.maildir(f"{name}@example.test").mkdir(parents=True)
        if is_root():
            shutil.chown(postern.mail / "example.test", "_vmail", "_vmail")
            shutil.chown(postern.maildir(f"{name}@example.test"), "_vmail", "_vmail")
    postern.send("team@example.test")
    postern.wait_queue_empty()
    for name in ("alice", "bob"):
        text = (postern.mail / f"example.test/{name}@example.test").read_text()
        assert f"\nDelivered-To: {name}@example.test\n" in text


@pytest.fixture
def system_user(make_postern):
    """A user of the system, which programs like these want; a function that starts an instance whose
    action has that command for him."""
    if not is_root():
        pytest.skip("needs root")
    started = []

    def start(command, file, text):
        postern = make_postern(start=False, rules=f'action "in" mda "{command}"\n'
            'match from any for domain "box.test" action "in"\n')
        postern.users = Users(postern.base)
        started.append(postern)
        name = postern.users.add("c", shell="/bin/sh")
        postern.users.write(name, text, file=file, mode=0o600)
        postern.home, postern.user_address = postern.users.home(name), f"{name}@box.test"
        postern.start()
        return postern

    yield start
    for postern in started:
        postern.stop()
        postern.users.clear()


def test_procmail_sorts_into_a_maildir(system_user, tool):
    postern = system_user(tool("procmail") + " -a %{rcpt.user} -f %{sender}", ".procmailrc",
        "DEFAULT=$HOME/Maildir/\nMAILDIR=$HOME\n:0\n* ^Subject: x\nsorted/\n")
    postern.send(postern.user_address, "Subject: x\r\n\r\n")
    postern.send(postern.user_address, "Subject: y\r\n\r\n")
    postern.wait_queue_empty()
    assert len(postern.mails(postern.home / "sorted")) == 1
    assert len(postern.mails(postern.home / "Maildir")) == 1


def test_maildrop_delivers_into_a_maildir(system_user, tool):
    postern = system_user(tool("maildrop"), ".mailfilter",
        "`test -d Maildir || /usr/bin/maildirmake.maildrop Maildir`\nto \"$HOME/Maildir\"\n")
    postern.send(postern.user_address)
    postern.wait_queue_empty()
    assert len(postern.mails(postern.home / "Maildir")) == 1


SENDMAIL = """#!/bin/sh
exec '{stage}/usr/sbin/sendmail' -O 'SmtpSocket={run}/smtp.sock' "$@"
"""


@pytest.mark.root
def test_vacation_answers_once_from_a_forward_file(make_postern):
    """Debian's vacation(1), as its manual says: a copy is kept, the answer goes by sendmail."""
    vacation = TOP / "build/tools/vacation/usr/bin/vacation"
    if not vacation.exists():
        pytest.skip("vacation isn't there (make test-deps)")
    postern = make_postern(start=False, rules='action "in" maildir\n'
        'match from any for domain "box.test" action "in"\n')
    programs = postern.base / "sbin"
    programs.mkdir()
    (programs / "sendmail").write_text(SENDMAIL.format(stage=postern.stage, run=postern.run))
    (programs / "sendmail").chmod(0o755)
    vacation = shutil.copy(vacation, programs)  # its user may not be able to reach the first place
    postern.base.chmod(0o755)
    postern.wrapper = ["unshare", "--mount", "sh", "-c",
        f"mount -t overlay overlay -o lowerdir={programs}:/usr/sbin /usr/sbin && exec \"$@\"", "sh"]
    users = Users(postern.base)
    name, alice = users.add("v", shell="/bin/sh"), users.add("a")
    try:
        users.write(name, f'\\{name}, "|{vacation} -a {name}@box.test {name}"\n')
        users.write(name, "Subject: I am away\n\nuntil Monday\n", file=".vacation.msg")
        subprocess.run([vacation, "-i"], check=True, user=name,
            cwd=users.home(name), env={"HOME": str(users.home(name)), "PATH": os.environ["PATH"]})
        postern.start()
        for subject in ("first", "second"):
            postern.send(f"{name}@box.test",
                f"From: {alice}@box.test\r\nTo: {name}@box.test\r\nSubject: {subject}\r\n\r\nx\r\n",
                sender=f"{alice}@box.test")
            postern.wait_queue_empty()
        (answer,) = wait_for(lambda: postern.mails(users.box(alice)))
        assert answer.message["Subject"] == "I am away"
        assert len(postern.mails(users.box(name))) == 2
    finally:
        postern.stop()
        users.clear()


def test_dovecots_lda_delivers_to_a_folder(make_user, tmp_path):
    """As its installed place isn't there, doveconf reads the configuration for it."""
    tools = TOP / "build/tools/dovecot-core/usr"
    if not (tools.parent / "complete").exists():
        pytest.skip("Dovecot isn't there (make test-deps)")
    for parent in [tmp_path, *tmp_path.parents]:
        if parent.parent.parent != parent.parent:  # below /tmp
            parent.chmod(0o755)
    for file in (tools / "bin/doveconf", tools / "lib/dovecot/dovecot-lda",
            *(tools / "lib/dovecot").glob("libdovecot*.so.0")):
        shutil.copy(file, tmp_path)
    config = tmp_path / "dovecot.conf"
    config.write_text(f"base_dir={tmp_path}/run\nmail_location=maildir:~/Maildir\nssl=no\n"
        "first_valid_uid=1\nstats_writer_socket_path=\nlog_path=/dev/stderr\n"
        "default_login_user=nobody\ndefault_internal_user=nobody\ndefault_internal_group=nogroup\n"
        "lda_mailbox_autocreate=yes\nnamespace inbox {\n inbox = yes\n}\n")
    user = make_user(f"LD_LIBRARY_PATH={tmp_path} {tmp_path}/doveconf -c {config} -f service=lda -e "
        f"{tmp_path}/dovecot-lda -e -f %{{sender}} -a %{{rcpt}} -m Lists")
    user.send()
    user.postern.wait_log("delivered", to="walter@box.test")
    (mail,) = user.mails("Maildir/.Lists")
    assert mail.data.startswith(b"Return-Path: <sender@client.test>\n") and mail.body == b"hello\n"


def test_explain_says_where_mail_would_go(make_postern):
    postern = make_postern(rules='action "box" mbox\naction "run" mda "cat %{dest}"\n'
        'action "forward" forward-only virtual <accounts>\n'
        'match from any for rcpt-to "alice@example.test" action "box"\n'
        'match from any for rcpt-to "bob@example.test" action "run"\n'
        'match from any for domain <accounts> action "forward"\n')
    postern.add_user("carol@example.test")
    explain = lambda name: postern.smtpctl("explain", "--to", f"{name}@example.test", check=False).stdout
    assert str(postern.maildir("alice@example.test") / "mbox") in explain("alice")
    assert "cat %{dest}" in explain("bob")
    with postern.smtp() as client:
        client.ehlo()
        client.mail("sender@client.test")
        assert client.rcpt("team@example.test")[0] == 250
        assert client.rcpt("carol@example.test")[0] == 550
