# Sourced by tests/vcan and tests/systemd-boot: a kernel that runs as an ordinary process, Debian's user-mode-linux.
# The package is unpacked into target/uml, never installed. `uml_kernel` sets
#   uml           the command that boots it, without its arguments
#   uml_folder    what `modprobe -d` wants: lib/modules is in it
#   uml_tunables  a value of GLIBC_TUNABLES that programs in it should have, perhaps empty
# shellcheck shell=bash

uml_fail() { echo "${0##*/}: $*" >&2; exit 125; }

uml_need() { # COMMAND PACKAGE
  command -v "$1" >/dev/null || uml_fail "$1 is missing: apt-get install $2"
}

uml_kernel() { # ROOT-OF-THE-REPOSITORY
  uml_folder=$1/target/uml/kernel uml_tunables=
  uml_need apt-get apt; uml_need dpkg-deb dpkg; uml_need flock util-linux
  [ "$(dpkg --print-architecture)" = amd64 ] || uml_fail "this kernel has no vcan, and user-mode-linux is only for amd64"
  mkdir -p "$1/target/uml"
  if [ ! -e "$uml_folder" ]; then
    ( flock 9; [ -e "$uml_folder" ] || uml_unpack "$1/target/uml" ) 9>"$1/target/uml/lock" || exit 125
  fi
  uml=("$uml_folder/usr/bin/linux.uml")
  local version; version=$(ls "$uml_folder/lib/modules")
  # Faults of UML that 6.13 mended: too few registers on a CPU with AMX (see xstate.c), and no AVX-512 register is
  # kept around a signal handler; glibc's string functions can be kept off those.
  printf '%s\n' 6.13 "$version" | sort -CV && return
  uml_tunables=glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512CD,-AVX512DQ
  grep -qw amx_tile /proc/cpuinfo || return 0
  local shim=$uml_folder/xstate.so
  if [ "$1/tests/uml/xstate.c" -nt "$shim" ]; then
    uml_need gcc 'gcc libc6-dev'
    gcc -O2 -shared -fPIC -o "$shim.$$" "$1/tests/uml/xstate.c" -ldl && mv "$shim.$$" "$shim" || uml_fail "cannot build $shim"
  fi
  uml=(env "LD_PRELOAD=$shim" "${uml[@]}")
}

uml_unpack() { # FOLDER
  local new; new=$(mktemp -d "$1/new.XXXX") && chmod 755 "$new"
  ( cd "$new" && { apt-get download user-mode-linux || { apt-get update && apt-get download user-mode-linux; }; } &&
    dpkg-deb -x user-mode-linux_*.deb . && rm user-mode-linux_*.deb && mkdir lib && ln -s ../usr/lib/uml/modules lib/modules
  ) >"$1/apt.log" 2>&1 && mv "$new" "$1/kernel" && return
  cat "$1/apt.log" >&2; rm -rf "$new"
  uml_fail "the Debian package user-mode-linux could not be fetched (apt-get download user-mode-linux)"
}
