# Each target sets up what it needs and says what it does. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help setup dev demo serve check test bench soak format lock

help: ## This list
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

setup: ## Build .venv from requirements.lock; leaves .venv/bin/amity ready
	@scripts/setup

dev: ## The same with the tools that check and test (requirements-dev.lock)
	@scripts/setup dev

demo: setup ## A real shop's customers become audiences, answered mails, and audiences again; KEEP=1 leaves the server on, HOUSEHOLDS=150 is the small form
	@scripts/demo

serve: setup ## Run the server on ./.amity/data (DATA=, HOST=, PORT=)
	@scripts/serve

check: dev ## Format, lint, contracts, types, dead code, dependencies, architecture and unit tests (< 1 min)
	@scripts/check

test: check ## All of check, then contract, integration and acceptance tests (< 20 min)
	@scripts/test

bench: dev ## Measure, beside the baselines of the same run
	@scripts/bench

soak: dev ## The long runs: 10,000 simulator seeds, 50 kills
	@scripts/soak

format: dev ## Format the code and apply what the linter can fix by itself
	@.venv/bin/ruff format src tests && .venv/bin/ruff check --fix src tests

lock: dev ## Write both lock files anew from pyproject.toml
	@scripts/lock
