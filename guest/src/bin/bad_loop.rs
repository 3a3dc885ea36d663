//! An image that takes a batch, then loops forever.
#![cfg_attr(bare_metal, no_std, no_main)]

#[cfg(bare_metal)]
#[path = "bad/mod.rs"]
mod bad;

#[cfg(bare_metal)]
bad::image!("2: jmp 2b");

#[cfg(not(bare_metal))]
fn main() {}
