#!/usr/bin/env python3
"""A walker for `crosswalk replay FILE --walker cmd:docs/examples/walker.py`: 4-level and 5-level
paging, as the SDM has them. docs/guide/src/walker-protocol.md has what it reads and answers."""
import json
import sys

P, RW, US, PS, G, XD, ADDRESS = 1, 1 << 1, 1 << 2, 1 << 7, 1 << 8, 1 << 63, 0xF_FFFF_FFFF_F000
WP, AM, NXE, SMEP, SMAP, PKE, PKS = 1 << 16, 1 << 18, 1 << 11, 1 << 20, 1 << 21, 1 << 22, 1 << 24
LASS, LAM_SUP, LAM_USER, UAIE = 1 << 27, 1 << 28, 3 << 61, 1 << 20
CODE_P, CODE_W, CODE_U, CODE_RSVD, CODE_I, CODE_PK = 1, 2, 4, 8, 16, 32
LEVELS = {"4level": 4, "5level": 5}


def walk(case, address):
    """The physical address and None, or None and the error code of a page fault."""
    state, access, profile, pins = case.state, case.access, case.profile, case.profile.pins or {}
    entries = {entry.address: entry.value for entry in case.entries}
    user = access.ring == 3 and not access.implicit
    write, fetch = access.kind in ("write", "rmw"), access.kind == "fetch"
    by_smep = state.cr4 & SMEP and pins.get("smep_alone_reports_fetch", True)
    code = CODE_W * write | CODE_U * user | CODE_I * bool(fetch and (state.efer & NXE or by_smep))
    above = (1 << 52) - (1 << profile.max_physical_address)
    table, rights, disabled = state.cr3 & ADDRESS & ~above, RW | US, 0
    for level in range(LEVELS[case.mode], 0, -1):
        shift = 3 + 9 * level
        entry = entries.get(table + 8 * (address >> shift & 511), 0)
        large = level == 2 or level == 3 and "page_1gb" in profile.features
        leaf = level == 1 or large and entry & PS
        reserved = above | (0 if state.efer & NXE else XD)
        if level > 1:  # bit 12 of a large page is its PAT bit
            reserved |= (1 << shift) - (1 << 13) if leaf else PS
        if level > 3 and pins.get("global_in_pml4e_is_reserved", profile.vendor == "amd"):
            reserved |= G
        if not entry & P:
            return None, code
        if entry & reserved:
            return None, code | CODE_P | CODE_RSVD
        rights, disabled = rights & entry, disabled | entry & XD
        if leaf:
            break
        table = entry & ADDRESS
    users, obeys_wp = rights & US, user or state.cr0 & WP
    denied = user and not users or write and obeys_wp and not rights & RW or fetch and disabled
    if users and not user:
        excused = state.ac and not access.implicit
        denied = denied or state.cr4 & (SMEP if fetch else SMAP) and (fetch or not excused)
    if state.cr4 & (PKE if users else PKS) and not fetch:  # protection keys
        disable = (state.pkru if users else state.pkrs) >> 2 * (entry >> 59 & 15)
        if disable & 1 or disable & 2 and write and (state.cr0 & WP or users and user):
            denied, code = True, code | CODE_PK
    offset = (1 << shift) - 1
    return (None, code | CODE_P) if denied else (entry & ADDRESS & ~offset | address & offset, None)


def answer(case):
    """What a processor does with the case, as far as this program knows."""
    state, access, levels = case.state, case.access, LEVELS.get(case.mode)
    masked = state.cr4 & (LASS | LAM_SUP) or state.cr3 & LAM_USER or state.efer & UAIE
    if not levels or case.before or access.shadow_stack or masked:
        return {"silent": "only single accesses in long mode, without LAM, LASS and CET"}
    data = access.kind in ("read", "write", "rmw") and not access.implicit
    alignment = {2: 2, 4: 4, 6: 4, 8: 8}.get(access.size, 1)
    if state.cr0 & AM and state.ac and access.ring == 3 and data and access.address % alignment:
        return {"fault": {"vector": 17, "error_code": "0x0"}}
    # In compatibility mode an address has 32 bits, but not that of a descriptor.
    space = 1 << (32 if access.compatibility and not access.implicit else 64)
    first, last = access.address % space, (access.address + access.size - 1) % space
    canonical = (0, (1 << 53 - 9 * levels) - 1)  # the bits from 47 or 56 on, all the same
    if first >> 11 + 9 * levels not in canonical or last >> 11 + 9 * levels not in canonical:
        return {"fault": {"vector": 12 if access.segment == "stack" else 13, "error_code": "0x0"}}
    places = []
    for address in [first] if first >> 12 == last >> 12 else [first, last & ~0xFFF]:
        place, code = walk(case, address)
        if place is None:
            return {"fault": {"vector": 14, "error_code": hex(code), "cr2": hex(address)}}
        places.append(hex(place))
    return {"translated": dict(zip(["address", "second"], places))}


class Fields(dict):
    """A JSON object: hex strings are numbers, and a field that it lacks is None."""

    def __init__(self, fields):
        hexed = {k: v for k, v in fields.items() if isinstance(v, str) and v.startswith("0x")}
        super().__init__(fields, **{k: int(v, 16) for k, v in hexed.items()})

    __getattr__ = dict.get


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line, object_hook=Fields))), flush=True)
