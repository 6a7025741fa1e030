.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -o pipefail -c
TOOLS := .tools
FUZZTIME := 1m
RELEASE := .release
VERSION = $(shell awk '/^\#\# / { print $$2; exit }' CHANGELOG.md)
STATICCHECK := $(TOOLS)/staticcheck-v0.8.2
GOVULNCHECK := $(TOOLS)/govulncheck-v1.9.0
CHECKOV := $(TOOLS)/checkov
SHELLCHECK := $(TOOLS)/shellcheck
SCHEMATHESIS := $(TOOLS)/schemathesis
AWSCLI := $(TOOLS)/awscli
UV := $(TOOLS)/uv
PIN = UV_EXCLUDE_NEWER='14 days' $(abspath $(UV))/bin/uv pip compile --quiet --upgrade --universal --generate-hashes --no-annotate
KEYCLOAK := $(TOOLS)/keycloak-26.7.5
AUTHLIB := $(TOOLS)/authlib

help: ## List these targets
	@grep -hE '^[A-Za-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

run: ## Tell the whole story on this machine, without AWS or Datadog; KEEP=1 leaves it up to play with, KEYLESS=1 gives it no Datadog keys
	@go run ./cmd/demo $(if $(KEEP),-keep) $(if $(KEYLESS),-keyless)

test: ## Unit tests with the race detector, then the deployed stack on an AWS emulator
	@echo "Unit tests, with the race detector; then the simulation, which has few goroutines and many schedules, without it"
	go test -race -short -timeout 30m $$(go list ./... | grep -v /simulation)
	go test -short -timeout 30m ./handler/simulation
	@echo "Fuzzing, shortly"
	@$(MAKE) --no-print-directory fuzz FUZZTIME=2000x
	@echo "End-to-end tests: the stack of template.yaml on an AWS emulator"
	cd cmd/demo && go test -count=1 -timeout 30m
	SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 $(TOOLS)/emulator/bin/sam validate --lint
	$(TOOLS)/emulator/bin/cfn-lint docs/samples/*.yaml docs/datadog/events.yaml

lint: $(STATICCHECK) $(SHELLCHECK)/installed ## gofmt, go vet, staticcheck, shellcheck
	@unformatted=$$(gofmt -l cmd handler); [ -z "$$unformatted" ] || { echo "not gofmt-ed: $$unformatted"; exit 1; }
	go vet ./...
	$(STATICCHECK) ./...
	$(SHELLCHECK)/bin/shellcheck docs/ops.sh .ci/run .ci/arm64

fuzz: ## Every parse boundary for FUZZTIME each
	@grep -ro --include=*_test.go 'func Fuzz[A-Za-z]*' handler | sed 's/:func / /' | while read -r file target; do \
		echo "$$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "./$${file%/*}" | grep -v '^fuzz: elapsed' || exit 1; done

contract: $(SCHEMATHESIS)/installed ## Requests made up by the OpenAPI description, to the deployed stack
	SCHEMATHESIS=$(abspath $(SCHEMATHESIS))/bin/schemathesis go test -count=1 -timeout 30m -run TestSchemathesis ./handler/contract

conformance: $(KEYCLOAK) $(AUTHLIB)/installed ## The token check against Keycloak and Authlib, Datadog's official Go client against the stand-in: some minutes, 8 GB of memory, Java 17
	KEYCLOAK=$(abspath $(KEYCLOAK)) AUTHLIB=$(abspath $(AUTHLIB))/bin/python go test -count=1 -v -run TestConformance ./handler/tokencheck | grep -v '^=== '
	cd handler/datadog/datadogtest/official && go test ./...

bench: ## Calls, allocations, 10,000 secrets, and the time of init
	BENCH=1 go test -count=1 -run 'TenThousand|Waits' -bench . -v ./handler | grep -v '^=== '
	go test -run '^$$' -bench . -benchtime 40x ./cmd/bootstrap

audit: $(CHECKOV)/installed ## checkov on the template; its exceptions stand beside the resources, with their reasons
	$(CHECKOV)/bin/checkov --skip-download --quiet --compact --framework cloudformation -f template.yaml

# The Go of go.mod and no settings of this machine, so that the same commit gives the same bytes.
release: export GOTOOLCHAIN = $(shell awk '$$1 == "toolchain" { print $$2 }' go.mod)
release: export GOFLAGS =
release: export GOEXPERIMENT =
release: export GOARM64 = v8.0
release: ## What deploys without Go, into .release/: the function for arm64, template, SBOM and checksums
	rm -rf $(RELEASE)
	@GOOS=linux GOARCH=arm64 $(MAKE) --no-print-directory build-Function ARTIFACTS_DIR=$(RELEASE)
	go run ./cmd/release $(RELEASE) $(VERSION)
	@rm $(RELEASE)/bootstrap

simulate: ## 100,000 random schedules, from a random seed: some minutes
	go test ./handler/simulation -run Schedules -rapid.checks=100000 -timeout 1h -v

test-release: $(AWSCLI)/installed ## Deploy the release on the emulator without Go; on other machines than arm64 Linux that takes qemu, which root gets by apt
	.ci/arm64
	RELEASE=1 AWS_CLI=$(abspath $(AWSCLI))/bin/aws go test -count=1 -v -run TestRelease ./cmd/demo

vulnerabilities: $(GOVULNCHECK) ## What the Go vulnerability database knows of the code that is used
	$(GOVULNCHECK) ./...

requirements: $(UV)/installed ## Pin the Python tools of *.in and all they need, by hash, in versions that are two weeks old
	cd .ci && $(PIN) --python-version 3.10 -o emulator.txt emulator.in
	for tool in authlib awscli checkov schemathesis shellcheck uv; do (cd .ci && $(PIN) --python-version 3.11 -o $$tool.txt $$tool.in) || exit 1; done

readme: ## Make the tables of docs/reference.md and the heads of docs/alarms from the template and the code
	README=write go test -count=1 -run TestReadme ./cmd/demo

build-Function: ## Called by `sam build`, which sets ARTIFACTS_DIR; GOOS and GOARCH choose another machine
	CGO_ENABLED=0 GOOS=$${GOOS:-linux} GOARCH=$${GOARCH:-arm64} go build -tags lambda.norpc -trimpath -buildvcs=false \
		-ldflags "-s -w" -o "$(ARTIFACTS_DIR)/bootstrap" ./cmd/bootstrap

# Python tools, each in an environment of its own, by hash.
$(TOOLS)/%/installed: .ci/%.txt
	@echo "Installing $* into $(TOOLS): about a minute, once"
	@rm -rf $(@D) && python3 -m venv $(@D)
	@$(@D)/bin/pip install --quiet --no-input --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r $<
	@touch $@

$(KEYCLOAK):
	@echo "Installing $(@F) from Maven Central into $(TOOLS): 160 MB, once"
	@mvn --batch-mode --quiet org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
		-Dartifact=org.keycloak:keycloak-quarkus-dist:$(@F:keycloak-%=%):zip -DoutputDirectory=$(abspath $(TOOLS))
	@cd $(TOOLS) && python3 -m zipfile -e keycloak-quarkus-dist-$(@F:keycloak-%=%).zip . && rm keycloak-quarkus-dist-*.zip || { rm -rf $(@F); exit 1; }

$(STATICCHECK): MODULE := honnef.co/go/tools/cmd/staticcheck
$(GOVULNCHECK): MODULE := golang.org/x/vuln/cmd/govulncheck
$(STATICCHECK) $(GOVULNCHECK):
	@echo "Installing $(@F) into $(TOOLS): about a minute, once"
	@mkdir -p $(TOOLS)
	@GOBIN=$(abspath $(TOOLS)) go install $(MODULE)@v$(lastword $(subst -v, ,$(@F)))
	@mv $(TOOLS)/$(notdir $(MODULE)) $@

.PHONY: help run test lint fuzz simulate contract conformance bench audit release test-release vulnerabilities requirements readme build-Function
