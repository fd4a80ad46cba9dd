"""makemap and newaliases, by the names that other programs call them."""

import os
import pwd
import subprocess
import textwrap

import pytest

from postern import wait_for
from test_sendmail import NOBODY, as_user, program, sendmail

RULES = """
table names "db:@BASE@/aliases.db"
action "in" maildir virtual <accounts>
action "expand" expand-only alias <names>
match from local for domain example.test action "in"
match from local for local action "expand"
"""


def run(postern, name, *words, status=0, folder="bin"):
    result = subprocess.run([program(postern, name, folder), *map(str, words)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30,
        text=True, cwd=postern.base)
    assert result.returncode == status, result
    return result.stdout


@pytest.fixture
def stopped(make_postern):
    postern = make_postern(start=False, rules=RULES)
    postern.write_config()
    return postern


def test_newaliases_makes_the_table_that_the_configuration_names(make_postern):
    postern = make_postern(start=False, rules=RULES)
    aliases = postern.base / "aliases"
    aliases.write_text("# ours\nRoot: alice@example.test\nteam: root,\n\tbob@example.test\n")
    postern.write_config()
    for words in (("newaliases", "-f", postern.config_file),):
        assert run(postern, *words) == f"{postern.base}/aliases.db: 2 entries\n"
    postern.start()
    for user in ("alice", "bob"):
        if user == "alice":
            postern.add_domain("example.test")
        postern.add_user(f"{user}@example.test")
    sendmail(postern, "team")
    for user in ("alice", "bob"):
        postern.wait_mail(f"{user}@example.test")
    # As a program does that wants to hear of no child's end.
    subprocess.run(["sh", "-c", 'trap "" CHLD; exec "$@"', "sh", program(postern, "newaliases",
        "bin"), "-f", postern.config_file], check=True, timeout=30)
    aliases.write_text("team: bob@example.test\nbroken\n")
    assert "no value" in run(postern, "newaliases", "-f", postern.config_file,
        status=os.EX_DATAERR)
    sendmail(postern, "root")
    postern.wait_mail("alice@example.test", 2)


def test_there_is_nothing_to_do_for_files(stopped):
    stopped.write_config('listen on lo port @PORT@\ntable t "file:@BASE@/aliases"\n'
        'action "e" expand-only alias <t>\nmatch for local action "e"\n')
    assert "nothing to do" in run(stopped, "newaliases", "-f", stopped.config_file)
    stopped.write_config("nonsense\n")
    assert "smtpd.conf" in run(stopped, "newaliases", "-f", stopped.config_file,
        status=os.EX_CONFIG)


@pytest.mark.parametrize("kind", ["hash", "btree"])
def test_what_is_made_is_what_was_written(stopped, kind):
    source = stopped.base / "map"
    source.write_text("A@Example.TEST  one\nb:two words\n# c: three\nb: again\n")
    said = run(stopped, "makemap", "-d", kind, source)
    assert 'the key "b" is there already' in said and "map.db: 2 entries" in said
    assert sorted(run(stopped, "makemap", "-U", f"{source}.db").splitlines()) == [
        "a@example.test\tone", "b\ttwo words"]
    run(stopped, "makemap", "-t", "set", "-o", "set.db", source)
    assert "b\t<set>" in run(stopped, "makemap", "-U", "set.db")
    assert (stopped.base / "map.db").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666, 0o700])
def test_who_may_read_the_text_may_read_what_is_made_of_it(stopped, mode):
    source, made = stopped.base / "map", stopped.base / "map.db"
    source.write_text("label user:password\n")
    if os.getuid() == 0:
        os.chown(source, 1, 2)
    source.chmod(mode)
    run(stopped, "makemap", source)
    info, text = made.stat(), source.stat()
    assert (info.st_uid, info.st_gid) == (text.st_uid, text.st_gid)
    assert info.st_mode & 0o777 == 0o600 | mode & 0o044


@pytest.mark.root
def test_a_group_that_the_caller_is_not_in_is_given_nothing(stopped):
    source = stopped.base / "map"
    source.write_text("label user:password\n")
    os.chown(source, pwd.getpwnam(NOBODY).pw_uid, 2)
    source.chmod(0o640)
    stopped.base.chmod(0o777)
    subprocess.run([*as_user(NOBODY), program(stopped, "makemap", "bin"), source], check=True,
        timeout=30)
    assert (stopped.base / "map.db").stat().st_mode & 0o777 == 0o600


def test_no_other_file_is_written_under_the_new_ones_name(stopped, tool):
    """Who owns the folder puts a link in its place as soon as it is there."""
    source, secret = stopped.base / "map", stopped.base / "secret"
    source.write_text("key value\n")
    secret.write_text("secret")
    # Which Berkeley DB reads before it opens its file.
    process = subprocess.Popen([tool("strace"), "-qq", "-o", "/dev/null", "-etrace=openat",
        "-P", "/sys/devices/system/cpu/online", "-einject=openat:delay_enter=1000000",
        program(stopped, "makemap", "bin"), source], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    try:
        fresh = wait_for(lambda: list(stopped.base.glob("map.db.*")), 20)[0]
        fresh.unlink()
        fresh.symlink_to(secret)
    finally:
        process.wait(40)
    assert secret.read_text() == "secret"


def test_aliases_as_people_write_them(stopped):
    """Postfix's postalias makes the same of it, but for the keys with a domain."""
    source = stopped.base / "aliases"
    source.write_text(textwrap.dedent("""\
        # /etc/aliases
        Postmaster:\troot
        nobody:root
        www-data : root
        list:   "|/usr/lib/mailman3/bin/mailman post list", alice
        list2: "|/usr/bin/procmail -t \\"x\\" || exit 75"
        inc: :include:/etc/lists/inc
        dev: /dev/null
        loop: \\loop, alice@example.org
        "quoted name": alice
        team: alice,
        # bob,
        \tcarol,

          # nobody,
          dave
        other: alice
            , bob
        user@domain: alice
        """))
    assert run(stopped, "makemap", "-t", "aliases", "aliases").endswith(
        "\naliases.db: 12 entries\n")
    lines = run(stopped, "makemap", "-U", "aliases.db").splitlines()
    entries = {key: [word.strip() for word in value.split(",")]
        for key, value in (line.split("\t", 1) for line in lines)}
    assert entries == {"postmaster": ["root"], "nobody": ["root"], "www-data": ["root"],
        "list": ['"|/usr/lib/mailman3/bin/mailman post list"', "alice"],
        "list2": [r'"|/usr/bin/procmail -t \"x\" || exit 75"'],
        "inc": [":include:/etc/lists/inc"], "dev": ["/dev/null"],
        "loop": [r"\loop", "alice@example.org"], "quoted name": ["alice"],
        "team": ["alice", "carol", "dave"], "other": ["alice", "bob"], "user@domain": ["alice"]}
    lines = source.read_text() + "broken\n"
    source.write_text(lines)
    assert f"aliases:{lines.count(chr(10))}: no value" in run(stopped, "makemap", "-t", "aliases",
        "aliases", status=os.EX_DATAERR)


def test_a_failure_leaves_the_old_file(stopped):
    source, made = stopped.base / "map", stopped.base / "map.db"
    made.write_text("old")
    source.write_text("key\n\"open: x\n")
    assert "quote" in run(stopped, "makemap", "map", status=os.EX_DATAERR)
    source.write_text("key\n")
    assert "no value" in run(stopped, "makemap", "-t", "aliases", "map", status=os.EX_DATAERR)
    run(stopped, "makemap", "none", status=os.EX_NOINPUT)
    run(stopped, "makemap", "-o", "/nonexistent/map.db", "map", status=os.EX_CANTCREAT)
    for words in ((), ("a", "b"), ("-t", "other", "map"), ("-d", "dbm", "map"), ("-x", "map")):
        assert "usage" in run(stopped, "makemap", *words, status=os.EX_USAGE)
    assert made.read_text() == "old"
    assert {path.name for path in stopped.base.iterdir() if "map" in path.name} == {"map", "map.db"}
