//! The tests that come with the program.

use crate::shoot_down;
use crate::test::Litmus;

macro_rules! catalogue {
    ($($name:literal)+) => {
        &[$(($name, include_str!(concat!("../catalogue/", $name, ".litmus")))),+]
    };
}

/// Every test with its name, as text: first those of one processor.
pub const TESTS: &[(&str, &str)] = catalogue! {
    "remap"
    "remap-invlpg"
    "remap-invlpg-other"
    "remap-cr3"
    "remap-global-cr3"
    "remap-global-pge"
    "remap-global-invlpg"
    "unmap"
    "unmap-invlpg"
    "map"
    "grant-write"
    "grant-write-amd"
    "grant-write-twice"
    "revoke-write"
    "revoke-write-invlpg"
    "dirty"
    "dirty-after-read"
    "dirty-again"
    "accessed"
    "accessed-again"
    "remap-pde"
    "remap-pde-invlpg"
    "remap-pde-cr3"
    "remap-pde-invlpg-other"
    "remap-pde-invlpg-other-cold"
    "sibling"
    "tce"
    "tce-own-path"
    "upgrade"
    "upgrade-invlpg"
    "split"
    "split-invlpg"
    "table-re-used"
    "pdpte"
    "pdpte-pae"
    "unmap-read-twice"
    "execute-granted"
    "fetch-after-map"
    "fetch-after-map-fence"
    "self-map"
    "self-map-invlpg"
    "alias"
    "alias-dirty"
    "two-addresses"
    "two-addresses-invlpg"
    "pcid-keep"
    "pcid-flush"
    "pcid-other"
    "pcid-other-root"
    "pcid-global"
    "invpcid-address"
    "invpcid-all"
    "invpcid-but-global"
    "invpcid-pcid"
    "invpcid-other-pcid"
    "pkru"
    "wp"
    "wp-on"
    "smep"
    "smap"
    "nxe"
    "unmap-remote"
    "remap-remote"
    "remap-remote-cold"
    "map-remote"
    "remap-invlpg-remote"
    "unmap-invlpg-remote"
    "shoot-down"
    "shoot-down-cr3"
    "shoot-down-two-pages"
    "shoot-down-interrupt"
    "shoot-down-no-wait"
    "xchg-write"
    "xchg-write-warm"
    "protect-write"
    "protect-write-cet"
    "rewrite-write"
    "store-buffering"
    "store-buffering-fence"
    "store-buffering-invlpg"
    "xchg-remap-write"
    "mixture-lower-first"
    "mixture-upper-first"
    "break-before-make"
    "clear-dirty-write"
    "clear-dirty-shoot-down"
    "table-freed"
    "frame-re-used"
    "frame-re-used-ack"
    "remap-pde-remote"
    "pdpte-remote"
    "upgrade-remote"
    "cmpxchg-clears-flags"
    "two-writes"
    "two-reads"
    "remap-read-twice"
    "grant-write-remote"
    "revoke-write-remote"
    "code-written"
};

/// The test of a name, if there is one.
pub fn named(name: &str) -> Option<Litmus> {
    all().find(|test| test.name == name)
}

/// Every test: those in text, and then [those of the virtual memory system](crate::shoot_down).
///
/// # Panics
/// Never: tests of this crate read all of them.
pub fn all() -> impl Iterator<Item = Litmus> {
    let of_space = shoot_down::all().expect("the system has frames enough");
    let read = |(_, text): &(&str, &str)| text.parse().expect("the catalogue has the text form");
    TESTS.iter().map(read).chain(of_space)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn every_test_has_the_outcomes_that_it_claims() {
        let mut wrong = Vec::new();
        for (name, text) in TESTS {
            let test: Litmus = text.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(test.name, *name);
        }
        for test in all() {
            let name = &test.name;
            let claimed: BTreeMap<BTreeSet<String>, BTreeSet<String>> = test
                .claims
                .iter()
                .map(|claim| (claim.choices.clone(), claim.outcomes.clone()))
                .collect();
            let judgement = test.judge().unwrap_or_else(|error| panic!("{name}: {error}"));
            let found = judgement.by_choices();
            if found != claimed {
                wrong.push(format!("{name}: claims {claimed:?}, but {found:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
