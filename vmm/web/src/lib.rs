//! The reference in a browser. `ci/web` builds this crate as a WebAssembly module, which pages carry
//! (`vmm/templates/crosswalk.wasm.gz`).
//!
//! A page asks by one text and is answered by another, both UTF-8, in the same room of the module's memory. It calls
//! [`reserve`] with the length of its question in bytes, writes the question to the address that this returns, and
//! calls the function that answers. That returns the length of the answer, which is then where [`text`] says.
#![deny(unsafe_code)]

mod exports;
mod walk;
