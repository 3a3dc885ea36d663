//! The guest image contains the reference walk, and nothing that needs an operating system.

use crosswalk_test_support::guest_image;
use object::{Object, ObjectSymbol};

/// The names of the image's symbols, mangled.
fn symbols(image: &str) -> Vec<String> {
    let elf = std::fs::read(guest_image(image)).expect("the image was built");
    let file = object::File::parse(elf.as_slice()).expect("the image is an ELF file");
    file.symbols().filter_map(|symbol| symbol.name().ok().map(str::to_owned)).collect()
}

#[test]
fn the_image_has_no_standard_library_and_no_allocator() {
    let symbols = symbols("image");
    assert!(symbols.len() > 20, "the image has been stripped");

    // In a mangled name, the length of the crate's name comes before it.
    let foreign = ["3std", "5alloc", "__rust_alloc", "__rdl_", "__rg_", "malloc", "mmap"];
    for symbol in &symbols {
        assert!(!foreign.iter().any(|part| symbol.contains(part)), "{symbol}");
    }
}

#[test]
fn the_image_contains_the_host_s_reference_walk() {
    let walks = symbols("image").iter().filter(|symbol| symbol.contains("8mmu_core")).count();
    assert!(walks > 0, "no symbol of mmu-core");
}
