# Part of ./hive: Rust, packages and a Vulkan driver. Nothing is installed without asking, except with CI=true or as root.

backports_list=/etc/apt/sources.list.d/bookworm-backports.list

# ---------------------------------------------------------------------------------------------------------------- Rust

# The value of a line KEY = "value" in a file of the project.
setting() { sed -n "s/^$1 *= *\"\\(.*\\)\".*/\\1/p" "$root/$2" | head -n 1; }

find_rust() {
    # Rustup's cargo goes before one of the distribution, which is mostly older.
    bin=${CARGO_HOME:-$HOME/.cargo}/bin
    [ -x "$bin/cargo" ] && PATH=$bin:$PATH
    have cargo || stop 'Rust is missing. Install it from https://rustup.rs, open a new terminal, and run this again'
    if have rustup && [ -z "${RUSTUP_TOOLCHAIN:-}" ]; then
        channel=$(setting channel rust-toolchain.toml)
        if ! rustup toolchain list | grep -q "^$channel"; then
            say "installing Rust $channel with rustup"
            rustup toolchain install "$channel" --profile minimal || stop "rustup could not install Rust $channel"
        fi
        # Also when this script is called from another folder.
        export RUSTUP_TOOLCHAIN="$channel"
    fi
    wanted=$(setting rust-version Cargo.toml)
    version=$(cargo --version | cut -d ' ' -f 2)
    [ -n "$version" ] || stop 'cargo does not run'
    older=$(printf '%s\n%s\n' "$wanted" "$version" | sort -t . -k 1,1n -k 2,2n | head -n 1)
    [ "$older" = "$wanted" ] || stop "Rust $wanted is needed, $version is here. Install Rust from https://rustup.rs"
}

# Linter, formatter and the browser's target.
rust_parts() {
    missing=0
    for part in rustfmt clippy; do
        cargo "${part#rust}" --version >/dev/null 2>&1 && continue
        if ! { have rustup && rustup component add "$part"; }; then
            say "$part is missing"
            missing=1
        fi
    done
    target=wasm32-unknown-unknown
    if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target" ] && ! { have rustup && rustup target add "$target"; }; then
        say "the Rust target $target is missing"
        missing=1
    fi
    return $missing
}

# ------------------------------------------------------------------------------------------------------------ Packages

os_release() { sed -n "s/^$1=//p" /etc/os-release 2>/dev/null | tr -d '"'; }
on_bookworm() { [ "$(os_release ID)" = debian ] && [ "$(os_release VERSION_CODENAME)" = bookworm ]; }

# As root: directly, or by sudo once that was agreed to.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    elif in_ci; then
        sudo -n env DEBIAN_FRONTEND=noninteractive "$@"
    else
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    fi
}

# True if these commands may be run. $1 is what for, the rest the commands to show. Without a terminal to ask at: false.
asked() {
    reason=$1
    shift
    if [ "$(id -u)" = 0 ] || in_ci; then
        say "$reason: installing"
        return 0
    fi
    say "$reason. This installs it:"
    for line; do printf '    %s\n' "$line" >&2; done
    [ -t 0 ] || return 1
    printf 'hive: run these commands now? [y/N] ' >&2
    read -r answer || return 1
    case $answer in [yY]*) return 0 ;; *) return 1 ;; esac
}

# The same for commands that need root.
agreed() {
    if [ "$(id -u)" != 0 ] && ! have sudo; then
        say "$1, and there is no sudo to install it with"
        return 1
    fi
    asked "$@"
}

apt() { as_root apt-get -qq -o Dpkg::Use-Pty=0 -o APT::Install-Recommends=false "$@" >/dev/null; }
apt_update() { apt update || say 'apt-get update reported errors; going on with the package lists there are'; }

# The mirror of Debian's own packages in apt's sources, one-line or deb822.
debian_mirror() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null | awk '
        function consider(uri, suites, parts) {
            if (!found && (uri ~ /\/debian(\/|$)/ || uri ~ /^mirror/) && uri !~ /^cdrom/ &&
                (" " suites " ") ~ / (bookworm|stable|oldstable) / && (" " parts " ") ~ / main /) found = uri
        }
        /^deb / {
            gsub(/\[[^]]*\]/, " ")
            suite = $3; uri = $2
            $1 = $2 = $3 = ""
            consider(uri, suite, $0)
        }
        tolower($1) == "types:" { flush(); types = $0 }
        tolower($1) == "uris:" { uris = $2 }
        tolower($1) == "suites:" { $1 = ""; suites = $0 }
        tolower($1) == "components:" { $1 = ""; components = $0 }
        /^[ \t]*$/ { flush() }
        function flush() { if (types ~ /deb( |$)/) consider(uris, suites, components); types = uris = suites = components = "" }
        END { flush(); print found }'
}

backports_line() {
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -f $keyring ] && option="[signed-by=$keyring] " || option=
    printf 'deb %s%s bookworm-backports main\n' "$option" "$(debian_mirror)"
}

# Mesa from bookworm-backports: its software driver computes 5 to 7 times as fast as bookworm's own.
install_backported() {
    if ! apt-cache madison mesa-vulkan-drivers | grep -q bookworm-backports; then
        [ -n "$(debian_mirror)" ] || return 1
        say "adding $backports_list"
        backports_line | as_root tee "$backports_list" >/dev/null || return 1
        if ! apt update; then
            as_root rm -f "$backports_list"
            apt_update
            return 1
        fi
    fi
    apt install -y -t bookworm-backports "$@"
}

# Installs packages; Mesa on Debian 12 from its backports where that works.
install() {
    apt_update
    case " $* " in
    *' mesa-vulkan-drivers '*)
        if on_bookworm && apt-cache policy mesa-vulkan-drivers | grep -q 'Candidate: 22\.'; then
            install_backported "$@" && return 0
            say "bookworm-backports did not work; taking bookworm's own Mesa, which is slower"
        fi
        ;;
    esac
    apt install -y "$@"
}

# Asks, then installs; leaves the script when that is refused.
require() {
    reason=$1
    shift
    if ! have apt-get; then
        say "$reason. Install it with this system's package manager, for example:"
        say '    Fedora: sudo dnf install gcc vulkan-loader mesa-vulkan-drivers    Arch: sudo pacman -S gcc vulkan-icd-loader vulkan-swrast'
        exit 2
    fi
    case " $* " in
    *' mesa-vulkan-drivers '*) on_bookworm && backports=1 || backports=0 ;;
    *) backports=0 ;;
    esac
    if [ "$backports" = 1 ]; then
        agreed "$reason" "echo '$(backports_line)' | sudo tee $backports_list" 'sudo apt-get update' \
            "sudo apt-get install -t bookworm-backports $*" || exit 2
    else
        agreed "$reason" 'sudo apt-get update' "sudo apt-get install $*" || exit 2
    fi
    install "$@" || { say 'the installation failed'; return 1; }
}

# ------------------------------------------------------------------------------------------------------------ Vulkan

has_gpu_node() { for node in /dev/dri/* /dev/nvidia*; do [ -e "$node" ] && return 0; done; return 1; }

has_loader() {
    PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1' ||
        first_file /usr/lib/libvulkan.so.1 /usr/lib64/libvulkan.so.1 /usr/lib/*/libvulkan.so.1 >/dev/null
}

user_chose_driver() { [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ]; }

any_driver() {
    user_chose_driver || first_file /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json \
        /usr/local/share/vulkan/icd.d/*.json "$HOME"/.local/share/vulkan/icd.d/*.json >/dev/null
}

# lavapipe, Mesa's driver for machines without a GPU.
software_driver() {
    share=/usr/share/vulkan/icd.d
    first_file "$share/lvp_icd.$(uname -m).json" $share/lvp_icd.json $share/lvp_icd*.json /etc/vulkan/icd.d/lvp_icd*.json
}

has_vulkan() {
    has_loader || return 1
    if has_gpu_node || user_chose_driver; then any_driver; else software_driver >/dev/null; fi
}

# On Linux a Vulkan driver, and a C linker for cargo. Everywhere else the system has what is needed.
prepare_system() {
    is_linux || return 0
    have cc || require 'a C linker is missing' gcc libc6-dev || return 1
    has_vulkan || require 'a Vulkan driver is missing' libvulkan1 mesa-vulkan-drivers || return 1
    has_vulkan || { say 'there is still no Vulkan driver'; return 1; }
    if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
        XDG_RUNTIME_DIR=${TMPDIR:-/tmp}/hive-$(id -u)
        mkdir -p "$XDG_RUNTIME_DIR" && chmod 700 "$XDG_RUNTIME_DIR" && export XDG_RUNTIME_DIR
    fi
    if ! has_gpu_node && ! user_chose_driver; then
        use_driver "$(software_driver)"
        say "no GPU here: computing on the processor with $VK_DRIVER_FILES"
    fi
}

# Both names: loaders before 1.3.207 know the second only.
use_driver() { export VK_DRIVER_FILES="$1" VK_ICD_FILENAMES="$1"; }

# Only in tests: an old software driver that is there already may be replaced by the faster one.
offer_faster_driver() {
    { is_linux && on_bookworm && ! has_gpu_node; } || return 0
    installed=$(dpkg-query -W -f '${Version}' mesa-vulkan-drivers 2>/dev/null)
    case $installed in 22.*) ;; *) return 0 ;; esac
    agreed "Mesa $installed is slow; Mesa 25 is in bookworm-backports" "echo '$(backports_line)' | sudo tee $backports_list" \
        'sudo apt-get update' 'sudo apt-get install -t bookworm-backports mesa-vulkan-drivers' || return 0
    apt_update
    install_backported mesa-vulkan-drivers || say "bookworm-backports did not work; staying with Mesa $installed"
}
