//! The ELF file of a guest image. An image that reads can be loaded, and each of its stubs looked up.

use crosswalk_guest::stub::{Code, Form, Stub};
use crosswalk_machine::image::Image;
use crosswalk_machine::memory::GuestMemory;
use std::cell::LazyCell;

thread_local! {
    static MEMORY: LazyCell<GuestMemory> =
        const { LazyCell::new(|| GuestMemory::new().expect("the host has memory")) };
}

/// Reads an image.
///
/// # Panics
/// When it is not read as it must be.
pub fn image(input: &[u8]) {
    match Image::from_elf("input", input) {
        Ok(image) => {
            MEMORY.with(|memory| image.load(memory));
            let _ = image.entry();
            for form in Form::ALL {
                let stub = Stub::Access { form, stack: true, log_size: 3, keyed: true };
                let _ = [Code::Bits32, Code::Bits64].map(|code| image.stub(stub, code));
            }
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?}"),
    }
}
