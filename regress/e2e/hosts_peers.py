"""The mail servers of others on the hosts of hosts.py: Postfix, Exim and OpenSMTPD of Debian's
packages.

Each has the mailboxes ann@, ben@ and cat@ in the domains NAME.signed, NAME.open, NAME-plain.open
and NAME-smart.open, offers STARTTLS on its first address and no TLS on its second, relays for all
hosts here by MX, and hands mail for `smart.test` to our port 587 with a password, and for
`lmtp.test` to our port 24. Mail for forward@ goes on to ann@ours.signed. Postfix keeps mail for
shadow.open until we take it; Exim is backup.open. half.open and others belong to
whom the MX records name.
"""

import os
import pathlib
import shutil

import pytest

from hosts import NETWORK, Host, Root
from postern import TOP, Mail, wait_for

MAILBOXES = ("ann", "ben", "cat")
OURS = "10.25.0.10"
PASSWORD = "correct horse battery"


class PeerHost(Host):
    package = ""

    def __init__(self, lan, number, authority):
        if not (TOP / "build/tools" / self.package / "complete").exists():
            pytest.skip(f"{self.package} isn't unpacked (make test-deps)")
        self.address, self.plain_address = f"10.25.0.{number}", f"10.25.0.{number + 1}"
        self.mx = f"mx.{self.name}.signed"
        self.domains = [f"{self.name}{end}" for end in (".signed", ".open", "-plain.open",
            "-smart.open")] + [f"{name}.open" for name in
            ("half", "down", "fresh", "sts", "sts-exim", "sts-down", "sts-broken")]
        super().__init__(lan, self.name, self.address, self.plain_address)
        Root(self, self.package, "10.25.0.2", authority.file)
        authority.context(self.mx)
        self.certificate = authority.folder / f"{self.mx}5.pem"
        self.expired = authority.again(self.mx, 5, -1)
        for end in ("pem", "key"):
            shutil.copy(authority.folder / f"{self.mx}5.{end}", self.root.path / f"etc/mx.{end}")
        self.log = self.root.path / "var/log/mail.log"

    def mails(self, user):
        folder = self.root.path / "var/vmail" / user / "new"
        return [Mail(path) for path in sorted(folder.iterdir())] if folder.is_dir() else []

    def wait_mail(self, user, token, timeout=20.0):
        """The message in the user's mailbox that has these bytes in it."""
        def found():
            return [mail for mail in self.mails(user) if token.encode() in mail.data]
        try:
            (mail,) = wait_for(found, timeout, f"{token} for {user} of {self.name}")
        except AssertionError as why:
            raise AssertionError(f"{why}\n{self.log_text()[-4000:]}") from None
        return mail

    def log_text(self):
        files = [self.log] if self.log.exists() else []
        return "\n".join(path.read_text(errors="replace") for path in
            [*files, *(self.root.path / "var/log").glob("exim4/*")])

    def wait_log(self, *words, timeout=20.0):
        """A line with all these words."""
        def found():
            return [line for line in self.log_text().splitlines() if all(w in line for w in words)]
        try:
            return wait_for(found, timeout, f"{words} in the log of {self.name}")[0]
        except AssertionError as why:
            raise AssertionError(f"{why}\n{self.log_text()[-4000:]}") from None

    def configured(self, text):
        """The text with this host's names in the place of @WORDS@."""
        for word, value in (("NAME", self.name), ("MX", self.mx), ("ADDRESS", self.address),
                ("PLAIN", self.plain_address), ("NETWORK", NETWORK), ("OURS", OURS),
                ("DOMAINS", " ".join(self.domains)), ("COLONS", " : ".join(self.domains)),
                ("PASSWORD", PASSWORD)):
            text = text.replace(f"@{word}@", value)
        return text


class Postfix(PeerHost):
    name = "postfix"
    package = "postfix"
    user = 5001

    def configure(self):
        root = self.root
        shutil.copytree(TOP / "build/tools/postfix/etc/postfix", root.path / "etc/postfix")
        usr = TOP / "build/tools/postfix/usr/share/postfix"
        master = (usr / "master.cf.dist").read_text().splitlines()
        lines = []
        for line in master:
            words = line.split()
            if len(words) < 8 or line.startswith(("#", " ")) or words[0] == "postlog" or \
                    words[:2] == ["smtp", "inet"]:
                continue
            words[4] = "n"  # no chroot
            lines.append(" ".join(words))
        lines += [f"{self.address}:smtp inet n - n - - smtpd",
            f"{self.plain_address}:smtp inet n - n - - smtpd -o smtpd_tls_security_level=none",
            "postlog unix-dgram n - n - 1 postlogd",
            "smart unix - - n - - smtp -o smtp_sasl_auth_enable=yes "
            "-o smtp_tls_security_level=verify -o smtp_tls_verify_cert_match=hostname"]
        root.write("etc/postfix/master.cf", "\n".join(lines) + "\n")
        root.write("etc/postfix/main.cf", self.configured("""\
compatibility_level = 3.6
myhostname = @MX@
mydestination =
inet_interfaces = @ADDRESS@, @PLAIN@
inet_protocols = ipv4
mynetworks = @NETWORK@
smtp_bind_address = @ADDRESS@
virtual_mailbox_domains = @DOMAINS@
virtual_mailbox_base = /var/vmail
virtual_mailbox_maps = texthash:/etc/postfix/mailboxes
virtual_alias_maps = texthash:/etc/postfix/aliases
virtual_uid_maps = static:5000
virtual_gid_maps = static:5000
alias_maps =
local_recipient_maps =
relay_domains = shadow.open
transport_maps = texthash:/etc/postfix/transport
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
smtp_dns_support_level = dnssec
smtp_tls_security_level = dane
smtp_tls_loglevel = 1
smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt
smtp_sasl_password_maps = texthash:/etc/postfix/passwords
smtp_sasl_security_options =
smtp_sasl_mechanism_filter = scram-sha-256
smtpd_tls_security_level = may
smtpd_tls_loglevel = 1
smtpd_tls_received_header = yes
smtpd_tls_cert_file = /etc/mx.pem
smtpd_tls_key_file = /etc/mx.key
smtpd_peername_lookup = no
smtpd_client_connection_rate_limit = 0
maillog_file = /var/log/mail.log
"""))
        root.write("etc/postfix/mailboxes", "".join(f"{user}@{domain} {user}/\n"
            for user in MAILBOXES for domain in self.domains))
        root.write("etc/postfix/aliases", "".join(f"forward@{domain} ann@ours.signed\n"
            for domain in self.domains))
        root.write("etc/postfix/transport", "smart.test smart:[mx.ours.signed]:587\n"
            f"lmtp.test lmtp:inet:[{OURS}]:24\n")
        root.write("etc/postfix/passwords", f"[mx.ours.signed]:587 {self.login}:{PASSWORD}\n")
        (root.path / "var/lib/postfix").mkdir(parents=True)
        os.chown(root.path / "var/lib/postfix", self.user, self.user)
        (root.path / "var/spool/postfix").mkdir(parents=True)
        self.process = self.start("postfix", "start-fg", log=self.lan.folder / "postfix.out")

    login = "postfix@ours.signed"


class Exim(PeerHost):
    """Without its set-uid bit: it delivers as the user that it receives as."""
    name = "exim"
    package = "exim4-daemon-light"
    user = 5002
    login = "exim@ours.signed"
    # grey@ is taken once there is a file "known" in its spool, slow@ after a while; with a file
    # "no-certificate" there it refuses STARTTLS, with "expired" its certificate's time is over.
    CONFIG = """\
primary_hostname = @MX@
daemon_smtp_ports = 25 : 587
local_interfaces = @ADDRESS@ : @PLAIN@
spool_directory = /var/spool/exim4
log_file_path = /var/log/exim4/%slog
log_selector = +tls_cipher +tls_peerdn +tls_certificate_verified +dnssec
deliver_drop_privilege = true
host_lookup =
prdr_enable = true
accept_8bitmime = true
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
tls_advertise_hosts = ${if eq{$received_ip_address}{@PLAIN@}{}{*}}
tls_certificate = ${if exists{/var/spool/exim4/no-certificate}{/nowhere}\
  {${if exists{/var/spool/exim4/expired}{/etc/expired.pem}{/etc/mx.pem}}}}
tls_privatekey = /etc/mx.key
auth_advertise_hosts = ${if eq{$received_port}{587}{*}{}}
acl_smtp_rcpt = recipient
domainlist ours = @COLONS@ : backup.open

begin acl
recipient:
  defer local_parts = grey
    condition = ${if !exists{/var/spool/exim4/known}}
    message = 4.2.0 greylisted
  warn local_parts = slow
    delay = 2s
  accept domains = +ours
    local_parts = slow : grey
  require message = 5.1.1 unknown user
    domains = +ours : !+ours
  accept domains = +ours
    verify = recipient
  accept domains = !+ours
    hosts = @NETWORK@
  accept domains = !+ours
    authenticated = *
  deny message = 5.1.1 unknown user

begin routers
forward:
  driver = redirect
  domains = +ours
  local_parts = forward
  data = ann@ours.signed
mailboxes:
  driver = accept
  domains = +ours
  local_parts = ann : ben : cat : slow : grey
  transport = maildir
lmtp:
  driver = manualroute
  domains = lmtp.test
  route_list = * @OURS@
  transport = lmtp
smart:
  driver = manualroute
  domains = smart.test
  route_list = * mx.ours.signed
  transport = smart
out:
  driver = dnslookup
  domains = !+ours
  dnssec_request_domains = *
  transport = remote
  no_more

begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = /var/vmail/$local_part_data
  create_directory
remote:
  driver = smtp
  interface = @ADDRESS@
  hosts_try_dane = *
  dnssec_request_domains = *
  tls_verify_certificates = /etc/ssl/certs/ca-certificates.crt
smart:
  driver = smtp
  port = 587
  hosts_require_auth = *
  hosts_require_tls = *
  tls_verify_hosts = *
  tls_verify_certificates = /etc/ssl/certs/ca-certificates.crt
lmtp:
  driver = smtp
  protocol = lmtp
  port = 24
  hosts_avoid_tls = *

begin retry
* * F,1h,1s

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and{{eq{$auth2}{relay}}{eq{$auth3}{@PASSWORD@}}}}
  server_set_id = $auth2
  server_advertise_condition = ${if def:tls_in_cipher}
  client_send = ^@LOGIN@^@PASSWORD@
"""

    def configure(self):
        root = self.root.path
        (root / "etc/exim4").mkdir()
        self.root.write("etc/exim4/exim4.conf",
            self.configured(self.CONFIG).replace("@LOGIN@", self.login))
        for name in ("var/spool/exim4", "var/log/exim4"):
            (root / name).mkdir(parents=True)
            os.chown(root / name, self.user, self.user)
        shutil.copy(self.expired, root / "etc/expired.pem")
        for name in ("etc/mx.pem", "etc/mx.key", "etc/expired.pem", "var/vmail"):
            os.chown(root / name, self.user, self.user)
        self.begin()

    def sign(self, name, there=True):
        """Makes or removes a file by which it decides."""
        path = self.root.path / "var/spool/exim4" / name
        if there:
            path.touch()
        else:
            path.unlink()

    def begin(self):
        self.process = self.start("/usr/sbin/exim4", "-bdf", "-q1s",
            log=self.lan.folder / "exim.out")

    def pause(self):
        """Ends it and its connections, until begin()."""
        self.run("pkill", "-KILL", "exim4")
        self.process.wait(10)


class OpenSMTPD(PeerHost):
    """Debian 12's version offers STARTTLS, but each handshake as a server ends with an alert: it
    isn't made for OpenSSL 3. As a client it has TLS."""
    name = "opensmtpd"
    package = "opensmtpd"
    login = "opensmtpd@ours.signed"
    CONFIG = """\
pki @MX@ cert "/etc/mx.pem"
pki @MX@ key "/etc/mx.key"
mta limit reconn-delay-route 0
mta limit conn-delay-relay 0
table users file:/etc/users
table homes file:/etc/homes
table logins file:/etc/logins
table secrets file:/etc/secrets
listen on @ADDRESS@ port 25 tls pki @MX@ hostname @MX@
listen on @ADDRESS@ port 587 tls-require pki @MX@ hostname @MX@ auth <logins>
listen on @PLAIN@ port 25 hostname @MX@
action "in" maildir "/var/vmail/%{dest.user}" virtual <users> userbase <homes>
action "lmtp" lmtp "@OURS@:24" rcpt-to virtual <users> userbase <homes>
action "smart" relay host smtp+tls://ours@mx.ours.signed:587 auth <secrets>
action "out" relay helo @MX@
match from any for domain { @LIST@ } action "in"
match from any for domain "lmtp.test" action "lmtp"
match from any for domain "smart.test" action "smart"
match from src @NETWORK@ for any action "out"
match from auth for any action "out"
"""

    def configure(self):
        write = self.root.write
        write("etc/smtpd.conf", self.configured(self.CONFIG).replace("@LIST@",
            ", ".join(f'"{domain}"' for domain in self.domains)))
        write("etc/users", "".join(f"{user}@{domain} {user}\n"
            for user in MAILBOXES for domain in [*self.domains, "lmtp.test"]) +
            "".join(f"forward@{domain} ann@ours.signed\n" for domain in self.domains))
        write("etc/homes", "".join(f"{user} 5000:5000:/var/vmail\n" for user in MAILBOXES))
        (self.root.path / "etc/mx.key").chmod(0o600)
        password = self.run("/usr/libexec/opensmtpd/encrypt", PASSWORD).strip()
        write("etc/logins", f"relay {password}\n")
        write("etc/secrets", f"ours {self.login}:{PASSWORD}\n", mode=0o600)
        for name, owner, mode in (("var/spool/smtpd", 0, 0o711), ("run/opensmtpd", 5003, 0o755),
                ("var/lib/opensmtpd/empty", 0, 0o755)):
            path = self.root.path / name
            path.mkdir(parents=True)
            path.chmod(mode)
            os.chown(path, owner, owner)
        self.process = self.start("/usr/sbin/smtpd", "-d", log=self.log)

    def retry(self):
        """Tries at once what waits: its first pause can't be configured."""
        self.run("smtpctl", "schedule", "all", check=False)
