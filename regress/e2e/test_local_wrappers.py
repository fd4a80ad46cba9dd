"""Wrappers around what stores mail: a filter's text is what is stored, all of it and once, or nothing and
the mail waits. Maildirs, mbox files, users of the system's kind and of the accounts database."""

import os
import re

import pytest

from postern import TOP, wait_for
from test_local_commands import GID, UID

MAILDIR, MBOX = "maildir", 'mbox "~/mbox"'


class User:
    """A user of a userbase table with a home of his own, and a wrapper around the action."""

    def __init__(self, make_postern, wrapper, method=MAILDIR):
        self.postern = make_postern(start=False)
        self.home = self.postern.base / "walter"
        self.home.mkdir(0o700)
        os.chown(self.home, UID, GID)
        self.postern.extra = f'mda wrapper "w" "{wrapper}"\n'
        self.postern.rules = (f'table users {{ walter = "{UID}:{GID}:{self.home}" }}\n'
            f'action "in" {method} userbase <users> wrapper "w"\n'
            'match from any for domain "box.test" action "in"\n')
        self.postern.start()

    def send(self, text="Subject: x\r\n\r\nhello\r\n", to="walter@box.test", **arguments):
        self.postern.send(to, text, **arguments)

    def mails(self, folder="Maildir"):
        return self.postern.mails(self.home / folder)

    def assert_waits(self, words):
        wait_for(lambda: [e for e in self.postern.queue() if words in e["error"]], 15, words)
        assert self.mails() == []


@pytest.fixture
def make_user(make_postern):
    return lambda *arguments, **options: User(make_postern, *arguments, **options)


def test_what_a_filter_writes_is_stored(make_user):
    """With the fields that it got, in their place, once; and not with a line "From " before them."""
    user = make_user("{ echo From someone yesterday; sed 's/^hello/good day/'; } | %{mda}")
    user.send()
    user.postern.wait_queue_empty()
    (mail,) = user.mails()
    assert mail.data == (b"Return-Path: <sender@client.test>\nDelivered-To: walter@box.test\n"
        + mail.data[mail.data.index(b"Received:"):])
    assert mail.data.count(b"Return-Path:") == 1 and mail.body == b"good day\n"
    assert f",S={len(mail.data)}," in mail.path.name and user.postern.log_lines("delivered")


def test_formail_and_reformail_change_the_header(make_user, tool):
    user = make_user(f"{tool('formail')} -I 'X-Formail: yes' | {tool('reformail')} -A 'X-Reformail: yes' | "
        "%{mda}")
    user.send()
    user.postern.wait_queue_empty()
    (mail,) = user.mails()
    assert mail.data.startswith(b"Return-Path: <sender@client.test>\n")
    assert b"\nX-Formail: yes\n" in mail.data and b"\nX-Reformail: yes\n" in mail.data


def test_mbox_files_have_it_as_well(make_user):
    user = make_user("sed 's/^hello/From: hello/;s/^me$/From me/' | %{mda}", method=MBOX)
    user.send("Subject: x\r\n\r\nme\r\n")
    user.postern.wait_queue_empty()
    text = (user.home / "mbox").read_text()
    assert text.startswith("From sender@client.test  ") and text.endswith("\n\n>From me\n\n")
    assert text.count("\nReturn-Path: <sender@client.test>\n") == 1
    assert text.count("\nFrom ") == 0


def test_what_a_filter_marks_goes_to_junk(make_user):
    user = make_user("sed '1iX-Spam: Yes' | %{mda}", method="maildir junk")
    said = user.postern.smtpctl("explain", "--to", "walter@box.test").stdout
    assert "wrapper: what walter@box.test gets is what is made of it by sed '1iX-Spam: Yes' | %{mda}" in said
    user.send()
    user.postern.wait_queue_empty()
    assert len(user.mails("Maildir/.Junk")) == 1


def test_the_words_reach_what_stores_through_other_programs(make_user):
    """One that closes all descriptors and runs its arguments; and a shell within the shell's quotes."""
    user = make_user("/usr/bin/env -i /usr/bin/python3 -c 'import subprocess, sys; "
        "sys.exit(subprocess.run(sys.argv[1:]).returncode)' sh -c '%{mda}'")
    text = "Subject: x\r\n\r\n" + ("x" * 998 + "\r\n") * 3000
    user.send(text)
    user.postern.wait_queue_empty()
    (mail,) = user.mails()
    assert mail.body == text.split("\r\n\r\n", 1)[1].replace("\r\n", "\n").encode()


def manual_example(filter):
    """What mda.8 has for a filter that may be killed, as smtpd.conf has it."""
    (text,) = re.findall(r"^\.Bd -literal.*?\n(.*%\{mda\}.*)\n\.Ed", (TOP / "deliver/mda.8").read_text(),
        re.MULTILINE)
    return text.replace("filter ", filter + " ")


def test_the_manuals_example_stores_all(make_user):
    user = make_user(manual_example("cat"))
    user.send()
    user.postern.wait_queue_empty()
    (mail,) = user.mails()
    assert mail.body == b"hello\n"


@pytest.mark.parametrize("wrapper, words", [
    (manual_example("sh -c 'head -c 60; kill -KILL $$'"), "ended by signal 9"),
    ("no-such-filter | %{mda}", "no-such-filter: not found"),
    ("no-such-filter | %{mda}; true", "that it handed in wasn't taken"),
    ("%{mda} && exit 75", "temporary failure"),
    ("tee copy | %{mda} && %{mda} <copy; true", "more than one message"),
    ("%{mda} <&-; exit 75", "no standard input"),
    ("%{mda} <&-; true", "that it handed in wasn't taken"),
    ("%{mda} </; true", "that it handed in wasn't taken"),
])
def test_nothing_is_stored_by_one_that_fails(make_user, wrapper, words):
    user = make_user(wrapper)
    user.send()
    user.assert_waits(words)


def test_one_that_keeps_mail_for_itself_has_it(make_user):
    user = make_user("cat >$$; grep -q '^Subject: drop' $$ || %{mda} <$$")
    user.send("Subject: drop\r\n\r\n")
    user.send("Subject: keep\r\n\r\n")
    user.postern.wait_queue_empty()
    (mail,) = user.mails()
    assert b"Subject: keep" in mail.data


def test_a_death_in_the_midst_of_it_stores_once(make_user):
    """The mda is killed while the filter has handed in the message and hasn't ended."""
    user = make_user("%{mda} && { echo >>had; until test -e go; do sleep 0.02; done; }")
    user.send()
    wait_for(lambda: (user.home / "had").exists())
    user.postern.kill("mda")
    wait_for(lambda: user.postern.log_lines("delivery-deferred") or
        (user.home / "had").read_text().count("\n") > 1)
    assert user.mails() == []
    (user.home / "go").touch()
    user.postern.smtpctl("schedule", "all")
    user.postern.wait_queue_empty()
    assert len(user.mails()) == 1


def test_users_of_the_accounts_database_and_their_scripts(make_postern):
    postern = make_postern(rules='mda wrapper "w" "sed \\"1iX-Seen: %{user.username}\\" | %{mda}"\n'
        'action "in" maildir wrapper "w"\nmatch from any for domain <accounts> action "in"\n')
    script = postern.base / "script"
    script.write_text('require ["fileinto", "mailbox"]; if header "X-Seen" "bob@example.test" '
        '{ fileinto :create "Seen"; }\n')
    postern.smtpctl("sieve", "put", "bob@example.test", "s", str(script))
    postern.smtpctl("sieve", "activate", "bob@example.test", "s")
    postern.send("team@example.test")
    postern.wait_queue_empty()
    (mail,) = postern.mails(postern.maildir("alice@example.test"))
    assert b"X-Seen: alice@example.test\n" in mail.data
    assert len(postern.mails(postern.maildir("bob@example.test") / ".Seen")) == 1
