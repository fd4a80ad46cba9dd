"""Sieve scripts by our interpreter and by Pigeonhole's sieve-test, which Dovecot's users have: both come to
what the RFCs say (sieve_cases.py), or it is told here why not."""

import concurrent.futures
import os
import pathlib
import re
import shlex
import subprocess
import tempfile

import pytest

from postern import BUILD, TOP
from sieve_cases import BODIES, MAIL, MULTIPART, SCRIPTS, TESTS

LIBRARIES = ("-levent_core", "-lbsd", "-ldb-5.3", "-lidn2", "-lcrypto")
SENDER, RECIPIENT, OWNER = "sender@s.test", "bob+inbox@b.test", "bob@b.test"
CONFIG = """
base_dir = {folder}/run
log_path = /dev/stderr
default_internal_user = root
default_internal_group = root
default_login_user = root
first_valid_uid = 1
mail_uid = {uid}
mail_gid = {uid}
stats_writer_socket_path =
ssl = no
recipient_delimiter = +
mail_location = maildir:{folder}/mail
namespace inbox {{
  inbox = yes
}}
plugin {{
  sieve_extensions = +vacation-seconds
  sieve_vacation_min_period = 60
  sieve_max_redirects = 4
  sieve_max_actions = 0
}}
"""
NOBODY = 65534

# Where Pigeonhole 0.5.19 does otherwise: what it does, and why we don't.
DIFFERENCES = {
    'address :contains "cc" ""': ("discard", "RFC 5228 5.1: the test never acts on a group's name"),
    'address :count "eq" :comparator "i;ascii-numeric" "cc" "0"': ("keep", "the same: a group is no address"),
    'envelope "auth" "x"': ("keep", "a part of its own; RFC 5228 5.4: what is unknown is an error"),
    'header "x-two" "a b\tc"': ("keep", "RFC 5322 2.2.3: unfolding takes away the line end alone"),
    'header "subject:" "x"': ("keep", "RFC 5322 2.2: this can't be a field's name"),
    'header :matches "x-word" "*?many"': ("discard", "RFC 5228 2.7.1: ? stands for one character"),
    'date :index 2 :originalzone "received" "hour" "23"': ("keep", "RFC 5260 6: index is for date too"),
    'date :last :index 2 :originalzone "received" "hour" "23"': ("keep", "RFC 5260 6: index is for date too"),
    'date "date" "century" "19"': ("keep", "a misspelt part is told when the script is stored"),
    'date :zone "0000" "date" "hour" "17"': ("discard", "RFC 5260 4.1: a zone is +hhmm or -hhmm"),
    'currentdate :matches "iso8601" "20??-??-??T??:??:??+00:00"': ("keep", "it writes Z; RFC 3339 has both"),
    'string "a" "A"': ("keep", "RFC 5228 2.7.3: i;ascii-casemap is used where none is named"),
    'string "${a.b}" "x"': ("keep", "RFC 5229 3: an unknown namespace is an error"),
    'string "${10}" "x"': ("keep", "it has 32 match variables, we the 9 that RFC 5229 3.2 asks for"),
    'redirect "x@y.test"; redirect "X@y.test";': ("redirect X@y.test; redirect x@y.test",
        "addresses are compared without regard to case everywhere here"),
    'fileinto "";': ("fileinto", "this can't be a mailbox's name"),
    'fileinto "A\nB";': ("fileinto A\\nB", "this can't be a mailbox's name"),
    "fileinto text:\nA\n.\n;": ("fileinto A\\n", "this can't be a mailbox's name"),
    'ereject "no";': ("error", "sieve-test doesn't have it"),
    'set :quoteregex "a" "x.y+"; fileinto "${a}";': ("error", "newer than this release"),
    'addflag "a" "b" "c";': ("keep", "RFC 5228 2.6: what a command doesn't take is an error"),
    'environment "location" "mda"': ("keep", "sieve-test is no delivery"),
    'environment "phase" "during"': ("keep", "sieve-test is no delivery"),
    "if false { nothing; }": ("keep", "RFC 5463 4: what isn't guarded by ihave is an error as ever"),
    'if ihave "${x}" { }': ("keep", "RFC 5463 4: the names are known when the script is compiled"),
    'vacation :days 0 "away";': ("keep; vacation 60", "RFC 5230 4.1: the smallest number of days is 1"),
}


class Ours:
    def __init__(self, folder):
        self.program = folder / "sieve_script"
        subprocess.run([*shlex.split((BUILD / "flags").read_text()), "-pie", "-o", self.program,
            TOP / "regress/e2e/sieve_script.c", BUILD / "lib/libcommon.a", *LIBRARIES], check=True, cwd=TOP)

    def run(self, script, message):
        done = subprocess.run([self.program, SENDER, RECIPIENT, OWNER, script, message], text=True, check=True,
            stdout=subprocess.PIPE, timeout=20, env={"TZ": "UTC"})
        actions = []
        for line in done.stdout.splitlines():
            name, argument, flags = (line.split("\t") + ["", ""])[:3]
            if name in ("error", "failed"):
                return name
            if name == "fileinto" and argument == "INBOX":
                name, argument = "keep", ""
            actions.append(action(name, argument, flags))
        return one_text(actions)


class Pigeonhole:
    def __init__(self, folder):
        (folder / "dovecot.conf").write_text(CONFIG.format(folder=folder, uid=NOBODY if os.geteuid() == 0
            else os.geteuid()))
        self.command = [TOP / "build/tools/bin/dovecot", folder / "dovecot.conf", "sieve-test"]
        self.environment = {"HOME": str(folder / "mail"), "USER": "bob", "TZ": "UTC"}
        for name in ("run", "mail"):
            (folder / name).mkdir()
        if os.geteuid() == 0:
            os.chown(folder / "mail", NOBODY, NOBODY)

    def run(self, script, message):
        done = subprocess.run([*self.command, "-C", "-f", SENDER, "-a", RECIPIENT, "-r", OWNER, script, message],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", timeout=20,
            env=self.environment)
        if "failed to compile" in done.stderr:
            return "error"
        if done.returncode == 1 and "final result: failed" in done.stderr:
            return "failed"
        assert done.returncode == 0, done
        return one_text(self.actions(done.stdout))

    def actions(self, text):
        """Those of its report, where a line end in a string is two question marks."""
        text = text.replace("??", "\\n")
        found = []
        for line in text.splitlines():
            kept = re.match(r" \* store message in folder: (.*)$", line)
            sent = re.match(r" \* redirect message to: <(.*)>$", line)
            refused = re.match(r" \* reject message with reason: (.*)", line)
            if kept is not None:
                found.append(["keep", "", ""] if kept[1] == "INBOX" else ["fileinto", kept[1], ""])
            elif sent is not None:
                found.append(["redirect", sent[1], ""])
            elif refused is not None:
                reason = re.search(r" \* reject message with reason: (.*?)\n(?: \* discard\n)?\nImplicit keep", text, re.DOTALL)
                found.append(["reject", reason[1], ""])
            elif line == " * send vacation message:":
                seconds = re.search(r"=> seconds : (\d+)", text)
                found.append(["vacation", seconds[1], ""])
            elif line.strip().startswith("+ add IMAP flags:"):
                found[-1][2] = line.split(":", 1)[1].strip()
            elif line.strip().startswith("+ create mailbox"):
                found[-1][0] = "fileinto create"
        return [action(*one) for one in found]


def action(name, argument, flags):
    """As one text; the order of flags says nothing, and so does the case of the system's."""
    flags = sorted((flag.title() if flag.startswith("\\") else flag for flag in flags.split()), key=str.lower)
    return f"{name} {argument}".rstrip(" ") + (f" [{' '.join(flags)}]" if flags else "")


def one_text(actions):
    return "; ".join(sorted(set(actions))) or "discard"


def cases():
    """Extensions, script, message and what it comes to."""
    for extensions, test, expected in TESTS:
        yield extensions, f"if {test} {{ discard; }}", MAIL, {True: "discard", False: "keep", None: "error"}[expected]
    for test, expected in BODIES:
        yield "body", f"if {test} {{ discard; }}", MULTIPART, {True: "discard", False: "keep", None: "error"}[expected]
    for extensions, script, expected in SCRIPTS:
        yield extensions, script, MAIL, expected


@pytest.fixture(scope="module")
def folder():
    """Where another user may read."""
    with tempfile.TemporaryDirectory(prefix="sieve-", dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield pathlib.Path(name)


class Case:
    """Files of a script and its message, and what it comes to; `test`: it discards where that holds."""

    def __init__(self, folder, number, extensions, script, message, expected):
        self.folder, self.number, self.extensions, self.message = folder, number, extensions, message
        test = re.fullmatch(r"if (.*) \{ discard; \}", script) if expected in ("discard", "keep") else None
        self.test = test and test[1]
        self.words = re.sub(r"^if (.*) \{ discard; \}$", r"\1", script)
        self.expected = one_text(expected.split("; "))
        self.script = self.write(number, extensions, script)

    def write(self, name, extensions, script):
        names = ", ".join(f'"{name}"' for name in extensions.split())
        path = self.folder / f"{name}.sieve"
        path.write_bytes((f"require [{names}];\n" if extensions else "").encode() + script.encode())
        return path


@pytest.fixture(scope="module")
def written(folder):
    messages = {}
    for message in (MAIL, MULTIPART):
        messages[message] = folder / f"{len(messages)}.eml"
        messages[message].write_bytes(message.replace("\n", "\r\n").encode())
    return [Case(folder, number, extensions, script, messages[message], expected)
        for number, (extensions, script, message, expected) in enumerate(cases())]


def run_all(runner, cases):
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        return list(pool.map(lambda case: runner.run(case.script, case.message), cases))


def agree_together(runner, group):
    """Whether all these tests come to what they should, as one script."""
    first = group[0]
    extensions = " ".join(dict.fromkeys([*first.extensions.split(), "fileinto", "copy"]))
    script = first.write(f"with{first.number}", extensions, "\n".join(
        f'if {case.test} {{ fileinto :copy "{case.number}"; }}' for case in group))
    expected = ["keep", *(f"fileinto {case.number}" for case in group if case.expected == "discard")]
    return runner.run(script, first.message) == one_text(expected)


def test_scripts_do_what_the_rfcs_say(folder, written):
    results = run_all(Ours(folder), written)
    wrong = [(case.words, case.expected, result) for case, result in zip(written, results)
        if result != case.expected]
    assert wrong == []


def test_pigeonhole_does_the_same_but_for_what_is_told(folder, written):
    if not (TOP / "build/tools/dovecot-sieve/complete").exists():
        pytest.skip("Pigeonhole isn't there (make test-deps)")
    pigeonhole, groups, alone = Pigeonhole(folder), {}, []
    for case in written:
        if case.test and case.words not in DIFFERENCES:
            groups.setdefault((case.extensions, case.message), []).append(case)
        else:
            alone.append(case)
    for group in groups.values():
        alone += [] if agree_together(pigeonhole, group) else group
    differs = {case.words: result for case, result in zip(alone, run_all(pigeonhole, alone))
        if result != case.expected}
    assert differs == {words: result for words, (result, _) in DIFFERENCES.items()}
    assert len(alone) < len(written) * 2 // 3
