#!/bin/bash
# Builds the agent as images carry it, and prints where the program lies: firstboot/build.sh [TARGET_DIR] [CARGO OPTION...]
# The same sources, Cargo.lock, Rust and C linker give the same bytes from any folder, HOME and CARGO_HOME: the three places that
# rustc would write into panic messages get fixed names. Used by the Makefile and by the test that compares two builds.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-$PWD/target/agent}
shift $(($# > 0))
flags=("--remap-path-prefix=$PWD=/basalt" "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
  "--remap-path-prefix=$(rustc --print sysroot)=/rust")
# Encoded: a folder's name may hold a blank.
export CARGO_ENCODED_RUSTFLAGS="${flags[0]}"$'\x1f'"${flags[1]}"$'\x1f'"${flags[2]}"
unset RUSTFLAGS CARGO_INCREMENTAL CARGO_BUILD_TARGET
cargo build --profile agent --locked -p basalt-firstboot --target-dir "$target" "$@" >&2
echo "$target/agent/basalt-firstboot"
