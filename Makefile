# Two commands: `make image` builds the reference image and boots it; `make test` runs all tests.
# Both install what is missing first (apt; says what and why) and need Rust.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
REFERENCE := image-recipes/gpu-node.toml
RECIPE ?= $(REFERENCE)
# Signs the kernel modules of the reference image; made when it is not there.
MODULE_KEY ?= $(or $(XDG_CONFIG_HOME),$(HOME)/.config)/basalt/modules.key
OUT ?= out
# Not target/release: cargo puts its own build of the agent there.
BIN := target/bin
BASALT := $(BIN)/basalt

# Another recipe says by itself where its modules come from, and who signs them.
DRIVERS := $(if $(filter $(REFERENCE),$(RECIPE)),drivers)
SIGNED := $(if $(DRIVERS),--module-key $(MODULE_KEY))

.PHONY: image drivers test soak bench fuzz container programs builder agent client packages lint unit cli vm cases clean

image: programs $(DRIVERS)
	$(BASALT) build $(RECIPE) $(SIGNED) --out $(OUT)
	$(BASALT) test $(RECIPE) $(SIGNED) --out $(OUT) --summary

drivers: programs
	image-recipes/drivers/build.sh $(MODULE_KEY)

# Always the whole workspace: which features a dependency has follows from who is built, and others would compile it again.
# Three target folders, side by side: each build ends with minutes that keep one processor busy.
programs: packages
	@$(MAKE) --no-print-directory -j3 builder agent client
builder:
	cargo build --release --locked --workspace
	install -D -m 755 --target-directory=$(BIN) target/release/basalt
agent:
	install -D -m 755 --target-directory=$(BIN) "$$(firstboot/build.sh)"
client:
	install -D -m 755 --target-directory=$(BIN) "$$(firstboot/container/build.sh)"

packages:
	@.ci/install-packages

# Quick things first.
test: programs lint unit cases
lint:
	cargo fmt --all --check
	cargo fmt --manifest-path firstboot/container/Cargo.toml --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps --document-private-items
# The builder's own crate takes minutes to optimise, and its unit tests less than one to run as it is.
# Those of the agent, which wait for buses that hang, run while it is compiled.
unit:
	printf '%s\n' '--test=*' --lib | xargs -P 2 -I{} cargo test --release --locked --workspace --exclude qemu-tests {} \
	  --config profile.release.package.basalt.opt-level=0
CASES := cargo test --release --locked --workspace --exclude basalt
cli: programs
	$(CASES) -- --test-threads=1 cli_
vm: programs
	$(CASES) -- --test-threads=1 vm_
# Both, two at a time, because a case keeps one processor busy. The first builds the reference image, the second needs none; then the
# longest first, so that both end together.
LONGEST := vm_reference vm_other_base cli_cases vm_update vm_drivers vm_ci vm_resets vm_other_kernel
BINARIES = $(LONGEST) $(filter-out $(LONGEST) soak_%,$(basename $(notdir $(wildcard qemu-tests/tests/*.rs))) cli_cases)
cases: programs
	$(CASES) --lib --test '*' --no-run
	printf '%s\n' --lib $(BINARIES:%=--test=%) | xargs -P 2 -I{} $(CASES) {} -- --test-threads=1 cli_ vm_

# What `make test` shows once, repeated and at scale.
soak: programs
	$(CASES) -- --test-threads=1 --nocapture soak_

bench: programs
	cargo bench --locked --workspace --bench ratios
	cargo bench --locked --workspace --bench proof
	cargo bench --locked --workspace --bench agent

# Each fuzz target for SECONDS seconds. What breaks a reader stays in qemu-tests/fuzz/artifacts: mend it and keep it in the corpus.
# No sanitizer: there is no unsafe code to watch, and so the stable compiler will do.
SECONDS ?= 60
FUZZ := --fuzz-dir qemu-tests/fuzz
fuzz: packages
	@command -v c++ >/dev/null || { echo "make fuzz builds libFuzzer, which is C++: apt install g++" >&2; exit 5; }
	cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
	for target in $$(cargo fuzz list $(FUZZ)); do \
	  mkdir -p target/fuzz/$$target; \
	  cargo fuzz run $(FUZZ) --sanitizer none $$target target/fuzz/$$target qemu-tests/fuzz/corpus/$$target -- \
	    -max_total_time=$(SECONDS) -timeout=10 -print_final_stats=1; \
	done

# The container image of Basalt, with the programs that were built: see docs/ci. An ordinary user's Podman will do.
CONTAINER ?= localhost/basalt:latest
container: programs
	podman build --layers=false --timestamp=0 --tag $(CONTAINER) "$$(.ci/container)"

clean:
	cargo clean
	rm -rf $(OUT)
