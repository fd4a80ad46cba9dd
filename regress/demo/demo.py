"""make demo: the whole suite on loopback in one folder, build/demo, and mail sent through it.

Every step says what it does, and whether what should come of it did: checked, not assumed. At the
end the suite goes on serving until Ctrl-C; DEMO=once in the environment ends it there, and the exit
status tells whether all went as it should.
"""

import email
import email.policy
import imaplib
import os
import pathlib
import poplib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = TOP / os.environ.get("BUILD", "build") / "bin"
DOMAIN = "example.test"
COLOURS = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
LIMIT = 30  # seconds until a thing that should happen is given up
ROLES = {
    "smtpd": "starts the others, restarts them, reloads",
    "listener": "speaks SMTP; sees no spool, no mailbox, no password",
    "keeper": "signs with private keys for the listeners; nothing else",
    "relay": "sends mail to other servers; sees no spool, no mailbox",
    "queue": "keeps the mail until it is delivered; sees only the spool",
    "directory": "knows domains, users and aliases",
    "resolver": "asks the DNS",
    "control": "lets smtpctl in, by who its caller is",
    "mda": "writes one owner's Maildirs, as that owner",
    "mailaccess": "takes logins by POP3 and IMAP; sees no mailbox and no key",
    "mailbox": "lets one owner read one Maildir, as that owner",
}
CONFIG = """\
directory spool "{base}/spool"
directory state "{base}/state"
directory run "{base}/run"
mail directory "{base}/mail"
smtp hostname mail.example.test

listen on 127.0.0.1 port {port}
listen on 127.0.0.1 port {imap} imap auth-cleartext
listen on 127.0.0.1 port {pop3} pop3 auth-cleartext

# Domains, users and aliases are in the accounts database: smtpctl domain, user, alias.
action "local" maildir virtual <accounts>
match from any for domain <accounts> action "local"
"""


class Failed(Exception):
    """The demo can't go on."""


def colour(code, text):
    return f"\x1b[{code}m{text}\x1b[0m" if COLOURS else text


def heading(text):
    print("\n" + colour("1", text), flush=True)


def say(text):
    print(textwrap.fill(text, 78, initial_indent="  ", subsequent_indent="  "), flush=True)


def show(text, code="36"):
    for line in text.rstrip("\n").splitlines():
        print("    " + colour(code, line), flush=True)


def wait_for(condition):
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.02)
    return condition()


def choose_base():
    """build/demo; but the suite's users must be able to reach it, which they aren't below a
    private home directory."""
    base = TOP / "build/demo"
    if os.geteuid() != 0:
        return base
    for folder in base.parents:
        if folder.exists() and not folder.stat().st_mode & 0o001:
            say(f"(The folder is /var/tmp/postern-demo, because {folder} lets no other user in.)")
            return pathlib.Path("/var/tmp/postern-demo")
    return base


def choose_port(usual):
    for wanted in (usual, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise Failed("no port is free on 127.0.0.1")


class Demo:
    def __init__(self):
        self.base = choose_base()
        self.port = choose_port(2525)
        self.imap = choose_port(2143)
        self.pop3 = choose_port(2110)
        self.failures = 0
        self.checks = 0
        self.server = None
        self.has_shown_keywords = False

    # What is said and checked

    def check(self, what, condition):
        """Waits for `condition` to be true, says so, and returns what it was."""
        result = wait_for(condition)
        self.checks += 1
        if not result:
            self.failures += 1
        mark = colour("32", "  ok    ") if result else colour("31", "  FAILED")
        print(f"{mark} {what}", flush=True)
        return result

    def smtpctl(self, *words, stdin=None, name="smtpctl"):
        """Runs smtpctl and shows command and output; its output."""
        shown = " ".join([name, *words])
        show(f"$ {shown}" + ("   (password on standard input)" if stdin else ""), "33")
        result = subprocess.run([PROGRAMS / name, "-s", self.base / "run/smtpd.sock", *words],
            input=stdin or "", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=LIMIT)
        show(result.stdout)
        if result.returncode != 0:
            self.failures += 1
            print(colour("31", f"  FAILED status {result.returncode}"), flush=True)
        return result.stdout

    # The suite

    def start(self):
        if self.is_answering():
            raise Failed(f"another demo is running in {self.base}")
        shutil.rmtree(self.base, ignore_errors=True)
        self.base.mkdir(parents=True)
        self.base.chmod(0o755)
        config = self.base / "smtpd.conf"
        config.write_text(CONFIG.format(base=self.base, port=self.port, imap=self.imap,
            pop3=self.pop3))
        heading("The configuration")
        show(config.read_text())
        heading("The processes")
        show(f"$ smtpd -d -f {config}", "33")
        with open(self.base / "log", "wb") as log:
            # In a session of its own, so that Ctrl-C comes to us, who then stop it.
            self.server = subprocess.Popen([PROGRAMS / "smtpd", "-d", "-f", config], stderr=log,
                stdout=log, stdin=subprocess.DEVNULL, cwd="/", start_new_session=True)
        if not self.check("smtpd takes connections", self.is_ready):
            show((self.base / "log").read_text(errors="replace"), "31")
            raise Failed("smtpd didn't start")
        for pid, user, program in self.processes():
            show(f"{pid:>7}  {user:<8} {program:<10} {ROLES.get(program, '')}")
        if os.geteuid() != 0:
            say("Started without root, so all of them are the same user. With sudo each is "
                "a user of its own.")

    def is_answering(self):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.base / "run/smtpd.sock"))
            except OSError:
                return False
        return True

    def is_ready(self):
        if self.server.poll() is not None:
            return False
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as probe:
                return probe.recv(4) == b"220 " and self.is_answering()
        except OSError:
            return False

    def processes(self):
        found = []
        for entry in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
            try:
                parent = pathlib.Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                if self.server.pid not in (int(entry), int(parent[1])):
                    continue
                program = os.path.basename(os.readlink(f"/proc/{entry}/exe"))
                uid = os.stat(f"/proc/{entry}").st_uid
                # After it gave up root a process's files in /proc may still be root's.
                for line in pathlib.Path("/proc", entry, "status").read_text().splitlines():
                    if line.startswith("Uid:"):
                        uid = int(line.split()[1])
                found.append((int(entry), user_name(uid), program))
            except OSError:
                continue
        return found

    def stop(self):
        if self.server is None:
            return
        if self.server.poll() is None:
            self.server.send_signal(signal.SIGTERM)
        try:
            status = self.server.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.server.kill()
            status = self.server.wait()
        self.server = None
        self.check("smtpd has ended in good order", lambda: status == 0)

    # SMTP

    def talk(self, *dialogue, message=None):
        """Says the commands to the server, showing both sides; the replies."""
        replies = []
        with socket.create_connection(("127.0.0.1", self.port), LIMIT) as connection:
            stream = connection.makefile("rwb")

            def reply(brief=False):
                text = ""
                while True:
                    line = stream.readline().decode(errors="replace").rstrip("\r\n")
                    if not brief or line[3:4] != "-":
                        show(f"S: {line}", "36")
                    text += line + "\n"
                    if line[3:4] != "-":
                        replies.append(text)
                        return
            reply()
            for command in (f"EHLO client.{DOMAIN}", *dialogue):
                show(f"C: {command}", "35")
                stream.write(command.encode() + b"\r\n")
                stream.flush()
                reply(brief=self.has_shown_keywords)
                self.has_shown_keywords = True
                if command == "DATA" and replies[-1].startswith("354"):
                    for line in message.splitlines():
                        show(f"C: {line}", "35")
                    show("C: .", "35")
                    stream.write(message.replace("\n", "\r\n").encode() + b".\r\n")
                    stream.flush()
                    reply()
        return replies

    def send(self, sender, recipients, subject, body):
        """Sends one message; the replies."""
        message = (f"From: {sender}\nTo: {', '.join(recipients)}\nSubject: {subject}\n\n{body}\n")
        return self.talk(f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{name}>" for name in recipients),
            "DATA", "QUIT", message=message)

    # Maildirs

    def mails(self, user):
        folder = self.base / "mail" / DOMAIN / user
        return [(path, email.message_from_bytes(path.read_bytes(), policy=email.policy.default))
            for path in sorted([*folder.glob("new/*"), *folder.glob("cur/*")])]

    def has(self, user, subject):
        return [mail for path, mail in self.mails(user) if mail["Subject"] == subject]

    # The story

    def accounts(self):
        heading("Accounts")
        self.smtpctl("domain", "add", DOMAIN)
        for user in ("alice", "bob", "carol"):
            self.smtpctl("user", "add", f"{user}@{DOMAIN}", stdin=f"{user}'s pass phrase\n")
        self.smtpctl("alias", "add", f"team@{DOMAIN}", f"alice@{DOMAIN}", f"bob@{DOMAIN}")

    def mail_in(self):
        heading("Mail comes in")
        say("Delivery is paused, so that the queue can be looked at.")
        self.smtpctl("pause", "mda")
        print()
        say("To two users:")
        replies = self.send("erin@client.test", [f"alice@{DOMAIN}", f"bob@{DOMAIN}"], "Lunch?",
            "Twelve, at the corner.")
        self.check("the message was taken, with its id", lambda: replies[-2].startswith("250"))
        print()
        say("To an alias that leads to both of them:")
        replies = self.send("erin@client.test", [f"team@{DOMAIN}"], "Team meeting", "Room 2.")
        self.check("the alias was taken", lambda: replies[-2].startswith("250"))
        print()
        say("To a wrong address:")
        replies = self.talk("MAIL FROM:<erin@client.test>", f"RCPT TO:<nobody@{DOMAIN}>", "QUIT")
        self.check("an unknown user is refused: 550 5.1.1",
            lambda: replies[3].startswith("550 5.1.1"))
        print()
        say("From alice to carol, whose account is then deleted before the mail is delivered:")
        replies = self.send(f"alice@{DOMAIN}", [f"carol@{DOMAIN}"], "See you", "Until Monday!")
        self.check("the message was taken", lambda: replies[-2].startswith("250"))

    def queue(self):
        heading("The queue")
        listing = self.smtpctl(name="mailq")
        self.check("five envelopes wait in it", lambda: len(listing.splitlines()) == 5)

    def delivery(self):
        heading("Delivery")
        self.smtpctl("user", "del", f"carol@{DOMAIN}")
        self.smtpctl("resume", "mda")
        for user in ("alice", "bob"):
            self.check(f"{user} has the mail to both",
                lambda name=user: len(self.has(name, "Lunch?")) == 1)
            self.check(f"{user} has the mail to team@, once",
                lambda name=user: len(self.has(name, "Team meeting")) == 1)
        bounce = self.check("alice has a bounce of the mail to carol", self.bounce)
        self.check("the queue is empty", self.is_queue_empty)
        heading("The Maildirs")
        for user in ("alice", "bob"):
            for path, mail in self.mails(user):
                show(f"{path.relative_to(self.base)}\n      {mail['Subject']}")
        if bounce:
            heading("The bounce")
            show(bounce.as_string())

    def reading(self):
        heading("Reading it")
        say("By IMAP, as alice:")
        with imaplib.IMAP4("127.0.0.1", self.imap, LIMIT) as client:
            client.login(f"alice@{DOMAIN}", "alice's pass phrase")
            count = int(client.select("INBOX")[1][0])
            show(f"INBOX has {count} messages")
            texts = [client.fetch(str(number), "(BODY[])")[1][0][1] for number in
                range(1, count + 1)]
            self.show_read(texts)
            flags = client.fetch(f"1:{count}", "(FLAGS)")[1]
        self.check("both mails and the bounce are there", lambda: count == 3 and
            {"Lunch?", "Team meeting"} < {subject_of(text) for text in texts})
        self.check("whoever looks again sees that they were read",
            lambda: all(b"\\Seen" in line for line in flags))
        print()
        say("By POP3, as bob, who keeps no copy:")
        client = poplib.POP3("127.0.0.1", self.pop3, LIMIT)
        client.user(f"bob@{DOMAIN}")
        client.pass_("bob's pass phrase")
        count = client.stat()[0]
        texts = [b"\n".join(client.retr(number)[1]) for number in range(1, count + 1)]
        for number in range(1, count + 1):
            client.dele(number)
        client.quit()
        self.show_read(texts)
        self.check("both mails were there",
            lambda: sorted(map(subject_of, texts)) == ["Lunch?", "Team meeting"])
        self.check("and are gone now", lambda: not self.mails("bob"))

    def show_read(self, texts):
        for text in texts:
            mail = email.message_from_bytes(text, policy=email.policy.default)
            body = mail.get_body(("plain",))
            lines = body.get_content().strip().splitlines() if body else []
            show(f"{mail['From']}: {mail['Subject']}\n      {lines[0] if lines else ''}")

    def bounce(self):
        for _, mail in self.mails("alice"):
            if mail.get_content_type() == "multipart/report" and \
                    mail.get_param("report-type") == "delivery-status":
                return mail
        return None

    def is_queue_empty(self):
        result = subprocess.run([PROGRAMS / "smtpctl", "-s", self.base / "run/smtpd.sock", "show",
            "queue"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=LIMIT)
        return result.returncode == 0 and not result.stdout.strip()

    def log(self):
        heading("The log")
        say(f"One line an event, in {self.base}/log. One mail's way through it:")
        lines = (self.base / "log").read_text(errors="replace").splitlines()
        accepted = [line for line in lines if "message-accepted" in line]
        if self.check("the log tells of all three messages", lambda: len(accepted) >= 3):
            words = dict(word.split("=", 1) for word in accepted[0].split() if "=" in word)
            ids = [words[key] for key in ("session", "message") if key in words]
            show("\n".join(line for line in lines if any(one in line for one in ids)))

    def serve(self):
        heading("Serving")
        say(f"On 127.0.0.1 SMTP is on port {self.port}, IMAP on {self.imap}, POP3 on {self.pop3}; "
            f"alice's password is \"alice's pass phrase\". Everything is below {self.base}. "
            "In another terminal, for example:")
        sudo = "sudo " if os.geteuid() == 0 else ""
        show(f"swaks --server 127.0.0.1:{self.port} --to bob@{DOMAIN}\n"
            f"{sudo}{PROGRAMS}/smtpctl -s {self.base}/run/smtpd.sock show stats\n"
            f"tail -f {self.base}/log", "33")
        say("Ctrl-C ends it.")
        try:
            status = self.server.wait()
            print(f"smtpd ended by itself, status {status}", flush=True)
            self.failures += 1
        except KeyboardInterrupt:
            print(flush=True)


def subject_of(text):
    return email.message_from_bytes(text, policy=email.policy.default)["Subject"]


def user_name(uid):
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def interrupt(_signal, _frame):
    raise KeyboardInterrupt


def main():
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    print(colour("1", "Postern: a mail server, whole, on this machine's loopback."))
    if os.geteuid() == 0:
        subprocess.run([TOP / "etc/make-accounts.sh"], check=True)
    demo = Demo()
    try:
        demo.start()
        demo.accounts()
        demo.mail_in()
        demo.queue()
        demo.delivery()
        demo.reading()
        demo.log()
        if os.environ.get("DEMO") != "once":
            demo.serve()
    except Failed as why:
        demo.failures += 1
        print(colour("31", f"FAILED: {why}"), flush=True)
    except KeyboardInterrupt:
        demo.failures += 1
        print("\nInterrupted.", flush=True)
    finally:
        demo.stop()
    if demo.failures:
        print(colour("31", f"{demo.failures} of {demo.checks} checks failed; the log is "
            f"{demo.base}/log"))
        return 1
    print(colour("32", f"All {demo.checks} checks were good."))
    return 0


if __name__ == "__main__":
    sys.exit(main())
