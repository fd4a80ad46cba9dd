"""Mailboxes read over IMAP: a Maildir of 100,000 messages opened, listed, searched, sorted; how soon an
idle client hears of a delivery; what idle sessions cost. Postern and Dovecot, each on a fresh disk, do
the same for the same client on the same messages.
"""

import json
import os
import pwd
import smtplib
import socket
import statistics
import subprocess
import time

import fill
from measure import HERE, WORK, command
from running import Started
from servers import MAIL_UID, MAILBOXES, Peer, Postern

PASSWORD = "bench-pass-phrase"
ROUNDS = 3  # of what is there already: the median counts
DELIVERIES = 40
IDLE_SESSIONS = 1000
IDLE_USERS = 10
OWNERS = 100
SMALL = 20  # messages in each mailbox of idle sessions
# (name, command); of `N` messages the middle thousand is fetched.
COMMANDS = [
    ("FETCH 1:* (FLAGS)", "FETCH 1:* (FLAGS)"),
    ("FETCH 1,000 ENVELOPE", "FETCH {some} (ENVELOPE)"),
    ("FETCH 1,000 BODYSTRUCTURE", "FETCH {some} (BODYSTRUCTURE)"),
    ("FETCH 1,000 BODY.PEEK[]", "FETCH {some} (BODY.PEEK[])"),
    ("SEARCH SUBJECT", "SEARCH SUBJECT \"invoice\""),
    ("SEARCH FROM", "SEARCH FROM \"zander\""),
    ("SEARCH SINCE", "SEARCH SINCE 1-Jan-2020"),
    ("SEARCH BODY", f"SEARCH BODY \"{fill.RARE}\""),
    ("SEARCH TEXT", f"SEARCH TEXT \"{fill.RARE}\""),
    ("SORT (DATE)", "SORT (DATE) UTF-8 ALL"),
    ("THREAD REFERENCES", "THREAD REFERENCES UTF-8 ALL"),
]
OPEN = "SELECT"
COLUMNS = ["time", "server", "what", "state", "ms", "cpu_ms", "client_ms", "bytes", "note"]


class MailboxPostern(Postern):
    """Its users have passwords here."""

    imap_port = 2521
    state = "postern-imap-state"
    uid_name = "_vmail"

    def __init__(self):
        self.extra = f"listen on 127.0.0.1 port {self.imap_port} imap auth-cleartext\n"

    def make_accounts(self):
        self.control("domain", "add", "example.test")
        for user in MAILBOXES:
            self.control("user", "add", f"{user}@example.test", stdin=PASSWORD + "\n")

    def mail_ids(self):
        entry = pwd.getpwnam(self.uid_name)
        return entry.pw_uid, entry.pw_gid


class Dovecot(Peer):
    """As Debian has it, with Maildirs, without TLS, with room for all sessions."""

    name = "dovecot"
    title = "Dovecot"
    package = "dovecot-imapd"
    imap_port = port = 2522
    greeting = b"* OK"
    start_words = ["/usr/sbin/dovecot", "-F"]

    def configure(self):
        (self.root / "run/dovecot").mkdir(exist_ok=True)
        (self.root / "etc/dovecot/dovecot.conf").write_text(f"""\
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
log_path = /var/log/dovecot.log
mail_location = maildir:/var/vmail/%n
mail_max_userip_connections = 10000
passdb {{
  driver = static
  args = password={PASSWORD}
}}
userdb {{
  driver = static
  args = uid={MAIL_UID} gid={MAIL_UID} home=/var/vmail/%n
}}
service imap-login {{
  inet_listener imap {{
    port = {self.imap_port}
  }}
  inet_listener imaps {{
    port = 0
  }}
  process_limit = 2000
}}
service imap {{
  process_limit = 2000
}}
service anvil {{
  client_limit = 10000
}}
service auth {{
  client_limit = 10000
}}
""")

    def mail_ids(self):
        return MAIL_UID, MAIL_UID


READERS = (MailboxPostern, Dovecot)
PARTS = ("mailboxes", "mailboxes-idle")


class Serving(Started):
    """With mailboxes of so many messages."""

    def fill(self, count, mailboxes=1):
        """Unpacks the messages, which are made once, into the first mailboxes."""
        packed = WORK / f"mailbox-{count}.tar"
        if not packed.exists() or packed.stat().st_mtime < (HERE / "fill.py").stat().st_mtime:
            made = self.disk.root / "made"
            fill.fill(made, count)
            command("tar", "-C", made, "-cf", packed, ".")
            command("rm", "-r", made)
        uid, gid = self.server.mail_ids()
        for maildir in self.server.maildirs(mailboxes):
            for part in reversed([maildir, *maildir.parents]):
                if not part.exists():
                    part.mkdir(0o700)
                    os.chown(part, uid, gid)
            command("tar", "-C", maildir, "-xf", packed, f"--owner={uid}", f"--group={gid}")
            command("chown", "-R", f"{uid}:{gid}", maildir)
        self.disk.settle()


class Client:
    """imap.c, logged in as a user."""

    def __init__(self, server, user="u"):
        self.process = subprocess.Popen([WORK / "imap", str(server.imap_port),
            f"{user}", PASSWORD], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True)

    def do(self, words):
        answer = self.say(words)
        if not answer["ok"]:
            raise RuntimeError(f"{words}: {answer}")
        return answer

    def say(self, words):
        # Two writes of a pipe would be two reads.
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()
        return self.heard()

    def heard(self):
        line = self.process.stdout.readline()
        if line == "":
            raise RuntimeError("the client ended")
        return json.loads(line)

    def end(self):
        self.process.stdin.close()
        self.process.wait(10)


class Measured:
    def __init__(self, serving, add):
        self.serving = serving
        self.add = add

    def take(self, client, what, state, words, rounds=1):
        """Does a command; the median of the rounds is a row."""
        rows = []
        for _ in range(rounds):
            cpu = self.serving.cgroup.cpu_ms()
            answer = client.do(words)
            rows.append((answer["ms"], self.serving.cgroup.cpu_ms() - cpu, answer))
        rows.sort(key=lambda row: row[0])
        ms, cpu, answer = rows[len(rows) // 2]
        self.add({"server": self.serving.server.name, "what": what, "state": state, "ms": ms,
            "cpu_ms": cpu, "client_ms": answer["client_ms"], "bytes": answer["bytes"]})

    def opened(self, state):
        client = Client(self.serving.server)
        self.take(client, OPEN, state, "SELECT INBOX")
        return client


def measure_commands(server, count, add):
    """Everything twice: when nothing is known of the messages, and when it is."""
    some = f"{count // 2}:{count // 2 + 999}"
    with Serving(server) as serving:
        serving.fill(count)
        measured = Measured(serving, add)
        client = measured.opened("first")
        for what, words in COMMANDS:
            measured.take(client, what, "first", words.format(some=some))
        client.do("LOGOUT")
        client.end()
        time.sleep(1)
        opened = []
        for _ in range(ROUNDS + 2):
            client = Client(server)
            cpu = serving.cgroup.cpu_ms()
            answer = client.do("SELECT INBOX")
            opened.append((answer["ms"], serving.cgroup.cpu_ms() - cpu, answer["bytes"]))
            client.do("LOGOUT")
            client.end()
            time.sleep(0.2)
        opened.sort()
        ms, cpu, size = opened[len(opened) // 2]
        add({"server": server.name, "what": OPEN, "state": "warm", "ms": ms, "cpu_ms": cpu,
            "bytes": size})
        client = Client(server)
        client.do("SELECT INBOX")
        for what, words in COMMANDS:
            measured.take(client, what, "warm", words.format(some=some), ROUNDS)
        client.do("LOGOUT")
        client.end()
        measure_deliveries(serving, add)


def measure_deliveries(serving, add):
    """Milliseconds from the name in new/, and from the 250, to EXISTS at an idle client."""
    server = serving.server
    maildir = server.maildirs()[0]
    uid, gid = server.mail_ids()
    client = Client(server)
    client.do("SELECT INBOX")
    client.do("IDLE")

    def by_rename(number):
        name = f"{int(time.time())}.M{number}P1.bench"
        path = maildir / "tmp" / name
        path.write_text(f"From: s@client.test\nSubject: {number}\n\nHello.\n")
        os.chown(path, uid, gid)
        began = time.time()
        path.rename(maildir / "new" / name)
        return began

    def by_smtp(number):
        with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as smtp:
            smtp.sendmail("s@client.test", ["u@example.test"],
                f"From: s@client.test\r\nSubject: {number}\r\n\r\nHello.\r\n")
            return time.time()

    ways = [("delivery by rename", by_rename)]
    if isinstance(server, Postern):
        ways.append(("delivery by SMTP", by_smtp))
    for what, deliver in ways:
        waits = []
        for number in range(DELIVERIES):
            time.sleep(0.1)
            began = deliver(number)
            waits.append((client.heard()["exists"] - began) * 1e3)
        add({"server": server.name, "what": what, "state": "median", "ms": statistics.median(waits)})
        add({"server": server.name, "what": what, "state": "longest", "ms": max(waits)})
    client.do("DONE")
    client.end()


def held(server, users, sessions):
    process = subprocess.Popen([WORK / "imap", str(server.imap_port), str(users),
        PASSWORD, str(sessions)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True)
    line = process.stdout.readline()
    if line == "" or json.loads(line)["held"] != sessions:
        raise RuntimeError(f"no {sessions} sessions")
    time.sleep(2)  # what follows a login is done
    return process


def measure_idle(server, add):
    """KiB (PSS of all of the server's processes) that idle sessions need more: one owner's, and
    those of more owners."""

    def row(what, kib):
        add({"server": server.name, "what": what, "state": "KiB", "ms": kib})

    with Serving(server) as serving:
        serving.fill(SMALL, OWNERS)
        # Once in and out, so that what a first login costs isn't taken for a session's.
        for process in [held(server, 1, 1)]:
            process.stdin.close()
            process.wait(10)
        time.sleep(1)
        for users, sessions in ((1, IDLE_SESSIONS), (IDLE_USERS, IDLE_SESSIONS), (OWNERS, OWNERS)):
            base = serving.cgroup.pss_mib()
            first = held(server, users, users)
            one_each = serving.cgroup.pss_mib()
            rest = held(server, users, sessions - users) if sessions > users else None
            whole = serving.cgroup.pss_mib()
            name = f"{sessions} sessions, {users} owner{'s' if users > 1 else ''}"
            if rest is not None:
                row(f"{name}: a session", (whole - base) * 1024 / sessions)
                row(f"{name}: one more", (whole - one_each) * 1024 / (sessions - users))
            else:
                row(f"{name}: another owner's", (whole - base) * 1024 / sessions)
            for process in (first, rest):
                if process is not None:
                    process.stdin.close()
                    process.wait(30)
            time.sleep(2)


# --- what is said of it ---

def write_rows(directory, rows):
    lines = ["\t".join(COLUMNS)]
    for row in rows:
        lines.append("\t".join(f"{row.get(name, '')}" for name in COLUMNS))
    (directory / "mailboxes.tsv").write_text("\n".join(lines) + "\n")


def report(rows, servers):
    """A line for each thing measured, both servers' figures side by side."""
    names = [server.name for server in servers]
    lines = [f"{'':<50}" + "".join(f"{name + ' ms':>14}{'cpu ms':>10}{'bytes':>11}"
        for name in names) + f"{'ratio':>8}"]
    for key in dict.fromkeys((row["what"], row["state"]) for row in rows):
        found = [next((row for row in rows if (row["what"], row["state"]) == key and
            row["server"] == name), {}) for name in names]
        line = f"{key[0]:<42}{key[1]:<8}"
        for row in found:
            line += f"{row['ms']:>14.2f}" if "ms" in row else f"{'-':>14}"
            line += f"{row['cpu_ms']:>10.2f}" if "cpu_ms" in row else f"{'-':>10}"
            line += f"{row['bytes']:>11}" if "bytes" in row else f"{'-':>11}"
        if len(found) == 2 and all("ms" in row for row in found) and found[1]["ms"] > 0:
            line += f"{found[0]['ms'] / found[1]['ms']:>8.2f}"
        lines.append(line)
    return lines


def run(directory, count, parts):
    """Measures both, writes report/mailboxes.tsv and mailboxes.txt."""
    rows = []
    servers = [reader() for reader in READERS]

    def add(row):
        rows.append({"time": time.strftime("%FT%TZ", time.gmtime()), **row})
        print(f"{row['what']:<38} {row['state']:<8} {row['server']:<9} {row['ms']:>10.2f} "
            f"{row.get('cpu_ms', 0):>10.2f} {row.get('bytes', '')}", flush=True)
        write_rows(directory, rows)

    for server in servers:
        server.prepare()
    print(" ".join(server.version() for server in servers), flush=True)
    measures = {"mailboxes": lambda server: measure_commands(server, count, add),
        "mailboxes-idle": lambda server: measure_idle(server, add)}
    for measure in (measures[part] for part in measures if part in parts):
        for server in servers:
            try:
                measure(server)
            except (RuntimeError, OSError, ValueError, socket.timeout,
                    subprocess.SubprocessError) as error:
                print(f"{server.name}: failed: {error}", flush=True)
                rows.append({"server": server.name, "what": "failed", "state": "", "ms": 0,
                    "note": str(error)})
    text = "\n".join([f"{count} messages; " + ", ".join(server.version() for server in servers)] +
        report(rows, servers)) + "\n"
    (directory / "mailboxes.txt").write_text(text)
    print(text, flush=True)
