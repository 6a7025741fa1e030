.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -o pipefail -c
TOOLS := .tools
FUZZTIME := 1m
STATICCHECK := $(TOOLS)/staticcheck-v0.8.2
CHECKOV := $(TOOLS)/checkov-3.3.30
SCHEMATHESIS := $(TOOLS)/schemathesis-4.32.5

help: ## List these targets
	@grep -hE '^[A-Za-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

run: ## Tell the whole story on this machine, without AWS or Datadog; KEEP=1 leaves it up to play with
	@go run ./cmd/demo $(if $(KEEP),-keep)

test: ## Unit tests with the race detector, then the deployed stack on an AWS emulator
	@echo "Unit tests"
	go test -race -short ./...
	@echo "Fuzzing, shortly"
	@$(MAKE) --no-print-directory fuzz FUZZTIME=2000x
	@echo "End-to-end tests: the stack of template.yaml on an AWS emulator"
	cd cmd/demo && go test -count=1
	SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 $(TOOLS)/venv/bin/sam validate --lint

lint: $(STATICCHECK) ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l cmd handler); [ -z "$$unformatted" ] || { echo "not gofmt-ed: $$unformatted"; exit 1; }
	go vet ./...
	$(STATICCHECK) ./...

fuzz: ## Every parse boundary for FUZZTIME each
	@grep -ro --include=*_test.go 'func Fuzz[A-Za-z]*' handler | sed 's/:func / /' | while read -r file target; do \
		echo "$$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "./$${file%/*}" | grep -v '^fuzz: elapsed' || exit 1; done

contract: $(SCHEMATHESIS) ## Requests made up by the OpenAPI description, to the function and to the deployed stack
	SCHEMATHESIS=$(abspath $<)/bin/schemathesis go test -count=1 -run TestSchemathesis ./handler/contract

conformance: ## Datadog's official Go client against the stand-in: some minutes and 8 GB of memory
	cd handler/datadog/datadogtest/official && go test ./...

bench: ## Calls, allocations, 10,000 secrets, and the time of init
	BENCH=1 go test -count=1 -run 'TenThousand|Waits' -bench . -v ./handler | grep -v '^=== '
	go test -run '^$$' -bench . -benchtime 40x ./cmd/bootstrap

audit: $(CHECKOV) ## checkov on the template; its exceptions stand beside the resources, with their reasons
	$(CHECKOV)/bin/checkov --skip-download --quiet --compact --framework cloudformation -f template.yaml

package: ## The function for arm64 as .aws-sam/function.zip, for those who deploy without SAM
	@mkdir -p .aws-sam/package
	@$(MAKE) --no-print-directory build-Function ARTIFACTS_DIR=.aws-sam/package
	cd .aws-sam/package && python3 -m zipfile -c ../function.zip bootstrap

simulate: ## 100,000 random schedules, from a random seed: some minutes
	go test ./handler/simulation -run Schedules -rapid.checks=100000 -timeout 1h -v

readme: ## Make README's tables and picture from the template and the code
	README=write go test -count=1 -run TestReadme ./cmd/demo ./handler

build-Function: ## Called by `sam build`, which sets ARTIFACTS_DIR; GOOS and GOARCH choose another machine
	CGO_ENABLED=0 GOOS=$${GOOS:-linux} GOARCH=$${GOARCH:-arm64} go build -tags lambda.norpc -trimpath -buildvcs=false \
		-ldflags "-s -w" -o "$(ARTIFACTS_DIR)/bootstrap" ./cmd/bootstrap

$(CHECKOV) $(SCHEMATHESIS):
	@echo "Installing $(@F) into $(TOOLS): about a minute, once"
	@python3 -m venv $@ && $@/bin/pip install --quiet --no-input --disable-pip-version-check $(subst -,==,$(@F)) || { rm -rf $@; exit 1; }

$(STATICCHECK):
	@echo "Installing staticcheck into $(TOOLS): about a minute, once"
	@mkdir -p $(TOOLS)
	@GOBIN=$(abspath $(TOOLS)) go install honnef.co/go/tools/cmd/staticcheck@$(subst $(TOOLS)/staticcheck-,,$@)
	@mv $(TOOLS)/staticcheck $@

.PHONY: help run test lint fuzz simulate contract conformance bench audit package readme build-Function
