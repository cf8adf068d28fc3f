# What a user or a developer asks for by one word. The work is in scripts/ and integration/.

PREFIX ?= /usr/local
DESTDIR ?=
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man

TARGET := $(or $(CARGO_TARGET_DIR),target)
PROGRAMS := tandem tandem-wasm tandem-wasmc
PAGES := $(wildcard docs/man/*.[1-8])

.PHONY: help build install uninstall test test-all demo bench lint clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

build: ## the release programs, in target/release (installs gcc by apt if missing)
	@scripts/build

# The handlers go beside `tandem`, where it looks for them. What `make build` left is taken: no cargo as root.
install: ## the programs and man pages, below DESTDIR/PREFIX (default /usr/local)
	@test -x $(TARGET)/release/tandem || { echo 'nothing built yet: run `make build` first' >&2; exit 1; }
	install -d $(DESTDIR)$(BINDIR)
	install -m 755 $(addprefix $(TARGET)/release/,$(PROGRAMS)) $(DESTDIR)$(BINDIR)/
	@for page in $(PAGES); do \
	  install -D -m 644 "$$page" "$(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/}" || exit 1; \
	done

uninstall: ## what install put there
	rm -f $(addprefix $(DESTDIR)$(BINDIR)/,$(PROGRAMS))
	@for page in $(PAGES); do rm -f "$(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/}"; done

test: ## every test that fits into 45 minutes on a cold machine of two cores
	@scripts/test

test-all: ## the rest as well
	@scripts/test --all

demo: ## a Linux and a Wasm container at the same time, with their timings
	@scripts/demo

bench: build ## tandem against runc and crun, in one run
	@benches/run $(TARGET)/release/tandem

lint: ## formatting, clippy, documentation, scripts
	@scripts/lint

clean: ## what cargo has built
	cargo clean
