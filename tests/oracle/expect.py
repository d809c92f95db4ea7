#!/usr/bin/env python3
"""What each recipient of a replayed drive must have opened: computed from the log, the DBC files and the grants.

It shares no code with the agent: cantools takes the frames apart, and the transforms are written here a second
time, from the words of the design, in exact decimals.

    expect.py PLAN.json > EXPECTED.jsonl

PLAN.json:
    {"log": "drive.log.gz",
     "buses": {"can0": ["car.dbc"], "can1": ["radar.dbc"]},          # bus name = interface in the log
     "recipients": {"shop": {"microseconds": false,
                             "signals": {"CAN.can0.MSG.SIG": [{"op": "rate", "min_interval_ms": 100}], …}}}}

A line per sample, in the order of emission of each recipient:
    {"recipient": "shop", "signal": "CAN.can0.MSG.SIG", "time_us": 46408584000, "state": "value", "value": 1.5}
`state` is `value` or `out_of_range` (then there is no `value`). The last line is a summary to stderr.
"""

import gzip
import json
import sys
from decimal import Decimal, getcontext

import cantools

getcontext().prec = 60  # more than 64 bits of raw value times any factor of a DBC need


def frames(path):
    """Yields (stamp in µs, interface, id, extended, data) for each data frame of a candump -L log."""
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt", encoding="ascii") as lines:
        for line in lines:
            parts = line.split()
            if len(parts) < 3 or "#" not in parts[2] or "##" in parts[2]:
                continue
            seconds, micros = parts[0].strip("()").split(".")
            identifier, data = parts[2].split("#")
            if data.startswith("R"):
                continue
            stamp = int(seconds) * 1_000_000 + int(micros.ljust(6, "0")[:6])
            yield stamp, parts[1], int(identifier, 16), len(identifier) > 3, bytes.fromhex(data)


class Signal:
    """One granted signal of one recipient, with the state that its transforms keep."""

    def __init__(self, recipient, path, definition, transforms, microseconds):
        self.recipient, self.path, self.definition = recipient, path, definition
        self.microseconds = microseconds
        self.scale = Decimal(repr(definition.conversion.scale))
        self.offset = Decimal(repr(definition.conversion.offset))
        self.low, self.high = definition.minimum, definition.maximum
        unknown = {t["op"] for t in transforms} - {
            "quantise", "rate", "on_change", "time_bucket", "threshold", "aggregate"}
        if unknown:
            sys.exit(f"{path}: no idea what {unknown} does")
        by_op = {t["op"]: t for t in transforms}
        self.quantise, self.rate, self.on_change = (by_op.get(op) for op in ("quantise", "rate", "on_change"))
        self.time_bucket, self.threshold, self.aggregate = (
            by_op.get(op) for op in ("time_bucket", "threshold", "aggregate"))
        self.last = None  # (stamp, exact value or None) of the last one emitted
        self.armed = False  # the value was on the other side of the threshold
        self.window = None  # (begin, values in doubles, or exact for a histogram) of the open window

    def reading(self, raw):
        """(state, exact value, value in doubles) of a raw value, made coarse."""
        if isinstance(raw, float):
            exact, double = Decimal(raw), raw
        else:
            exact = raw * self.scale + self.offset
            double = float(raw) * float(self.scale) + float(self.offset)
        if self.low is not None and self.high is not None and self.low < self.high:
            outside = not (Decimal(repr(self.low)) <= exact <= Decimal(repr(self.high)))
            if outside != (not (self.low <= double <= self.high)):
                sys.exit(f"{self.path}: raw {raw} lies on the edge of its range; choose another signal")
            if outside:
                return "out_of_range", None, None
        return "value", exact, double

    def coarse(self, exact, double):
        if not self.quantise:
            return exact, double
        step = Decimal(str(self.quantise["step"]))
        offset = Decimal(str(self.quantise.get("offset", 0)))
        cell = ((exact - offset) / step).to_integral_value(rounding="ROUND_FLOOR")
        return cell * step + offset, float(int(cell)) * float(step) + float(offset)

    def crosses(self, exact):
        level, back = (Decimal(str(self.threshold.get(name, 0))) for name in ("value", "hysteresis"))
        sign = 1 if self.threshold["when"] == "above" else -1
        above = sign * (exact - level)
        event = self.armed and above > 0
        if above > 0:
            self.armed = False
        elif above <= -back:
            self.armed = True
        return event

    def close(self, now):
        """The lines of a window that is over by now."""
        if self.window is None:
            return
        begin, values = self.window
        if now < begin + self.aggregate["window_s"] * 1_000_000:
            return
        self.window = None
        if len(values) < self.aggregate.get("min_samples", 1):
            return
        (function,) = self.aggregate["functions"]
        if function == "histogram":
            yield from self.bins(begin, values)
            return
        figure = {"min": min, "max": max, "count": len, "last": lambda v: v[-1], "sum": lambda v: sum(v, 0.0),
                  "mean": lambda v: sum(v, 0.0) / len(v)}[function](values)
        yield from self.decide(begin, "value", Decimal(repr(float(figure))), float(figure))

    def bins(self, begin, values):
        """A line for each bin: how many values lay in it."""
        edges = self.aggregate["edges"]
        bounds = list(zip([None, *edges], [*edges, None]))
        for low, high in bounds:
            name = f"below {high}" if low is None else f"from {low}" if high is None else f"{low} to {high}"
            count = sum((low is None or low <= value) and (high is None or value < high) for value in values)
            shown = begin if self.microseconds else begin // 1000 * 1000
            yield {"recipient": self.recipient, "signal": f"{self.path} {name}", "time_us": shown,
                   "state": "value", "value": count}

    def emits(self, stamp, exact):
        """Whether the reduced reading goes out: rate first, then the dead band, both against the last one emitted."""
        if self.last is None:
            return True
        last_stamp, last = self.last
        passed = stamp - last_stamp
        if self.rate and passed < self.rate["min_interval_ms"] * 1000:
            return False
        if not self.on_change:
            return True
        repeat = self.on_change.get("max_interval_ms")
        if repeat is not None and passed >= repeat * 1000:
            return True
        if exact is None or last is None:
            return (exact is None) != (last is None)
        band = Decimal(str(self.on_change.get("min_delta", 0)))
        return exact != last if band == 0 else abs(exact - last) >= band

    def take(self, stamp, raw):
        """The lines that a raw value leads to."""
        state, exact, double = self.reading(raw)
        if self.aggregate is None:
            yield from self.decide(stamp, state, exact, double)
        elif state == "value":
            yield from self.close(stamp)
            length = self.aggregate["window_s"] * 1_000_000
            if self.window is None:
                self.window = (stamp // length * length, [])
            counts = self.aggregate["functions"] == ["histogram"]
            self.window[1].append(exact if counts else double)

    def decide(self, stamp, state, exact, double):
        if state == "value":
            exact, double = self.coarse(exact, double)
        if self.time_bucket:
            length = self.time_bucket["granularity_s"] * 1_000_000
            stamp = stamp // length * length
        if self.threshold:
            if state != "value" or not self.crosses(exact):
                return
            exact, double = Decimal(1), 1.0
        if not self.emits(stamp, exact):
            return
        self.last = (stamp, exact)
        shown = stamp if self.microseconds else stamp // 1000 * 1000
        line = {"recipient": self.recipient, "signal": self.path, "time_us": shown, "state": state}
        if state == "value":
            line["value"] = int(double) if double.is_integer() and abs(double) < 2**53 else double
        yield line


def compile_plan(plan):
    """(interface, id, extended) -> (message, its wanted signals), and the paths that no database has."""
    table, found = {}, set()
    for bus, paths in plan["buses"].items():
        for path in paths:
            database = cantools.database.load_file(path, strict=False)
            for message in database.messages:
                wanted = []
                for name, recipient in plan["recipients"].items():
                    for signal in message.signals:
                        full = f"CAN.{bus}.{message.name}.{signal.name}"
                        if full in recipient["signals"]:
                            found.add((name, full))
                            wanted.append(Signal(name, full, signal, recipient["signals"][full],
                                                 recipient.get("microseconds", False)))
                if wanted:
                    table[bus, message.frame_id, message.is_extended_frame] = (message, wanted)
    asked = {(name, path) for name, r in plan["recipients"].items() for path in r["signals"]}
    if asked - found:
        sys.exit(f"in no database: {sorted(asked - found)}")
    return table


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        plan = json.load(file)
    table, counts, last = compile_plan(plan), {}, 0

    def tell(signal, lines):
        for line in lines:
            counts[signal.recipient] = counts.get(signal.recipient, 0) + 1
            print(json.dumps(line))

    for stamp, interface, identifier, extended, data in frames(plan["log"]):
        last = max(last, stamp) if interface in plan["buses"] else last
        entry = table.get((interface, identifier, extended))
        if entry is None:
            continue
        message, wanted = entry
        raw = message.decode(data[: message.length], decode_choices=False, scaling=False, allow_truncated=True)
        for signal in wanted:
            if signal.definition.name in raw:
                tell(signal, signal.take(stamp, raw[signal.definition.name]))
    # The last frame of all says which windows are over.
    for _, wanted in table.values():
        for signal in wanted:
            tell(signal, signal.close(last))
    print(" ".join(f"{name}={count}" for name, count in sorted(counts.items())), file=sys.stderr)


if __name__ == "__main__":
    main()
