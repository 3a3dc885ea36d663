//! Pieces of memory that were decompressed, to be read again. There are few of them, since tables are read one
//! after the other: at most 64, of 64 KiB.

use std::sync::{Mutex, PoisonError};

/// Number of pieces that are kept.
const SLOTS: u64 = 64;

/// Pieces of memory, each at its position. A new one takes the place of another one. Threads wait for each other only
/// where their pieces share a slot.
#[derive(Debug)]
pub(crate) struct Cache {
    /// The most bytes of a piece.
    size: u64,
    slots: Vec<Mutex<Slot>>,
}

#[derive(Debug, Default)]
struct Slot {
    /// The position of the first byte.
    first: u64,
    /// The bytes. Without any, there is no piece.
    bytes: Vec<u8>,
}

impl Cache {
    /// A cache of pieces that have at most `size` bytes.
    pub(super) fn new(size: u64) -> Self {
        let slots = (0..SLOTS).map(|_| Mutex::default()).collect();
        Self { size, slots }
    }

    /// Copies what follows a position, up to the end of its piece, which `make` makes unless it is here:
    /// it returns the position of the first byte. Returns the number of bytes that were copied.
    pub(super) fn read<E>(
        &self,
        position: u64,
        to: &mut [u8],
        make: impl FnOnce(&mut Vec<u8>) -> Result<u64, E>,
    ) -> Result<usize, E> {
        let number = position.checked_div(self.size).unwrap_or(0) % SLOTS;
        let Some(slot) = self.slots.get(number as usize) else { return Ok(0) };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);

        if slot.behind(position).is_none() {
            let mut bytes = std::mem::take(&mut slot.bytes);
            bytes.clear();
            slot.first = make(&mut bytes)?;
            slot.bytes = bytes;
        }
        let found = slot.behind(position).unwrap_or_default();
        let count = found.len().min(to.len());
        if let (Some(to), Some(found)) = (to.get_mut(..count), found.get(..count)) {
            to.copy_from_slice(found);
        }
        Ok(count)
    }
}

impl Slot {
    /// The bytes from a position on, if there are any.
    fn behind(&self, position: u64) -> Option<&[u8]> {
        let before = usize::try_from(position.checked_sub(self.first)?).ok()?;
        self.bytes.get(before..).filter(|found| !found.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_made_once_while_it_is_here() {
        let cache = Cache::new(8);
        let mut made = Vec::new();
        let mut read = |position: u64| {
            let mut to = [0; 4];
            let count = cache.read(position, &mut to, |bytes| {
                made.push(position);
                bytes.extend([(position / 8) as u8; 8]);
                Ok::<_, ()>(position / 8 * 8)
            });
            to[..count.unwrap()].to_vec()
        };

        assert_eq!(read(17), [2; 4]);
        assert_eq!(read(22), [2; 2]);
        // Pieces that share a slot.
        assert_eq!(read(16 + 8 * SLOTS), [66; 4]);
        assert_eq!(read(16), [2; 4]);
        assert_eq!(made, [17, 16 + 8 * SLOTS, 16]);
    }

    #[test]
    fn what_was_not_made_is_not_here() {
        let cache = Cache::new(8);
        let failed = cache.read(0, &mut [0; 4], |bytes| {
            bytes.extend([1; 8]);
            Err("no")
        });
        assert_eq!(failed, Err("no"));
        let mut to = [0; 4];
        let made = cache.read(0, &mut to, |bytes| {
            bytes.extend([2; 8]);
            Ok::<_, ()>(0)
        });
        assert_eq!((made, to), (Ok(4), [2; 4]));
    }
}
