# Everything a user or a contributor does, by one name each: `make help`.
# Needs git, make and apt; the rest is installed by `make setup`, which every other target runs first.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
# Arguments of `make demo`, `make bench` and `make bench-dept`.
ARGS ?=
# Arguments of ctest: make test CTEST_ARGS="-R Radix"
CTEST_ARGS ?=
# How long `make fuzz` runs.
SECONDS ?= 60
# Further options of the CMake configuration.
export CMAKE_FLAGS ?=
CTEST := ctest --output-on-failure -j $(JOBS)
# The tests that start processes carry the label `process`; all others are unit tests.
UNIT := -LE process
ifneq ($(shell command -v ccache),)
export CMAKE_CXX_COMPILER_LAUNCHER ?= ccache
endif
# ThreadSanitizer does not cope with the widest address space randomisation.
NO_ASLR := $(shell setarch -R true 2>/dev/null && echo setarch -R)

.PHONY: help setup build demo test test-kernel-selftests test-dept-programs bench bench-dept lint asan tsan fuzz werror clang install clean
help: ## this text
	@echo "usage: make TARGET"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 25
	@echo 'example: make demo ARGS="--updates 20 --seconds 20"'

setup: ## install the packages that are missing (apt; as root or with sudo)
	@tools/setup

build: setup ## programs and benchmarks: build/release/bin
	@tools/build release $(JOBS)

demo: build ## the main job: live updates under streaming DMA (ARGS="--updates 20")
	@build/release/bin/causeway demo $(ARGS)

test: setup ## build with named points and debug checks, run all tests
	@tools/build dev $(JOBS)
	@$(CTEST) --test-dir build/dev $(CTEST_ARGS)

test-kernel-selftests: build ## Linux's own live update selftests, unmodified (fetches its source through apt)
	@tests/kernel-selftests $(ARGS)

test-dept-programs: build ## well-known threaded programs under causeway dept (installs what is missing if root)
	@tests/dept-programs $(ARGS)

bench: build ## all benchmarks (ARGS="--benchmark_filter=Preserve")
	@for bench in build/release/bin/*_bench; do echo "== $$bench"; $$bench $(ARGS); done

bench-dept: build ## `causeway dept` against ThreadSanitizer, Helgrind and DRD, on the same programs (ARGS="--no-cost", ARGS="--no-verdicts")
	@tools/setup valgrind
	@tools/bench-dept $(ARGS)

lint: setup ## the checks of tools/check-*
	@for check in tools/check-*; do echo "== $$check"; $$check; done

asan: setup ## unit tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@tools/build asan $(JOBS) unit_tests
	@$(CTEST) --test-dir build/asan $(UNIT) $(CTEST_ARGS)

tsan: setup ## unit tests under ThreadSanitizer
	@$(NO_ASLR) tools/build tsan $(JOBS) unit_tests
	@$(NO_ASLR) $(CTEST) --test-dir build/tsan $(UNIT) $(CTEST_ARGS)

fuzz: ## the inspector against libFuzzer for SECONDS (60), from its corpus
	@tools/setup clang
	@test -f build/fuzz/build.ninja || cmake --preset fuzz >/dev/null
	@cmake --build build/fuzz --parallel $(JOBS) --target inspect_fuzz
	@mkdir -p build/fuzz/found
	@build/fuzz/bin/inspect_fuzz -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
	  -artifact_prefix=build/fuzz/ build/fuzz/found src/inspect/testdata/corpus

werror: setup ## build everything with warnings as errors
	@tools/build werror $(JOBS)

clang: ## the same with clang, and its thread safety analysis
	@tools/setup clang
	@tools/build clang $(JOBS)

install: build ## programs to PREFIX (/usr/local) below DESTDIR
	@cmake --install build/release --prefix $(PREFIX)

clean: ## remove build/
	@rm -rf build
