"""What `make install` puts where, and how the installed smtpd starts."""

import grp
import os
import signal
import socket
import stat
import subprocess

import pytest

from postern import BUILD, TOP, is_root, wait_for


def install(destination, *variables):
    subprocess.run(["make", "-s", "--no-print-directory", "-C", TOP, "stage",
        f"BUILD={os.path.relpath(BUILD, TOP)}", f"DESTDIR={destination}", *variables], check=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def test_programs_manuals_and_files_are_where_others_rely_on_them(stage):
    for name in ("usr/sbin/smtpd", "usr/sbin/smtpctl", "usr/libexec/postern/listener",
            "usr/libexec/postern/queue", "usr/libexec/postern/directory",
            "usr/libexec/postern/resolver", "usr/libexec/postern/mda",
            "usr/libexec/postern/control", "usr/libexec/postern/keeper"):
        path = stage / name
        assert path.is_file() and os.access(path, os.X_OK), name
    for name in ("usr/share/man/man8/smtpd.8", "usr/share/man/man8/smtpctl.8",
            "usr/share/man/man5/smtpd.conf.5", "etc/postern/smtpd.conf",
            "usr/lib/sysusers.d/postern.conf", "usr/lib/systemd/system/postern.service"):
        assert (stage / name).is_file(), name
    unit = (stage / "usr/lib/systemd/system/postern.service").read_text()
    assert "ExecStart=/usr/sbin/smtpd\n" in unit


def test_mailq_shows_the_queue(make_postern):
    postern = make_postern()
    for link, page in (("usr/bin/mailq", "../sbin/smtpctl"),
            ("usr/share/man/man8/mailq.8", "smtpctl.8")):
        # Within the folder, so that a staged tree can be moved.
        assert os.readlink(postern.stage / link) == page
        assert (postern.stage / link).is_file()
    postern.smtpctl("pause", "mda")
    message = postern.send("alice@example.test")
    mailq = lambda: subprocess.run([postern.stage / "usr/bin/mailq", "-s", postern.socket],
        check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=30).stdout
    assert mailq().startswith(message)
    # A second may pass between the two, which each of them shows.
    wait_for(lambda: mailq() == postern.smtpctl("show", "queue").stdout, 15)


def test_it_goes_by_the_names_that_others_call(stage):
    for link, target in (("sbin/sendmail", "smtpctl"), ("bin/mailq", "../sbin/smtpctl"),
            ("bin/newaliases", "../sbin/smtpctl"), ("bin/makemap", "../sbin/smtpctl"),
            ("lib/sendmail", "../sbin/sendmail")):
        assert os.readlink(stage / "usr" / link) == target
        assert (stage / "usr" / link).resolve() == stage / "usr/sbin/smtpctl"
    for page in ("sendmail", "newaliases", "makemap"):
        assert (stage / f"usr/share/man/man8/{page}.8").is_file()


def test_another_servers_sendmail_is_left_alone_on_a_running_system(tmp_path):
    """As where PREFIX=/usr and Debian's Exim is installed, without DESTDIR."""
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin/sendmail").write_text("another's")
    for _ in range(2):
        result = subprocess.run(["make", "-s", "--no-print-directory", "-C", TOP, "stage",
            f"BUILD={os.path.relpath(BUILD, TOP)}", f"PREFIX={tmp_path}"], check=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert f"{tmp_path}/sbin/sendmail is there already and left alone" in result.stderr
        assert result.stderr.count("left alone") == 1
    assert (tmp_path / "sbin/sendmail").read_text() == "another's"
    assert os.readlink(tmp_path / "bin/mailq") == "../sbin/smtpctl"


def complete(stage, *words):
    """What bash offers for the last word, in place of what is behind its "@"."""
    script = """set -u; . "$1"; shift
        COMP_LINE=$*; COMP_POINT=${#COMP_LINE}
        [ "$(complete -p smtpctl)" = "complete -F _smtpctl smtpctl" ]
        _smtpctl "$1"; printf '%s\\n' "${COMPREPLY[@]-}"
        """
    return subprocess.run(["bash", "-ec", script, "bash",
        stage / "usr/share/bash-completion/completions/smtpctl", "smtpctl", *words], check=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=20,
        env=os.environ | {"PATH": f"{stage}/usr/sbin:{os.environ['PATH']}"}).stdout.split()


def test_bash_completes_commands(stage):
    assert {"show", "domain", "reload", "stop"} <= set(complete(stage, ""))
    assert complete(stage, "relo") == ["reload"]
    assert {"queue", "stats", "status"} <= set(complete(stage, "show", ""))
    assert complete(stage, "-j", "show", "que") == ["queue"]
    assert complete(stage, "-s", "/run/x.sock", "user", "pass") == ["passwd"]
    assert complete(stage, "nonsense", "") == []


def test_bash_completes_arguments(stage):
    assert {"all", "from", "to", "older", "state"} == set(complete(stage, "remove", ""))
    assert {"from", "to"} <= set(complete(stage, "sh", "q", "state", "held", ""))
    assert complete(stage, "show", "queue", "all", "state", "p") == ["pending"]
    assert complete(stage, "pause", "mta", "") == ["for"]
    assert {"--from", "--auth"} <= set(complete(stage, "explain", "--to", "a@b.test", "-"))
    assert {"rules", "all", "message"} <= set(complete(stage, "trace", ""))
    assert complete(stage, "untrace", "sch") == ["scheduler"]
    assert complete(stage, "spool", "check", "/et") == ["/etc"]


@pytest.mark.root
def test_bash_completes_names_that_the_server_knows(stage, postern):
    server = ("-s", str(postern.socket))
    postern.add_alias("info@example.test", "alice@example.test")
    assert complete(stage, *server, "domain", "del", "") == ["example.test"]
    assert complete(stage, *server, "user", "quota", "ali") == ["alice@example.test"]
    assert complete(stage, *server, "user", "quota", "alice@ex") == ["example.test"]
    assert complete(stage, *server, "alias", "del", "") == [
        line.partition("|")[0] for line in postern.smtpctl("alias", "list").stdout.splitlines()]
    assert complete(stage, *server, "explain", "--to", "x@example.test", "--auth", "bo") == [
        "bob@example.test"]


def test_bash_completion_knows_every_command(stage):
    usage = subprocess.run([stage / "usr/sbin/smtpctl"], stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True).stderr
    for line in usage.splitlines()[1:]:
        words = line.split()
        for number in range(2):
            if number == len(words) or not words[number].islower() or words[0] == "FILTER":
                break
            assert words[number] in complete(stage, *words[:number], words[number][:1]), line


@pytest.mark.root
def test_smtpctl_is_setgid_to_its_own_group(stage):
    info = (stage / "usr/sbin/smtpctl").stat()
    assert stat.S_IMODE(info.st_mode) == 0o2755
    assert info.st_gid == grp.getgrnam("_smtpc").gr_gid


def test_uninstall_leaves_the_administrators_files_and_others_programs(tmp_path):
    install(tmp_path, "PREFIX=/usr")
    others = tmp_path / "usr/bin/mailq"
    others.unlink()
    others.write_text("another's")
    (tmp_path / "var/spool/postern").mkdir(parents=True)
    subprocess.run(["make", "-s", "--no-print-directory", "-C", TOP, "uninstall",
        f"BUILD={os.path.relpath(BUILD, TOP)}", f"DESTDIR={tmp_path}", "PREFIX=/usr"], check=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir()} == {
        "etc/postern/smtpd.conf", "usr/bin/mailq"}
    assert (tmp_path / "var/spool/postern").is_dir()
    assert not (tmp_path / "usr/share/doc/postern").exists()


def test_prefix_and_sysconfdir_are_honoured(tmp_path):
    install(tmp_path, "PREFIX=/opt/mail", "SYSCONFDIR=/opt/conf")
    assert (tmp_path / "opt/mail/sbin/smtpd").is_file()
    assert (tmp_path / "opt/mail/libexec/postern/queue").is_file()
    assert (tmp_path / "opt/conf/postern/smtpd.conf").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["opt"]


def test_an_administrator_s_configuration_is_not_overwritten(tmp_path):
    install(tmp_path, "PREFIX=/usr")
    config = tmp_path / "etc/postern/smtpd.conf"
    config.write_text("# mine\n")
    install(tmp_path, "PREFIX=/usr")
    assert config.read_text() == "# mine\n"


def test_the_default_configuration_is_a_good_one(stage):
    result = subprocess.run([stage / "usr/sbin/smtpd", "-n", "-f",
        stage / "etc/postern/smtpd.conf"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True)
    assert result.returncode == 0, result.stdout


def test_the_sysusers_file_names_the_accounts_that_the_script_makes(stage):
    """In a root of its own, systemd-sysusers isn't always there: the names are compared."""
    text = (stage / "usr/lib/sysusers.d/postern.conf").read_text()
    script = (TOP / "etc/make-accounts.sh").read_text()
    for account in ("_smtpd", "_smtpq", "_smtpl", "_smtpt", "_smtpc", "_vmail"):
        assert f" {account} " in f" {' '.join(text.split())} ", account
        assert account in script, account


@pytest.mark.root
def test_accounts_are_made_once_and_can_not_log_in():
    import pwd
    for _ in range(2):
        subprocess.run([TOP / "etc/make-accounts.sh"], check=True, stdin=subprocess.DEVNULL)
    seen = set()
    for account in ("_smtpd", "_smtpq", "_smtpl", "_smtpt", "_smtpc", "_vmail"):
        entry = pwd.getpwnam(account)
        assert entry.pw_shell.endswith(("nologin", "false"))
        assert entry.pw_uid != 0 and entry.pw_gid != 0
        seen.add(entry.pw_uid)
    assert len(seen) == 6


def start_in_background(postern):
    postern.write_config()
    result = subprocess.run([postern.stage / "usr/sbin/smtpd", "-f", postern.config_file],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=30, cwd="/")
    return result


def supervisors(stage):
    """The pids of smtpd from this stage."""
    found = set()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{entry}/exe") == str(stage / "usr/sbin/smtpd"):
                found.add(int(entry))
        except OSError:
            continue
    return found


def test_smtpd_goes_into_the_background_once_it_takes_mail(make_postern):
    postern = make_postern(start=False)
    before = supervisors(postern.stage)
    pids = set()
    try:
        result = start_in_background(postern)
        assert result.returncode == 0, result.stdout
        pids = supervisors(postern.stage) - before
        # No waiting here: the return of the command is the promise.
        with socket.create_connection(("127.0.0.1", postern.port), 5) as connection:
            assert connection.recv(4) == b"220 "
        postern.smtpctl("domain", "add", "example.test")
        assert len(pids) == 1
        postern.smtpctl("stop")
        wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), 20,
            "smtpd has ended")
    finally:
        for pid in supervisors(postern.stage) - before:
            os.kill(pid, signal.SIGTERM)


def test_a_start_that_fails_says_so_by_its_status(make_postern):
    postern = make_postern(start=False)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", postern.port))
        taken.listen()
        result = start_in_background(postern)
        assert result.returncode != 0
        assert str(postern.port) in result.stdout
    result = postern.smtpd("-f", "/nonexistent/smtpd.conf")
    assert result.returncode != 0
    assert "/nonexistent/smtpd.conf" in result.stderr


def test_a_second_smtpd_on_the_same_directories_refuses_to_start(postern):
    other = subprocess.run([postern.stage / "usr/sbin/smtpd", "-d", "-f", postern.config_file],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=30, cwd="/")
    assert other.returncode != 0
    postern.send("alice@example.test")
    postern.wait_mail("alice@example.test")


@pytest.mark.skipif(not is_root(), reason="needs root")
def test_an_ordinary_user_may_not_administer(postern):
    result = postern.smtpctl("stop", check=False, user="nobody")
    assert result.returncode != 0
    assert postern.process.poll() is None
