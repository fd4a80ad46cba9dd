"""The examples of smtpctl(8), smtpd(8), aliases(5) and table(5), run as they stand."""

import os
import re
import subprocess

import pytest

from postern import TOP


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
        lines = [line[2:] for line in block.splitlines() if line.startswith("# ")]
        if lines and all(re.match(r"smtpd |smtpctl ", line) for line in lines):
            found[number] = lines
    return found


def environment(postern):
    """Where smtpctl and smtpd are this instance's."""
    folder = postern.base / "commands"
    folder.mkdir(exist_ok=True)
    for name, words in (("smtpctl", f"'{postern.stage}/usr/sbin/smtpctl' -s '{postern.socket}'"),
            ("smtpd", f"'{postern.stage}/usr/sbin/smtpd' -f '{postern.config_file}'")):
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
