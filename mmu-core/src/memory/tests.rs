//! Memory of every kind.

use super::{
    AtomicTableMemory, AtomicWords, Bytes, OutsideMemory, TableMemory, TableMemoryMut, Unshared,
};
use crate::address::PhysAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::vec::Vec;

const fn at(address: u64) -> PhysAddr {
    PhysAddr::new(address)
}

/// Two words from 0x1000 on.
fn words() -> AtomicWords<[AtomicU64; 2]> {
    let words = [0x8877_6655_4433_2211, 0x00ff_eedd_ccbb_aa99].map(AtomicU64::new);
    AtomicWords::new(at(0x1000), words)
}

fn contents(memory: &AtomicWords<[AtomicU64; 2]>) -> [u64; 2] {
    [0x1000, 0x1008].map(|address| memory.read_entry(at(address), 8).unwrap())
}

#[test]
fn entries_of_every_size_are_read_from_atomic_words() {
    let memory = words();
    assert_eq!(memory.read_entry(at(0x1003), 1), Ok(0x44));
    assert_eq!(memory.read_entry(at(0x1006), 2), Ok(0x8877));
    assert_eq!(memory.read_entry(at(0x100c), 4), Ok(0x00ff_eedd));
    assert_eq!(memory.read_entry(at(0x1008), 8), Ok(0x00ff_eedd_ccbb_aa99));

    for (outside, bytes) in [(0xfff, 1), (0x1010, 1), (0x1004, 8), (0x1000, 9), (u64::MAX, 2)] {
        assert_eq!(memory.read_entry(at(outside), bytes), Err(OutsideMemory(at(outside))));
    }
}

#[test]
fn an_exchange_leaves_the_rest_of_the_word_alone() {
    let memory = words();
    assert_eq!(memory.compare_exchange(at(0x1004), 4, 0x8877_6655, 0xdead_beef), Ok(true));
    assert_eq!(memory.compare_exchange(at(0x1002), 1, 0x33, 0xaa), Ok(true));
    assert_eq!(contents(&memory), [0xdead_beef_44aa_2211, 0x00ff_eedd_ccbb_aa99]);

    // It is another value now.
    assert_eq!(memory.compare_exchange(at(0x1002), 1, 0x33, 0x55), Ok(false));
    assert_eq!(contents(&memory)[0], 0xdead_beef_44aa_2211);
}

#[test]
fn a_store_of_any_length_crosses_words() {
    let memory = words();
    memory.write(at(0x1006), &[1, 2, 3]).unwrap();
    assert_eq!(contents(&memory), [0x0201_6655_4433_2211, 0x00ff_eedd_ccbb_aa03]);

    let mut bytes = [0; 5];
    memory.read(at(0x1005), &mut bytes).unwrap();
    assert_eq!(bytes, [0x66, 1, 2, 3, 0xaa]);

    // Nothing is written where the end is outside.
    assert_eq!(memory.write(at(0x100e), &[9, 9, 9]), Err(OutsideMemory(at(0x100e))));
    assert_eq!(contents(&memory)[1], 0x00ff_eedd_ccbb_aa03);
}

/// Each of four threads adds 1 to its own byte of a word, 255 times.
#[test]
fn threads_lose_no_update_of_neighbouring_entries() {
    let memory = AtomicWords::new(at(0), [AtomicU64::new(0)]);
    let increment = |byte: u64| {
        let place = at(byte);
        loop {
            let current = memory.read_entry(place, 1).unwrap();
            if memory.compare_exchange(place, 1, current, current + 1).unwrap() {
                return;
            }
        }
    };

    thread::scope(|scope| {
        for byte in 0..4 {
            let increment = &increment;
            scope.spawn(move || (0..255).for_each(|_| increment(byte)));
        }
    });
    assert_eq!(memory.read_entry(at(0), 8), Ok(0xffff_ffff));
}

#[test]
fn unshared_memory_exchanges_as_atomic_memory_does() {
    let mut bytes = Bytes::new(at(0x1000), [0x11, 0x22, 0x33, 0x44]);
    let memory = Unshared::new(&mut bytes);
    assert_eq!(memory.compare_exchange(at(0x1000), 2, 0x2211, 0xbbaa), Ok(true));
    assert_eq!(memory.compare_exchange(at(0x1000), 2, 0x2211, 0), Ok(false));
    let outside = at(0x1004);
    assert_eq!(memory.compare_exchange(outside, 1, 0, 1), Err(OutsideMemory(outside)));
    assert_eq!(bytes.bytes(at(0x1000), 4), Ok([0xaa, 0xbb, 0x33, 0x44].as_slice()));
}

#[test]
fn references_to_memory_are_memory() {
    fn reads<M: TableMemory>(memory: M) -> Result<u64, M::Error> {
        memory.read_entry(at(0x1000), 4)
    }

    fn writes<M: TableMemoryMut>(mut memory: M, entry: u64) -> Result<(), M::Error> {
        memory.write_entry(at(0x1000), 4, entry)
    }

    let mut bytes = Bytes::new(at(0x1000), Vec::from([0; 8]));
    writes(&mut bytes, 7).unwrap();
    assert_eq!(reads(&bytes), Ok(7));
    let unsized_memory: &dyn TableMemory<Error = OutsideMemory> = &bytes;
    assert_eq!(reads(unsized_memory), Ok(7));

    // A mapper can write where others walk.
    let shared = words();
    writes(&shared, 9).unwrap();
    assert_eq!(reads(&shared), Ok(9));
}

#[test]
fn entries_in_a_row_are_those_one_by_one() {
    let words = [const { AtomicU64::new(0) }; 4];
    for (word, value) in words.iter().zip([0x1111_2222, 0x3333, u64::MAX, 4]) {
        word.store(value, Ordering::Relaxed);
    }
    let memory = AtomicWords::new(PhysAddr::new(0x1000), words);
    let row = |at, bytes| {
        let mut entries = [0; 3];
        memory.read_entries(PhysAddr::new(at), bytes, &mut entries).map(|()| entries)
    };

    assert_eq!(row(0x1000, 8), Ok([0x1111_2222, 0x3333, u64::MAX]));
    assert_eq!(row(0x1008, 8), Ok([0x3333, u64::MAX, 4]));
    assert_eq!(row(0x1010, 8), Err(OutsideMemory(PhysAddr::new(0x1020))));
    assert_eq!(row(0xff8, 8), Err(OutsideMemory(PhysAddr::new(0xff8))));
    assert_eq!(row(0x1004, 4), Ok([0, 0x3333, 0]));
    assert_eq!(row(0x1018, 4), Err(OutsideMemory(PhysAddr::new(0x1020))));
}
