# Part of ./hive: the checks of `./hive test`, one step after another, and the table of what they took.

openai_version=2.8.1
swiftshader=/usr/lib/chromium/vk_swiftshader_icd.json
# Of a step that cannot run here and need not.
skipped=3
passed=0
failed=0
# Set by `./hive test full`.
full=

# A line of the table: name, seconds, what came of it.
note() { printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$root/target/steps.tsv"; }

# Runs a command as a step. Its exit code decides: 0 passed, $skipped skipped, anything else failed.
step() {
    step_name=$1
    shift
    say "$step_name ..."
    began=$(date +%s)
    "$@"
    case $? in
    0) result=ok passed=$((passed + 1)) ;;
    $skipped) result=SKIPPED ;;
    *) result=FAILED failed=$((failed + 1)) ;;
    esac
    seconds=$(($(date +%s) - began))
    say "$step_name: $result, $seconds s"
    note "$step_name" $seconds $result
}

# A step that takes long and is left for `./hive test full`: name, and what it takes.
slow_step() {
    if [ -n "$full" ]; then
        slow_name=$1
        shift 2
        step "$slow_name" "$@"
    else
        note "$1" 0 "left for ./hive test full ($2)"
    fi
}

# What a step ends with whose tools are not here: a failure in CI (on Linux, or everywhere if $2 says so), else a loud line.
missing() {
    in_ci && { is_linux || [ "${2:-}" = everywhere ]; } && return 1
    say "*** $step_name: SKIPPED. $1 ***"
    return $skipped
}

# The table of steps, for people and as target/steps.json.
table() {
    awk -F '\t' -v json="$root/target/steps.json" '
        { name[NR] = $1; seconds[NR] = $2; result[NR] = $3; total += $2 }
        END {
            printf "%-34s %7s %6s\n", "step", "seconds", "share"
            printf "{\n  \"seconds\": %d,\n  \"steps\": [\n", total >json
            for (i = 1; i <= NR; i++) {
                share = total ? 100 * seconds[i] / total : 0
                printf "%-34s %7d %5.1f%%  %s\n", name[i], seconds[i], share, result[i]
                printf "    {\"name\": \"%s\", \"seconds\": %d, \"share\": %.3f, \"result\": \"%s\"}%s\n",
                    name[i], seconds[i], share / 100, result[i], i < NR ? "," : "" >json
            }
            printf "%-34s %7d\n", "all", total
            print "  ]\n}" >json
        }' "$root/target/steps.tsv"
}

prepare_tests() {
    offer_faster_driver
    prepare_system
}

# Cargo with Clippy as its compiler, for this project's own code: it is linted and compiled in one go. `cargo clippy` would
# check all dependencies, and then the tests would compile them.
linted() {
    RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS='-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__' cargo "$@"
}

compile() {
    linted test --features gui,serve --no-run && linted test --features gui,serve --no-run --test real_size &&
        linted test --package page --no-run
}

# With `full` also those that are marked as slow.
tests() { linted test --features gui,serve ${full:+-- --include-ignored} && linted test --package page; }

doc() { RUSTDOC=$root/tools/rustdoc.sh RUSTDOCFLAGS='-D warnings' linted test --features gui,serve --doc; }

# In CI: what later steps need from elsewhere is fetched while the first ones compile.
fetch_ahead() {
    window_tools
    browser_tools
    "$root/tests/models/get.sh"
}

# Real models for the tests. Without them those tests skip themselves.
real_models() {
    wait
    if in_ci; then has_node; fi
    "$root/tests/models/get.sh"
    case $? in
    0) export HIVE_MODELS=required ;;
    3) missing 'They cannot be fetched here' everywhere ;;
    *) return 1 ;;
    esac
}

gpu_tests_on_swiftshader() {
    if [ ! -f $swiftshader ] && ! { install_chromium && [ -f $swiftshader ]; }; then
        missing "There is no $swiftshader (Debian's package chromium has it)"
        return
    fi
    (
        use_driver $swiftshader
        set -- operations:: parity:: linked_attention::
        # Once over each kernel and each fixture; all that was tried on the first driver only with `full`.
        [ -n "$full" ] || for name in sabotage with_bounds_checks without_features serve_blocks is_reached at_most_300; do
            set -- "$@" --skip $name
        done
        linted test --features gui,serve --test integration -- "$@"
    )
}

# What opens a window on a display of its own, and looks at it.
window_tools() {
    have Xvfb && have xdotool && have import && return 0
    in_ci && have apt-get || return 1
    say 'installing Xvfb, xdotool, ImageMagick and what a window needs'
    set -- xvfb xdotool imagemagick libxcursor1 libxi6 libxrandr2 libxkbcommon-x11-0
    apt install -y "$@" || { apt_update && apt install -y "$@"; }
}

window_tests() {
    if ! window_tools; then
        missing 'It needs Xvfb, xdotool and ImageMagick, and was not looked at'
        return
    fi
    tests/window.sh "$built/debug/hive" "$root/target/window"
}

browser_tests() {
    if ! browser_tools; then
        missing 'They need chromium, node, npm and playwright-core' everywhere
        return
    fi
    node tests/web/run.mjs --modules "$npm_tools" --hive "$built/debug/hive"
}

# The package for several processes, beside the program. PyTorch is too large to be fetched for this alone: where it is not there,
# the step says so, in CI as well. HIVE_PYTHON names a Python that has it.
python_package() {
    python=${HIVE_PYTHON:-python3}
    if ! "$python" -c 'import numpy, safetensors, torch' 2>/dev/null; then
        say "*** $step_name: SKIPPED. PyTorch, NumPy or safetensors is not there for $python ***"
        return $skipped
    fi
    (cd python && HIVE_BIN=$built/debug/hive "$python" -m unittest discover -s tests)
}

# OpenAI's own client talks to the server.
openai_client() {
    python=$root/target/tools/openai/bin/python
    if ! "$python" -c 'import openai' 2>/dev/null; then
        if in_ci && have apt-get && ! python3 -c 'import ensurepip' 2>/dev/null; then
            apt install -y python3 python3-venv || { apt_update && apt install -y python3 python3-venv; }
        fi
        if ! { have python3 && asked "OpenAI's client is missing" "pip install openai==$openai_version into target/tools/openai" &&
            python3 -m venv "$root/target/tools/openai" && "$python" -m pip install --quiet "openai==$openai_version"; }; then
            missing 'It needs Python and its package openai' everywhere
            return
        fi
    fi
    "$python" tests/openai_client.py "$built/debug/hive" || return 1
    # It needs PyTorch, which is too large to be fetched for this alone.
    python=${HIVE_PYTHON:-python3}
    if "$python" -c 'import lmms_eval' 2>/dev/null; then
        "$python" tests/lmms_eval_client.py "$built/debug/hive"
    else
        say "*** $step_name: lmms-eval is not there for $python, and its class was SKIPPED ***"
    fi
}

smaller_page() {
    if ! { has_node && npm_tool binaryen $binaryen_version; }; then
        missing 'It needs node and npm' everywhere
        return
    fi
    optimise_page && page_size
}

# After the page itself, whose dependencies it shares: in other profiles or as a check they would all be compiled again.
library_for_the_browser() {
    cargo build --locked --lib --no-default-features --target wasm32-unknown-unknown --profile web --config profile.web.package.hive.opt-level=0
}

test_all() {
    cd "$root" || exit 2
    if in_ci; then export HIVE_REQUIRE_GPU=1; fi
    mkdir -p target && : >target/steps.tsv
    if [ -n "$full" ]; then export HIVE_FULL=1; fi
    step 'system' prepare_tests
    step 'rust target and components' rust_parts
    step 'format' cargo fmt --all --check
    if in_ci; then fetch_ahead >target/ahead.log 2>&1 & fi
    step 'clippy and compiling' compile
    step 'documentation' doc
    step 'real models' real_models
    step 'tests' tests
    [ -n "$full" ] || note 'real models packed, all texts' 0 'left for ./hive test full (4 minutes)'
    slow_step 'tests of real sizes' '20 minutes' linted test --features gui,serve --test real_size -- --include-ignored
    step 'GPU tests on SwiftShader' gpu_tests_on_swiftshader
    [ -n "$full" ] || note 'faults, bounds checks on SwiftShader' 0 'left for ./hive test full (3 minutes)'
    step 'PyTorch package' python_package
    step "OpenAI's client" openai_client
    step 'window' window_tests
    step 'web page' page
    slow_step 'library for the browser' '3 minutes' library_for_the_browser
    step 'page size' page_size
    slow_step 'smaller page' '3 minutes' smaller_page
    step 'browser tests' browser_tests
    [ -n "$full" ] || note 'long trainings in the browser' 0 'left for ./hive test full (half an hour)'
    table
    printf '%s passed, %s failed\n' $passed $failed
    [ $failed = 0 ]
}
