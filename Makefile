# What a person runs; CI runs the same. `make` lists the targets.

# ONNX Runtime's install script would download CUDA libraries from outside npm; the CPU and WebGPU providers are in the
# package. `make setup-cuda` does not skip it.
export ONNXRUNTIME_NODE_INSTALL ?= skip

SOURCES := $(shell find common proto coordinator worker deploy test -name '*.ts' 2>/dev/null) tsconfig.json tsconfig.build.json
SETUP := node_modules/.ringtune-setup
BUILD := dist/.ringtune-build
RINGTUNE := node dist/coordinator/cli/main.js
WORKERS ?= 2

# Vulkan on the CPU, with which WebGPU is tested where there is no GPU (vitest.config.ts does the same for the tests).
SWIFTSHADER := /usr/lib/chromium
ifeq ($(wildcard /dev/dri/renderD* /dev/nvidia0),)
ifneq ($(wildcard $(SWIFTSHADER)/vk_swiftshader_icd.json),)
fixtures bench: export VK_ICD_FILENAMES ?= $(SWIFTSHADER)/vk_swiftshader_icd.json
fixtures bench: export LD_LIBRARY_PATH := $(LD_LIBRARY_PATH):$(SWIFTSHADER)
endif
endif

.DEFAULT_GOAL := help
.PHONY: help setup setup-cuda setup-tfjs-gpu setup-system dashboards build check lint format proto test test-unit test-sim test-integration fixtures bench bench-allreduce bench-wire bench-step bench-start bench-recovery bench-failover bench-compression soak demo demo-spam demo-lora bench-checkpoint bench-identical clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(SETUP) ## install the packages, from npm alone

$(SETUP): package.json package-lock.json
	npm ci --no-fund --no-audit --loglevel=error
	@touch $@

setup-cuda: $(SETUP) ## add ONNX Runtime's CUDA and TensorRT libraries (Linux x64; from nuget.org)
	ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node --foreground-scripts

setup-tfjs-gpu: $(SETUP) ## add tfjs-node-gpu for engine: tfjs (it downloads libtensorflow)
	npm install --no-save --no-fund --no-audit --foreground-scripts \
		@tensorflow/tfjs-node-gpu@$$(node -p "require('@tensorflow/tfjs-core/package.json').version")

setup-system: ## add what some tests need: SwiftShader (WebGPU without a GPU), Prometheus, etcd, Slurm, systemd; needs root on Debian
	@missing=""; \
	[ -e $(SWIFTSHADER)/vk_swiftshader_icd.json ] || missing="$$missing chromium-common"; \
	command -v promtool >/dev/null && command -v prometheus >/dev/null || missing="$$missing prometheus"; \
	command -v etcd >/dev/null || missing="$$missing etcd-server"; \
	PATH="$$PATH:/usr/sbin" && command -v slurmctld >/dev/null && command -v munged >/dev/null || missing="$$missing slurm-wlm munge"; \
	command -v systemd-analyze >/dev/null || missing="$$missing systemd"; \
	if [ -z "$$missing" ]; then \
		echo "SwiftShader, Prometheus, etcd, Slurm and systemd are installed"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing$$missing"; \
		(apt-get update -qq && DEBIAN_FRONTEND=noninteractive timeout 300 \
			apt-get install -y -qq --no-install-recommends $$missing) >/dev/null 2>&1 || \
			echo "$$missing can't be installed: the tests that need it are SKIPPED"; \
	else \
		echo "missing:$$missing, and this is not root on Debian: the tests that need it are SKIPPED"; \
	fi

dashboards: build ## write deploy/grafana/dashboards from their definition
	node dist/deploy/grafana/generate.js deploy/grafana/dashboards

build: $(BUILD) ## compile to dist/

$(BUILD): $(SETUP) $(SOURCES)
	@rm -rf dist
	npm run --silent build
	@chmod +x dist/coordinator/cli/main.js
	@touch $@

check: $(SETUP) ## type-check, and compare the generated protocol types with proto/
	npm run --silent check
	@rm -rf .cache/proto-gen && mkdir -p .cache && cp -r proto/gen .cache/proto-gen
	npm run --silent proto
	@diff -r .cache/proto-gen proto/gen || (echo "proto/gen was stale; it is regenerated, commit it" >&2; exit 1)

lint: $(SETUP) ## eslint and prettier
	npm run --silent lint

format: $(SETUP) ## rewrite the files as prettier has them
	npm run --silent format

proto: $(SETUP) ## generate the protocol's types
	npm run --silent proto

test: build check lint ## everything that CI runs
	@$(MAKE) --no-print-directory setup-system
	npx vitest run

test-unit: $(SETUP) ## tests without processes
	npx vitest run test/unit

test-sim: $(SETUP) ## the coordinator's core under seeded schedules of faults
	npx vitest run test/sim

test-integration: build ## tests on real processes
	npx vitest run test/integration

fixtures: build ## compare with reference numbers: make fixtures DIR=path
	@test -n "$(DIR)" || (echo "give the folder: make fixtures DIR=path" >&2; exit 2)
	$(RINGTUNE) fixtures "$(DIR)"

bench: build ## speed, beside PyTorch in the same run: make bench [PEERS=path]
	RINGTUNE_PEERS="$(PEERS)" node dist/test/bench/main.js

bench-step: build ## forward, backward and optimizer of one worker beside PyTorch: make bench-step [PEERS=path]
	RINGTUNE_PEERS="$(PEERS)" node dist/test/bench/bench-step.js $(ARGS)

bench-scaling: build ## tokens/s of two workers over twice one worker's, each pinned to a core, beside DDP: make bench-scaling [PEERS=path]
	RINGTUNE_PEERS="$(PEERS)" nice -n -19 node dist/test/bench/scaling.js

bench-overlap: build ## steps with and without gradients that travel while others are computed, on one host and on slow cables
	nice -n -19 node dist/test/bench/overlap.js

bench-start: build ## seconds from `ringtune train` to the first committed step
	node dist/test/bench/bench-start.js

bench-recovery: build ## what a killed worker and a joining one cost, beside torchrun: make bench-recovery [PEERS=path]
	RINGTUNE_PEERS="$(PEERS)" node dist/test/bench/bench-recovery.js

soak: build ## 1,200 faults on real processes (about half an hour), then the same run without: make soak [ARGS=...]
	$(RINGTUNE) chaos examples/soak.yaml --workers 4 --count 1200 --reference $(ARGS)

bench-checkpoint: build ## what a checkpoint costs, beside one that training waits for: make bench-checkpoint [ARGS="FOLDER LAYERS HIDDEN"]
	node dist/test/bench/checkpoint.js $(ARGS)

bench-identical: build ## tokens/s with and without train.bit_identical, in turns
	node dist/test/bench/identical.js

bench-failover: build ## from the loss of the leading coordinator to the next committed step, three coordinators on etcd
	node dist/test/bench/failover.js

# A higher priority for both sides alike, where it is allowed, so that other work on the machine disturbs less.
bench-compression: build ## bytes per step and final loss of every way to exchange less: two workers, real text
	node dist/test/bench/compression.js

bench-allreduce: build ## bus bandwidth, beside gloo in the same run: make bench-allreduce [PEERS=path]
	RINGTUNE_PEERS="$(PEERS)" nice -n -19 node dist/test/bench/all-reduce.js

bench-wire: build ## the share of a wire of 1 Gb/s that the all-reduce between two hosts reaches; needs root on Linux
	node dist/test/bench/wire.js $(ARGS)

demo: build ## train a GPT on two centuries of speeches with two workers, then let it speak
	@run=demo-$$(date +%Y%m%d-%H%M%S) && \
	$(RINGTUNE) train examples/sotu.yaml --workers $(WORKERS) --set checkpoint.name=$$run && \
	echo && $(RINGTUNE) generate runs/$$run --prompt "My fellow citizens," --tokens 150 --seed 1

demo-spam: build ## tell spam from ham in 6,046 real e-mails with a BERT from scratch, beside a bag of words
	@run=spam-$$(date +%Y%m%d-%H%M%S) && \
	$(RINGTUNE) baseline examples/spam.yaml && \
	echo && $(RINGTUNE) train examples/spam.yaml --workers $(WORKERS) --set checkpoint.name=$$run

demo-lora: build ## pre-train on the speeches to 1900, then learn those after with LoRA and, to compare, in full
	@early=early-$$(date +%Y%m%d-%H%M%S) late=$${early#early-} && \
	$(RINGTUNE) train examples/sotu-pretrain.yaml --workers $(WORKERS) --set checkpoint.name=$$early && \
	for how in lora full; do \
		$(RINGTUNE) train examples/sotu-$$how.yaml --workers $(WORKERS) --set checkpoint.name=$$how-$$late \
			--set model.from=runs/$$early/latest || exit 1; \
	done && \
	echo && node examples/compare-runs.mjs runs/$$early runs/lora-$$late runs/full-$$late

clean: ## remove what was built (runs stay)
	rm -rf dist .cache $(SETUP)
