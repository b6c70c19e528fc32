#!/bin/sh
# Rustdoc for `cargo test --doc`: writes the documentation of what it is to test, then tests it. `cargo doc` would check all
# dependencies first, which the tests have compiled already.
set -eu
first=1
skip=
for word; do
    [ $first = 1 ] && set -- && first=0
    case $word in
    --test) ;;
    --test-run-directory) skip=1 ;;
    *) if [ -n "$skip" ]; then skip=; else set -- "$@" "$word"; fi ;;
    esac
done
exec rustdoc "$@" --out-dir "${CARGO_TARGET_DIR:-target}/doc"
