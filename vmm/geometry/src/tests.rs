//! Tests: the textbook's numbers and others, worked out by hand, and properties of all geometries.

use super::*;
use Placement::{Across, Aligned, Scattered};
use proptest::prelude::*;
use std::collections::BTreeSet;

const BOTH: [Geometry; 2] = [Geometry::TEXTBOOK_32, Geometry::TEXTBOOK_64];

fn with(change: impl FnOnce(&mut Parameters)) -> Result<Geometry, GeometryError> {
    let mut parameters = Parameters::default();
    change(&mut parameters);
    Geometry::new(&parameters)
}

#[test]
fn the_textbook_with_32_bits() {
    let geometry = with(|_| ()).unwrap();
    assert_eq!(geometry, Geometry::TEXTBOOK_32);
    assert_eq!(geometry.pages(), 1_048_576);
    assert_eq!(geometry.frames(), 1_048_576);
    assert_eq!((geometry.offset_bits(), geometry.page_number_bits()), (12, 20));
    assert_eq!(geometry.frame_number_bits(), 20, "2.5 bytes");
    assert_eq!(geometry.entry_bytes(), 4);
    assert_eq!(geometry.flat_table_bytes(), 4_194_304, "4 MiB");
}

#[test]
fn the_textbook_with_an_entry_for_each_byte() {
    let geometry = with(|p| p.page_bytes = 1).unwrap();
    assert_eq!(geometry, Geometry::TEXTBOOK_32.per_byte());
    assert_eq!(geometry.pages(), 4_294_967_296);
    assert_eq!((geometry.frame_number_bits(), geometry.entry_bytes()), (32, 4));
    assert_eq!(geometry.flat_table_bytes(), 17_179_869_184, "16 GiB");
    assert_eq!(geometry.per_byte(), geometry);
}

#[test]
fn the_textbook_with_64_bits() {
    let geometry = with(|p| p.address_bits = 64).unwrap();
    assert_eq!(geometry, Geometry::TEXTBOOK_64);
    assert_eq!(geometry.pages(), 4_503_599_627_370_496);
    assert_eq!(geometry.frame_number_bits(), 52, "6.5 bytes");
    assert_eq!(geometry.entry_bytes(), 8);
    assert_eq!(geometry.flat_table_bytes(), 36_028_797_018_963_968, "32 PiB");
    assert_eq!(geometry.per_byte().pages(), 18_446_744_073_709_551_616);
    assert_eq!(geometry.per_byte().flat_table_bytes(), 147_573_952_589_676_412_928, "2^67");
}

/// A geometry, index bits and pages in use; then the tables at each level, and their bytes.
type ExpectedCost = (Geometry, &'static [u32], (u128, Placement), &'static [u128], u128);

#[test]
fn the_tables_of_a_sparse_space() {
    let mib = (256, Aligned);
    let gib = (262_144, Aligned);
    let far = (100, Scattered);
    #[rustfmt::skip]
    let expected: [ExpectedCost; 24] = [
        (BOTH[0], &[10, 10], mib, &[1, 1], 8_192),
        (BOTH[0], &[6, 7, 7], mib, &[1, 1, 2], 1_792),
        (BOTH[0], &[5, 5, 5, 5], mib, &[1, 1, 1, 8], 1_408),
        (BOTH[0], &[4, 4, 4, 4, 4], mib, &[1, 1, 1, 1, 16], 1_280),
        (BOTH[0], &[10, 10], gib, &[1, 256], 1_052_672),
        (BOTH[0], &[6, 7, 7], gib, &[1, 16, 2048], 1_057_024),
        (BOTH[0], &[5, 5, 5, 5], gib, &[1, 8, 256, 8192], 1_082_496),
        (BOTH[0], &[4, 4, 4, 4, 4], gib, &[1, 4, 64, 1024, 16384], 1_118_528),
        (BOTH[0], &[10, 10], far, &[1, 100], 413_696),
        (BOTH[0], &[6, 7, 7], far, &[1, 64, 100], 84_224),
        (BOTH[0], &[5, 5, 5, 5], far, &[1, 32, 100, 100], 29_824),
        (BOTH[0], &[4, 4, 4, 4, 4], far, &[1, 16, 100, 100, 100], 20_288),
        (BOTH[1], &[26, 26], mib, &[1, 1], 1_073_741_824),
        (BOTH[1], &[17, 17, 18], mib, &[1, 1, 1], 4_194_304),
        (BOTH[1], &[13, 13, 13, 13], mib, &[1, 1, 1, 1], 262_144),
        (BOTH[1], &[10, 10, 10, 11, 11], mib, &[1, 1, 1, 1, 1], 57_344),
        (BOTH[1], &[26, 26], gib, &[1, 1], 1_073_741_824),
        (BOTH[1], &[17, 17, 18], gib, &[1, 1, 1], 4_194_304),
        (BOTH[1], &[13, 13, 13, 13], gib, &[1, 1, 1, 32], 2_293_760),
        (BOTH[1], &[10, 10, 10, 11, 11], gib, &[1, 1, 1, 1, 128], 2_138_112),
        (BOTH[1], &[26, 26], far, &[1, 100], 54_223_962_112),
        (BOTH[1], &[17, 17, 18], far, &[1, 100, 100], 315_621_376),
        (BOTH[1], &[13, 13, 13, 13], far, &[1, 100, 100, 100], 19_726_336),
        (BOTH[1], &[10, 10, 10, 11, 11], far, &[1, 100, 100, 100, 100], 4_923_392),
    ];

    for (geometry, bits, (pages, placement), tables, bytes) in expected {
        let levels = geometry.even_levels(bits.len() as u32).unwrap();
        assert_eq!(levels.index_bits(), bits);

        let cost = levels.cost(pages, placement).unwrap();
        assert_eq!((&cost.tables[..], cost.bytes), (tables, bytes), "{bits:?}, {pages} pages");
    }
}

#[test]
fn the_placement_decides_the_number_of_tables() {
    // The format of 4-level paging: a table fills a page, and maps 2 MiB, 1 GiB, 512 GiB, all.
    let geometry = with(|p| p.address_bits = 48).unwrap();
    let levels = geometry.levels(&[9, 9, 9, 9]).unwrap();
    assert!(levels.table_bytes().all(|bytes| bytes == 4096));

    let tables = |pages, placement| levels.cost(pages, placement).map(|cost| cost.tables);
    assert_eq!(tables(256, Aligned), Some(vec![1, 1, 1, 1]));
    assert_eq!(tables(256, Across), Some(vec![1, 2, 2, 2]));
    assert_eq!(tables(262_144, Aligned), Some(vec![1, 1, 1, 512]));
    assert_eq!(tables(262_144, Across), Some(vec![1, 2, 2, 513]));
    assert_eq!(tables(1, Across), Some(vec![1, 1, 1, 1]));
    assert_eq!(tables(1000, Scattered), Some(vec![1, 512, 1000, 1000]));
    assert_eq!(tables(0, Scattered), Some(vec![1, 0, 0, 0]), "the root is always there");
    assert_eq!(tables(1 << 36, Aligned), Some(vec![1, 512, 512 * 512, 512 * 512 * 512]));
    assert_eq!(tables((1 << 36) + 1, Aligned), None);
}

#[test]
fn parameters_out_of_range_are_refused() {
    let refused = |change: fn(&mut Parameters)| with(change).unwrap_err().to_string();
    assert_eq!(refused(|p| p.address_bits = 0), "expected 1 to 64 bits, not 0");
    assert_eq!(refused(|p| p.address_bits = 65), "expected 1 to 64 bits, not 65");
    assert_eq!(refused(|p| p.page_bytes = 0), "expected a power of two, not 0");
    assert_eq!(refused(|p| p.page_bytes = 4097), "expected a power of two, not 4097");
    assert_eq!(
        refused(|p| p.page_bytes = 1 << 33),
        "expected at most 2^32 bytes, the whole space, not 8589934592"
    );
}

#[test]
fn physical_bits_out_of_range_are_refused() {
    let physical = |bits| with(|p| p.physical_bits = Some(bits));
    let error = physical(11).unwrap_err().to_string();
    assert_eq!(error, "expected 12 to 64 bits, enough for one page, not 11");
    assert!(physical(12).is_ok() && physical(64).is_ok() && physical(65).is_err());
}

#[test]
fn entry_bytes_out_of_range_are_refused() {
    let entry = |bytes| with(|p| p.entry_bytes = Some(bytes));
    let error = entry(2).unwrap_err().to_string();
    assert_eq!(error, "expected 3 to 4096 bytes for a frame number of 20 bits, not 2");
    assert_eq!(entry(3).unwrap().flat_table_bytes(), 3 << 20);
    assert!(entry(4096).is_ok() && entry(4097).is_err());
}

#[test]
fn levels_that_do_not_make_up_the_page_number_are_refused() {
    let geometry = Geometry::TEXTBOOK_32;
    let refused = |bits: &[u32]| geometry.levels(bits).unwrap_err().to_string();
    assert_eq!(
        refused(&[10, 11]),
        "expected index bits that sum to 20, the 32 bits of an address less 12 of offset, not to 21"
    );
    assert_eq!(refused(&[20, 0]), "expected at least one index bit at each level");
    assert!(matches!(geometry.levels(&[]), Err(GeometryError::LevelSum { found: 0, .. })));
    assert!(geometry.levels(&[u32::MAX; 9]).is_err());

    let error = geometry.even_levels(21).unwrap_err().to_string();
    let expected = "expected 1 to 20 levels, at most one for each bit of the page number, not 21";
    assert_eq!(error, expected);
    assert!(geometry.even_levels(0).is_err() && geometry.even_levels(20).is_ok());
}

#[test]
fn a_page_may_be_the_whole_space() {
    let geometry = with(|p| {
        p.address_bits = 64;
        p.page_bytes = 1 << 64;
    })
    .unwrap();

    assert_eq!((geometry.pages(), geometry.frame_number_bits()), (1, 0));
    assert_eq!((geometry.entry_bytes(), geometry.flat_table_bytes()), (1, 1));
    assert_eq!(geometry.even_levels(1), Err(GeometryError::OnePage));
    assert_eq!(geometry.levels(&[]), Err(GeometryError::OnePage));
}

prop_compose! {
    fn any_geometry()(address_bits in 1_u32..=64)(
        address_bits in Just(address_bits),
        offset_bits in 0..=address_bits,
        more in 0_u32..64,
        extra in prop::option::of(0_u32..100),
    ) -> (Geometry, Parameters) {
        let physical_bits = (offset_bits.max(1) + more).min(64);
        let least = (physical_bits - offset_bits).div_ceil(8).max(1);
        let parameters = Parameters {
            address_bits,
            page_bytes: 1 << offset_bits,
            physical_bits: Some(physical_bits),
            entry_bytes: extra.map(|extra| least + extra),
        };

        (Geometry::new(&parameters).expect("all in range"), parameters)
    }
}

/// Random levels with `least` to `most` index bits in all: at least one level, with at least one bit
/// each.
fn any_levels(least: u32, most: u32) -> impl Strategy<Value = Levels> {
    (least..=most).prop_flat_map(|bits| {
        let cuts = prop::collection::btree_set(1..bits.max(2), 0..5);
        (Just(bits), cuts).prop_map(|(bits, cuts)| {
            let ends = cuts.into_iter().filter(|cut| *cut < bits).chain([bits]);
            let mut start = 0;
            let index_bits: Vec<_> =
                ends.map(|end| end - std::mem::replace(&mut start, end)).collect();

            let address_bits = bits + if bits < 60 { 4 } else { 0 };
            let page_bytes = 1 << (address_bits - bits);
            let parameters = Parameters { address_bits, page_bytes, ..Parameters::default() };
            Geometry::new(&parameters).unwrap().levels(&index_bits).unwrap()
        })
    })
}

/// The tables that these pages need, counted one by one.
fn counted(levels: &Levels, pages: &BTreeSet<u64>) -> Vec<u128> {
    let mut bits_below: u32 = levels.index_bits().iter().sum();
    let tables = levels.index_bits().iter().map(|bits| {
        let tables: BTreeSet<_> = pages.iter().map(|page| page >> bits_below).collect();
        bits_below -= bits;
        tables.len() as u128
    });
    tables.collect()
}

proptest! {
    #[test]
    fn the_flat_table_has_an_entry_for_each_page((geometry, parameters) in any_geometry()) {
        let pages = (1_u128 << parameters.address_bits) / parameters.page_bytes;
        let frames = (1_u128 << geometry.physical_bits()) / parameters.page_bytes;
        prop_assert_eq!((geometry.pages(), geometry.frames()), (pages, frames));
        prop_assert_eq!(geometry.flat_table_bytes(), pages * u128::from(geometry.entry_bytes()));

        let entry_bits = 8 * u128::from(geometry.entry_bytes());
        prop_assert!(entry_bits >= geometry.frame_number_bits().into());
        if parameters.entry_bytes.is_none() {
            let half_is_enough = entry_bits / 2 >= geometry.frame_number_bits().into();
            let bytes = geometry.entry_bytes();
            prop_assert!(bytes.is_power_of_two() && (bytes == 1 || !half_is_enough));
        }
    }

    #[test]
    fn even_levels_differ_by_one_bit_at_most((geometry, _) in any_geometry(), count in 1_u32..70) {
        match geometry.even_levels(count) {
            Ok(levels) => {
                let bits = levels.index_bits();
                prop_assert_eq!(bits.len(), count as usize);
                prop_assert_eq!(bits.iter().sum::<u32>(), geometry.page_number_bits());
                prop_assert!(bits.is_sorted() && bits[bits.len() - 1] - bits[0] <= 1);
            }
            Err(_) => prop_assert!(count > geometry.page_number_bits()),
        }
    }

    #[test]
    fn a_full_space_needs_every_table(levels in any_levels(1, 64)) {
        let pages = levels.geometry.pages();

        let mut product = 1_u128;
        let mut bytes = 0_u128;
        let mut tables = Vec::new();
        for bits in levels.index_bits() {
            tables.push(product);
            bytes += (product << bits) * u128::from(levels.geometry.entry_bytes());
            product <<= bits;
        }
        prop_assert_eq!(product, pages);

        for placement in [Aligned, Across, Scattered] {
            let cost = levels.cost(pages, placement).unwrap();
            prop_assert_eq!(&cost, &Cost { tables: tables.clone(), bytes });
            prop_assert!(bytes >= levels.geometry.flat_table_bytes());
        }
    }

    #[test]
    fn more_pages_never_cost_less(
        levels in any_levels(1, 64),
        some in any::<u64>(),
        more in any::<u64>(),
        shift in 0_u32..64,
    ) {
        let most = levels.geometry.pages();
        let few_pages = u128::from(some >> shift).min(most);
        let many_pages = (few_pages + u128::from(more >> shift)).min(most);

        for placement in [Aligned, Across, Scattered] {
            let few = levels.cost(few_pages, placement).unwrap();
            let many = levels.cost(many_pages, placement).unwrap();
            prop_assert!(few.bytes <= many.bytes);
            prop_assert!(few.tables.iter().zip(&many.tables).all(|(few, many)| few <= many));
        }

        let bytes = |placement| levels.cost(few_pages, placement).unwrap().bytes;
        prop_assert!(bytes(Aligned) <= bytes(Across) && bytes(Across) <= bytes(Scattered));
    }

    #[test]
    fn the_extremes_are_those_of_pages_counted_one_by_one(
        levels in any_levels(1, 9),
        share in 0.0..=1.0,
    ) {
        let all = levels.geometry.pages() as u64;
        let pages = ((all as f64 * share) as u64).clamp(1, all);
        let cost = |placement| levels.cost(pages.into(), placement).unwrap().tables;

        // Contiguous pages in every place: one place has the extreme of all levels.
        let contiguous: Vec<_> = (0..=all - pages)
            .map(|start| counted(&levels, &(start..start + pages).collect()))
            .collect();
        let level = |i: usize| contiguous.iter().map(move |tables| tables[i]);
        for i in 0..levels.index_bits().len() {
            prop_assert_eq!(level(i).min(), Some(cost(Aligned)[i]));
            prop_assert_eq!(level(i).max(), Some(cost(Across)[i]));
        }
        prop_assert!(contiguous.contains(&cost(Aligned)) && contiguous.contains(&cost(Across)));

        let apart = (0..pages).map(|i| i * all / pages).collect();
        prop_assert_eq!(counted(&levels, &apart), cost(Scattered));
    }

    #[test]
    fn no_pages_need_more_tables_than_scattered_ones(
        levels in any_levels(2, 9),
        pages in prop::collection::btree_set(any::<u64>(), 1..40),
    ) {
        let all = levels.geometry.pages() as u64;
        let used: BTreeSet<_> = pages.into_iter().map(|page| page % all).collect();

        let apart = levels.cost(used.len() as u128, Scattered).unwrap();
        let tables = counted(&levels, &used);
        prop_assert!(tables.iter().zip(&apart.tables).all(|(here, apart)| here <= apart));
    }
}
