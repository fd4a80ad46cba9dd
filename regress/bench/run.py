"""Mail in over SMTP, until all of it is in Maildirs: messages a second, CPU and flushes a message,
memory, latency; for Postern, Postfix, OpenSMTPD and Exim, in the same way on the same machine. Run
by run.sh; README says what is measured and how, and what comes out.

Each run begins on a fresh ext4 that holds spool and mailboxes, in a fresh cgroup that holds the
server and nothing else, with the server's processes counted by the same preloaded shim.
"""

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import report
from measure import HERE, TOP, WORK, Cgroup, Disk, command, last_stored, mail_count, wait_for_mail
from servers import SERVERS

TOOLS = TOP / "build/tools/postfix/usr"
CLIENT_SECONDS = 180  # then a client is ended, and the run has failed
WARM_UP = 20
WARM_UP_RUN = 999999
SETTLE = 0.3  # seconds after the last message that still count as its CPU time and flushes
IDLE_SESSIONS = 10000
FLOOD_SESSIONS = 100


@dataclasses.dataclass
class Case:
    name: str
    client: str  # source: smtp-source; load: load.c; plain: load.c without pipelining
    sessions: int
    size: str = "4096"
    recipients: int = 1
    mailboxes: int = 1  # each message to one of them, in turn
    reconnect: bool = False
    memory: bool = False  # look at the memory in a second, short run under the same load


CASES = {f"{case.name}/{case.client}": case for case in [
    Case("1 session", "source", 1),
    Case("20 sessions", "source", 20, memory=True),
    Case("100 sessions", "source", 100, memory=True),
    Case("1 MB", "source", 20, size="1000000"),
    Case("new connection", "source", 20, reconnect=True),
    Case("50 recipients", "source", 20, recipients=50),
    Case("1 session", "plain", 1),
    Case("1 session", "load", 1),
    Case("20 sessions", "load", 20),
    Case("100 sessions", "load", 100),
    Case("100 mailboxes", "load", 100, mailboxes=100),
    Case("1 MB", "load", 20, size="1000000"),
    Case("new connection", "load", 20, reconnect=True),
    Case("50 recipients", "load", 20, recipients=50),
    Case("mixed sizes", "load", 20, size="mix"),
]}

# What a profile measures: repetitions, messages of each case, seconds of the fairness runs.
PROFILES = {
    "quick": (1, {"20 sessions/source": 800, "100 sessions/source": 800, "20 sessions/load": 800,
        "1 MB/source": 20, "mixed sizes/load": 100}, 5),
    "default": (1, {"1 session/source": 1500, "20 sessions/source": 5000,
        "100 sessions/source": 5000, "1 MB/source": 200, "new connection/source": 1500,
        "50 recipients/source": 150, "1 session/plain": 1500, "20 sessions/load": 5000,
        "100 sessions/load": 5000, "100 mailboxes/load": 2000, "mixed sizes/load": 500}, 8),
    "full": (3, {"1 session/source": 3000, "20 sessions/source": 10000,
        "100 sessions/source": 10000, "1 MB/source": 500, "new connection/source": 3000,
        "50 recipients/source": 300, "1 session/plain": 3000, "1 session/load": 3000,
        "20 sessions/load": 10000, "100 sessions/load": 10000, "100 mailboxes/load": 5000,
        "1 MB/load": 500, "new connection/load": 3000, "50 recipients/load": 300,
        "mixed sizes/load": 2000}, 15),
}


class Running:
    """A server that runs on a fresh disk, until the end of the block."""

    def __init__(self, server, delay_us=0):
        self.server = server
        self.delay_us = delay_us

    def __enter__(self):
        self.cgroup = Cgroup(f"bench-{self.server.name}")
        self.disk = Disk(self.server.name, self.delay_us)
        self.started = False
        try:
            self.server.start(self.disk, self.cgroup)
            self.started = True
            load(self.server, "-m", WARM_UP, "-s", 2, "-R", WARM_UP_RUN)
            if wait_for_mail(self.server.maildirs(), WARM_UP) < WARM_UP:
                raise RuntimeError(f"delivers nothing; logs are in {WORK}")
        except BaseException:
            self.__exit__()
            raise
        self.disk.settle()
        return self

    def __exit__(self, *_exception):
        try:
            if self.started:
                self.server.stop()
        finally:
            self.cgroup.end()
            self.disk.remove()


def load_words(server, *words):
    return [str(word) for word in [WORK / "load", *words, server.port]]


def load(server, *words):
    """The C client's own report."""
    result = subprocess.run(load_words(server, *words), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, timeout=CLIENT_SECONDS + 30, text=True)
    return json.loads(result.stdout)


def source(server, case, messages):
    """The same from smtp-source, which says nothing itself."""
    words = ["timeout", CLIENT_SECONDS, TOOLS / "sbin/smtp-source", "-s", case.sessions, "-m",
        messages, "-l", case.size, "-f", "s@client.test", "-t", "u@example.test"]
    if not case.reconnect:
        words.append("-d")
    if case.recipients > 1:
        words += ["-r", case.recipients]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(TOOLS / "lib/postfix")}
    with open(WORK / "smtp-source.log", "wb") as log:
        began = time.time()
        process = subprocess.Popen([str(word) for word in [*words, f"127.0.0.1:{server.port}"]],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _pid, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            raise
        process.returncode = status
        seconds = time.time() - began
    trouble = (WORK / "smtp-source.log").read_text(errors="replace").strip()
    return {"acknowledged": messages if status == 0 else 0, "refused": 0, "began": began,
        "seconds": seconds, "client_cpu_ms": (usage.ru_utime + usage.ru_stime) * 1e3,
        "refusal": trouble.splitlines()[-1] if trouble else "" if status == 0 else "ended",
        "latency_ms": None}


def send(server, case, messages, run):
    if case.client == "source":
        return source(server, case, messages)
    return load(server, "-m", messages, "-s", case.sessions, "-l", case.size, "-r",
        case.recipients, "-u", case.mailboxes, "-R", run, "-T", CLIENT_SECONDS * 1000,
        *(["-c"] if case.reconnect else []), *(["-n"] if case.client == "plain" else []))


def verify(run, messages, recipients, maildirs):
    result = command(WORK / "verify", run, messages, recipients,
        *[maildir for maildir in maildirs if maildir.exists()], stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout)


def busy_memory(running, case):
    """The most that all processes use together while sessions are busy: looked at in a run of its
    own, as looking costs CPU time."""
    process = subprocess.Popen(load_words(running.server, "-d", 2000, "-m", 10 ** 9, "-s",
        case.sessions), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    most, processes = 0, 0
    while process.poll() is None:
        time.sleep(0.25)
        processes = max(processes, len(running.cgroup.pids()))
        most = max(most, running.cgroup.pss_mib())
    return {"pss_mib": most, "processes": processes}


def measure(server, case, messages, run, delay_us):
    """One run: a row of results."""
    row = {"server": server.name, "case": case.name, "client": case.client,
        "sessions": case.sessions, "size": case.size, "recipients": case.recipients,
        "messages": messages}
    copies = messages * case.recipients
    with Running(server, delay_us) as running:
        maildirs = server.maildirs(max(case.mailboxes, case.recipients))
        base = mail_count(maildirs)
        flushes, cpu = running.disk.flushes(), running.cgroup.cpu_ms()
        sent = send(server, case, messages, run)
        have = wait_for_mail(maildirs, base + copies) - base
        time.sleep(SETTLE)
        cpu, flushes = running.cgroup.cpu_ms() - cpu, running.disk.flushes() - flushes
        seconds = max(last_stored(maildirs) - sent["began"], 1e-6)
        row.update(taken_per_s=sent["acknowledged"] / max(sent["seconds"], 1e-6),
            stored_per_s=have / case.recipients / seconds, cpu_ms=cpu / messages,
            flushes=flushes / messages, client_cpu_ms=sent["client_cpu_ms"] / messages,
            refused=sent["refused"], lost=max(sent["acknowledged"] * case.recipients - have, 0),
            note=sent["refusal"])
        if case.size != "mix":
            row["mb_per_s"] = row["stored_per_s"] * int(case.size) / 1e6
        if sent["latency_ms"] is not None:
            row.update(p50_ms=sent["latency_ms"]["p50"], p99_ms=sent["latency_ms"]["p99"])
            found = verify(run, messages, case.recipients, maildirs)
            row.update(lost=max(sent["acknowledged"] - found["whole"], 0),
                duplicates=found["duplicates"], damaged=found["damaged"],
                stored_p50_ms=found["stored_ms"]["p50"], stored_p99_ms=found["stored_ms"]["p99"])
            if case.size == "mix":
                row["mb_per_s"] = found["bytes"] / 1e6 / seconds
        if case.memory:
            row.update(busy_memory(running, case))
    return row


def measure_idle(server):
    """Memory with 10,000 sessions that have said EHLO and nothing since."""
    row = {"server": server.name, "case": "idle", "client": "load", "sessions": IDLE_SESSIONS}
    with Running(server) as running:
        before = mail_count(server.maildirs())
        process = subprocess.Popen(load_words(server, "-i", "-B", "-s", IDLE_SESSIONS),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        settled = json.loads(process.stdout.readline())
        row.update(processes=len(running.cgroup.pids()), pss_mib=running.cgroup.pss_mib(),
            held=settled["held"], refused=settled["refused"] + settled["waiting"])
        if settled["held"] == IDLE_SESSIONS:
            load(server, "-m", 10, "-T", 20000)
            if wait_for_mail(server.maildirs(), before + 10) < before + 10:
                row["note"] = "takes no mail beside them"
        else:
            row["note"] = settled["refusal"] or "no greeting for the others"
        process.stdin.close()
        process.wait(60)
        dropped = json.loads(process.stdout.readline())["dropped"]
        if dropped > 0:
            row["note"] = f"{dropped} sessions were dropped"
    return row


def measure_fairness(server, seconds):
    """The latency of a client with one session, alone and beside one with a hundred."""
    rows = []
    single = ["-t", "2u@example.test", "-b", "127.0.0.3", "-s", 1, "-d", seconds * 1000]
    with Running(server) as running:
        for number, name in ((1, "alone"), (2, "beside 100")):
            flood = None
            if name != "alone":
                flood = subprocess.Popen(load_words(server, "-s", FLOOD_SESSIONS, "-b",
                    "127.0.0.2", "-d", (seconds + 3) * 1000), stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, text=True)
                time.sleep(2)
            mailbox = server.maildirs(2)[1:]
            before = mail_count(mailbox)
            sent = load(server, *single, "-R", number)
            flooded = json.loads(flood.communicate()[0]) if flood is not None else None
            wait_for_mail(mailbox, before + sent["acknowledged"])
            running.disk.settle()
            found = verify(number, sent["begun"], 1, mailbox)
            rows.append({"server": server.name, "case": name, "client": "load", "sessions": 1,
                "size": "4096", "messages": sent["acknowledged"],
                "taken_per_s": sent["acknowledged"] / sent["seconds"],
                "damaged": found["damaged"], "duplicates": found["duplicates"],
                "lost": max(sent["acknowledged"] - found["whole"], 0), "note": sent["refusal"]})
            if sent["acknowledged"] > 0:
                rows[-1].update(p50_ms=sent["latency_ms"]["p50"], p99_ms=sent["latency_ms"]["p99"],
                    stored_p50_ms=found["stored_ms"]["p50"],
                    stored_p99_ms=found["stored_ms"]["p99"])
            if flooded is not None:
                rows[-1]["flood_per_s"] = flooded["acknowledged"] / flooded["seconds"]
    return rows


def build_tools():
    strict = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{TOP}"]
    command("gcc", *strict, "-shared", "-fPIC", "-o", WORK / "syncshim.so", HERE / "syncshim.c",
        "-ldl")
    for name in ("load", "verify"):
        command("gcc", *strict, "-D_GNU_SOURCE", "-o", WORK / name, HERE / f"{name}.c",
            HERE / "text.c", TOP / "common/crc32c.c", "-lm")


class Results:
    """Rows as they come, into results.tsv and onto the terminal."""

    def __init__(self, directory):
        self.path = directory / "results.tsv"
        self.path.write_text("\t".join(report.COLUMNS) + "\n")
        self.run = 0
        print(report.progress_head(), flush=True)

    def add(self, row, repetition):
        row = {"time": time.strftime("%FT%TZ", time.gmtime()), "repetition": repetition, **row}
        with open(self.path, "a") as file:
            file.write("\t".join(report.field(row.get(name)) for name in report.COLUMNS) + "\n")
        print(report.progress_line(row), flush=True)

    def take(self, repetition, what, server, case, *arguments):
        """A measurement; one that fails is a row that says so."""
        self.run += 1
        try:
            rows = what(server, *arguments)
        except (RuntimeError, OSError, ValueError, subprocess.SubprocessError) as error:
            rows = {"server": server.name, "case": case.name if case else what.__name__,
                "client": case.client if case else "load", "note": f"failed: {error}"}
        for row in rows if isinstance(rows, list) else [rows]:
            self.add(row, repetition)


def rotated(items, by):
    by %= len(items)
    return items[by:] + items[:by]


def run_all(options, cases, repetitions, fairness_seconds):
    servers = [SERVERS[name]() for name in options.servers]
    directory = WORK / "report"
    directory.mkdir(exist_ok=True)
    for server in servers:
        server.prepare()
    report.write_versions(directory, [(server.name, server.version()) for server in servers],
        options)
    results = Results(directory)
    for repetition in range(repetitions):
        for number, (case, messages) in enumerate(cases):
            for server in rotated(servers, repetition + number):
                results.take(repetition, measure, server, case, case, messages, results.run + 1,
                    options.delay_us)
        if options.only_cases:
            continue
        for server in rotated(servers, repetition):
            results.take(repetition, measure_idle, server, None)
        for server in rotated(servers, repetition):
            if server.name in ("postern", "postfix"):
                results.take(repetition, measure_fairness, server, None, fairness_seconds)
    report.write_all(directory)


def chosen_cases(options):
    """What to run: [(case, messages)], repetitions, seconds of the fairness runs."""
    repetitions, cases, seconds = PROFILES[options.profile]
    chosen = [(CASES[name], options.messages or messages) for name, messages in cases.items()]
    if options.sessions or options.size:
        chosen = [(Case(f"{sessions} sessions, {size} bytes", options.client, int(sessions), size,
            reconnect=options.reconnect, memory=True), options.messages or 5000)
            for size in (options.size or "4096").split(",")
            for sessions in (options.sessions or "1,20,100").split(",")]
        options.only_cases = True
    elif options.case:
        unknown = set(options.case) - set(CASES)
        if unknown:
            raise SystemExit(f"bench: no case {', '.join(unknown)}; there are: {', '.join(CASES)}")
        messages = PROFILES["full"][1]
        chosen = [(CASES[name], options.messages or messages[name]) for name in options.case]
        options.only_cases = True
    return chosen, options.repeat or repetitions, seconds


def main():
    parser = argparse.ArgumentParser(description="mail in over SMTP until it is in Maildirs")
    parser.add_argument("servers", nargs="*", default=list(SERVERS), metavar="SERVER",
        help=", ".join(SERVERS))
    parser.add_argument("-p", "--profile", choices=PROFILES, default="default")
    parser.add_argument("-r", "--repeat", type=int, help="instead of the profile's repetitions")
    parser.add_argument("-m", "--messages", type=int, help="instead of the profile's numbers")
    parser.add_argument("-c", "--case", action="append", metavar="CASE/CLIENT",
        help="instead of the profile's cases, one or more of: " + ", ".join(CASES))
    parser.add_argument("-s", "--sessions", help="other cases: numbers, with commas between")
    parser.add_argument("-l", "--size", help="other cases: bytes or mix, with commas between")
    parser.add_argument("--client", choices=("source", "load"), default="source")
    parser.add_argument("--reconnect", action="store_true", help="a connection for each message")
    parser.add_argument("--delay-us", type=int, default=0, help="a slow disk: after each flush")
    parser.add_argument("--report", action="store_true",
        help="measure nothing: table and plots again, from the last results")
    options = parser.parse_args()
    options.only_cases = False
    unknown = set(options.servers) - set(SERVERS)
    if unknown:
        raise SystemExit(f"bench: no server {', '.join(unknown)}")
    if options.report:
        report.write_all(WORK / "report")
        return 0
    WORK.mkdir(parents=True, exist_ok=True)
    # So that what runs is stopped and unmounted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended by a signal"))
    build_tools()
    run_all(options, *chosen_cases(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
