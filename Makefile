# Two commands: `make image` builds the reference image and boots it; `make test` runs all tests.
# Both install what is missing first (apt; says what and why) and need Rust.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
RECIPE ?= image-recipes/gpu-node.toml
OUT ?= out
BASALT := target/release/basalt

.PHONY: image test soak bench fuzz programs packages lint unit cli vm clean

image: programs
	$(BASALT) build $(RECIPE) --out $(OUT)
	$(BASALT) test $(RECIPE) --out $(OUT) --summary

programs: packages
	cargo build --release --locked -p basalt
	install -m 755 "$$(firstboot/build.sh)" target/release/basalt-firstboot

packages:
	@.ci/install-packages

# Quick things first, virtual machines last.
test: programs lint unit cli vm
lint:
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps --document-private-items
unit:
	cargo test --release --locked
cli: programs
	cargo test --release --locked -p qemu-tests -- --test-threads=1 cli_
vm: programs
	cargo test --release --locked -p qemu-tests -- --test-threads=1 vm_

# What `make test` shows once, repeated and at scale.
soak: programs
	cargo test --release --locked -p qemu-tests -- --test-threads=1 --nocapture soak_

bench: programs
	cargo bench --locked --bench ratios

clean:
	cargo clean
	rm -rf $(OUT)
