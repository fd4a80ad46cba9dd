# make deps, install, demo, check, sanitize, crash, bench: what surrounds the build.
