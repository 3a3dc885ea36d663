//! What the guest image is made of: the reference walk, and nothing of an operating system.

use object::{Object, ObjectSymbol};

fn symbols(image: &str) -> Vec<String> {
    let path = format!("{}/{image}", crosswalk_machine::image::BUILD_DIRECTORY);
    let elf = std::fs::read(path).expect("the image was built");
    let file = object::File::parse(elf.as_slice()).expect("the image is an ELF file");
    file.symbols().filter_map(|symbol| symbol.name().ok().map(str::to_owned)).collect()
}

#[test]
fn the_image_has_no_standard_library_and_no_allocator() {
    let symbols = symbols("image");
    assert!(symbols.len() > 20, "the image has its symbols");
    // Mangled names hold the crate's name after its length.
    let foreign = ["3std", "5alloc", "__rust_alloc", "__rdl_", "__rg_", "malloc", "mmap"];
    for symbol in &symbols {
        assert!(!foreign.iter().any(|part| symbol.contains(part)), "{symbol}");
    }
}

#[test]
fn the_image_walks_with_the_reference_of_the_host() {
    let walks = symbols("image").iter().filter(|symbol| symbol.contains("8mmu_core")).count();
    assert!(walks > 0, "mmu-core is linked into the guest");
}
