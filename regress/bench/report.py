"""What the bench says of its results: lines while it runs, then a table, the targets with both
figures, and plots; all from results.tsv and versions.json, so that they can be made again.
"""

import csv
import json
import os
import pathlib
import platform
import statistics
import subprocess
import time

import plot

# One line a run in results.tsv. Per message: cpu_ms, flushes, client_cpu_ms.
COLUMNS = ["time", "repetition", "server", "case", "client", "sessions", "size", "recipients",
    "messages", "taken_per_s", "stored_per_s", "mb_per_s", "cpu_ms", "flushes", "pss_mib",
    "processes", "client_cpu_ms", "p50_ms", "p99_ms", "stored_p50_ms", "stored_p99_ms",
    "flood_per_s", "held", "refused", "lost", "duplicates", "damaged", "note"]
TEXT = {"time", "server", "case", "client", "size", "note"}
CLIENTS = {"source": "smtp-source", "load": "load.c", "plain": "load.c without pipelining",
    "sink.c": "load.c to sink.c", "smtp-sink": "load.c to smtp-sink", "handshakes": "handshakes.c"}
APART = ("idle", "alone", "beside 100", "in turn")  # cases with tables of their own
TABLE = [("taken/s", "taken_per_s", ".0f"), ("stored/s", "stored_per_s", ".0f"),
    ("MB/s", "mb_per_s", ".1f"), ("cpu ms", "cpu_ms", ".3f"), ("flushes", "flushes", ".3f"),
    ("PSS MiB", "pss_mib", ".1f"), ("proc.", "processes", ".0f"),
    ("client ms", "client_cpu_ms", ".3f"), ("p50 ms", "p50_ms", ".2f"), ("p99 ms", "p99_ms", ".2f"),
    ("lost", "lost", ".0f"), ("double", "duplicates", ".0f"), ("damaged", "damaged", ".0f")]


def field(value):
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).replace("\t", " ").replace("\n", " ")


def show(value, form):
    return "-" if value is None else format(value, form)


def progress_head():
    return (f"{'case':<24} {'client':<6} {'server':<9} " +
        " ".join(f"{title:>9}" for title, _name, _form in TABLE))


def progress_line(row):
    return (f"{row['case']:<24} {row['client']:<6} {row['server']:<9} " +
        " ".join(f"{show(row.get(name), form):>9}" for _title, name, form in TABLE) +
        (f"  {row['note']}" if row.get("note") else ""))


def first_line(path, key):
    for line in pathlib.Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.split(":", 1)[1].strip()
    return "unknown"


def output(*words):
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True).stdout.strip()


def write_versions(directory, servers, options):
    maker = output("mkfs.ext4", "-V").splitlines()[0]
    backing = output("findmnt", "-n", "-o", "FSTYPE", "-T", str(directory))
    versions = {"date": time.strftime("%F %H:%M UTC", time.gmtime()), "servers": dict(servers),
        "kernel": platform.release(), "cpu": first_line("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(), "memory": first_line("/proc/meminfo", "MemTotal"),
        "file system": f"ext4 by {maker}, in a file on {backing}",
        "delay after each flush": f"{options.delay_us} us"}
    (directory / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")


def read(directory):
    """The rows, numbers as such."""
    with open(directory / "results.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [{name: value if name in TEXT else float(value) for name, value in row.items()
        if value != ""} for row in rows]


class Figures:
    """Medians over the repetitions."""

    def __init__(self, rows):
        self.rows = rows
        self.cases = list(dict.fromkeys((row["case"], row["client"]) for row in rows))
        self.servers = list(dict.fromkeys(row["server"] for row in rows))

    def values(self, server, case, client, name):
        return [row[name] for row in self.rows if row["server"] == server and
            row["case"] == case and row["client"] == client and name in row]

    def relay_cases(self):
        return [case for case, _client in self.cases if "destinations" in case]

    def median(self, *key):
        values = self.values(*key)
        return statistics.median(values) if values else None

    def notes(self, server, case, client):
        return "; ".join(dict.fromkeys(row["note"] for row in self.rows if "note" in row and
            row["server"] == server and row["case"] == case and row["client"] == client))


def table(figures, clients):
    """A line for each case and server: medians; where repeated, the least and most stored/s."""
    lines = []
    for case, client in figures.cases:
        if client not in clients or case in APART or is_relayed(case):
            continue
        if not lines:
            lines.append(f"{'case':<24} {'server':<9} " +
                " ".join(f"{title:>9}" for title, _name, _form in TABLE) + "  stored/s from-to")
        for server in figures.servers:
            key = (server, case, client)
            spread = figures.values(*key, "stored_per_s")
            words = [f"{show(figures.median(*key, name), form):>9}" for _title, name, form in TABLE]
            lines.append(f"{case:<24} {server:<9} {' '.join(words)}" +
                (f"  {min(spread):.0f}-{max(spread):.0f}" if len(spread) > 1 else "  -") +
                (f"  {figures.notes(*key)}" if figures.notes(*key) else ""))
        lines.append("")
    return lines


def idle_table(figures):
    lines = [f"{'server':<9} {'held':>6} {'PSS MiB':>8} {'proc.':>6}"]
    for server in figures.servers:
        held = figures.median(server, "idle", "load", "held")
        if held is None:
            continue
        lines.append(f"{server:<9} {held:>6.0f} "
            f"{figures.median(server, 'idle', 'load', 'pss_mib'):>8.1f} "
            f"{figures.median(server, 'idle', 'load', 'processes'):>6.0f}" +
            (f"  refused more: {figures.notes(server, 'idle', 'load')}" if held < 10000 else
                f"  {figures.notes(server, 'idle', 'load')}"))
    return lines if len(lines) > 1 else []


def fairness_table(figures):
    names = [("messages/s", "taken_per_s"), ("p50 ms", "p50_ms"), ("p99 ms", "p99_ms"),
        ("stored p50", "stored_p50_ms"), ("stored p99", "stored_p99_ms"),
        ("flood/s", "flood_per_s")]
    lines = [f"{'server':<9} {'single session':<15} " +
        " ".join(f"{title:>10}" for title, _name in names)]
    for server in figures.servers:
        for case in ("alone", "beside 100"):
            if figures.median(server, case, "load", "taken_per_s") is not None:
                lines.append(f"{server:<9} {case:<15} " + " ".join(
                    f"{show(figures.median(server, case, 'load', name), '.2f'):>10}"
                    for _title, name in names))
    return lines if len(lines) > 1 else []


def agreement(figures):
    """The two clients in turn at the same instance, with one session and a command at a time: the
    median of the ratios of neighbours, and the least and the most."""
    lines = []
    for server in figures.servers:
        theirs, ours = (figures.values(server, "in turn", client, "taken_per_s")
            for client in ("source", "plain"))
        ratios = [our / their for our, their in zip(ours, theirs) if their]
        if not ratios:
            continue
        costs = [figures.median(server, "in turn", client, name) for name in
            ("cpu_ms", "client_cpu_ms") for client in ("source", "plain")]
        lines.append(f"{server:<9} smtp-source {statistics.median(theirs):.0f}/s, load.c "
            f"{statistics.median(ours):.0f}/s: {statistics.median(ratios):.2f} times "
            f"({min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rounds); CPU ms a message of "
            "the server {:.3f} and {:.3f}, of the client {:.3f} and {:.3f}".format(*costs))
    return lines


def relay_table(figures):
    """To one destination by each sink, and to many."""
    names = [("taken/s", "taken_per_s", ".0f"), ("relayed/s", "stored_per_s", ".0f"),
        ("cpu ms", "cpu_ms", ".3f"), ("flushes", "flushes", ".3f"),
        ("client+sink ms", "client_cpu_ms", ".3f"), ("lost", "lost", ".0f"),
        ("double", "duplicates", ".0f"), ("damaged", "damaged", ".0f")]
    lines = []
    for case, client in figures.cases:
        if not is_relayed(case):
            continue
        for server in figures.servers:
            if figures.median(server, case, client, "stored_per_s") is None:
                continue
            if not lines:
                lines.append(f"{'destinations':<30} {'sink':<10} {'server':<9} " +
                    " ".join(f"{title:>14}" for title, _name, _form in names))
            lines.append(f"{'one' if case == 'relay' else case:<30} "
                f"{client if client in ('sink.c', 'smtp-sink') else 'sink.c':<10} {server:<9} " +
                " ".join(f"{show(figures.median(server, case, client, name), form):>14}"
                    for _title, name, form in names))
    return lines


def is_relayed(case):
    return case == "relay" or "destinations" in case


def tls_table(figures):
    lines = []
    for case, client in figures.cases:
        for server in figures.servers:
            rate = figures.median(server, case, client, "taken_per_s")
            if client != "handshakes" or rate is None:
                continue
            lines.append(f"{case.removeprefix('TLS, '):<12} {server:<9} {rate:.0f} handshakes/s, "
                f"CPU ms a handshake {figures.median(server, case, client, 'cpu_ms'):.3f}, of the "
                f"client {figures.median(server, case, client, 'client_cpu_ms'):.3f}, failed "
                f"{figures.median(server, case, client, 'refused'):.0f} "
                f"({figures.notes(server, case, client)})")
    return lines


def verdict(text, figure, wanted, at_least, words):
    """A target's line; `figure` is None where it wasn't measured."""
    if figure is None:
        return f"not measured  {text}"
    good = figure >= wanted if at_least else figure <= wanted
    return f"{'reached     ' if good else 'not reached '}  {text}: {words}"


def beside_postfix(figures, text, case, client, name, wanted, at_least, form, unit):
    """A target that is a multiple of Postfix's figure in the same run."""
    ours = figures.median("postern", case, client, name)
    theirs = figures.median("postfix", case, client, name)
    ratio = ours / theirs if ours is not None and theirs else None
    words = "" if ratio is None else (f"{ours:{form}} {unit}, Postfix {theirs:{form}} {unit} "
        f"({ratio:.2f} times)")
    return verdict(f"{text}, {case}, {CLIENTS[client]}", ratio, wanted, at_least, words)


def limit(figures, text, case, client, name, wanted, form, unit):
    """A target that is a figure, Postfix's told beside it."""
    ours = figures.median("postern", case, client, name)
    theirs = figures.median("postfix", case, client, name)
    words = "" if ours is None else (f"{ours:{form}} {unit}, Postfix {show(theirs, form)} {unit}")
    return verdict(f"{text}, {case}, {CLIENTS[client]}", ours, wanted, False, words)


def verdicts(figures):
    lines = []
    for client in ("source", "load"):
        for case in ("20 sessions", "100 sessions"):
            lines.append(beside_postfix(figures, "messages/s at least 5 times Postfix's", case,
                client, "stored_per_s", 5, True, ".0f", "/s"))
            lines.append(beside_postfix(figures, "CPU a message at most 0.2 of Postfix's", case,
                client, "cpu_ms", 0.2, False, ".3f", "ms"))
        lines.append(limit(figures, "at most 0.2 flushes a message", "100 sessions", client,
            "flushes", 0.2, ".3f", "flushes"))
    for case, client in (("1 session", "source"), ("1 session", "load"), ("in turn", "plain")):
        lines.append(beside_postfix(figures, "not slower than Postfix", case, client,
            "taken_per_s" if case == "in turn" else "stored_per_s", 1, True, ".0f", "/s"))
    for client in ("source", "load"):
        lines.append(beside_postfix(figures, "bytes/s at least 2 times Postfix's", "1 MB", client,
            "mb_per_s", 2, True, ".1f", "MB/s"))
    lines.append(limit(figures, "at most 25 MiB PSS", "100 sessions", "source", "pss_mib", 25,
        ".1f", "MiB"))
    held = figures.median("postern", "idle", "load", "held")
    memory = figures.median("postern", "idle", "load", "pss_mib") if held == 10000 else None
    lines.append(verdict("at most 160 MiB PSS with 10,000 idle sessions", memory, 160, False,
        f"{show(memory, '.1f')} MiB" + idle_words(figures, "postfix", "Postfix")))
    lines.append(fairness_verdict(figures))
    lines += relay_verdicts(figures)
    ours = [row for row in figures.rows if row["server"] == "postern"]
    bad = sum(row.get(name, 0) for row in ours for name in ("lost", "duplicates", "damaged"))
    lines.append(verdict("nothing lost, double or damaged", bad if ours else None, 0, False,
        f"{bad:.0f} of {sum(row.get('messages', 0) for row in ours):.0f} messages"))
    # smtp-source is what the targets are measured with; load.c's lines are told where measured.
    return [line for line in lines if not line.startswith("not measured") or "load.c" not in line]


def relay_verdicts(figures):
    lines = []
    for client in ("sink.c", "smtp-sink"):
        lines.append(beside_postfix(figures, "messages/s at least 4 times Postfix's", "relay",
            client, "stored_per_s", 4, True, ".0f", "/s"))
        lines.append(beside_postfix(figures, "CPU a message at most 0.25 of Postfix's", "relay",
            client, "cpu_ms", 0.25, False, ".3f", "ms"))
        lines.append(limit(figures, "at most 0.1 flushes a message", "relay", client, "flushes",
            0.1, ".3f", "flushes"))
    alone, beside = ([figures.median("postern", case, "load", "stored_per_s") for case in
        figures.relay_cases() if ("silent" in case) is silent] for silent in (False, True))
    slower = alone[0] / beside[0] if alone and beside and alone[0] and beside[0] else None
    lines.append(verdict("300 destinations that never answer slow 700 others by at most 10%",
        slower, 1.1, False, "" if slower is None else
        f"{alone[0]:.0f}/s without, {beside[0]:.0f}/s with them ({slower:.2f} times as long)"))
    for case in ("TLS, RSA 2048", "TLS, ECDSA P-256"):
        lines.append(beside_postfix(figures, "handshakes/s at least Postfix's", case, "handshakes",
            "taken_per_s", 1, True, ".0f", "/s"))
    return lines


def idle_words(figures, server, title):
    held = figures.median(server, "idle", "load", "held")
    if held is None:
        return ""
    memory = figures.median(server, "idle", "load", "pss_mib")
    return f", {title} {memory:.1f} MiB" + ("" if held == 10000 else f" with {held:.0f}")


def fairness_verdict(figures):
    """A session alone gets at least half of what each of the hundred gets."""
    single = figures.median("postern", "beside 100", "load", "taken_per_s")
    flood = figures.median("postern", "beside 100", "load", "flood_per_s")
    share = single / (flood / 100) if single is not None and flood else None
    p99 = {server: show(figures.median(server, "beside 100", "load", "p99_ms"), ".1f")
        for server in ("postern", "postfix")}
    words = "" if share is None else (f"{single:.1f}/s beside {flood / 100:.1f}/s for each of the "
        f"hundred, p99 {p99['postern']} ms, Postfix {p99['postfix']} ms")
    return verdict("a single session beside 100 gets its share (half at least)", share, 0.5, True,
        words)


def write_text(directory, figures, versions):
    words = [f"{name}: {value}" for name, value in versions.items() if name != "servers"]
    lines = ["Mail in over SMTP, until all of it is in Maildirs or at the next server", "",
        *versions["servers"].values(), *words, ""]
    sections = [
        ("Client: smtp-source", table(figures, ("source",))),
        ("Client: load.c (latencies are from MAIL to the reply to the final dot)",
            table(figures, ("load", "plain"))),
        ("10,000 idle sessions", idle_table(figures)),
        ("A client with one session, alone and beside a client with 100 (stored: from MAIL until "
            "in the Maildir)", fairness_table(figures)),
        ("The two clients in turn, with one session, a command at a time", agreement(figures)),
        ("Relayed: from the first connection until the sink has all; to many destinations, from "
            "when the relay is let go until those that answer have theirs", relay_table(figures)),
        ("TLS handshakes: STARTTLS on a new connection each time", tls_table(figures)),
        ("Targets", verdicts(figures) if "postern" in figures.servers else []),
    ]
    for title, part in sections:
        if part:
            lines += [title, "-" * len(title), *part, ""]
    (directory / "table.txt").write_text("\n".join(lines))
    return lines


def holds_all(figures, server):
    """All idle sessions, or 99 of 100: a limit on descriptors may be met just before."""
    return figures.median(server, "idle", "load", "held") >= 9900


def panels(figures, name, keys):
    """What plot.chart() takes: a panel for each case that has this figure."""
    result = []
    for title, case, client in keys:
        bars = []
        for server in figures.servers:
            values = figures.values(server, case, client, name)
            if case == "idle" and values and not holds_all(figures, server):
                bars.append((server, None, None, None, "refused"))
            elif values:
                bars.append((server, statistics.median(values), min(values), max(values), ""))
        if any(bar[1] is not None for bar in bars):
            result.append((title, bars))
    return result


def write_plots(directory, figures, versions):
    legend = [(server, versions["servers"].get(server, server)) for server in figures.servers]
    foot = [f"{versions['date']}; Linux {versions['kernel']}; {versions['cpu']}, "
        f"{versions['cores']} cores", f"fresh {versions['file system']}",
        "bars: median; lines: least and most of the repetitions"]
    keys = [(f"{case}, {CLIENTS[client]}", case, client) for case, client in figures.cases
        if case not in APART and client in ("source", "load", "plain") and not is_relayed(case)]
    busy = [(f"busy, {case}", case, client) for _title, case, client in keys]
    idle = [("10,000 idle sessions", "idle", "load")]
    out = [(f"one destination, {CLIENTS[client]}" if case == "relay" else case, case, client)
        for case, client in figures.cases if is_relayed(case)]
    tls = [(case.removeprefix("TLS, "), case, client) for case, client in figures.cases
        if client == "handshakes"]
    alone = [("one session alone", "alone", "load"),
        ("one session beside 100", "beside 100", "load")]
    large = [key for key in keys if key[1] in ("1 MB", "mixed sizes")]
    for file, title, unit, name, chosen in (
            ("throughput", "From first connect until in Maildirs", "messages/s", "stored_per_s",
                keys),
            ("relay", "From first connect, or let go, until at the next server", "messages/s",
                "stored_per_s", out),
            ("relay-cpu", "CPU time of all of the server's processes, relaying", "ms a message",
                "cpu_ms", out),
            ("tls", "TLS handshakes, STARTTLS, none resumed", "handshakes/s", "taken_per_s", tls),
            ("bytes", "From first connect until in Maildirs", "MB/s", "mb_per_s", large),
            ("cpu", "CPU time of all of the server's processes", "ms a message", "cpu_ms", keys),
            ("flushes", "Disk flushes", "flushes a message", "flushes", keys),
            ("memory", "Memory of all processes", "PSS, MiB", "pss_mib", busy + idle),
            ("latency-median", "From MAIL to the reply to the final dot, median", "ms", "p50_ms",
                alone),
            ("latency-p99", "From MAIL to the reply to the final dot, 99 of 100", "ms", "p99_ms",
                alone)):
        chart = panels(figures, name, chosen)
        path = directory / f"{file}.svg"
        path.unlink(missing_ok=True)
        if chart:
            path.write_text(plot.chart(title, unit, chart, legend, foot))


def write_all(directory):
    """Table and plots; the table is printed as well."""
    versions = json.loads((directory / "versions.json").read_text())
    figures = Figures(read(directory))
    print("\n" + "\n".join(write_text(directory, figures, versions)))
    write_plots(directory, figures, versions)
    print(f"Table and plots are in {directory}")
