# `make help` lists what there is. ARGS="..." is passed on to run-server and run-client.

CARGO ?= cargo
ARGS ?=
LAB = $(CARGO) run --quiet --release --locked --package lab --bin kvs-lab --

.PHONY: help build run-server run-client test test-faults gate bench bench-compare bench-setup ladder profile report clean
.DEFAULT_GOAL := help

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build everything, optimised
	$(CARGO) build --release --locked --workspace --exclude faults

run-server: ## run one server, e.g. make run-server ARGS="-port 8080"
	$(CARGO) run --release --locked --package kvs-server --bin kvs-server -- $(ARGS)

run-client: ## run one client, e.g. make run-client ARGS="-hosts localhost:8080"
	$(CARGO) run --release --locked --package kvs-client --bin kvs-client -- $(ARGS)

test: ## unit, property, end-to-end and launcher tests
	$(CARGO) test --workspace --locked

test-faults: ## the long campaign of injected faults, and the faults that tests must notice
	scripts/test-faults

gate: ## everything that must hold before a change goes in
	scripts/gate

bench: ## micro-benchmarks, ours beside Redis and memcached, the checker, what promises cost, sweeps, scenarios, and servers over capped links (as root)
	$(CARGO) bench --workspace --exclude faults --locked
	$(LAB) compare
	$(LAB) check
	$(LAB) costs
	$(LAB) sweeps
	$(LAB) scenarios
	$(LAB) open-loop
	$(LAB) transports
	$(LAB) scaling

bench-compare: ## ours beside Redis and memcached: the ratios to reach, and one generator for all three
	$(LAB) compare

bench-setup: ## install what the comparison needs (apt, as root)
	scripts/bench-setup

ladder: ## from one operation per call to the full design, step by step
	$(LAB) ladder

profile: ## flamegraphs of server and client, and the share of time by stage
	$(LAB) profile

report: ## REPORT.md's tables and images/ from results/, where the benchmarks leave their figures
	$(CARGO) run --locked --package report --bin kvs-document -- REPORT.md

clean: ## remove what was built
	$(CARGO) clean
