//! What JavaScript calls. The names of these functions are part of the page's script, so they are not mangled: that
//! attribute is all that is unsafe here.

use crate::walk;
use std::sync::{Mutex, PoisonError};

/// The question, then its answer.
static ROOM: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Makes room for a question of so many bytes. Returns where the page writes it.
// SAFETY: the only function of this name in the module.
#[expect(unsafe_code, reason = "JavaScript calls it by its name")]
#[unsafe(no_mangle)]
extern "C" fn reserve(length: usize) -> *mut u8 {
    let mut room = ROOM.lock().unwrap_or_else(PoisonError::into_inner);
    *room = vec![0; length];
    room.as_mut_ptr()
}

/// Where the answer is, until the next call of any other function.
// SAFETY: the only function of this name in the module.
#[expect(unsafe_code, reason = "JavaScript calls it by its name")]
#[unsafe(no_mangle)]
extern "C" fn text() -> *const u8 {
    ROOM.lock().unwrap_or_else(PoisonError::into_inner).as_ptr()
}

/// Walks a case: [`walk::answer`]. Returns the length of the answer.
// SAFETY: the only function of this name in the module.
#[expect(unsafe_code, reason = "JavaScript calls it by its name")]
#[unsafe(no_mangle)]
extern "C" fn explain() -> usize {
    answer(walk::answer)
}

/// Replaces the question by its answer. Returns the length of the answer in bytes.
fn answer(to: impl Fn(&str) -> String) -> usize {
    // The room is not held meanwhile: a walk that ends in a trap would leave it locked.
    let question = std::mem::take(&mut *ROOM.lock().unwrap_or_else(PoisonError::into_inner));
    let answer = to(&String::from_utf8_lossy(&question)).into_bytes();

    let mut room = ROOM.lock().unwrap_or_else(PoisonError::into_inner);
    *room = answer;
    room.len()
}
