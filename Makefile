# `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo crawl test soak bench fmt lint

# As root Chromium refuses its sandbox. The targets that start it switch it off then, and say so.
AS_ROOT := $(if $(filter 0,$(shell id -u)),yes)
SAY_ROOT = $(if $(AS_ROOT),@echo "running as root: Chromium works without its sandbox here (CRAWLD_NO_SANDBOX=1)")
NO_SANDBOX = $(if $(AS_ROOT),CRAWLD_NO_SANDBOX=1)

help:
	@sed -nE 's/^([a-z]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 10

setup: ## a compiler and a Chromium, installed or asked for
	@bash .ci/setup

demo: setup ## crawl the bundled site, kill daemon and browser midway, recover, verify, show the result
	$(SAY_ROOT)
	@cargo build --bin crawld --example demo_site
	@$(NO_SANDBOX) bash examples/demo.sh

# Pages that failed (3) and a limit that was reached (4) are no failure of the target.
crawl: setup ## URL=https://example.org/ [ARGS="--max-pages 100"]: the same for a site of yours
	@test -n "$(URL)" || { echo 'usage: make crawl URL=https://example.org/ [ARGS="--max-pages 100"]'; exit 2; }
	$(SAY_ROOT)
	@cargo build --bin crawld
	@$(NO_SANDBOX) target/debug/crawld crawl "$(URL)" $(ARGS) || case $$? in 3 | 4) ;; *) exit 1 ;; esac
	@target/debug/crawld verify

# nextest when it is there: a process for each test, and a limit on browsers at once.
HAVE_NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)
TESTS = $(if $(HAVE_NEXTEST),cargo nextest run --features failpoints,cargo test --features failpoints)

test: setup ## all tests; they kill the real binary some hundreds of times
	$(SAY_ROOT)
	$(TESTS)

soak: setup ## thousands of random kills: KILLS=800 for each of four tests
	$(SAY_ROOT)
	cargo build --features failpoints --examples
	IT_KILLS=$(or $(KILLS),800) cargo test --features failpoints --test it random_kills:: -- --nocapture

bench: setup ## the project's numbers, measured and printed
	$(SAY_ROOT)
	cargo bench --bench numbers

fmt: ## format everything
	cargo fmt --all

lint: ## what CI asks of format, lints and documentation
	cargo fmt --all --check
	cargo clippy --all-targets --features failpoints -- -D warnings
	cargo clippy -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
