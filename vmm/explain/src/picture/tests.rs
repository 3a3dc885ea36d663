//! Pictures of cases whose fields were worked out by hand from the manuals.

use super::*;

/// A case with this paging mode, CR4, entries and access.
fn picture(mode: &str, cr4: &str, entries: &str, access: &str) -> Picture {
    let efer = if mode.contains("level") { "0xd00" } else { "0x0" };
    let pdptes = r#","pdptes":["0x441001","0x0","0x0","0x0"]"#;
    let pdptes = if mode == "pae" { pdptes } else { "" };
    let text = format!(
        r#"{{"mode":"{mode}","state":{{"cr0":"0x80010011","cr3":"0x440000","cr4":"{cr4}","efer":"{efer}"{pdptes}}},
            "entries":[{entries}],"access":{access}}}"#
    );
    let case = Case::from_json(&text).expect("a case");
    Picture::new(&case, WalkerSpec::Reference, &WalkerSpec::Reference.walker().predict(&case))
}

/// The fields of a word, as `name high:low=value`, without the bits that are ignored.
fn fields(word: &Word) -> Vec<String> {
    let shown = word.fields.iter().filter(|field| field.kind != FieldKind::Ignored);
    shown
        .map(|Field { name, high, low, value, .. }| format!("{name} {high}:{low}={:#x}", value.0))
        .collect()
}

const WRITE: &str = r#"{"kind":"write","address":"0x18140e44018","size":8,"ring":0}"#;
const TO_LARGE_PAGE: &str = r#"{"address":"0x440018","value":"0x441007"},{"address":"0x441028","value":"0x443007"},
    {"address":"0x443038","value":"0x40000085"}"#;

/// SDM table "Format of a Page-Directory Entry that Maps a 2-MByte Page": bits 20:13 are reserved, and without a
/// profile MAXPHYADDR is 48.
#[test]
fn a_large_page_has_the_fields_of_the_manual() {
    let picture = picture("4level", "0x620", TO_LARGE_PAGE, WRITE);
    let [walk] = &picture.walks[..] else { panic!("one page") };
    let pde = &walk.entries[2];

    assert_eq!(
        fields(&pde.word),
        [
            "XD 63:63=0x0",
            "reserved 51:48=0x0",
            "address 47:21=0x200",
            "reserved 20:13=0x0",
            "PAT 12:12=0x0",
            "G 8:8=0x0",
            "PS 7:7=0x1",
            "D 6:6=0x0",
            "A 5:5=0x0",
            "PCD 4:4=0x0",
            "PWT 3:3=0x0",
            "U/S 2:2=0x1",
            "R/W 1:1=0x0",
            "P 0:0=0x1"
        ]
    );
    assert_eq!(
        (pde.table.0, pde.index, pde.entries, pde.page_bytes),
        (0x44_3000, 7, 512, Some(2 << 20))
    );
    let lost: Vec<_> =
        pde.rights.iter().filter(|right| right.lost).map(|right| right.name).collect();
    assert_eq!(lost, ["write"]);
    assert_eq!((walk.end.kind, walk.end.page.map(|page| page.0)), ("denied", Some(0x4000_0000)));

    // A write, and every entry is present.
    let code = picture.error_codes[0].as_ref().expect("a page fault");
    let set: Vec<_> = code.fields.iter().filter(|field| field.value.0 == 1).collect();
    assert_eq!(set.iter().map(|field| &field.name[..]).collect::<Vec<_>>(), ["W/R", "P"]);
}

/// SDM figure "Formats of CR3 and Paging-Structure Entries with 32-Bit Paging": with PSE-36, which any vendor may have,
/// bits 20:13 are bits 39:32 of the address.
#[test]
fn a_4_mib_page_has_its_address_in_two_pieces() {
    let entries = r#"{"address":"0x440004","value":"0x00c060e7"}"#;
    let access = r#"{"kind":"read","address":"0x400123","size":1,"ring":3}"#;
    let picture = picture("32bit", "0x10", entries, access);
    let pde = &picture.walks[0].entries[0];
    let shown = fields(&pde.word);
    assert_eq!(pde.word.width, 32);
    assert_eq!(shown[..3], ["address 31:22=0x3", "reserved 21:21=0x0", "address 20:13=0x3"]);
    assert_eq!(picture.walks[0].end.physical.map(|at| at.0), Some(0x3_00c0_0123));
}

/// SDM "PDPTE Registers": PAE's PDPTEs have P, PWT and PCD, no rights and neither A nor D, and are read from registers.
#[test]
fn a_pdpte_of_pae_is_read_from_a_register() {
    let entries = r#"{"address":"0x441000","value":"0x0"}"#;
    let access = r#"{"kind":"read","address":"0x123","size":1,"ring":3}"#;
    let state = picture("pae", "0x20", entries, access);
    let [pdpte, pde] = &state.walks[0].entries[..] else { panic!("{state:?}") };
    let names: Vec<_> = pdpte.word.fields.iter().filter(|f| f.kind == FieldKind::Flag).collect();
    assert_eq!(names.iter().map(|field| &field.name[..]).collect::<Vec<_>>(), ["PCD", "PWT", "P"]);
    assert!(pdpte.in_register && !pde.in_register);
    assert_eq!((pdpte.entries, pde.problem), (4, Some("not present")));

    // No bit but P counts in an entry that is not present.
    assert!(pde.word.fields.iter().all(|field| field.is_wrong == (field.name == "P")));
    assert!(pde.word.fields.iter().all(|field| field.meaning.is_empty() || field.name == "P"));
}

/// Fields are all bits of a word once, from the highest to the lowest, whatever it is.
#[test]
fn the_fields_of_a_word_are_all_of_its_bits() {
    let keys = picture("4level", "0x1400620", TO_LARGE_PAGE, WRITE);
    let walked = keys.walks.iter().flat_map(|walk| &walk.entries).map(|entry| &entry.word);
    let words: Vec<_> = keys.registers.iter().chain(walked).collect();
    let names: Vec<_> = words.iter().map(|word| &word.name[..]).collect();
    assert_eq!(names, ["CR0", "CR3", "CR4", "EFER", "PKRU", "PKRS", "PML4E", "PDPTE", "PDE"]);

    for word in words {
        let mut next = i16::from(word.width) - 1;
        let mut value = 0;
        for field in &word.fields {
            assert_eq!(i16::from(field.high), next, "{word:?}");
            next = i16::from(field.low) - 1;
            value |= field.value.0 << field.low;
        }
        assert_eq!((next, value), (-1, word.value.0), "{word:?}");
    }
}

/// Without paging the linear address is the physical one; without a canonical address nothing is walked.
#[test]
fn what_has_no_tables_has_no_entries() {
    let access = r#"{"kind":"read","address":"0x12345","size":1,"ring":0}"#;
    let text = format!(
        r#"{{"mode":"unpaged","state":{{"cr0":"0x11","cr3":"0x0","cr4":"0x0","efer":"0x0"}},"entries":[],"access":{access}}}"#
    );
    let case = Case::from_json(&text).unwrap();
    let unpaged =
        Picture::new(&case, WalkerSpec::Reference, &WalkerSpec::Reference.walker().predict(&case));
    let [walk] = &unpaged.walks[..] else { panic!("{unpaged:?}") };
    assert_eq!((walk.entries.len(), walk.end.kind), (0, "reached"));
    assert_eq!(walk.end.physical.map(|at| at.0), Some(0x12345));

    let access = r#"{"kind":"read","address":"0x8000000000000000","size":1,"ring":0}"#;
    let outside = picture("4level", "0x620", "", access);
    let [walk] = &outside.walks[..] else { panic!("{outside:?}") };
    assert_eq!((walk.entries.len(), walk.end.kind, walk.end.physical.is_none()), (0, "none", true));
    assert!(outside.error_codes.iter().all(Option::is_none), "#GP(0)");
}
