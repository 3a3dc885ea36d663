//! An image that takes a batch, then triple-faults, since it has no interrupt descriptor table.
#![cfg_attr(bare_metal, no_std, no_main)]

#[cfg(bare_metal)]
#[path = "bad/mod.rs"]
mod bad;

#[cfg(bare_metal)]
bad::image!("ud2");

#[cfg(not(bare_metal))]
fn main() {}
