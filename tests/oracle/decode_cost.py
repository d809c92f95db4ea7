#!/usr/bin/env python3
"""What cantools takes to decode the bench stream: all signals of each frame, to numbers.

    decode_cost.py FOLDER [ROUNDS]      FOLDER is shared/data/bench, 5 rounds if not given

A frame's message is looked up before the clock starts, and value tables are left out: only `decode` is measured.
Prints four numbers: frames, signals, and nanoseconds a frame, best and median of the rounds.
"""

import gzip
import os
import sys
import time

import cantools

DATABASES = {"can0": "rav4_toyota_new_mc_pt_generated.dbc", "can1": "rav4_toyota_adas.dbc"}


def stream(folder):
    """A list of (decode of the frame's message, data)."""
    # Not strict: signals of PCS_HUD overlap.
    buses = {
        bus: cantools.database.load_file(os.path.join(folder, file), strict=False) for bus, file in DATABASES.items()
    }
    known = {(bus, message.frame_id): message.decode for bus, database in buses.items() for message in database.messages}
    calls = []
    with gzip.open(os.path.join(folder, "rav4_once.log.gz"), "rt", encoding="ascii") as lines:
        for line in lines:
            _, bus, frame = line.split()
            identifier, data = frame.split("#")
            calls.append((known[bus, int(identifier, 16)], bytes.fromhex(data)))
    return calls


def main():
    folder, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    calls = stream(folder)
    signals = sum(len(decode(data, decode_choices=False)) for decode, data in calls)
    times = []
    for _ in range(rounds):
        begin = time.perf_counter_ns()
        for decode, data in calls:
            decode(data, decode_choices=False)
        times.append((time.perf_counter_ns() - begin) / len(calls))
    times.sort()
    print(len(calls), signals, f"{times[0]:.1f} {times[len(times) // 2]:.1f}")


if __name__ == "__main__":
    main()
