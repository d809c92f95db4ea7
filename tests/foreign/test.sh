#!/bin/sh
# Opens the published vector, and any other envelope, with the Python reader, and compares with what Rust prints.
#
#   tests/foreign/test.sh                                     the vector against proto/vectors/v1-batch.jsonl
#   tests/foreign/test.sh ENVELOPE KEY.pem [RECIPIENT [RUST]] also that envelope; RUST: a glovebox-recipient binary
#
# GLOVEBOX_VENV keeps the Python environment between runs. Exits 0 if all is equal, 1 if not, 77 without Python.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
vectors=$here/../../proto/vectors
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 077

skip() {
    echo "foreign: skipped, $1"
    [ -z "${CI:-}" ] || exit 1
    exit 77
}

command -v python3 >/dev/null || skip "python3 is not installed"
venv=${GLOVEBOX_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv" 2>"$work/log" || skip "python3 has no venv module"
if ! cmp -s "$here/requirements.txt" "$venv/.installed"; then
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-input -r "$here/requirements.txt" \
        >"$work/log" 2>&1 || { tail -5 "$work/log"; skip "the packages cannot be installed"; }
    cp "$here/requirements.txt" "$venv/.installed"
fi

read_envelope() { "$venv/bin/python" "$here/read.py" "$1" --id "$2" --hpke-key "$3"; }
# Same numbers, whatever way they are written.
equal() {
    "$venv/bin/python" - "$1" "$2" <<'PYTHON'
import json, sys
one, two = ([json.loads(line) for line in open(name, encoding="utf-8")] for name in sys.argv[1:])
for number, (a, b) in enumerate(zip(one, two), 1):
    if a != b:
        sys.exit(f"line {number} differs:\n  {a}\n  {b}")
if len(one) != len(two) or not one:
    sys.exit(f"{len(one)} and {len(two)} lines")
print(f"foreign: {len(one)} lines equal")
PYTHON
}

"$venv/bin/python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["hpke_private_key_pem"], end="")' \
    "$vectors/v1-batch.json" >"$work/vector.key"
read_envelope "$vectors/v1-batch.envelope.bin" acme "$work/vector.key" >"$work/vector.jsonl"
equal "$work/vector.jsonl" "$vectors/v1-batch.jsonl"

# A changed byte anywhere in the ciphertext must not open.
"$venv/bin/python" -c '
import sys
data = bytearray(open(sys.argv[1], "rb").read()); data[300] ^= 1; open(sys.argv[2], "wb").write(data)' \
    "$vectors/v1-batch.envelope.bin" "$work/changed"
if read_envelope "$work/changed" acme "$work/vector.key" 2>/dev/null; then
    echo "foreign: a changed envelope opened"
    exit 1
fi

[ $# -ge 2 ] || exit 0
read_envelope "$1" "${3:-acme}" "$2" >"$work/python.jsonl"
echo "foreign: $(wc -l <"$work/python.jsonl") lines from $1"
[ $# -ge 4 ] || exit 0
"$4" open "$1" --id "$3" --hpke-key "$2" --json >"$work/rust.jsonl"
equal "$work/python.jsonl" "$work/rust.jsonl"
