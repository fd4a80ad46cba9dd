# make deps, install, demo, check, sanitize, crash, powercut, bench: what surrounds the build.

PYTHON = /usr/bin/python3
PYTEST = $(PYTHON) -B -m pytest -p no:cacheprovider -q

# What the compiler was told: other flags or paths than last time make everything anew.
all_objects = $(call objects,$(sort $(common_SRC) $(foreach program,$(PROGRAMS), \
	$($(program)_MAIN) $($(program)_SRC)) $(UNIT:%=regress/unit/%.c) $(FUZZ:%=regress/fuzz/%.c)))
$(all_objects): $(BUILD)/flags
$(BUILD)/flags: always
	$(shell mkdir -p $(@D))$(file >$@.new,$(CC) $(CFLAGS_ALL))
	@cmp -s $@.new $@ && rm -f $@.new || mv $@.new $@
.PHONY: always
always:

# Debian packages that are missing are installed; that needs root.
.PHONY: deps demo-deps test-deps
deps:
	@regress/deps.sh build
demo-deps:
	@regress/deps.sh demo
test-deps:
	@regress/deps.sh test

# `install` builds first; `stage` takes what is built, for tests and packages.
MANUALS = $(sort $(wildcard $(addsuffix /*.[158],smtpd queue lookup deliver mailbox smtpctl)))
into = $(DESTDIR)$(1)
# A name that other mail servers have too: $(1) is what it leads to, within the tree. On a running
# system theirs is left alone.
link = install -d $(call into,$(dir $(2))); \
	if [ -z '$(DESTDIR)' ] && { [ -e $(2) ] || [ -L $(2) ]; } && \
		[ "$$(readlink $(2))" != $(1) ]; then \
		echo "$(2) is there already and left alone; README says what to do" >&2; \
	else ln -sf $(1) $(call into,$(2)); fi
.PHONY: install stage
install: all
	@$(MAKE) --no-print-directory stage
	@if [ -z '$(DESTDIR)' ] && [ "$$(id -u)" = 0 ]; then \
		[ ! -d /run/systemd/system ] || systemctl daemon-reload || true; \
		if $(SBINDIR)/smtpctl show status >/dev/null 2>&1; then \
			echo 'installed. The server that runs is the old one: start it anew now,'; \
			echo 'by "systemctl restart postern", or "smtpctl stop" and "smtpd"'; \
		else \
			echo 'installed. Next: $(SYSCONFDIR)/postern/smtpd.conf (man smtpd.conf), then'; \
			echo '$(SBINDIR)/smtpd, or "systemctl enable --now postern"'; fi; fi
stage:
ifeq ($(DESTDIR),)
	@[ "$$(id -u)" != 0 ] || etc/make-accounts.sh
endif
	install -d $(call into,$(SBINDIR)) $(call into,$(LIBEXECDIR)) $(call into,$(SYSCONFDIR)/postern)
	install -m 755 $(BUILD)/bin/smtpd $(call into,$(SBINDIR)/smtpd)
	install -m 755 $(BUILD)/bin/smtpctl $(call into,$(SBINDIR)/smtpctl)
	@if [ "$$(id -u)" = 0 ] && getent group _smtpc >/dev/null; then \
		set -x; chgrp _smtpc $(call into,$(SBINDIR)/smtpctl); \
		chmod 2755 $(call into,$(SBINDIR)/smtpctl); fi
	@$(call link,smtpctl,$(SBINDIR)/sendmail)
	@$(call link,../sbin/smtpctl,$(PREFIX)/bin/mailq)
	@$(call link,../sbin/smtpctl,$(PREFIX)/bin/newaliases)
	@$(call link,../sbin/smtpctl,$(PREFIX)/bin/makemap)
	@$(call link,../sbin/sendmail,$(PREFIX)/lib/sendmail)
	install -m 755 $(patsubst %,$(BUILD)/bin/%,$(filter-out smtpd smtpctl,$(PROGRAMS))) \
		$(call into,$(LIBEXECDIR))
	@for page in $(MANUALS); do \
		section=$(call into,$(MANDIR))/man$${page##*.}; \
		install -d $$section; install -m 644 $$page $$section; done
	@ln -sf smtpctl.8 $(call into,$(MANDIR))/man8/mailq.8
	@[ -e $(call into,$(SYSCONFDIR)/postern/smtpd.conf) ] || \
		install -m 644 etc/smtpd.conf $(call into,$(SYSCONFDIR)/postern/smtpd.conf)
	@install -d $(call into,$(PREFIX)/share/bash-completion/completions)
	@install -m 644 etc/smtpctl.bash-completion \
		$(call into,$(PREFIX)/share/bash-completion/completions/smtpctl)
	@install -d $(call into,$(EXAMPLEDIR))
	@install -m 644 $(wildcard etc/examples/*) $(call into,$(EXAMPLEDIR))
	@install -m 644 etc/fail2ban/filter.d/postern.conf $(call into,$(EXAMPLEDIR))/fail2ban-filter.conf
	@install -d $(call into,$(PREFIX)/lib/systemd/system)
	@sed 's|@SBINDIR@|$(SBINDIR)|g' etc/postern.service \
		>$(call into,$(PREFIX)/lib/systemd/system/postern.service)
ifneq ($(DESTDIR),)
	@install -d $(call into,$(PREFIX)/lib/sysusers.d)
	@install -m 644 etc/sysusers.conf $(call into,$(PREFIX)/lib/sysusers.d/postern.conf)
endif

# What is the administrator's stays: configuration, accounts, queue and mail; and what another mail
# server has put in the place of a link.
.PHONY: uninstall
unlink = [ "$$(readlink $(call into,$(2)))" != $(1) ] || rm $(call into,$(2))
uninstall:
	@if [ -z '$(DESTDIR)' ] && $(SBINDIR)/smtpctl show status >/dev/null 2>&1; then \
		echo 'smtpd is running: "systemctl disable --now postern", or "smtpctl stop"' >&2; exit 1; fi
	@$(call unlink,smtpctl,$(SBINDIR)/sendmail)
	@$(call unlink,../sbin/smtpctl,$(PREFIX)/bin/mailq)
	@$(call unlink,../sbin/smtpctl,$(PREFIX)/bin/newaliases)
	@$(call unlink,../sbin/smtpctl,$(PREFIX)/bin/makemap)
	@$(call unlink,../sbin/sendmail,$(PREFIX)/lib/sendmail)
	@rm -f $(call into,$(SBINDIR))/smtpd $(call into,$(SBINDIR))/smtpctl
	@rm -rf $(call into,$(LIBEXECDIR)) $(call into,$(EXAMPLEDIR))
	@rmdir $(call into,$(dir $(EXAMPLEDIR))) 2>/dev/null || true
	@for page in $(MANUALS); do rm -f $(call into,$(MANDIR))/man$${page##*.}/$${page##*/}; done
	@$(call unlink,smtpctl.8,$(MANDIR)/man8/mailq.8)
	@rm -f $(call into,$(PREFIX)/share/bash-completion/completions/smtpctl) \
		$(call into,$(PREFIX)/lib/systemd/system/postern.service) \
		$(call into,$(PREFIX)/lib/sysusers.d/postern.conf)
	@echo 'removed, but for $(SYSCONFDIR)/postern, $(LOCALSTATEDIR)/lib/postern (accounts, DKIM keys),'
	@echo '$(LOCALSTATEDIR)/spool/postern* (queued mail), $(LOCALSTATEDIR)/vmail (mailboxes), and the accounts _smtp* and _vmail'

# A whole suite on loopback, in one folder, with mail sent through it. DEMO=once: ends by itself.
.PHONY: demo
demo: demo-deps
	@echo 'Building (a minute on a small machine) ...'
	@$(MAKE) --no-print-directory -s -j2 all
	@BUILD='$(BUILD)' DEMO='$(DEMO)' $(PYTHON) -B regress/demo/demo.py

# Everything that can fail, once. The last line is "N passed, N failed".
.PHONY: check
check: test-deps
	@MAKE='$(MAKE)' POSTERN_BUILD='$(BUILD)' $(PYTHON) -B regress/check.py

.PHONY: sanitize
sanitize: test-deps
	@MAKE='$(MAKE)' $(PYTHON) -B regress/check.py sanitize

CRASH_KILLS ?= 300
.PHONY: crash
crash: test-deps all
	CRASH_KILLS=$(CRASH_KILLS) POSTERN_BUILD=$(BUILD) $(PYTEST) regress/crash

# Each program killed at each of its system calls in turn: an hour. KILL_STEP=10 for each tenth.
KILL_STEP ?= 1
.PHONY: killsweep
killsweep: test-deps all
	KILL_STEP=$(KILL_STEP) POSTERN_BUILD=$(BUILD) $(PYTEST) -s regress/crash/test_kill_each_call.py \
		regress/crash/test_kill_each_call_places.py regress/crash/test_mailbox_kill_each_call.py

# IMAP clients at work on one mailbox at random, and sessions killed: an hour and a half.
.PHONY: mailboxes
mailboxes: test-deps all
	MAILBOX_SECONDS=3600 MAILBOX_KILLS=100 POSTERN_BUILD=$(BUILD) $(PYTEST) -s \
		regress/e2e/test_mailbox_random.py regress/e2e/test_mailbox_kills.py

# Hundreds of power cuts (regress/powercut/README), as root; so many in each of four cells.
CUTS ?= 104
.PHONY: powercut
powercut: test-deps all
	POSTERN_BUILD='$(BUILD)' $(PYTHON) -B regress/powercut/powercut.py --cuts $(CUTS)

# A queue, a users' database and a Maildir that have grown large, as root.
.PHONY: growth
growth: all
	POSTERN_BUILD=$(BUILD) $(PYTHON) -B regress/bench/growth.py

# Beside Postfix, OpenSMTPD and Exim (regress/bench/README), as root. BENCH=quick, BENCH=full.
BENCH ?= default
.PHONY: bench
bench: test-deps all
	BUILD='$(BUILD)' regress/bench/run.sh -p $(BENCH)
