"""What grows: a million envelopes for a destination that is down, a hundred thousand users, a
Maildir of a hundred thousand files. Each state is built through the public interface (SMTP, the
control socket), and what must not suffer from it is measured before and after.

	make growth                            all, as root: minutes, and some GB below /var/tmp
	regress/bench/growth.py queue --envelopes 100000 --per-message 1
	regress/bench/growth.py users maildir

Prints a line a target: what, the target, the figure, reached or not. Times are the wall clock's and
want a quiet machine; CPU is that of the suite's processes, which other load hardly moves.
"""

import argparse
import datetime
import os
import pathlib
import re
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import control_suite as control  # noqa: E402
import postern as harness  # noqa: E402

LIMITS = """
smtp limit max-mails 100000000
smtp limit max-rcpt 10000
smtp limit sessions-per-address 1000
queue segment-size 64M
"""
# One destination that refuses connections, and mailboxes whose owners' homes are not there.
RULES = """
table gone file:@BASE@/gone
table homes file:@BASE@/homes
action "in" maildir virtual <accounts>
action "out" relay host "smtp+notls://127.0.0.1:9"
action "gone" maildir "@BASE@/missing/%{dest.user}/Maildir" virtual <gone> userbase <homes>
match from any for domain <accounts> action "in"
match from any for domain "gone.test" action "gone"
match from any for domain "down.test" action "out"
"""
GONE_USERS = 100
LINE_OF_TROUBLE = re.compile(rb"(?m)^[345]")
TEXT = b"Subject: growth\r\n\r\n" + b"x" * 70 + b"\r\n"


def rules(instance):
    """RULES, and the tables that they name."""
    users = [f"u{number}" for number in range(GONE_USERS)]
    (instance.base / "gone").write_text("".join(f"{user}@gone.test {user}\n" for user in users))
    (instance.base / "homes").write_text("".join(
        f"{user} 5000:5000:{instance.base}/missing/{user}\n" for user in users))
    return RULES


class Instance(harness.Postern):
    """An instance whose log may have millions of lines: only the last ones are looked at."""

    def _check_log(self):
        tail = self.log_tail(200)
        if harness.SANITIZER.search(tail):
            self._problems.append(tail)

    def cpu_ms(self, *programs):
        """CPU time of all its processes, or of these."""
        total = 0
        for pid, name in self.pids().items():
            if not programs or name in programs:
                total += int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0])
        return total / 1e6

    def queue_memory_mib(self):
        """(RSS, PSS, the most that RSS ever was) of the queue."""
        (pid,) = self.pids("queue")
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return tuple(int(re.search(rf"^{key}:\s+(\d+)", text, re.M).group(1)) / 1024
            for key, text in (("Rss", rollup), ("Pss", rollup), ("VmHWM", status)))


class Session:
    """A connection that says all it has at once and counts the lines that come back."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")
        self.stream.readline()
        self.socket.sendall(b"EHLO client.test\r\n")
        while self.stream.readline()[3:4] == b"-":
            pass
        self.output = b""
        self.wanted = 0

    def pump(self):
        """After a select: reads what is there and writes what goes."""
        data = self.socket.recv(1 << 20)
        assert data, "the server closed the connection"
        self.wanted -= data.count(b"\n")
        assert not LINE_OF_TROUBLE.search(data), data[:2000]


def mail(sender, recipients, text=TEXT):
    """A whole transaction, pipelined: RFC 2920 and RFC 3030. As many lines come back as it has
    commands."""
    return b"".join([b"MAIL FROM:<%s>\r\n" % sender.encode(),
        *(b"RCPT TO:<%s>\r\n" % to.encode() for to in recipients),
        b"BDAT %d LAST\r\n" % len(text), text]), len(recipients) + 2


def send_all(port, mails, sessions=20, at_once=20):
    """Sends all of `mails`, an iterable of what mail() returns; each session has `at_once` of them
    under way. Returns seconds from the first to the last reply."""
    mails = iter(mails)
    selector = selectors.DefaultSelector()
    clients = [Session(port) for _ in range(sessions)]
    for client in clients:
        client.socket.setblocking(False)
        selector.register(client.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, client)
    begin = time.monotonic()
    busy = set(clients)
    while busy:
        for key, events in selector.select():
            client = key.data
            if events & selectors.EVENT_READ:
                client.pump()
            if client.wanted == 0 and not client.output:
                for _ in range(at_once):
                    one = next(mails, None)
                    if one is None:
                        break
                    client.output += one[0]
                    client.wanted += one[1]
                if not client.output:
                    busy.discard(client)
                    selector.unregister(client.socket)
                    continue
            if client.output:
                try:
                    client.output = client.output[client.socket.send(client.output):]
                except BlockingIOError:
                    pass
            selector.modify(client.socket, selectors.EVENT_READ |
                (selectors.EVENT_WRITE if client.output else 0), client)
    seconds = time.monotonic() - begin
    for client in clients:
        client.socket.close()
    return seconds


def envelopes_for(domain, count, per_message, senders):
    """Mails with `count` envelopes in all: the first count/senders of one sender, and so on."""
    made = 0
    while made < count:
        sender = f"list{made * senders // count}@client.test"
        if domain == "gone.test":
            to = [f"u{number}@gone.test" for number in range(per_message)]
        else:
            to = [f"user{made + number}@{domain}" for number in range(per_message)]
        yield mail(sender, to)
        made += per_message


class Table:
    def __init__(self):
        self.failed = 0
        print(f"{'what':58} {'target':>14} {'figure':>14}", flush=True)

    def add(self, what, target, figure, reached=None):
        """`reached` None: a figure without a target."""
        word = "" if reached is None else "reached" if reached else "NOT REACHED"
        self.failed += reached is False
        print(f"{what:58} {target:>14} {figure:>14} {word}", flush=True)


def receive(instance, to, count, sessions=20, size=4096):
    """Sends `count` mails to a healthy mailbox and waits until they are there: (CPU ms a mail over
    all processes, mails a second taken, mails a second stored). Nothing here looks at the Maildir:
    reading a large one would hold up who writes to it."""
    text = b"Subject: growth\r\n\r\n" + (b"y" * 70 + b"\r\n") * (size // 72)

    def delivered():
        return int(instance.stats()["scheduler.delivery.ok"])
    before, cpu = delivered(), instance.cpu_ms()
    instance.mark_log()
    begin = time.time()
    taken = send_all(instance.port, (mail("erin@client.test", [to], text) for _ in range(count)),
        sessions, 1)
    harness.wait_for(lambda: delivered() >= before + count, 300, "all are delivered")
    last = re.findall(r"(?m)^(\S+)Z queue\[\d+\]: delivered ", instance.log_text())[-1]
    stored = datetime.datetime.fromisoformat(last + "+00:00").timestamp() - begin
    return (instance.cpu_ms() - cpu) / count, count / taken, count / stored


def backlog(instance, to, count):
    """Mail that waits when the suite is killed, and may have been delivered for all that the queue
    knows: CPU ms a mail from the start until all is in the mailbox."""
    instance.smtpctl("pause", "mda")
    send_all(instance.port, (mail("erin@client.test", [to]) for _ in range(count)), 20, 1)
    instance.crash()
    instance.start()
    harness.wait_for(lambda: instance.stats()["scheduler.envelope"] == "0", 300, "all is delivered")
    return instance.cpu_ms() / count


def best(rounds):
    """The least CPU and the highest rates of several rounds."""
    return min(r[0] for r in rounds), max(r[1] for r in rounds), max(r[2] for r in rounds)


def compare(table, what, before, after, most=1.10):
    for number, unit, name in ((0, "ms", "CPU a mail"), (1, "/s", "taken"), (2, "/s", "stored")):
        ratio = after[number] / before[number] if number == 0 else before[number] / after[number]
        table.add(f"{what}: {name}, {before[number]:.3f} -> {after[number]:.3f} {unit}",
            f"<= {most:.2f}", f"{ratio:.2f}", ratio <= most)


def start_listing(instance):
    """(a running show queue, seconds to its first output)"""
    begin = time.monotonic()
    listing = subprocess.Popen([instance._command("smtpctl"), "-s", instance.socket, "show",
        "queue"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    first = listing.stdout.read1(1)
    assert first, "show queue printed nothing"
    return listing, time.monotonic() - begin


def count_listing(instance):
    """All of `show queue` while mail comes in: envelopes listed, seconds to the first byte and to
    the last, the longest that a mail had to wait for its 250 meanwhile."""
    listing, first = start_listing(instance)
    begin = time.monotonic()
    lines, waits = 0, []
    os.set_blocking(listing.stdout.fileno(), False)
    with selectors.DefaultSelector() as selector, instance.smtp() as client:
        client.ehlo()
        selector.register(listing.stdout, selectors.EVENT_READ)
        while True:
            selector.select()
            data = os.read(listing.stdout.fileno(), 1 << 20)
            if not data:
                break
            lines += data.count(b"\n")
            if time.monotonic() - begin > len(waits) * 0.1:
                sent = time.monotonic()
                client.sendmail("erin@client.test", "alice@example.test", TEXT)
                waits.append(time.monotonic() - sent)
    assert listing.wait() == 0
    return lines, first, time.monotonic() - begin, max(waits, default=0)


def remove_all(instance, domain):
    """Removes all that is queued from a domain while mail comes in, one at a time: envelopes
    removed, seconds, mails taken meanwhile, the longest that one had to wait for its 250."""
    waits = []
    with instance.smtp() as client:
        client.ehlo()
        begin = time.monotonic()
        removal = subprocess.Popen([instance._command("smtpctl"), "-s", instance.socket, "remove",
            "from", f"@{domain}"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        while removal.poll() is None:
            sent = time.monotonic()
            client.sendmail("erin@sender.test", "alice@example.test", TEXT)
            waits.append(time.monotonic() - sent)
        seconds = time.monotonic() - begin
    output = removal.communicate()[0]
    assert removal.returncode == 0, output
    return int(output.split()[0]), seconds, len(waits), max(waits)


def restart(instance, crash, expected, cold=False):
    """(seconds until a mail to a healthy mailbox had its 250, seconds until every envelope is
    known), from the start of smtpd; mail is tried all the while. `cold`: of the spool and the
    programs nothing is in this machine's memory."""
    if crash:
        instance.crash()
    else:
        instance.stop()
    if cold:
        os.sync()
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")
    begin = time.monotonic()
    instance.start(ready=False)

    def takes():
        try:
            instance.send("alice@example.test", TEXT)
        except (OSError, AssertionError, harness.smtplib.SMTPException):
            return None
        return time.monotonic() - begin
    takes_after = harness.wait_for(takes, 300, "mail is taken")

    def known():
        text = instance.stats().get("scheduler.envelope", "0")
        return int(text) >= expected and time.monotonic() - begin
    knows_after = harness.wait_for(known, 300, "all envelopes are known")
    return takes_after, knows_after


def measure_queue(table, stage, options, domain, per_message):
    count, rounds = options.envelopes, options.rounds
    name = f"{count} envelopes, {per_message} a message, {domain}"
    instance = Instance(stage, base=work_folder(options), extra=LIMITS, rules=rules)
    try:
        instance.start()
        instance.add_domain("example.test")
        instance.add_user("alice@example.test")
        receive(instance, "alice@example.test", options.mails)
        before = best([receive(instance, "alice@example.test", options.mails)
            for _ in range(rounds)])
        begin = time.monotonic()
        cpu = instance.cpu_ms()
        send_all(instance.port, envelopes_for(domain, count, per_message, 10), 20,
            max(1, 50 // per_message))
        table.add(f"{name}: filled, seconds", "", f"{time.monotonic() - begin:.1f}")
        table.add(f"{name}: filled, CPU ms an envelope", "",
            f"{(instance.cpu_ms() - cpu) / count:.4f}")
        if domain == "gone.test":
            harness.wait_for(lambda: count <= int(
                instance.stats()["scheduler.delivery.tempfail"]), 900,
                "all were tried once")
        memory = instance.queue_memory_mib()
        for kind, figure in zip(("RSS", "PSS", "RSS at its most"), memory):
            table.add(f"queue's {kind}, MiB", "< 256", f"{figure:.1f}", figure < 256)
        # What the filling left to the disk isn't the backlog's doing.
        os.sync()
        after = best([receive(instance, "alice@example.test", options.mails)
            for _ in range(rounds)])
        compare(table, "receiving", before, after)
        lines, first, whole, wait = count_listing(instance)
        table.add("show queue: envelopes listed", f">= {count}", f"{lines}", lines >= count)
        table.add("show queue begins after, s", "< 0.1", f"{first:.3f}", first < 0.1)
        table.add("show queue: all after, s", "", f"{whole:.1f}")
        table.add("show queue: longest wait for a 250 meanwhile, s", "< 1", f"{wait:.3f}",
            wait < 1)
        for word in ("stop", "crash", "crash, cold cache"):
            takes, knows = restart(instance, word != "stop", count, "cold" in word)
            table.add(f"restart after {word}: takes mail after, s", "< 5", f"{takes:.2f}",
                takes < 5)
            table.add(f"restart after {word}: knows all after, s", "< 30", f"{knows:.2f}",
                knows < 30)
            _, pss, most = instance.queue_memory_mib()
            table.add(f"restart after {word}: queue's PSS, most RSS, MiB", "< 256",
                f"{pss:.1f} {most:.1f}", most < 256)
        begin = time.monotonic()
        cpu = instance.cpu_ms("queue")
        result = instance.smtpctl("remove", "from", "list3@client.test", timeout=120)
        seconds = time.monotonic() - begin
        table.add(f"remove one sender's {count // 10}, s", "< 2", f"{seconds:.2f}", seconds < 2)
        table.add("remove: CPU of the queue, ms", "", f"{instance.cpu_ms('queue') - cpu:.0f}")
        removed = int(result.stdout.split()[0])
        table.add("removed", f"{count // 10}", f"{removed}", removed == count // 10)
        takes, knows = restart(instance, True, count - removed)
        table.add("restart after that and a crash: takes mail after, s", "< 5", f"{takes:.2f}",
            takes < 5)
        left = sum(1 for line in instance.smtpctl("show", "queue", timeout=600)
            .stdout.splitlines() if f"@{domain}|" in line)
        table.add("left in the queue", f"{count - removed}", f"{left}", left == count - removed)
        removed, seconds, taken, wait = remove_all(instance, "client.test")
        table.add("remove all the rest", f"{left}", f"{removed}", removed == left)
        table.add(f"remove all the rest: seconds, {taken} mails taken", "", f"{seconds:.2f}")
        table.add("remove all the rest: longest wait for a 250, s", "< 0.1", f"{wait:.3f}",
            wait < 0.1)
    finally:
        instance.destroy()
        shutil.rmtree(instance.base, ignore_errors=True)


def add_users(instance, count, already=0):
    """Adds u0 … as `smtpctl user add` does, on one connection of the control socket; a password's
    hash for each, as long as yescrypt's."""
    peer = control.Peer(socket.socket(socket.AF_UNIX), 60)
    peer.socket.connect(str(instance.socket))
    digest = "$y$j9T$" + "a" * 22 + "$" + "b" * 43
    for number in range(already, count):
        peer.send(control.ACCOUNT, number + 1, control.account_payload(control.USER_ADD,
            f"u{number}@example.test", digest))
        code, _, words = control.read_result(peer.receive().payload)
        assert code == 0, words
    peer.close()


def rcpt_cost(instance, users, rounds=40, count=3000):
    """(CPU us of directory, CPU us of all, wall us) a RCPT, ten different ones a transaction,
    spread over all users. The least of many short rounds, which other load disturbs least."""
    def mails(start):
        for first in range(start, start + count, 10):
            to = [(first + number) * 7919 % users for number in range(10)]
            # Nothing is sent: the transaction is given up.
            yield (b"MAIL FROM:<erin@client.test>\r\n" +
                b"".join(b"RCPT TO:<u%d@example.test>\r\n" % number for number in to) +
                b"RSET\r\n", 12)
    costs = []
    for number in range(rounds):
        directory, everything = instance.cpu_ms("directory"), instance.cpu_ms()
        seconds = send_all(instance.port, mails(number * count), 4, 20)
        costs.append(((instance.cpu_ms("directory") - directory) * 1000 / count,
            (instance.cpu_ms() - everything) * 1000 / count, seconds * 1e6 / count))
    return tuple(min(column) for column in zip(*costs))


def measure_users(table, stage, options):
    instance = Instance(stage, base=work_folder(options), extra=LIMITS, rules=rules)
    try:
        instance.start()
        instance.add_domain("example.test")
        add_users(instance, 10)
        few = rcpt_cost(instance, 10)
        begin = time.monotonic()
        add_users(instance, options.users, 10)
        table.add(f"{options.users} users added, s", "", f"{time.monotonic() - begin:.1f}")
        many = rcpt_cost(instance, options.users)
        for index, what in enumerate(("CPU us of directory", "CPU us", "us")):
            ratio = many[index] / few[index]
            table.add(f"RCPT, {what}, 10 -> {options.users} users: "
                f"{few[index]:.1f} -> {many[index]:.1f}", "<= 1.20" if index else "",
                f"{ratio:.2f}", ratio <= 1.2 if index else None)
        (pid,) = instance.pids("directory")
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        pss = int(re.search(r"Pss:\s+(\d+)", rollup).group(1)) / 1024
        table.add("directory's PSS, MiB", "", f"{pss:.1f}")
    finally:
        instance.destroy()
        shutil.rmtree(instance.base, ignore_errors=True)


def measure_maildir(table, stage, options):
    instance = Instance(stage, base=work_folder(options), extra=LIMITS, rules=rules)
    try:
        instance.start()
        instance.add_domain("example.test")
        for name in ("alice", "bob", "carol"):
            instance.add_user(f"{name}@example.test")
        receive(instance, "carol@example.test", 1000)
        receive(instance, "bob@example.test", options.files, size=100)
        few, many = [], []
        for _ in range(options.rounds):
            few.append(receive(instance, "alice@example.test", options.mails))
            many.append(receive(instance, "bob@example.test", options.mails))
        compare(table, f"Maildir of {options.files} files", best(few), best(many))
        few, many = (backlog(instance, f"{name}@example.test", 2000) for name in ("alice", "bob"))
        # Each batch reads the directory once.
        table.add(f"a backlog after a crash: CPU a mail, {few:.3f} -> {many:.3f} ms", "",
            f"{many / few:.2f}")
    finally:
        instance.destroy()
        shutil.rmtree(instance.base, ignore_errors=True)


def work_folder(options):
    return tempfile.mkdtemp(prefix="postern-growth-", dir=options.folder)


def make_stage():
    subprocess.run([harness.TOP / "etc/make-accounts.sh"], check=True)
    path = pathlib.Path(tempfile.mkdtemp(prefix="postern-stage-", dir="/tmp"))
    path.chmod(0o755)
    subprocess.run(["make", "-s", "--no-print-directory", "-C", harness.TOP, "stage",
        f"BUILD={os.path.relpath(harness.BUILD, harness.TOP)}", f"DESTDIR={path}", "PREFIX=/usr"],
        check=True, stdin=subprocess.DEVNULL)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["queue", "users", "maildir", []], default=[],
        help="all when nothing is named")
    parser.add_argument("--envelopes", type=int, default=1000000)
    parser.add_argument("--per-message", type=int, action="append",
        help="recipients a message (100 and, in a second run, 1)")
    parser.add_argument("--domain", choices=["down.test", "gone.test"], action="append",
        help="down.test is relayed, gone.test has mailboxes of users without homes")
    parser.add_argument("--users", type=int, default=100000)
    parser.add_argument("--files", type=int, default=100000)
    parser.add_argument("--mails", type=int, default=2000, help="a round of receiving")
    parser.add_argument("--rounds", type=int, default=8,
        help="of receiving, of which the best counts")
    parser.add_argument("--folder", default="/var/tmp", help="on a disk, with some GB free")
    options = parser.parse_args()
    what = options.what or ["queue", "users", "maildir"]
    if not harness.is_root():
        sys.exit("growth.py: needs root")
    stage = make_stage()
    table = Table()
    try:
        if "queue" in what:
            for domain in options.domain or ["down.test", "gone.test"]:
                # A mailbox gets one copy of a message, so the number of users bounds it.
                for per_message in options.per_message or (
                        [100, 1] if domain == "down.test" else [GONE_USERS]):
                    measure_queue(table, stage, options, domain, per_message)
        if "users" in what:
            measure_users(table, stage, options)
        if "maildir" in what:
            measure_maildir(table, stage, options)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    print(f"{table.failed} not reached" if table.failed else "all reached")
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main())
