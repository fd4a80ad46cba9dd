"""Mail in over SMTP, until all of it is in Maildirs: messages a second, CPU and flushes a message,
memory, latency; for Postern, Postfix, OpenSMTPD and Exim, in the same way on the same machine. Run
by run.sh; README says what is measured and how, and what comes out.

Each run begins on a fresh ext4 that holds spool and mailboxes, in a fresh cgroup that holds the
server and nothing else, with the server's processes counted by the same preloaded shim.
"""

import argparse
import dataclasses
import json
import signal
import subprocess
import sys
import time

import handshakes
import mailboxes
import network
import relay
import report
from measure import HERE, TOP, WORK, command, last_stored, mail_count, wait_for_mail
from running import CLIENT_SECONDS, SETTLE, Running, load, load_words, source
from servers import SERVERS

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

@dataclasses.dataclass
class Profile:
    repetitions: int
    cases: dict  # messages of each case
    seconds: int  # of a fairness run, and of handshakes
    agreement: tuple  # rounds, messages of each
    relay: dict  # messages for each server
    mailbox: int  # messages in the mailbox that is read


PROFILES = {
    "quick": Profile(1, {"20 sessions/source": 800, "100 sessions/source": 800,
        "20 sessions/load": 800, "1 MB/source": 20, "mixed sizes/load": 100}, 3, (3, 100),
        {"postern": 3000, "postfix": 1000}, 5000),
    "default": Profile(1, {"1 session/source": 1500, "20 sessions/source": 5000,
        "100 sessions/source": 5000, "1 MB/source": 200, "new connection/source": 1500,
        "50 recipients/source": 150, "20 sessions/load": 5000, "100 sessions/load": 5000,
        "100 mailboxes/load": 2000, "mixed sizes/load": 500}, 8, (8, 300),
        {"postern": 10000, "postfix": 5000, "opensmtpd": 150}, 100000),
    "full": Profile(3, {"1 session/source": 3000, "20 sessions/source": 10000,
        "100 sessions/source": 10000, "1 MB/source": 500, "new connection/source": 3000,
        "50 recipients/source": 300, "1 session/load": 3000, "20 sessions/load": 10000,
        "100 sessions/load": 10000, "100 mailboxes/load": 5000, "1 MB/load": 500,
        "new connection/load": 3000, "50 recipients/load": 300, "mixed sizes/load": 2000}, 15,
        (12, 500), {"postern": 20000, "postfix": 10000, "opensmtpd": 300}, 100000),
}
PARTS = ("cases", "agreement", "idle", "fairness", "relay", "silent", "tls", *mailboxes.PARTS)
RELAY_SESSIONS = 20
HANDSHAKE_SESSIONS = 20


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


def measure_agreement(server, rounds, messages):
    """smtp-source and load.c in turn, sending alike by one session to the same instance, so that what
    the disk does meanwhile meets both: two rows for each round."""
    rows = []
    case = Case("in turn", "source", 1)
    with Running(server) as running:
        maildirs = server.maildirs()
        for number in range(2 * rounds):
            name = "plain" if number % 4 in (1, 2) else "source"  # A B B A
            base, cpu = mail_count(maildirs), running.cgroup.cpu_ms()
            sent = send(server, dataclasses.replace(case, client=name), messages, number + 1)
            wait_for_mail(maildirs, base + messages)
            running.disk.settle()
            rows.append({"server": server.name, "case": case.name, "client": name, "sessions": 1,
                "size": case.size, "messages": messages, "refused": sent["refused"],
                "taken_per_s": sent["acknowledged"] / sent["seconds"],
                "cpu_ms": (running.cgroup.cpu_ms() - cpu) / messages,
                "client_cpu_ms": sent["client_cpu_ms"] / messages, "note": sent["refusal"]})
    return rows


def build_tools():
    strict = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{TOP}"]
    command("gcc", *strict, "-shared", "-fPIC", "-o", WORK / "syncshim.so", HERE / "syncshim.c",
        "-ldl")
    command("gcc", *strict, "-o", WORK / "handshakes", HERE / "handshakes.c", "-lssl", "-lcrypto")
    command("gcc", *strict, "-D_GNU_SOURCE", "-o", WORK / "imap", HERE / "imap.c")
    for name in ("load", "verify", "sink"):
        command("gcc", *strict, "-D_GNU_SOURCE", "-o", WORK / name, HERE / f"{name}.c",
            HERE / "text.c", TOP / "common/crc32c.c", "-lm")


class Results:
    """Rows as they come, into results.tsv and onto the terminal."""

    def __init__(self, directory, add):
        self.path = directory / "results.tsv"
        if not add or not self.path.exists():
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


def run_parts(options, profile, results, repetition, servers):
    """All that isn't a case."""
    parts = options.part
    if "agreement" in parts:
        for server in servers:
            results.take(repetition, measure_agreement, server, None, *profile.agreement)
    if "idle" in parts:
        for server in servers:
            results.take(repetition, measure_idle, server, None)
    pair = [server for server in servers if server.name in ("postern", "postfix")]
    if "fairness" in parts:
        for server in pair:
            results.take(repetition, measure_fairness, server, None, profile.seconds)
    if "relay" in parts:
        for sink in relay.SINKS:
            for server in servers:
                # With smtp-sink to show that the two sinks agree, or which is the limit.
                if server.name in profile.relay and (sink == "sink.c" or server in pair):
                    results.take(repetition, relay.measure_relay, server, None, sink,
                        RELAY_SESSIONS, options.messages or profile.relay[server.name],
                        results.run + 1, options.delay_us)
    if "silent" in parts:
        for server in servers:
            for silent in (0, relay.SILENT) if server.name == "postern" else ():
                results.take(repetition, relay.measure_silent, server, None, silent,
                    results.run + 1, options.delay_us)
    if "tls" in parts:
        for name in handshakes.KEYS:
            for server in pair:
                results.take(repetition, handshakes.measure_handshakes, server, None, name,
                    HANDSHAKE_SESSIONS, profile.seconds)


def run_all(options, profile, cases, repetitions):
    servers = [SERVERS[name]() for name in options.servers]
    directory = WORK / "report"
    directory.mkdir(exist_ok=True)
    for server in servers:
        server.prepare()
    report.write_versions(directory, [(server.name, server.version()) for server in servers],
        options)
    results = Results(directory, options.add)
    for repetition in range(repetitions):
        if "cases" in options.part:
            for number, (case, messages) in enumerate(cases):
                for server in rotated(servers, repetition + number):
                    results.take(repetition, measure, server, case, case, messages,
                        results.run + 1, options.delay_us)
        run_parts(options, profile, results, repetition, rotated(servers, repetition))
    report.write_all(directory)
    if set(mailboxes.PARTS) & set(options.part):
        mailboxes.run(directory, options.messages or profile.mailbox, options.part)


def chosen_cases(options):
    """[(case, messages)], and what else to run is set in the options."""
    cases = PROFILES[options.profile].cases
    chosen = [(CASES[name], options.messages or messages) for name, messages in cases.items()]
    if options.sessions or options.size:
        chosen = [(Case(f"{sessions} sessions, {size} bytes", options.client, int(sessions), size,
            reconnect=options.reconnect, memory=True), options.messages or 5000)
            for size in (options.size or "4096").split(",")
            for sessions in (options.sessions or "1,20,100").split(",")]
        options.part = ["cases"]
    elif options.case:
        unknown = set(options.case) - set(CASES)
        if unknown:
            raise SystemExit(f"bench: no case {', '.join(unknown)}; there are: {', '.join(CASES)}")
        messages = PROFILES["full"].cases | {"1 session/plain": 3000}
        chosen = [(CASES[name], options.messages or messages[name]) for name in options.case]
        options.part = ["cases"]
    return chosen


def main():
    parser = argparse.ArgumentParser(description="mail in over SMTP until it is in Maildirs")
    parser.add_argument("servers", nargs="*", default=list(SERVERS), metavar="SERVER",
        help=", ".join(SERVERS))
    parser.add_argument("-p", "--profile", choices=PROFILES, default="default")
    parser.add_argument("-r", "--repeat", type=int, help="instead of the profile's repetitions")
    parser.add_argument("-m", "--messages", type=int, help="instead of the profile's numbers")
    parser.add_argument("-c", "--case", action="append", metavar="CASE/CLIENT",
        help="instead of the profile's cases, one or more of: " + ", ".join(CASES))
    parser.add_argument("--part", action="append", choices=PARTS, help="instead of all parts")
    parser.add_argument("--add", action="store_true", help="to the last results, not anew")
    parser.add_argument("-s", "--sessions", help="other cases: numbers, with commas between")
    parser.add_argument("-l", "--size", help="other cases: bytes or mix, with commas between")
    parser.add_argument("--client", choices=("source", "load"), default="source")
    parser.add_argument("--reconnect", action="store_true", help="a connection for each message")
    parser.add_argument("--delay-us", type=int, default=0, help="a slow disk: after each flush")
    parser.add_argument("--report", action="store_true",
        help="measure nothing: table and plots again, from the last results")
    parser.add_argument("--set-up", action="store_true",
        help="measure nothing: get the peers' packages")
    options = parser.parse_args()
    options.part = options.part or list(PARTS)
    unknown = set(options.servers) - set(SERVERS)
    if unknown:
        raise SystemExit(f"bench: no server {', '.join(unknown)}")
    if options.report:
        report.write_all(WORK / "report")
        return 0
    WORK.mkdir(parents=True, exist_ok=True)
    # So that what runs is stopped and unmounted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended by a signal"))
    if options.set_up:
        readers = mailboxes.READERS if set(mailboxes.PARTS) & set(options.part) else ()
        for server in (*(SERVERS[name]() for name in options.servers), *(it() for it in readers)):
            server.prepare()
        return 0
    network.set_up()
    build_tools()
    profile = PROFILES[options.profile]
    run_all(options, profile, chosen_cases(options), options.repeat or profile.repetitions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
