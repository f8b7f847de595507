# Only calls scripts/, which can be called without make as well.
STACK ?= dev
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup up preview destroy doctor policy test test-fast lint docs bench

help: ## this list; STACK=prod chooses a stack (default: dev), ARGS="…" hands on options
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

setup: ## get the Python packages and the Pulumi toolchain
	@scripts/setup

up: ## bring a stack up to date and to health; run again at will
	@scripts/run up --stack $(STACK) $(ARGS)

preview: ## show what `make up` would change
	@scripts/run preview --stack $(STACK) $(ARGS)

destroy: ## take a stack down; its data stays
	@scripts/run destroy --stack $(STACK) $(ARGS)

doctor: ## tell what this host has of what a stack needs
	@scripts/run doctor --stack $(STACK) $(ARGS)

policy: ## check what a stack declares by the policy pack, in seconds: no engine, no secrets, no Docker
	@scripts/run policy --stack $(STACK) $(ARGS)

test: ## everything: lint, types, fast tests, the lab's Go tests, integration tests on Docker
	@scripts/test $(ARGS)

test-fast: ## lint, types and fast tests: no Docker, no engine
	@scripts/test --fast $(ARGS)

lint: ## lint, types, and no secret in any file
	@scripts/test --lint $(ARGS)

docs: ## write docs/policies.md, docs/settings.md, policies/matrix.yaml and tests/platform.yaml anew
	@scripts/run docs $(ARGS)

bench: ## measure preview, up, destroy and idle memory
	@scripts/run bench --stack $(STACK) $(ARGS)
