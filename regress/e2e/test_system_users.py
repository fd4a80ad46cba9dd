"""Users of the system: their Maildirs, groups, .forward files and lists. Accounts are made for each
test and removed after it."""

import grp
import imaplib
import mailbox
import os
import pwd
import re
import signal
import stat

import pytest

from postern import free_port, wait_for
from system_users import Users

pytestmark = pytest.mark.root

RULES = """
table aliases file:@BASE@/aliases
action "local" maildir alias <aliases>
action "out" relay host smtp+notls://127.0.0.1:1
match from any for domain "example.test" action "local"
match from local for domain "far.test" action "out"
"""


@pytest.fixture
def system(make_postern):
    """An instance, its users, and a function that replaces its alias file."""
    postern = make_postern(start=False, rules=RULES)
    homes = postern.base / "homes"
    homes.mkdir(mode=0o755)
    users = Users(homes)
    aliases = postern.base / "aliases"

    def set_aliases(text):
        fresh = postern.base / "aliases.new"
        fresh.write_text(text)
        fresh.chmod(0o644)
        fresh.rename(aliases)
        if postern.process is not None:
            postern.smtpctl("reload")
    postern.process = None
    set_aliases("")
    postern.users, postern.set_aliases = users, set_aliases
    postern.start()
    try:
        yield postern
        postern.stop()
    finally:
        users.clear()


def rcpt(postern, name):
    with postern.wire() as wire:
        wire.hello()
        wire.command("MAIL FROM:<sender@client.test>", 250)
        return repr(wire.command(f"RCPT TO:<{name}@example.test>"))


def send(postern, name, text="Subject: x\r\n\r\nhello\r\n"):
    return postern.send(f"{name}@example.test", text)


def wait_text(postern, path, text):
    try:
        wait_for(lambda: path.exists() and text in path.read_text())
    except AssertionError as why:
        raise AssertionError(f"{why}\n{postern.log_tail()}") from None


def only_mail(postern, name):
    mails = postern.wait_mail(postern.users.box(name))
    postern.wait_queue_empty()
    assert len(postern.mails(postern.users.box(name))) == 1
    return mails[0]


def test_a_user_added_later_gets_mail_as_himself_with_his_groups(system):
    users = system.users
    assert rcpt(system, users.name("a")).startswith("550 5.1.1")
    name = users.add("a")
    shared = users.group("g", name)
    send(system, name)
    mail = only_mail(system, name)
    entry = pwd.getpwnam(name)
    assert (mail.path.stat().st_uid, mail.path.stat().st_gid) == (entry.pw_uid, entry.pw_gid)
    # What runs for him has his groups, and no others.
    users.write(name, "|id -G >$HOME/groups; id -un >>$HOME/groups\n")
    send(system, name)
    path = users.home(name) / "groups"
    wait_text(system, path, name)
    groups = {int(group) for group in path.read_text().splitlines()[0].split()}
    assert groups == {entry.pw_gid, grp.getgrnam(shared).gr_gid}
    system.wait_queue_empty()


def test_a_maildir_that_only_a_group_can_reach_is_delivered_to_and_read(make_postern):
    port = free_port()
    postern = make_postern(start=False, rules="""
action "local" maildir "@BASE@/shared/%{user.username}"
match from any for domain "example.test" action "local"
""", extra="table users file:@BASE@/users\n"
        f"listen on 127.0.0.1 port {port} imap auth <users> auth-cleartext\n")
    (postern.base / "homes").mkdir(mode=0o755)
    users = Users(postern.base / "homes")
    try:
        name = users.add("a")
        group = grp.getgrnam(users.group("g", name))
        entry = pwd.getpwnam(name)
        box = postern.base / "shared" / name
        box.mkdir(mode=0o700, parents=True)
        os.chown(box, entry.pw_uid, entry.pw_gid)
        os.chown(box.parent, 0, group.gr_gid)
        box.parent.chmod(0o710)
        passwords = postern.base / "users"
        passwords.write_text(f"{name}@example.test:{{PLAIN}}secret:1:1::/\n")
        passwords.chmod(0o644)
        postern.start()
        send(postern, name)
        postern.wait_mail(box)
        client = imaplib.IMAP4("127.0.0.1", port, timeout=20)
        client.login(f"{name}@example.test", "secret")
        assert client.select()[1] == [b"1"]
        client.logout()
        pid = int(postern.wait_log("child-started", program="mailbox", uid=entry.pw_uid)["pid"])
        with open(f"/proc/{pid}/status") as status:
            (groups,) = [line.split()[1:] for line in status if line.startswith("Groups:")]
        assert groups == [str(group.gr_gid)]
        postern.stop()
    finally:
        users.clear()


def test_nothing_is_delivered_as_root_or_without_a_home(system):
    reply = rcpt(system, "root")
    assert reply.startswith("550 5.1.1") and "root needs an alias" in reply
    name = system.users.add("a")
    system.set_aliases(f"root: {name}\n")
    wait_for(lambda: rcpt(system, "root").startswith("250"))
    send(system, "root")
    only_mail(system, name)
    other = system.users.add("b", home=False)
    assert rcpt(system, other).startswith("451 4.2.0")
    system.wait_log("forward-unusable", user=other)
    # A system account whose home isn't its own is no mailbox.
    assert rcpt(system, "daemon").startswith("550 5.1.1")


def test_a_user_who_is_removed_before_the_delivery_bounces(system):
    name = system.users.add("a")
    system.smtpctl("pause", "mda")
    send(system, name)
    system.users.remove("a")
    system.smtpctl("resume", "mda")
    system.wait_log("delivery-failed", reply=re.compile("550 5.1.1"))


def test_a_forward_leads_elsewhere_and_keeps_a_copy_when_it_says_so(system):
    users = system.users
    one, two, three = (users.add(short) for short in "abc")
    users.write(one, f"# a comment\n{two}\n", owner="root")
    send(system, one)
    only_mail(system, two)
    assert not users.box(one).exists()
    users.write(two, f"\\{two}, {three}@example.test\n")
    users.write(three, f"{three}@example.test\n\n")
    wait_for(lambda: system.smtpctl("explain", "--to", f"{two}@example.test").stdout.count(
        "Maildir") >= 2)
    send(system, two)
    system.wait_mail(users.box(two), 2)
    only_mail(system, three)


def test_a_forward_for_the_detail_comes_before_the_one_for_all(system):
    users = system.users
    one, two, three = (users.add(short) for short in "abc")
    users.write(one, two)
    users.write(one, three, file=".forward+list")
    send(system, f"{one}+List")
    only_mail(system, three)
    send(system, f"{one}+other")
    only_mail(system, two)
    explained = system.smtpctl("explain", "--to", f"{one}+list@example.test").stdout
    assert f"file {users.home(one)}/.forward+list is followed" in explained
    # The same is asked of both; and what waits for the one isn't delivered by the other.
    system.set_aliases(f"all: {three}, {one}+list\n")
    wait_for(lambda: rcpt(system, "all").startswith("250"))
    path = users.write(one, two, file=".forward+list", mode=0o666)
    assert rcpt(system, f"{one}+list").startswith("451 4.2.0")
    assert rcpt(system, f"{one}+other").startswith("250")
    send(system, "all")
    system.wait_mail(users.box(three), 2)
    wait_for(lambda: [envelope for envelope in system.queue() if envelope["tries"] > 0])
    assert not users.box(one).exists() and len(system.mails(users.box(two))) == 1
    path.unlink()
    system.smtpctl("schedule", "all")
    # The one for all is left.
    system.wait_mail(users.box(two), 2)
    assert not users.box(one).exists()


def test_a_forward_to_another_host_is_relayed(system):
    name = system.users.add("a")
    system.users.write(name, "someone@far.test\n")
    send(system, name)
    (envelope,) = wait_for(system.queue)
    assert envelope["dest"] == "someone@far.test"
    system.smtpctl("remove", "all")


def test_users_who_forward_to_each_other_end(system):
    users = system.users
    one, two, three = (users.add(short) for short in "abc")
    users.write(one, two)
    users.write(two, three)
    users.write(three, one)
    assert rcpt(system, one).startswith("550 5.4.6")
    system.users.write(three, f"{one}, \\{three}")
    wait_for(lambda: rcpt(system, one).startswith("250"))
    send(system, one)
    only_mail(system, three)


def breakages():
    def fifo(users, name):
        os.mkfifo(users.home(name) / ".forward")

    def link(users, name):
        (users.home(name) / ".forward").symlink_to("/etc/shadow")

    def device(users, name):
        os.mknod(users.home(name) / ".forward", 0o600 | 0o020000, os.makedev(1, 5))

    def directory(users, name):
        (users.home(name) / ".forward").mkdir()

    return {
        "10 MiB": lambda users, name: users.write(name, b"a\n" * 5242880),
        "a FIFO": fifo,
        "a link to /etc/shadow": link,
        "a device": device,
        "a directory": directory,
        "another's": lambda users, name: users.write(name, "root\n", owner="nobody"),
        "writable by its group": lambda users, name: users.write(name, "x@far.test", mode=0o664),
        "unreadable": lambda users, name: users.write(name, "x@far.test", mode=0),
        "NULs": lambda users, name: users.write(name, b"x@far.test\0|id"),
        "a home for all": lambda users, name: users.home(name).chmod(0o777),
        "a home for a group": lambda users, name: users.home(name).chmod(0o770),
        "a home that nobody may enter": lambda users, name: users.home(name).chmod(0),
        "an unknown user": lambda users, name: users.write(name, "nobody-of-that-name"),
        "a list": lambda users, name: users.write(name, ":include:/etc/passwd"),
    }


def test_a_forward_that_cant_be_used_costs_its_user_a_delay_and_nobody_else(system):
    users = system.users
    good = users.add("z")
    for short, (case, breaks) in zip("abcdefghijklmnop", breakages().items()):
        name = users.add(short)
        breaks(users, name)
        assert rcpt(system, name).startswith("451 4."), case
    system.set_aliases("all: " + ", ".join(users.made.values()) + "\n")
    wait_for(lambda: rcpt(system, "all").startswith("250"))
    send(system, "all")
    system.wait_mail(users.box(good))
    # The others' mail waits in the queue until what is wrong is put right.
    name = users.made["b"]
    wait_for(lambda: [envelope for envelope in system.queue()
        if envelope["dest"].startswith(name) and envelope["tries"] > 0])
    assert not users.box(name).exists()
    (users.home(name) / ".forward").unlink()
    system.smtpctl("schedule", "all")
    system.wait_mail(users.box(name))
    system.smtpctl("remove", "all")


def test_mail_that_waited_for_a_forward_goes_where_that_leads(system):
    """Also through others' files, which may be such ones in their turn; and where there is none any more
    into the mailbox."""
    users = system.users
    one, two, three, other, last = (users.add(short) for short in "abcde")
    path = users.write(one, f"{two}\n\\{one}\n", mode=0o666)
    second = users.write(two, f"{last}, {other}", mode=0o666)
    third = users.write(three, f"{last}", mode=0o666)
    system.set_aliases(f"all: {one}, {three}, {other}\n")
    wait_for(lambda: rcpt(system, "all").startswith("250"))
    send(system, "all", "Subject: x\r\n\r\n" + "hello\r\n" * 100)
    system.wait_mail(users.box(other))
    wait_for(lambda: len([e for e in system.queue() if "can be written by others" in e["error"]]) == 2)
    third.unlink()
    path.chmod(0o644)
    system.smtpctl("schedule", "all")
    for name in (one, three):
        system.wait_mail(users.box(name))
    system.wait_log("redirected", to=f"{one}@example.test")
    (left,) = wait_for(lambda: [e for e in system.queue() if "can be written" in e["error"]])
    assert left["dest"] == f"{two}@example.test"
    assert not users.box(last).exists()
    system.restart()
    second.chmod(0o644)
    system.smtpctl("schedule", "all")
    system.wait_mail(users.box(last))
    system.wait_queue_empty()
    # The second copy comes by another way, at another time.
    assert {name: len(system.mails(users.box(name))) for name in (one, two, three, other, last)} == {
        one: 1, two: 0, three: 1, other: 2, last: 1}
    (mail,) = system.mails(users.box(last))
    assert mail.body == b"hello\n" * 100 and b"Return-Path: <sender@client.test>" in mail.data


def test_who_has_only_a_forward_waits_until_it_leads_somewhere(make_postern):
    """Beside another of an alias, who gets his at once."""
    postern = make_postern(start=False, rules='table aliases file:@BASE@/aliases\n'
        'action "local" forward-only alias <aliases>\nmatch from any for domain "example.test" action "local"\n'
        'action "box" maildir\nmatch from any for domain "box.test" action "box"\n')
    users = Users(postern.base)
    try:
        one, two, three = (users.add(short) for short in "abc")
        (postern.base / "aliases").write_text(f"all: {one}, {two}@box.test\n")
        users.write(one, "nobody-of-that-name\n")
        postern.start()
        postern.users = users
        send(postern, "all")
        postern.wait_mail(users.box(two))
        postern.wait_log("forward-leads-nowhere", user=one)
        (left,) = wait_for(lambda: [e for e in postern.queue() if e["tries"] > 0])
        assert left["error"].startswith("451 4.2.0") and "leads nowhere now" in left["error"]
        users.write(one, f"{three}@box.test\n")
        postern.smtpctl("schedule", "all")
        postern.wait_mail(users.box(three))
        postern.wait_queue_empty()
        postern.stop()
    finally:
        users.clear()


def test_a_home_that_hangs_costs_its_user_a_delay_and_nobody_else(system):
    """The user's process is stopped, as by a file server that doesn't answer."""
    name, other = system.users.add("a"), system.users.add("b")
    assert rcpt(system, name).startswith("250")
    uid = pwd.getpwnam(name).pw_uid
    pid = int(system.wait_log("child-started", program="mda", uid=uid)["pid"])
    os.kill(pid, signal.SIGSTOP)
    try:
        with system.wire() as wire:
            wire.hello()
            wire.command("MAIL FROM:<sender@client.test>", 250)
            wire.send(f"RCPT TO:<{name}@example.test>\r\n")
            send(system, other)
            only_mail(system, other)
            wire.expect(451, ".forward can't be used now")
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: rcpt(system, name).startswith("250"))


def test_a_command_of_a_forward_runs_as_its_user_who_may_log_in(system):
    users = system.users
    name = users.add("a")
    users.write(name, '"|cat >$HOME/message; id -un >$HOME/who"\n')
    send(system, name, "Subject: piped\r\n\r\nbody\r\n")
    who = users.home(name) / "who"
    wait_text(system, who, name)
    lines = (users.home(name) / "message").read_text().splitlines()
    assert lines[0].startswith("From ") and lines[1].startswith("Return-Path: <")
    assert "Subject: piped" in lines
    assert who.stat().st_uid == pwd.getpwnam(name).pw_uid
    locked = users.add("b", shell="/usr/sbin/nologin")
    users.write(locked, "|touch $HOME/never")
    assert rcpt(system, locked).startswith("451 4.2.0")
    system.wait_log("alias-target-dead", target="touch $HOME/never")
    system.wait_queue_empty()


def test_a_command_that_is_no_longer_in_the_forward_isnt_run(system):
    users = system.users
    name = users.add("a")
    users.write(name, "|cat >$HOME/message")
    system.smtpctl("pause", "mda")
    send(system, name)
    users.write(name, f"\\{name}")
    wait_for(lambda: "message" not in
        system.smtpctl("explain", "--to", f"{name}@example.test").stdout)
    system.smtpctl("resume", "mda")
    system.wait_log("delivery-failed")
    assert not (users.home(name) / "message").exists()


def test_a_forward_into_a_file_writes_an_mbox_as_its_user(system):
    users = system.users
    name = users.add("a")
    users.write(name, f"{users.home(name)}/archive\n/dev/null\n")
    send(system, name, "Subject: kept\r\n\r\nbody\r\n")
    archive = users.home(name) / "archive"
    wait_text(system, archive, "Subject: kept")
    system.wait_queue_empty()
    assert archive.read_text().startswith("From sender@client.test ")
    assert archive.stat().st_uid == pwd.getpwnam(name).pw_uid
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600 and not users.box(name).exists()
    send(system, name)
    wait_text(system, archive, "Subject: x")
    system.wait_queue_empty()
    assert sum(mail["Subject"] is not None for mail in mailbox.mbox(archive)) == 2
    # What he can't write stays in the queue, and what he may not have named isn't written.
    victim = users.write(users.add("b"), "mine\n", file="theirs", mode=0o666)
    for path in ("/etc/passwd", str(victim), "/var/mail/nobody-of-that-name"):
        users.write(name, path)
        before = os.path.exists(path) and open(path, "rb").read()
        wait_for(lambda: path in
            system.smtpctl("explain", "--to", f"{name}@example.test").stdout)
        send(system, name)
        wait_for(lambda: [envelope for envelope in system.queue() if envelope["tries"] > 0])
        assert (os.path.exists(path) and open(path, "rb").read()) == before
        system.smtpctl("remove", "all")
    users.write(name, f"{users.home(name)}/.profile")
    system.smtpctl("pause", "mda")
    send(system, name)
    users.write(name, f"\\{name}")
    wait_for(lambda: ".profile" not in
        system.smtpctl("explain", "--to", f"{name}@example.test").stdout)
    system.smtpctl("resume", "mda")
    system.wait_log("delivery-failed")
    assert "From " not in (users.home(name) / ".profile").read_text()


def test_lists_in_files_have_the_rights_of_who_can_write_them(system):
    users = system.users
    name, other = users.add("a"), users.add("b")
    users.home(name).chmod(0o755)
    lists = system.base / "lists"
    lists.mkdir(mode=0o755)
    root_list = lists / "root"
    root_list.write_text(f"# who\n{other}\n\n:include:{lists}/again\n")
    (lists / "again").write_text(f"{name}, :include:{root_list}\n")
    users.write(name, f"{other}\n|id -un >$HOME/who\n{users.home(name)}/box\n", file="list")
    # A list that another one names runs its commands as that one's owner, or as its own.
    users.write(name, f"|id -un >$HOME/as-root-lists\n", file="named")
    (lists / "names-his").write_text(f":include:{users.home(name)}/named\n")
    users.write(name, f":include:{lists}/command\n", file="names-roots")
    (lists / "command").write_text("|id -un >$HOME/as-his-lists\n")
    (lists / "closed").write_text(f"{other}\n")
    (lists / "closed").chmod(0o640)
    os.chown(lists / "closed", 0, grp.getgrnam("_smtpt").gr_gid)
    users.write(name, f":include:{lists}/closed\n", file="names-closed")
    (lists / "open").write_text("|touch /tmp/never-postern\n")
    (lists / "open").chmod(0o666)
    (lists / "big").write_text(f"{name}\n" * 300000)
    (lists / "many").write_text("\n".join(f"m{n}" for n in range(100000)))
    (lists / "link").symlink_to(root_list)
    os.mkfifo(lists / "fifo")
    system.set_aliases("\n".join([f"root-list: :include:{root_list}",
        f"his: \":include:{users.home(name)}/list\"", f"open: :include:{lists}/open",
        f"names-his: :include:{lists}/names-his",
        f"names-roots: :include:{users.home(name)}/names-roots",
        f"names-closed: :include:{users.home(name)}/names-closed",
        f"closed: :include:{lists}/closed", f"big: :include:{lists}/big", f"many: :include:{lists}/many",
        f"link: :include:{lists}/link", f"fifo: :include:{lists}/fifo",
        f"directory: :include:{lists}", f"gone: :include:{lists}/gone",
        f"up: :include:{lists}/../lists/root"]) + "\n")
    wait_for(lambda: rcpt(system, "root-list").startswith("250"))
    send(system, "root-list")
    only_mail(system, name)
    only_mail(system, other)
    send(system, "his")
    who = users.home(name) / "who"
    wait_text(system, who, name)
    wait_text(system, users.home(name) / "box", "Subject: x")
    for alias, file in (("names-his", "as-root-lists"), ("names-roots", "as-his-lists")):
        send(system, alias)
        wait_text(system, users.home(name) / file, name)
    assert rcpt(system, "closed").startswith("250")
    for alias in ("names-closed", "open", "big", "many", "link", "fifo", "directory", "up"):
        assert rcpt(system, alias).startswith("550 5."), alias
    assert rcpt(system, "gone").startswith("451 4.3.0")
    system.wait_queue_empty()
