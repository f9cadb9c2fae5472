#!/bin/bash
# Builds the update client as images carry it, and prints where the program lies: firstboot/container/build.sh [TARGET_DIR] [CARGO OPTION...]
# What makes the bytes the same everywhere is in ../target.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${1:-$PWD/target/container}
shift $(($# > 0))
# It needs libostree as the images' suite has it.
suite=trixie gcc=14 libraries=libostree-dev,libssl-dev,libzstd-dev,zlib1g-dev
. firstboot/target.sh
# With --target the flags are not for build scripts, which run here.
cargo build --release --locked --manifest-path firstboot/container/Cargo.toml --target $triple --target-dir "$target" "$@" >&2
echo "$target/$triple/release/ostree-container"
