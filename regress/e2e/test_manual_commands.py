"""The manuals' examples but smtpd.conf(5)'s (test_manual_examples.py), run as they stand."""

import os
import re
import subprocess

import pytest

from postern import RULES, TOP, wait_for
from system_users import Users


def blocks(manual):
    """Its displayed blocks and lines, as a reader sees them."""
    text = (TOP / manual).read_text()
    found = re.findall(r"^\.Bd.*?\n(.*?)^\.Ed|^\.Dl ([^\n]*)$", text, re.MULTILINE | re.DOTALL)
    shown = [block or line + "\n" for block, line in found]
    return [re.sub(r"\\\(dq", '"', block).replace("\\e", "\\").replace("\\&", "") for block in shown]


def commands(manual):
    """{block's number: its lines behind "# "}."""
    found = {}
    for number, block in enumerate(blocks(manual)):
        lines = [line[2:] for line in block.replace("|\n\t", "| ").splitlines() if line[:2] in ("# ", "$ ")]
        if lines and all(re.search(r"\b(smtpd|smtpctl|sendmail|makemap) ", line) for line in lines):
            found[number] = lines
    return found


def environment(postern):
    """Where smtpd, smtpctl and its other names are this instance's."""
    folder = postern.base / "commands"
    folder.mkdir(exist_ok=True)
    for name, words in (("smtpctl", f"'{postern.stage}/usr/sbin/smtpctl' -s '{postern.socket}'"),
            ("smtpd", f"'{postern.stage}/usr/sbin/smtpd' -f '{postern.config_file}'"),
            ("sendmail", f"'{postern.stage}/usr/sbin/sendmail' -O 'SmtpSocket={postern.run}/smtp.sock'"),
            ("makemap", f"'{postern.stage}/usr/bin/makemap'")):
        (folder / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def run(postern, line):
    return subprocess.run(["sh", "-c", line], input="correct horse battery\n" * 2, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False,
        env=environment(postern))


@pytest.mark.parametrize("number", sorted(commands("smtpctl/smtpctl.8")))
def test_example_of_smtpctl(make_postern, number):
    postern = make_postern(accounts=False)
    lines = commands("smtpctl/smtpctl.8")[number]
    if "domain add" not in lines[0]:
        postern.add_domain("example.org")
    made = []  # selectors: the manual's are those of other months
    for line in lines:
        selector = re.search(r"rsa\d{6}$", line)
        if selector:
            line = line.replace(selector.group(), made[-1] if "activate" in line else made[0])
        result = run(postern, line)
        assert result.returncode == 0, (line, result.stdout)
        made += [name for name in re.findall(r"\b(rsa\d{6}\w*)\._domainkey", result.stdout)
            if name not in made]


def test_example_of_sendmail(make_postern):
    rules = RULES.replace("from any", "from local")
    postern = make_postern(accounts=False, rules=rules)
    postern.add_domain("example.org")
    postern.add_user("bob@example.org")
    ((line,),) = commands("smtpctl/sendmail.8").values()
    result = run(postern, line)
    assert result.returncode == 0, result.stdout
    (mail,) = postern.wait_mail("bob@example.org")
    assert re.search(rb"^Subject: hi\r?$", mail.data, re.MULTILINE)


def test_example_of_makemap(make_postern):
    def rules(postern):
        write(postern.base / "aliases", blocks("lookup/aliases.5")[1])
        made = run(postern, line.replace("/etc/aliases", str(postern.base / "aliases")))
        assert made.returncode == 0, made.stdout
        return f"""table aliases db:{postern.base}/aliases.db
table users {{ bob = "{os.getuid() or 5000}:{os.getgid() or 5000}:{postern.mail}/bob" }}
action "local" maildir userbase <users> alias <aliases>
match for local action "local"
"""
    ((line,),) = commands("smtpctl/makemap.8").values()
    postern = make_postern(accounts=False, rules=rules)
    told = postern.smtpctl("explain", "--to", "root@mx.example.test").stdout
    assert f"{postern.mail}/bob/Maildir" in told, told


def test_example_of_sieve_sorts(make_postern):
    _, script = blocks("deliver/sieve.5")
    postern = make_postern()
    postern.smtpctl("sieve", "put", "alice@example.test", "main", input=script)
    postern.smtpctl("sieve", "activate", "alice@example.test", "main")
    for header in ("List-Id: <announce.example.org>", "From: news@shop.example"):
        postern.send("alice@example.test", f"{header}\r\nSubject: x\r\n\r\nhello\r\n")
    root = postern.maildir("alice@example.test")

    def files(folder, part):
        return list((root / folder / part).glob("*"))
    wait_for(lambda: files(".Lists.announce", "new"), what="the list's mail is in its folder")
    (seen,) = wait_for(lambda: files(".Shop", "cur"), what="the shop's mail is in its folder")
    assert seen.name.endswith(":2,S")


@pytest.mark.root
def test_example_of_forward_is_followed(make_postern):
    (text,) = blocks("lookup/forward.5")
    postern = make_postern(start=False, accounts=False,
        rules='action "local" maildir\nmatch for local action "local"\n')
    homes = postern.base / "homes"
    homes.mkdir(mode=0o755)
    users = Users(homes)
    try:
        name = users.add("b")
        users.write(name, text.replace("bob\n", f"{name}\n", 1))
        postern.start()
        told = postern.smtpctl("explain", "--to", f"{name}@mx.example.test").stdout
    finally:
        postern.stop()
        users.clear()
    assert f"{homes}/{name}/Maildir" in told and "exec /usr/bin/procmail" in told, told
    assert "bob@example.net" in told, told


def test_examples_of_smtpd(make_postern):
    checked, in_front = (lines[0] for lines in commands("smtpd/smtpd.8").values())
    postern = make_postern(accounts=False)
    result = run(postern, checked)
    assert result.returncode == 0, result.stdout
    postern.wait_log("reloaded")
    postern.stop()
    with subprocess.Popen(["sh", "-c", f"exec {in_front}"], stdin=subprocess.DEVNULL, text=True,
            stderr=subprocess.PIPE, env=environment(postern)) as process:
        try:
            for line in process.stderr:
                if " started " in line:
                    break
            else:
                raise AssertionError("it didn't start")
        finally:
            process.terminate()


def write(path, text):
    path.write_text(text)
    path.chmod(0o644)
    return path


@pytest.mark.root  # mailboxes of others' uids
def test_aliases_of_the_manual_lead_where_it_says(make_postern):
    config, table = blocks("lookup/aliases.5")

    def rules(postern):
        aliases = write(postern.base / "aliases", table)
        users = ", ".join(f'{name} = "{5000 + number}:5000:{postern.mail}/{name}"'
            for number, name in enumerate(("bob", "carol")))
        # The system that is tested on has no bob.
        return f"table users {{ {users} }}\n" + config.replace("/etc/aliases",
            str(aliases)).replace("alias <aliases>", "userbase <users> alias <aliases>")
    postern = make_postern(accounts=False, rules=rules)
    for name, leads_to in (("postmaster", ["bob"]), ("root", ["bob"]), ("team", ["bob", "carol"])):
        told = postern.smtpctl("explain", "--to", f"{name}@mx.example.test").stdout
        for user in leads_to:
            assert f"{postern.mail}/{user}/Maildir" in told, told


@pytest.mark.root
def test_tables_of_the_manual_are_read(make_postern):
    lists, userbase = blocks("lookup/table.5")
    domains, mapping = (f"#{part}" for part in lists.split("#")[1:])
    assert "list of domains" in domains and "mapping" in mapping

    def rules(postern):
        write(postern.base / "domains", domains)
        write(postern.base / "virtual", mapping)
        write(postern.base / "users", userbase.replace("/var/vmail", str(postern.mail)))
        return f"""table domains file:{postern.base}/domains
table virtuals file:{postern.base}/virtual
table users file:{postern.base}/users
action "in" maildir virtual <virtuals> userbase <users>
match from any for domain <domains> action "in"
"""
    postern = make_postern(accounts=False, rules=rules)
    for address in ("bob@example.org", "info@example.org"):
        told = postern.smtpctl("explain", "--to", address).stdout
        assert f"{postern.mail}/Maildir" in told, told
    assert "550" in postern.smtpctl("explain", "--to", "nobody@below.example.net", check=False).stdout


def test_every_event_of_the_log_is_in_a_manual():
    """But what debugging and tracing add."""
    begins = re.compile(r'log_begin\([^,"]+, LOG_LEVEL_(?!DEBUG)\w+,\s*"([a-z0-9-]+)"')
    manuals = "".join(path.read_text() for path in TOP.glob("*/*.[58]"))
    events = {event for path in TOP.glob("*/*.c") for event in begins.findall(path.read_text())}
    assert len(events) > 30
    assert sorted(event for event in events
        if not re.search(rf"^\.It.* {event}( |$)", manuals, re.MULTILINE)) == []
