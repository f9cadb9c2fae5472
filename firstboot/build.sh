#!/bin/bash
# Builds the agent as images carry it, and prints where the program lies: firstboot/build.sh [TARGET_DIR] [CARGO OPTION...]
# Used by the Makefile and by the test that compares two builds. What makes the bytes the same everywhere is in target.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-$PWD/target/agent}
shift $(($# > 0))
. firstboot/target.sh
# With --target the flags are not for build scripts, which run here.
cargo build --profile agent --locked -p basalt-firstboot --target $triple --target-dir "$target" "$@" >&2
echo "$target/$triple/agent/basalt-firstboot"
