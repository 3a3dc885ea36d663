//! Words of 32 bits, most of which are zero: for each that is not, how many were skipped before it, and its
//! value, both as numbers of 7 bits a byte, the lowest first. The value 0 ends them.

/// The longest number: 32 bits in sevens.
const MAX_NUMBER_BYTES: u32 = 5;

/// Passes the bytes of a number to `out`.
///
/// ```
/// let mut bytes = Vec::new();
/// crosswalk_guest::tape::words::put_number(300, &mut |byte| bytes.push(byte));
/// assert_eq!(bytes, [0xac, 0x02]);
/// ```
#[inline]
pub fn put_number(mut number: u32, out: &mut impl FnMut(u8)) {
    while number >= 0x80 {
        out(number as u8 | 0x80);
        number >>= 7;
    }
    out(number as u8);
}

/// Takes a number from the start of some bytes; `None` if there is none.
#[inline]
pub fn take_number(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0_u32;
    for place in 0..MAX_NUMBER_BYTES {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;

        let part = u32::from(byte & 0x7f);
        // The last byte has the upper four bits.
        if place == MAX_NUMBER_BYTES - 1 && *byte > 0xf {
            return None;
        }
        number |= part << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Writes words.
#[derive(Debug, Default)]
pub struct WordWriter {
    skipped: u32,
}

impl WordWriter {
    /// Writes the next words.
    #[inline]
    pub fn put(&mut self, word: u32, out: &mut impl FnMut(u8)) {
        if word == 0 {
            self.skipped += 1;
        } else {
            put_number(self.skipped, out);
            put_number(word, out);
            self.skipped = 0;
        }
    }

    /// Skips words that are zero.
    #[inline]
    pub fn skip(&mut self, count: u32) {
        self.skipped += count;
    }

    /// Ends the words.
    pub fn end(&mut self, out: &mut impl FnMut(u8)) {
        self.skipped = 0;
        put_number(0, out);
        put_number(0, out);
    }
}

/// Why words cannot be read: they end early, or a number is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadWords;

/// Takes the next word that is not zero, after the one at `index`, which it moves; `None` at the end.
///
/// ```
/// use crosswalk_guest::tape::words::{WordWriter, take_word};
/// let (mut bytes, mut writer) = (Vec::new(), WordWriter::default());
/// for word in [0, 0, 7, 0, 0x8000_0000] {
///     writer.put(word, &mut |byte| bytes.push(byte));
/// }
/// writer.end(&mut |byte| bytes.push(byte));
///
/// let (mut rest, mut index) = (&bytes[..], 0);
/// assert_eq!(take_word(&mut rest, &mut index), Ok(Some((2, 7))));
/// assert_eq!(take_word(&mut rest, &mut index), Ok(Some((4, 0x8000_0000))));
/// assert_eq!(take_word(&mut rest, &mut index), Ok(None));
/// assert!(rest.is_empty());
/// ```
///
/// # Errors
/// If the bytes are not such words.
#[inline]
pub fn take_word(bytes: &mut &[u8], index: &mut u32) -> Result<Option<(u32, u32)>, BadWords> {
    let skipped = take_number(bytes).ok_or(BadWords)?;
    let word = take_number(bytes).ok_or(BadWords)?;
    if word == 0 {
        return Ok(None);
    }

    let place = index.checked_add(skipped).ok_or(BadWords)?;
    *index = place.checked_add(1).ok_or(BadWords)?;
    Ok(Some((place, word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_and_have_32_bits() {
        let cases: [(&[u8], Option<u32>); 6] = [
            (&[0x7f], Some(127)),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], Some(u32::MAX)),
            (&[0xff, 0xff, 0xff, 0xff, 0x1f], None),
            (&[0xff, 0xff, 0xff, 0xff, 0x8f, 0x00], None),
            (&[0x80], None),
            (&[], None),
        ];
        for (bytes, number) in cases {
            assert_eq!(take_number(&mut &*bytes), number, "{bytes:x?}");
        }
    }

    #[test]
    fn a_place_beyond_32_bits_is_refused() {
        let mut bytes = std::vec::Vec::new();
        for number in [u32::MAX, 1] {
            put_number(number, &mut |byte| bytes.push(byte));
        }
        assert_eq!(take_word(&mut &bytes[..], &mut 0), Err(BadWords));
    }
}
