//! The module of pages: the reference as WebAssembly, built by `ci/web`, packed by gzip.

/// The module as a page carries it.
const PACKED: &[u8] = include_bytes!("../../../templates/crosswalk.wasm.gz");

/// The module as text, for the element that `module.js` reads.
pub(in crate::report) fn module_as_text() -> String {
    base64(PACKED)
}

/// Base64 as in RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let group = three.iter().enumerate();
        let group = group.fold(0, |all, (place, byte)| all | u32::from(*byte) << (16 - 8 * place));
        for place in 0..4 {
            let letter = LETTERS[(group >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648, section 10.
    #[test]
    fn base64_has_the_letters_of_the_rfc() {
        let encoded =
            ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }

    /// A page of at most 1 MB has room for it and for itself.
    #[test]
    fn the_module_is_small() {
        assert!(PACKED.starts_with(&[0x1f, 0x8b]), "gzip");
        assert!(module_as_text().len() < 600_000);
    }
}
