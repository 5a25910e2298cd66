# Every target sets up what it needs; Go, make and git are enough. redis installs
# redis-server where it is missing.

SHELL    := bash
GO       ?= go
FUZZTIME ?= 60s
# Pinned in tools/go.mod, and built by Go from the module cache.
TOOL     := $(GO) tool -modfile=tools/go.mod
# The race detector needs a C compiler. Where there is none, Go turns cgo off.
RACE     := $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race)

.PHONY: help build run test race redis lint bench golden stress fuzz faults fault-test corruption chain-test deploy-test overload-test compose-test

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST)

build: ## Build bin/eventflux
	$(GO) build -o bin/eventflux ./cmd/eventflux

run: build ## Watch an app work on real flights, be killed and go on; Ctrl-C ends it
	@$(GO) build -o bin/demo ./examples/demo
	@bin/demo

# Packages with goroutines of their own: make test runs them with the race detector. make race
# does so with all, among them cli/node, whose tests run all services at once.
CONCURRENT := /(services/.*|shared/(control|log/natsconn|log/wal|ops/obs|state|state/checkpoint))$$

test: lint redis ## Lint, and run all tests in their short form; those of packages with goroutines with the race detector
	@# test/faults takes the longest and mostly waits, so all others run beside it: first the
	@# packages in CONCURRENT, with the race detector, then the rest, with the longest first.
	@# Most tests allocate much and keep little: with fewer collections they take a third less processor time.
	@export GOGC=400; status=0; \
	set -m; $(GO) test -short -timeout 30m ./test/faults & faults=$$!; set +m; \
	trap 'kill -- -$$faults; exit 1' INT TERM; \
	$(GO) test -short $(RACE) -p 2 -parallel 4 -timeout 30m $$($(GO) list ./... | grep -E '$(CONCURRENT)') || status=1; \
	$(GO) test -short -p 4 -timeout 30m $$($(GO) list ./test/... ./... | grep -vE '$(CONCURRENT)|/test/faults$$') || status=1; \
	wait $$faults || status=1; \
	exit $$status
	cd examples/custom && $(GO) vet ./... && $(GO) test ./...
	cd examples/embed && $(GO) vet ./... && $(GO) test ./...

race: redis ## Run all tests in their long form with the race detector (about half an hour)
	$(GO) test $(RACE) -timeout 60m ./...

redis: ## Install redis-server where it is missing: tests start it
	@bash tools/redis.sh

# The library with which docker compose loads and checks files.
COMPOSE := $(TOOL) github.com/compose-spec/compose-go/v2/cmd -no-interpolation

lint: ## Check format, vet, staticcheck, and the compose files
	@unformatted=$$($(TOOL) gofumpt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then \
		echo "not formatted, run 'go tool -modfile=tools/go.mod gofumpt -w FILE':"; echo "$$unformatted"; exit 1; \
	fi
	$(GO) vet ./...
	$(GO) vet -tags compose ./test/compose
	$(GO) vet -tags faultpoints,invariants ./shared/testing/faultpoint ./shared/testing/invariant
	$(TOOL) staticcheck ./...
	@for files in deploy/compose.yaml deploy/compose.single.yaml 'deploy/compose.yaml deploy/compose.cloud.yaml'; do \
		echo "check $$files"; $(COMPOSE) $$files >/dev/null || exit 1; \
	done

bench: ## Measure everything beside its limits, and write bench/RESULTS.md (about 15 minutes)
	$(GO) run ./bench

# Go would spend up to a minute on shortening each input that reaches new code, and with
# large seeds do nothing else.
golden: ## Write golden files that are not there yet, and what documents quote of programs
	$(GO) test ./shared/state -args -rewrite
	$(GO) test ./shared/state/checkpoint -args -rewrite-golden
	$(GO) test ./shared/lang/engine -args -rewrite-golden -rewrite-page
	$(GO) test ./cli -run TestReadmeShowsWhatCommandsPrint -args -rewrite-readme
	$(GO) test ./cli/node -run Metrics -args -rewrite-metrics
	$(GO) test ./examples/demo -args -rewrite-demo
	git status --short

stress: ## Run test TEST of package PKG again and again, with the race detector, until it fails
	$(GO) test $(RACE) -c -o bin/stress.test $(PKG)
	cd $(PKG) && n=0; while $(CURDIR)/bin/stress.test -test.run '$(TEST)' -test.failfast; do n=$$((n+1)); echo "$$n times"; done; exit 1

fuzz: ## Run every fuzz target for FUZZTIME (default 60s)
	@git grep -l --untracked '^func Fuzz' -- '*_test.go' | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file"); do \
			echo "$$target in $$file"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "./$$(dirname "$$file")" || exit 1; \
		done; \
	done

faults: redis ## Kill and stop the real binary, 20 times each, at each step of a checkpoint, and 300 times in merges and restores, while 100,000 events are published; make and merge 10,000 checkpoints
	$(GO) test -timeout 90m -count 1 -v ./test/faults -kills 20 -events 100000 -points 0 -restores 300 $(if $(RACE),-racebinary)
	$(GO) test -timeout 60m -count 1 -v ./test/merging -checkpoints 10000

fault-test: redis ## Have a whole cluster go through random troubles under load, for ten minutes
	$(GO) test -timeout 40m -count 1 -v ./test/faults -run 'TestCluster$$' -duration 10m

chain-test: ## Kill two processes in turns under load, with a chain of two apps, for ten minutes
	$(GO) test -timeout 40m -count 1 -v ./test/faults -run 'TestChainIsKilledInTurns$$' -duration 10m

.PHONY: deploy-test
deploy-test: ## Deploy and remove an app of 256 partitions 20 times while others publish
	$(GO) test -timeout 60m -count 1 -v ./test/faults -run 'TestDeploysUnderLoad$$' -deploys 20 -partitions 256

.PHONY: overload-test
overload-test: ## Publish for five minutes faster than a task can apply
	$(GO) test -timeout 20m -count 1 -v ./test/faults -run 'TestOverload$$' -overload 5m

corruption: ## Damage every kind of file in a data folder in 40 places, and see what comes of it (about half an hour)
	$(GO) test -timeout 0 -count 1 -v ./test/corruption -positions 40

.PHONY: postgres-test
postgres-test: ## Kill the bridge to Postgres 20 times (needs the package postgresql)
	cd examples/postgres && $(GO) vet ./... && $(GO) test -timeout 10m -count 1 -v ./...

compose-test: ## Run deploy/compose.yaml in containers, and kill each of them (needs Docker)
	$(GO) test -tags compose -timeout 40m -count 1 -v ./test/compose
