# Martlet's entry points. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Where `make install` puts things, below DESTDIR.
PREFIX ?= /usr
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
DESTDIR ?=

# debug or release. `make demo` and `make check` share one debug build: cold on two cores it takes a fraction of a release build.
CONFIG ?= debug
# For `make fuzz`: seconds for each fuzzer, and one fuzzer's name to run it alone.
SECONDS_EACH ?= 60
FUZZER ?=
# For `make rfc-mutate`: the seed, and how many records are tried.
SEED ?=
COUNT ?= 50

.PHONY: help deps build install clean lint rfc-coverage rfc-mutate fuzz bench demo check check-full soak

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

deps: ## Install the Debian and Python packages that are missing, for building, testing and the demonstration
	@packaging/deps.sh build demo test
	@packaging/python-deps.sh

build: ## Build the daemon, the command line client and the plugins (CONFIG=release for an optimised build)
	@packaging/deps.sh build
	swift build -c $(CONFIG)

demo: ## Two gateways, one tunnel, real traffic; leaves nothing behind
	@packaging/deps.sh build demo
	@CONFIG=$(CONFIG) Tests/Demo/demo.sh

check: ## Run every test; at most 30 minutes on two cores
	@packaging/deps.sh build demo test
	@packaging/python-deps.sh
	@Tests/check.sh

check-full: ## The same with more seeds, sanitizers, fuzzers and a distribution's kernel; takes hours
	@packaging/deps.sh build demo test kernel bench
	@packaging/python-deps.sh
	@Tests/check-full.sh

soak: ## Run simulation seeds until interrupted, or until one fails (FIRST=1000000)
	@packaging/deps.sh build
	@Tests/soak.sh

lint: ## Check layers, style and what must not be in what ships
	@Tests/Lint/lint.sh

rfc-coverage: ## Print what of each RFC is met, tested, missing or done otherwise
	@python3 Tests/RFC/coverage.py

rfc-mutate: ## Break what the records of docs/rfc cite, and see their tests fail (SEED=n COUNT=50)
	@packaging/deps.sh build test
	@python3 Tests/RFC/mutate.py $(if $(SEED),--seed $(SEED)) --count $(COUNT)

fuzz: ## Run the fuzzers (SECONDS_EACH=60 FUZZER=FuzzMessage)
	@packaging/deps.sh build
	Tests/Fuzz/run.sh $(SECONDS_EACH) $(FUZZER)

bench: ## Measure the daemon idle, a packet, set-ups at scale; fails where an exchange takes more instructions than its threshold
	@packaging/deps.sh build bench
	@Tests/Benchmarks/run.sh

install: ## Build for release and install below DESTDIR, with the Swift runtime it needs
	@packaging/deps.sh build
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' SYSCONFDIR='$(SYSCONFDIR)' UNITDIR='$(UNITDIR)' packaging/install.sh

clean: ## Remove what was built
	rm -rf .build build Tests/Fuzz/.build
