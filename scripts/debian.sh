# Source this file. Collect missing packages in the array `needed`, then install them (Debian, as root) or print their names.

need_command() { command -v "$1" >/dev/null 2>&1 || needed+=("$2"); }

need_file() { [ -e "$1" ] || needed+=("$2"); }

need_header() { # asks the compiler for the header; without a compiler, looks in the usual folder
    if command -v gcc >/dev/null 2>&1; then
        echo "#include <$1>" | gcc -E -x c - >/dev/null 2>&1 || needed+=("$2")
    else
        [ -e "/usr/include/$1" ] || needed+=("$2")
    fi
}

try_again() { # runs a download, and twice more if it fails: registries are sometimes unavailable for seconds
    local pause
    for pause in 5 20; do
        "$@" && return 0
        sleep "$pause"
    done
    "$@"
}

install_debian_packages() { # $1: the consequence of missing packages
    [ ${#needed[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "$1: these Debian packages are missing: ${needed[*]} (as root: apt-get install ${needed[*]})" >&2
        return 1
    fi
    echo "installing Debian packages: ${needed[*]}"
    apt-get update -qq || true
    try_again env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${needed[@]}" >/dev/null
}
