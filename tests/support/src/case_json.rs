//! A plain case in its JSON form, for tests that change some of its fields.

use serde_json::{Value, json};

/// A user's read of 8 bytes from a 4 KiB page that allows everything. The linear address is
/// 0x8080604128: indexes 1, 2, 3 and 4 from the root down, offset 0x128.
pub fn plain() -> Value {
    json!({
        "mode": "4level",
        "state": {"cr0": "0x80010011", "cr3": "0x440000", "cr4": "0x620", "efer": "0xd00"},
        "entries": [
            {"address": "0x440008", "value": "0x441007"},
            {"address": "0x441010", "value": "0x442007"},
            {"address": "0x442018", "value": "0x443007"},
            {"address": "0x443020", "value": "0x40044007"},
        ],
        "access": {"kind": "read", "address": "0x8080604128", "size": 8, "ring": 3},
        "profile": {
            "vendor": "intel",
            "max_physical_address": 48,
            "features": ["nx", "page_1gb", "pge", "smep", "smap", "pku"],
        },
    })
}

/// The plain case with other values at some places, which are JSON pointers; `-` as an index appends
/// to a list.
#[track_caller]
pub fn with<const N: usize>(changes: [(&str, Value); N]) -> Value {
    let mut case = plain();
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').expect("a JSON pointer");
        let parent = case.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent} in a case"));
        match parent {
            Value::Array(list) if name == "-" => list.push(value),
            Value::Array(list) => list[name.parse::<usize>().expect("an index")] = value,
            parent => parent[name] = value,
        }
    }
    case
}

/// A read by ring 3 of a 32-bit guest, whose one page of 4 MiB the second level maps in parts: the PTE of the page that
/// is read has bit 51, above a MAXPHYADDR of 48.
pub fn nested() -> Value {
    json!({
        "guest": {"mode": "32bit", "cr0": "0x80010011", "cr3": "0x1000", "cr4": "0x10", "efer": "0x1000"},
        "npt": {"mode": "4level", "cr0": "0x80010011", "cr3": "0x4f6000", "cr4": "0x20", "efer": "0x1d00"},
        "guest_entries": [{"address": "0x556000", "value": "0x87"}],
        "nested_entries": [
            {"address": "0x4f6000", "value": "0x4f7007"},
            {"address": "0x4f7000", "value": "0x550007"},
            {"address": "0x550000", "value": "0x551007"},
            {"address": "0x551008", "value": "0x556007"},
            {"address": "0x551010", "value": "0x5e0007"},
            {"address": "0x551018", "value": "0x8000040679007"},
        ],
        "code": "0x2000",
        "access": {"kind": "read", "address": "0x3170", "size": 4, "ring": 3},
    })
}
