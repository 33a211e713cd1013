# Targets explain themselves: `make help`. Set-up (a Chromium, build tools) is in scripts/setup.sh.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo crawl test soak bench fmt lint setup

# Debug builds crawl fast enough for tests; the demo uses a profile that starts quickly and builds in bearable time.
CARGO ?= cargo
# As root Chromium refuses its sandbox; the targets below that start it say so and switch it off.
AS_ROOT := $(if $(filter 0,$(shell id -u)),CRAWLD_NO_SANDBOX=1,)

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup:
	@bash scripts/setup.sh

demo: setup ## crawl the bundled site, kill daemon and browser midway, recover, verify, show the result
	@bash scripts/demo.sh

crawl: setup ## URL=https://example.org/ [ARGS='--max-pages 100']: crawl a site of yours
	@test -n "$(URL)" || { echo "usage: make crawl URL=https://example.org/"; exit 2; }
	@$(CARGO) build --quiet --bin crawld
	@$(if $(AS_ROOT),echo "root: Chromium runs without its sandbox (CRAWLD_NO_SANDBOX=1)")
	$(AS_ROOT) target/debug/crawld crawl "$(URL)" $(ARGS)

test: setup ## all tests, kill tests included
	@$(if $(AS_ROOT),echo "root: tests with a real Chromium run it without its sandbox, but for one that runs as nobody")
	@bash scripts/test.sh

soak: setup ## random kills by the thousand (KILLS=750 for each of four tests)
	CRAWLD_KILLS=$(or $(KILLS),750) bash scripts/test.sh random_kills

bench: setup ## the project's numbers, printed
	$(CARGO) bench --bench numbers $(if $(ARGS),-- $(ARGS))

fmt: ## format everything
	$(CARGO) fmt --all

lint: ## format and clippy, as CI does
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets --features failpoints -- -D warnings
