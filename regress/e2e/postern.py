"""An instance of the suite for tests: class Postern, and what a test says to it.

	def test_something(postern):                      # regress/conftest.py makes it
	    with postern.smtp() as client:                # smtplib
	        client.sendmail("a@client.test", "alice@example.test", b"Subject: x\r\n\r\nhello\r\n")
	    (mail,) = postern.wait_mail("alice@example.test")
	    assert mail.message["Subject"] == "x"
	    postern.wait_log("delivered", to="alice@example.test")

The installed programs are run, from a staging directory, in front (`smtpd -d`), with directories of
their own under a fresh folder in /tmp; as root with the suite's real accounts when pytest is
root, else as the caller. Nothing here sleeps for a fixed time: everything waits for a condition,
bounded. stop() fails when a process died that no test killed, when a sanitizer reported, or when
a process outlives its supervisor.
"""

import email
import email.policy
import json
import os
import pathlib
import pwd
import random
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = TOP / os.environ.get("POSTERN_BUILD", "build")
PROGRAMS = ("listener", "keeper", "queue", "relay", "directory", "resolver", "control", "mda",
    "mailaccess", "mailbox")
SANITIZER = re.compile(r"ERROR: (Address|Leak|Thread|Memory)Sanitizer|runtime error:|DEADLYSIGNAL")
# What an instance is given to deliver with unless a test brings its own; the
# accounts database decides which domains and users there are.
RULES = """
action "in" maildir virtual <accounts>
match from any for domain <accounts> action "in"
"""


def is_root():
    return os.geteuid() == 0


def wait_for(condition, timeout=15.0, what=None):
    """Calls `condition` until it returns something true, which is returned; AssertionError after
    `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.005
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout:g} s: {what or condition}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


_ports_given = set()


def free_port():
    """A port on loopback that nobody uses, by TCP or UDP, and that no earlier call gave, while there are such.
    POSTERN_PORTS="LOW-HIGH" sets the range; the default lies below the ports that the kernel gives
    to clients."""
    low, high = (int(n) for n in os.environ.get("POSTERN_PORTS", "20000-29999").split("-"))
    if len(_ports_given) > (high - low) // 2:
        _ports_given.clear()
    choices = [port for port in range(low, high + 1) if port not in _ports_given]
    random.shuffle(choices)
    for port in choices:
        with socket.socket() as probe, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                datagrams.bind(("127.0.0.1", port))
            except OSError:
                continue
            _ports_given.add(port)
            return port
    raise AssertionError(f"no free port in {low}-{high}")


class LogLine:
    """A line of the log: `text` (whole), `process`, `pid`, `level` ("error", "warning", ""),
    `event` ("" for free text) and `fields` (key to unquoted value)."""

    PREFIX = re.compile(r"\S+ ([\w-]+)\[(\d+)\]: (?:(error|warning): )?(.*)")
    FIELD = re.compile(r' ([A-Za-z][\w.-]*)=("(?:[^"\\]|\\.)*"|[^ ="]*)')
    EVENT = re.compile(r"([a-z][a-z0-9]*(?:-[a-z0-9]+)*)(?= [A-Za-z][\w.-]*=|$)")

    def __init__(self, text):
        self.text = text
        prefix = self.PREFIX.match(text)
        self.process, self.level, rest = "", "", text
        self.pid = 0
        if prefix:
            self.process, self.pid = prefix.group(1), int(prefix.group(2))
            self.level, rest = prefix.group(3) or "", prefix.group(4)
        event = self.EVENT.match(rest)
        self.event = event.group(1) if event else ""
        self.fields = {match.group(1): self.unquote(match.group(2))
            for match in self.FIELD.finditer(rest)}

    @staticmethod
    def unquote(value):
        if value.startswith('"'):
            value = value[1:-1]
        return re.sub(r"\\(?:x([0-9a-f]{2})|(.))",
            lambda m: chr(int(m.group(1), 16)) if m.group(1) else m.group(2), value)

    def __getitem__(self, key):
        return self.fields[key]

    def __contains__(self, key):
        return key in self.fields

    def __repr__(self):
        return f"LogLine({self.text!r})"


class Mail:
    """A file of a Maildir: `path`, `name`, `folder` ("new" or "cur"), `data` (bytes as stored) and
    `message` (parsed by Python's email)."""

    def __init__(self, path):
        self.path = path
        self.name = path.name
        self.folder = path.parent.name
        self.data = path.read_bytes()

    @property
    def message(self):
        return email.message_from_bytes(self.data, policy=email.policy.SMTP)

    @property
    def body(self):
        """What follows the first empty line, with LF line ends."""
        return self.data.replace(b"\r\n", b"\n").partition(b"\n\n")[2]

    def __repr__(self):
        return f"Mail({self.path})"


class Reply:
    """An SMTP reply: `code` (int), `lines` (each line's text after the code), `text` (joined)."""

    def __init__(self, code, lines):
        self.code = code
        self.lines = lines
        self.text = "\n".join(lines)

    def __repr__(self):
        return f"{self.code} {self.text}"


class Wire:
    """A raw connection, for what smtplib wouldn't say. A context manager.

    send() takes bytes or str and adds nothing; command() adds CRLF and returns the Reply."""

    def __init__(self, address, timeout=20.0, family=None):
        if family is None:
            family = socket.AF_UNIX if isinstance(address, str) else (
                socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(address)
        if family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.transcript = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Closes with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def send(self, data):
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogateescape")
        self.transcript.append(("C", data))
        self.socket.sendall(data)
        return self

    def line(self):
        """The next line without its CRLF; b"" with ConnectionError when the server has closed."""
        while b"\n" not in self.buffer:
            piece = self.socket.recv(65536)
            if not piece:
                raise ConnectionError(f"closed by the server after {self.transcript[-6:]!r}")
            self.buffer += piece
        line, _, self.buffer = self.buffer.partition(b"\n")
        assert line.endswith(b"\r"), f"line without CR: {line!r}"
        line = line[:-1]
        self.transcript.append(("S", line))
        return line

    def reply(self):
        """The next reply, all of its lines; checks their form (RFC 5321 4.2)."""
        lines = []
        code = None
        while True:
            line = self.line()
            match = re.fullmatch(rb"([2-5][0-9][0-9])([ -]?)(.*)", line, re.DOTALL)
            assert match, f"not an SMTP reply: {line!r}"
            assert code in (None, match.group(1)), f"codes differ within a reply: {line!r}"
            code = match.group(1)
            lines.append(match.group(3).decode("utf-8", "replace"))
            if match.group(2) != b"-":
                return Reply(int(code), lines)

    def expect(self, code, text=None):
        """The next reply, which must have this code (250 or "250" or the start of it, "2") and hold
        `text`."""
        reply = self.reply()
        assert str(reply.code).startswith(str(code)) and (text is None or text in reply.text), (
            f"expected {code} {text or ''}, got {reply!r} after {self.transcript[-8:]!r}")
        return reply

    def command(self, line, code=None, text=None):
        """Sends a line and returns its reply, checked against `code` and `text` where given."""
        self.send((line.encode("utf-8", "surrogateescape") if isinstance(line, str) else line) +
            b"\r\n")
        return self.reply() if code is None else self.expect(code, text)

    def hello(self, name="client.test"):
        """Banner and EHLO; the set of keywords offered."""
        self.expect(220)
        return {line.upper() for line in self.command("EHLO " + name, 250).lines[1:]}

    def is_closed(self, timeout=10.0):
        """True when the server closes within `timeout` (what it still says is dropped)."""
        self.socket.settimeout(timeout)
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True


def play(wire, text):
    """Plays a dialogue written as in the RFCs, one line each:

	S: 220 mx.example.test *        the server's next line; * stands for any text
	S: ...                          any lines, until one that the next S: matches
	C: MAIL FROM:<a@client.test>    the client's line, CRLF is added; C: lines in a row
	                                are one write (pipelining)
	R: \\x00.\\r\\n                    raw bytes with Python's escapes, nothing added
	X:                              the server closes
	# comment

    Returns the server's lines."""
    pending = b""
    seen = []
    skip = False
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip("\t")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.match(r"\s*([CSRX]):(?: (.*))?$", line)
        assert match, f"dialogue line {number} is neither C:, S:, R: nor X: {line!r}"
        kind, words = match.group(1), match.group(2) or ""
        if kind == "C":
            pending += words.encode() + b"\r\n"
            continue
        if kind == "R":
            pending += words.encode().decode("unicode_escape").encode("latin-1")
            continue
        if pending:
            wire.send(pending)
            pending = b""
        if kind == "X":
            assert wire.is_closed(), f"dialogue line {number}: the server didn't close"
            continue
        if words == "...":
            skip = True
            continue
        pattern = ".*".join(re.escape(part) for part in words.split("*"))
        while True:
            got = wire.line().decode("utf-8", "replace")
            seen.append(got)
            if re.fullmatch(pattern, got, re.DOTALL):
                break
            assert skip, f"dialogue line {number}: expected {words!r}, got {got!r}"
        skip = False
    if pending:
        wire.send(pending)
    return seen


class Process:
    """What /proc tells of a running process."""

    def __init__(self, pid, program, parent):
        self.pid = pid
        self.program = program
        self.parent = parent


def processes():
    """All running processes (no zombies), by pid."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = pathlib.Path("/proc", entry, "stat").read_text(errors="replace")
            comm, _, rest = stat.partition("(")[2].rpartition(")")
            state, parent = rest.split()[:2]
            if state in "ZX":
                continue
            try:
                program = os.path.basename(os.readlink(f"/proc/{entry}/exe")).split(" ")[0]
            except PermissionError:
                program = comm
        except (OSError, ValueError):
            continue
        found[int(entry)] = Process(int(entry), program, int(parent))
    return found


class Postern:
    """One instance. Made by the fixtures `postern` and `make_postern`.

    stage        where `make install DESTDIR=` put the programs
    base         its folder; spool, state, run, mail lie below unless given
    listen       its `listen` lines; None: 127.0.0.1, self.port
    rules        its `action` and `match` lines; None: RULES
    extra        lines before the rules (tables, smtp, queue, … options)
    config       the whole smtpd.conf instead of listen, extra and rules (the directory lines
                 are still put first; bare=True leaves them out too)
                 Each of these may be a function of the instance, called when the file is written;
                 @PORT@, @BASE@ and @MAIL@ in the text are replaced.
    environment  variables for smtpd, LD_PRELOAD say
    user         run as this user (pytest being root)
    verbose      smtpd -v
    wrapper      words before smtpd's: ["strace", "-f", …]"""

    def __init__(self, stage, *, base=None, listen=None, rules=None, extra="", config=None,
            bare=False, spool=None, state=None, run=None, mail=None, environment=None, user=None,
            verbose=False, wrapper=()):
        self.stage = pathlib.Path(stage)
        self.port = free_port()
        self.base = pathlib.Path(base or tempfile.mkdtemp(prefix="postern-", dir="/tmp"))
        self.base.chmod(0o755)
        self._owns_base = base is None
        self.user = user
        self.spool = pathlib.Path(spool or self.base / "spool")
        self.state = pathlib.Path(state or self.base / "state")
        self.run = pathlib.Path(run or self.base / "run")
        self.mail = pathlib.Path(mail or self.base / "mail")
        self.socket = self.run / "smtpd.sock"
        self.config_file = self.base / "smtpd.conf"
        self.log_file = self.base / "log"
        self.listen = "listen on 127.0.0.1 port @PORT@" if listen is None else listen
        self.rules = RULES if rules is None else rules
        self.extra = extra
        self.config = config
        self.bare = bare
        self.environment = dict(environment or {})
        self.verbose = verbose
        self.wrapper = list(wrapper)
        self.process = None
        self._mark = self._started_at = 0  # positions in the log
        self._allowed = []
        self._known = {}
        self._expected_dead = set()
        self._problems = []

    # Files

    def write_config(self, text=None):
        """Writes smtpd.conf: `text` (with the directory lines before it), or what the instance was
        made with."""
        def words(value):
            value = value(self) if callable(value) else value
            return value.replace("@PORT@", str(self.port)).replace(
                "@BASE@", str(self.base)).replace("@MAIL@", str(self.mail))

        head = (f'directory spool "{self.spool}"\ndirectory state "{self.state}"\n'
            f'directory run "{self.run}"\nmail directory "{self.mail}"\n')
        if text is None:
            text = self.config
        if text is None:
            head += "smtp hostname mx.example.test\n"
            # Small: hundreds of instances write theirs whole, and reuse is met in every run.
            if "segment-size" not in str(self.extra):
                head += "queue segment-size 4M\n"
            text = "\n".join(words(part) for part in (self.listen, self.extra, self.rules))
        text = words(text)
        self.config_file.write_text(text if self.bare else head + text + "\n")
        self.config_file.chmod(0o644)

    def _command(self, name):
        return self.stage / "usr/sbin" / name

    def _as_user(self):
        if self.user is None:
            return []
        entry = pwd.getpwnam(self.user)
        return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]

    def _environment(self):
        environment = dict(os.environ)
        environment.setdefault("ASAN_OPTIONS",
            "detect_leaks=0:verify_asan_link_order=0:handle_abort=1")
        environment.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
        environment.update(self.environment)
        return environment

    # Starting and stopping

    def start(self, ready=True, timeout=20.0):
        """Writes the config unless it is there, starts smtpd and returns when it takes mail.
        ready=False: returns at once."""
        assert self.process is None, "already started"
        if not self.config_file.exists():
            self.write_config()
        if self.user is not None:
            shutil.chown(self.base, self.user)
        self._mark = self._started_at = (
            self.log_file.stat().st_size if self.log_file.exists() else 0)
        arguments = ["-d", "-f", str(self.config_file)] + (["-v"] if self.verbose else [])
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                self.wrapper + self._as_user() + [str(self._command("smtpd"))] + arguments,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                env=self._environment(), start_new_session=True)
        if ready:
            self.wait_ready(timeout)
            self._mark = self.log_file.stat().st_size
            self.pids()
        return self

    def wait_ready(self, timeout=20.0):
        """Returns when smtpd is ready: it says so in the log, and self.port answers when it listens
        there, else the control socket."""
        def check():
            if self.process.poll() is not None:
                raise AssertionError(
                    f"smtpd ended with status {self.process.returncode}:\n{self.log_tail()}")
            text = self.log_text(self._started_at)
            return any(LogLine(line).event == "started" for line in text.splitlines()) and \
                self._answers()
        try:
            wait_for(check, timeout, "smtpd is ready")
        except AssertionError as why:
            raise AssertionError(f"{why}\n{self.log_tail()}") from None

    def _answers(self):
        if f"port {self.port}" not in self.config_file.read_text():
            return self.smtpctl("show", "status", check=False).returncode == 0
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as probe:
                if not probe.recv(512).startswith(b"220"):
                    return False
                probe.sendall(b"QUIT\r\n")
                while probe.recv(512):
                    pass
                return True
        except OSError:
            return False

    def stop(self, timeout=20.0):
        """SIGTERM, then waits until all of its processes are gone. Raises when something was wrong
        (see check())."""
        if self.process is None:
            return
        self.check()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self._wait_gone(timeout)
        if self.process is not None and self.process.returncode != 0:
            self._problems.append(f"smtpd's exit status was {self.process.returncode}")
        self.process = None
        self._known.clear()
        self._check_log()
        self._report()

    def _wait_gone(self, timeout):
        """Waits for the supervisor and its children to be gone; kills and reports those that
        aren't."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._problems.append(f"smtpd hadn't ended {timeout:g} s after it was told to")
            self.process.kill()
            self.process.wait(10)

        def gone():
            return not self._leftovers()
        try:
            wait_for(gone, 10)
        except AssertionError:
            left = self._leftovers()
            self._problems.append(f"outlived smtpd: {[(p.program, p.pid) for p in left]}")
            for process in left:
                os.kill(process.pid, signal.SIGKILL)
            wait_for(gone, 10, "killed processes are gone")

    def _leftovers(self):
        """Processes of this instance: known children, and all of the supervisor's session."""
        left = []
        for pid, process in processes().items():
            if pid == self.process.pid:
                continue
            try:
                same = os.getsid(pid) == self.process.pid
            except OSError:
                continue
            if same or self._known.get(pid) == process.program:
                left.append(process)
        return left

    def crash(self):
        """SIGKILL to every process of the instance at once, as a power cut would end them."""
        self.pids()
        group = self._leftovers()
        self.process.kill()
        for process in group:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(10)
        wait_for(lambda: not self._leftovers(), 10, "all processes are gone")
        self._known.clear()
        self.process = None

    def ended(self, timeout=20.0):
        """Waits until smtpd has ended, for a test that told it to, and its processes with it.
        Returns its exit status (negative: the signal); start() may follow."""
        self._wait_gone(timeout)
        status = self.process.returncode
        self.process = None
        self._known.clear()
        self._report()
        return status

    def restart(self):
        self.stop()
        return self.start()

    def reload(self, text=None, check=True):
        """Writes the config anew when `text` is given, and `smtpctl reload`."""
        if text is not None:
            self.write_config(text)
        return self.smtpctl("reload", check=check)

    def destroy(self):
        """stop() and removes the instance's folder."""
        try:
            self.stop()
        finally:
            if self._owns_base:
                shutil.rmtree(self.base, ignore_errors=True)

    # Processes

    def pids(self, program=None):
        """The pids of `program` ("smtpd", "listener", …), in order; without it, {pid: name}."""
        everything = processes()
        mine = {self.process.pid}
        if self.wrapper and self.process.pid in everything:
            below = [p for p in everything.values() if p.parent == self.process.pid]
            mine.update(p.pid for p in below if p.program == "smtpd")
        found = {pid: "smtpd" for pid in mine if pid in everything}
        for process in everything.values():
            if process.parent in mine and process.program in PROGRAMS:
                found[process.pid] = process.program
        self._known.update((pid, name) for pid, name in found.items() if name != "smtpd")
        if program is None:
            return found
        return sorted(pid for pid, name in found.items() if name == program)

    def kill(self, program, number=signal.SIGKILL, instance=0):
        """Sends a signal to a process of the suite, whose death is then no failure of the test.
        Returns its pid. "smtpd" is the supervisor: its children are expected to end as well."""
        pid = self.pids(program)[instance]
        self._expected_dead.add(pid)
        self.allow(rf"child-\w+.*\b(pid={pid}|program={program}|{program})\b")
        if program == "smtpd":
            self._expected_dead.update(self._known)
        os.kill(pid, number)
        return pid

    def kill_and_wait_back(self, program, timeout=5.0):
        """Kills a child and returns the seconds until another runs in its place."""
        count = len(self.pids(program))
        killed = self.kill(program)
        begin = time.monotonic()

        def back():
            now = self.pids(program)  # looked at once: it may die between two looks
            return len(now) == count and killed not in now
        wait_for(back, timeout, f"{program} is back")
        return time.monotonic() - begin

    # Checks

    def allow(self, pattern):
        """A line of the log that matches is not a failure (a child's death, an error)."""
        self._allowed.append(re.compile(pattern))

    def check(self):
        """Fails when a process of the instance has died that no test killed."""
        if self.process is None:
            return
        if self.process.poll() is not None and self.process.pid not in self._expected_dead:
            self._problems.append(f"smtpd ended by itself, status {self.process.returncode}")
        alive = processes()
        for pid, program in list(self._known.items()):
            if pid in alive or pid in self._expected_dead or program in ("mda", "mailbox"):
                continue
            if any(pattern.search(f"child-exited program={program} pid={pid}")
                    for pattern in self._allowed):
                continue
            self._problems.append(f"{program} (pid {pid}) died")

    def _check_log(self):
        if not self.log_file.exists():
            return
        for line in self.log_file.read_text(errors="replace").splitlines():
            if any(pattern.search(line) for pattern in self._allowed):
                continue
            if SANITIZER.search(line) or LogLine(line).event in ("child-exited", "child-died",
                    "child-killed"):
                self._problems.append(line)

    def _report(self):
        if self._problems:
            problems, self._problems = self._problems, []
            raise AssertionError("\n".join(problems + ["", self.log_tail()]))

    # The log

    def log_tail(self, lines=40):
        if not self.log_file.exists():
            return "(no log)"
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    def mark_log(self):
        """log_lines() tells from here on."""
        self._mark = self.log_file.stat().st_size

    def log_text(self, position=None):
        with open(self.log_file, "rb") as log:
            log.seek(self._mark if position is None else position)
            return log.read().decode("utf-8", "replace")

    def log_lines(self, event=None, **fields):
        """The lines since the start (or mark_log()) with this event and these fields; a value given
        as a compiled pattern is searched."""
        def matches(line):
            if event is not None and line.event != event:
                return False
            for key, value in fields.items():
                key = key.rstrip("_")  # from_ for "from"
                if key not in line.fields:
                    return False
                if hasattr(value, "search"):
                    if not value.search(line.fields[key]):
                        return False
                elif line.fields[key] != str(value):
                    return False
            return True
        lines = (LogLine(text) for text in self.log_text().splitlines())
        return [line for line in lines if matches(line)]

    def wait_log(self, event, timeout=15.0, count=1, **fields):
        """The first such line, once there are `count`."""
        try:
            lines = wait_for(lambda: len(self.log_lines(event, **fields)) >= count and
                self.log_lines(event, **fields), timeout, f"{event} {fields} in the log")
        except AssertionError as why:
            raise AssertionError(f"{why}\n{self.log_tail()}") from None
        return lines[0]

    # Talking to it

    def smtpctl(self, *arguments, input=None, check=True, user=None, timeout=30.0):
        """Runs smtpctl on this instance's socket: a CompletedProcess with text in its outputs.
        check=True: fails unless the exit status is 0. `user`: as that user."""
        words = [str(self._command("smtpctl")), "-s", str(self.socket)]
        words += [str(word) for word in arguments]
        if user is not None:
            entry = pwd.getpwnam(user)
            words = ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}",
                "--clear-groups"] + words
        else:
            words = self._as_user() + words
        stdin = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        result = subprocess.run(words, text=True, errors="replace", stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, timeout=timeout, cwd="/", env=self._environment(), **stdin)
        if check and result.returncode != 0:
            raise AssertionError(f"smtpctl {' '.join(map(str, arguments))}: status "
                f"{result.returncode}\n{result.stdout}{result.stderr}\n{self.log_tail(15)}")
        return result

    def smtpd(self, *arguments, check=False, timeout=30.0):
        """Runs smtpd for its own sake (-n): a CompletedProcess."""
        return subprocess.run(self._as_user() + [str(self._command("smtpd")), *arguments],
            text=True, errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, timeout=timeout, cwd="/", env=self._environment(), check=check)

    def smtp(self, port=None, host="127.0.0.1", timeout=30.0):
        """A connected smtplib.SMTP, a context manager."""
        return smtplib.SMTP(host, port or self.port, local_hostname="client.test", timeout=timeout)

    def wire(self, port=None, host="127.0.0.1", timeout=20.0, path=None):
        """A raw connection (class Wire): nothing read or sent yet."""
        return Wire(str(path) if path else (host, port or self.port), timeout)

    def play(self, dialogue):
        """Plays a dialogue (see play()) on a new connection; returns the server's lines."""
        with self.wire() as wire:
            return play(wire, dialogue)

    def send(self, to, text="Subject: test\r\n\r\nhello\r\n", sender="sender@client.test",
            options=()):
        """Sends one message by smtplib; `to` is an address or a list. Returns the message id that
        the 250 named."""
        data = text if isinstance(text, bytes) else text.encode()
        with self.smtp() as client:
            client.ehlo()
            code, words = client.mail(sender, list(options))
            assert code == 250, (code, words)
            for address in [to] if isinstance(to, str) else to:
                code, words = client.rcpt(address)
                assert code == 250, (code, words)
            code, words = client.data(data)
            assert code == 250, (code, words)
        return message_id(words.decode())

    # Accounts and mailboxes

    def add_domain(self, domain):
        self.smtpctl("domain", "add", domain)

    def add_user(self, address, password="correct horse battery"):
        self.smtpctl("user", "add", address, input=password + "\n")

    def add_alias(self, address, *targets):
        self.smtpctl("alias", "add", address, *targets)

    def maildir(self, address):
        """The Maildir of an account of the accounts database."""
        user, _, domain = address.partition("@")
        return self.mail / domain / user

    def mails(self, address, folder=None):
        """The messages in the Maildir of `address` (or at that path), oldest name first."""
        box = self.maildir(address) if isinstance(address, str) else pathlib.Path(address)
        found = []
        for name in [folder] if folder else ["new", "cur"]:
            if (box / name).is_dir():
                found += [Mail(path) for path in sorted((box / name).iterdir())]
        return found

    def wait_mail(self, address, count=1, timeout=20.0):
        """Waits until there are at least `count` messages, and returns them."""
        try:
            return wait_for(lambda: len(self.mails(address)) >= count and self.mails(address),
                timeout, f"{count} message(s) for {address}, have {len(self.mails(address))}")
        except AssertionError as why:
            raise AssertionError(f"{why}\n{self.log_tail()}") from None

    def queue(self, *filters):
        """`smtpctl -j show queue`, one dictionary an envelope."""
        lines = self.smtpctl("-j", "show", "queue", *filters).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def wait_queue_empty(self, timeout=20.0):
        wait_for(lambda: not self.smtpctl("show", "queue").stdout, timeout, "the queue is empty")

    def stats(self):
        """`smtpctl show stats` as {name: text}."""
        lines = self.smtpctl("show", "stats").stdout.splitlines()
        return dict(line.split("=", 1) for line in lines)


def message_id(words):
    """The message id (8 hex digits) in the text of a 250 after DATA."""
    found = re.search(r"\b([0-9a-f]{8})\b", words)
    assert found, f"no message id in {words!r}"
    return found.group(1)
