"""Opens a Glovebox envelope as proto/README.md describes it, with public packages alone.

    python read.py ENVELOPE --id RECIPIENT --hpke-key KEY.pem [--proto FOLDER]

Prints the samples as JSON Lines, as `glovebox-recipient open --json` does. It shares no code with the Rust reader.
"""

import argparse
import hashlib
import importlib.util
import json
import math
import pathlib
import struct
import sys
import tempfile

import zstandard
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from google.protobuf.message import DecodeError
from grpc_tools import protoc
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey, PyHPKEError

FORMAT_VERSION = 1
ENVELOPE_BYTES_MAX = 256 * 1024
MESSAGE_BYTES_MAX = 32 * 1024 * 1024
SAMPLES_MAX = 1 << 20
SUITE_IDS = struct.pack(">HHH", 0x0020, 0x0001, 0x0003)
MASK = (1 << 64) - 1


class Refused(Exception):
    """The envelope is not what the format says."""


def load_messages(folder):
    """The two .proto files as Python modules."""
    with tempfile.TemporaryDirectory() as out:
        files = ["glovebox/v1/envelope.proto", "glovebox/v1/batch.proto"]
        if protoc.main(["protoc", f"-I{folder}", f"--python_out={out}", *files]) != 0:
            raise SystemExit(f"cannot compile {files} in {folder}")
        modules = []
        for file in files:
            path = pathlib.Path(out, file.replace(".proto", "_pb2.py"))
            spec = importlib.util.spec_from_file_location(path.stem, path)
            modules.append(importlib.util.module_from_spec(spec))
            spec.loader.exec_module(modules[-1])
        return modules


def lp(*parts):
    """Each part with its length as 4 bytes, big-endian, before it."""
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def need(truth, why):
    if not truth:
        raise Refused(why)


def padme(length):
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    kept = exponent.bit_length()
    mask = (1 << (exponent - kept)) - 1
    return (length + mask) & ~mask


# Envelope


def open_envelope(pb, payload, recipient, private):
    """Header and message of a payload, after every check of the format."""
    need(len(payload) <= ENVELOPE_BYTES_MAX, "the envelope is too large")
    envelope = pb.Envelope.FromString(payload)
    need(envelope.SerializeToString(deterministic=True) == payload, "not the canonical encoding of an envelope")
    need(len(envelope.encapsulated_key) == 32 and len(envelope.signature) == 64, "a field has the wrong length")
    header = pb.Header.FromString(envelope.header)
    need(header.format_version == FORMAT_VERSION, f"format version {header.format_version}")
    need(header.suite == pb.SUITE_X25519_SHA256_CHACHA20POLY1305, f"suite {header.suite}")
    need(header.kind in (pb.KIND_BATCH, pb.KIND_NOTICE), f"kind {header.kind}")
    need(header.sequence > 0, "sequence 0")
    need(len(header.alias_public_key) == 32, "the alias public key has the wrong length")

    signed = lp(b"glovebox/v1/envelope", envelope.header, envelope.encapsulated_key, envelope.ciphertext)
    try:
        Ed25519PublicKey.from_public_bytes(header.alias_public_key).verify(envelope.signature, signed)
    except (InvalidSignature, ValueError):
        raise Refused("the signature does not verify") from None

    public = private.public_key().public_bytes_raw()
    key_id = hashlib.sha256(lp(b"glovebox/v1/hpke-key", SUITE_IDS, public)).digest()
    need(header.recipient_key_id == key_id, f"sealed to another key, {header.recipient_key_id.hex()}")
    version = struct.pack(">I", FORMAT_VERSION)
    info = lp(b"glovebox/v1/hpke-info", version, SUITE_IDS, recipient.encode(), key_id)
    suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305)
    try:
        key = KEMKey.from_pyca_cryptography_key(private)
        context = suite.create_recipient_context(envelope.encapsulated_key, key, info=info)
        body = context.open(envelope.ciphertext, aad=envelope.header)
    except PyHPKEError:
        raise Refused("the seal does not open") from None
    return header, unpack(body)


def unpack(body):
    """Length, one zstd frame, zeros up to the Padmé length."""
    need(len(body) >= 4, "the body is too short")
    (length,) = struct.unpack("<I", body[:4])
    need(4 + length <= len(body), "the frame is longer than the body")
    need(len(body) == padme(4 + length), "not a Padmé length")
    need(not any(body[4 + length :]), "the padding is not zero")
    frame = zstandard.ZstdDecompressor(max_window_size=MESSAGE_BYTES_MAX).decompressobj()
    chunks, size = [], 0
    # In small pieces, so that a frame that expands too far is noticed early.
    for at in range(4, 4 + length, 1024):
        chunks.append(frame.decompress(body[at : min(at + 1024, 4 + length)]))
        size += len(chunks[-1])
        need(size <= MESSAGE_BYTES_MAX, "the message is too large")
    need(frame.eof and not frame.unused_data, "not one whole zstd frame")
    return b"".join(chunks)


# Columns


def varints(data):
    """Shortest form only, at most 64 bits."""
    value, shift = 0, 0
    for byte in data:
        need(not (shift == 63 and byte > 1) and not (shift and byte == 0), "a varint is too long")
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value, shift = 0, 0
    need(shift == 0, "a varint is cut")


def signed(value):
    return value - (1 << 64) if value >> 63 else value


def un_zig_zag(value):
    return (value >> 1) ^ -(value & 1)


def decode_times(data, count):
    need(count <= SAMPLES_MAX, "too many samples")
    seconds = [un_zig_zag(value) for value in varints(data)]
    need(len(seconds) == count, f"{len(seconds)} times, not {count}")
    times, last, step = [], 0, 0
    for index, second in enumerate(seconds):
        step += second
        last = (last + step) & MASK
        times.append(signed(last))
        if index == 0:
            step = 0
    return times


def decode_states(pb, data, count):
    numbers = list(varints(data))
    need(len(numbers) % 2 == 0, "half a pair of states")
    states, index = {}, 0
    for gap, state in zip(numbers[::2], numbers[1::2]):
        need(gap > 0 or not states, "two states of one sample")
        index += gap
        need(index < count, "a state of a sample that is not there")
        need(state in pb.State.values() and state != pb.STATE_VALUE, f"state {state}")
        states[index] = state
    return states


def decode_raw(pb, kind, data, count):
    if kind in (pb.VALUE_TYPE_FLOAT32, pb.VALUE_TYPE_FLOAT64):
        form, width = ("f", 4) if kind == pb.VALUE_TYPE_FLOAT32 else ("d", 8)
        need(len(data) == count * width, "a column of floats has the wrong length")
        return list(struct.unpack(f"<{count}{form}", data))
    need(kind in (pb.VALUE_TYPE_UNSIGNED, pb.VALUE_TYPE_SIGNED, pb.VALUE_TYPE_BOOLEAN), f"value type {kind}")
    raw, last = [], 0
    for delta in varints(data):
        last = (last + un_zig_zag(delta)) & MASK
        raw.append(signed(last) if kind == pb.VALUE_TYPE_SIGNED else last)
    need(len(raw) == count, f"{len(raw)} values, not {count}")
    return raw


# Lines


def value_of(pb, signal, raw):
    if signal.type == pb.VALUE_TYPE_BOOLEAN:
        return raw != 0
    if what_of(signal) == "cell":
        return f"{raw:x}"
    if isinstance(raw, int) and signal.scale == 1.0 and signal.offset == 0.0:
        return raw
    value = float(raw) * signal.scale + signal.offset
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def what_of(signal):
    """What a value is, where it is no reading: a figure of a window, the cell of a place, an event."""
    ops = {transform.op: {it.name: it.value for it in transform.parameters} for transform in signal.transforms}
    if "threshold" in ops:
        return "event"
    if "geo_cell" in ops:
        return "cell"
    figure = ops.get("aggregate", {})
    return figure.get("bin", figure.get("functions"))


def label_of(signal, raw):
    names = {name.raw: name.name for name in signal.names}
    return names.get(raw) if isinstance(raw, int) else None


def seconds(time_us):
    sign = "-" if time_us < 0 else ""
    return f"{sign}{abs(time_us) // 1_000_000}.{abs(time_us) % 1_000_000:06}"


def alias_id(header):
    return hashlib.sha256(lp(b"glovebox/v1/alias", header.alias_public_key)).digest()[:16].hex()


def signal_fields(signal):
    """What left of a signal."""
    transforms = [{"op": it.op, "parameters": {one.name: one.value for one in it.parameters}} for it in signal.transforms]
    return {"path": signal.path, "unit": signal.unit, "transforms": transforms}


def notice_lines(pb, header, message):
    """The JSON line of a notice."""
    notice = pb.Notice.FromString(message)
    event = {"event": "notice", "alias": alias_id(header), "flow": f"{header.flow:016x}", "epoch": header.epoch}
    kind = pb.NoticeKind.Name(notice.kind).removeprefix("NOTICE_KIND_").lower()
    event |= {"seq": header.sequence, "kind": kind, "time_us": notice.time_us}
    yield json.dumps(event | {"request": notice.request_digest.hex(), "erasure_requested": notice.erasure_requested})


def lines(pb, header, message):
    """JSON Lines of a batch: its own, its losses, then column by column its samples."""
    batch = pb.Batch.FromString(message)
    need(batch.HasField("descriptor"), "the descriptor does not travel in this envelope")
    # Known fields by rising number, no maps: every protobuf library encodes it the same.
    digest = hashlib.sha256(batch.descriptor.SerializeToString(deterministic=True)).digest()
    need(digest == batch.descriptor_digest, "the descriptor does not have the digest that the batch names")
    signals = batch.descriptor.signals
    unit = {pb.TIME_UNIT_MILLISECOND: 1_000, pb.TIME_UNIT_MICROSECOND: 1}.get(batch.time_unit)
    need(unit is not None, f"time unit {batch.time_unit}")
    common = {"alias": alias_id(header), "flow": f"{header.flow:016x}"}

    clock = pb.ClockQuality.Name(batch.clock_quality).removeprefix("CLOCK_QUALITY_").lower()
    event = {"event": "batch", **common, "epoch": header.epoch, "seq": header.sequence, "clock": clock}
    event |= {"request": batch.descriptor.request_digest.hex(), "policy_version": batch.policy_version}
    event |= {"descriptor": batch.descriptor_digest.hex()}
    yield json.dumps(event | {"signals": [signal_fields(signal) for signal in signals]}, ensure_ascii=False)
    for loss in batch.losses:
        reason = pb.LossReason.Name(loss.reason).removeprefix("LOSS_REASON_").lower()
        paths = [signals[index].path for index in loss.signals]
        event = {"event": "loss", **common, "epoch": header.epoch, "seq": header.sequence, "reason": reason}
        event |= {"batches": loss.batches, "first": loss.first_sequence, "last": loss.last_sequence}
        # Of whole batches nobody knows how many.
        samples = loss.samples if loss.samples or not loss.batches else None
        yield json.dumps(event | {"samples": samples, "signals": paths}, ensure_ascii=False)

    times = [decode_times(column.deltas, column.count) for column in batch.times]
    need(sum(len(times[column.time]) for column in batch.columns) <= SAMPLES_MAX, "too many samples")
    for column in batch.columns:
        need(column.signal < len(signals), "a column of a signal that the descriptor lacks")
        signal, moments = signals[column.signal], times[column.time]
        states = decode_states(pb, column.states, len(moments))
        raws = iter(decode_raw(pb, signal.type, column.values, len(moments) - len(states)))
        for index, moment in enumerate(moments):
            state = states.get(index, pb.STATE_VALUE)
            if state == pb.STATE_ABSENT:
                continue
            raw = next(raws) if state == pb.STATE_VALUE else None
            rest = {
                **common,
                "epoch": header.epoch,
                "seq": header.sequence,
                "path": signal.path,
                **({"source": column.source_address} if column.HasField("source_address") else {}),
                **({"what": what_of(signal)} if what_of(signal) else {}),
                "value": None if raw is None else value_of(pb, signal, raw),
                "unit": signal.unit,
                "label": None if raw is None else label_of(signal, raw),
                "state": pb.State.Name(state).removeprefix("STATE_").lower(),
            }
            text = json.dumps(rest, ensure_ascii=False, separators=(",", ":"))
            yield f'{{"t":{seconds(batch.base_time_us + moment * unit)},{text[1:]}'


class Messages:
    """Both modules under one name."""

    def __init__(self, *modules):
        for module in modules:
            self.__dict__.update({name: value for name, value in vars(module).items() if not name.startswith("_")})


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("envelope", type=pathlib.Path)
    parser.add_argument("--id", required=True, help="recipient id")
    parser.add_argument("--hpke-key", required=True, type=pathlib.Path, help="X25519 private key, PEM")
    parser.add_argument("--proto", default=here.parents[1] / "proto", help="folder with glovebox/v1/*.proto")
    arguments = parser.parse_args()
    pb = Messages(*load_messages(arguments.proto))
    private = load_pem_private_key(arguments.hpke_key.read_bytes(), password=None)
    if not isinstance(private, X25519PrivateKey):
        parser.error(f"{arguments.hpke_key} holds no X25519 key")
    try:
        header, message = open_envelope(pb, arguments.envelope.read_bytes(), arguments.id, private)
        # All of it is checked before the first line is printed.
        of_kind = notice_lines if header.kind == pb.KIND_NOTICE else lines
        for line in list(of_kind(pb, header, message)):
            print(line)
    except (Refused, DecodeError, IndexError) as error:
        print(f"{arguments.envelope}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
