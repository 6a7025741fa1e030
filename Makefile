.DEFAULT_GOAL := help

help: ## List these targets
	@grep -hE '^[A-Za-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

build-Function: ## Called by `sam build`, which sets ARTIFACTS_DIR; GOOS and GOARCH choose another machine
	CGO_ENABLED=0 GOOS=$${GOOS:-linux} GOARCH=$${GOARCH:-arm64} go build -tags lambda.norpc -trimpath -buildvcs=false \
		-ldflags "-s -w" -o "$(ARTIFACTS_DIR)/bootstrap" ./cmd/bootstrap

.PHONY: help build-Function
