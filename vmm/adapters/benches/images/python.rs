//! Peers in Python, by a script for each.

use crate::pieces::{Piece, PieceRights};
use std::path::Path;
use std::process::Command;

/// A script's answer.
pub(crate) struct Answer {
    pub(crate) pieces: Vec<Piece>,
    /// The time of the map alone.
    pub(crate) seconds: f64,
}

/// Runs a script on an image with the Python that the user names. Errors say why it cannot take part.
pub(crate) fn ask(script: &str, image: &Path, cr3: u64, levels: u32) -> Result<Answer, String> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let output = Command::new(python)
        .args(["-c", script])
        .arg(image)
        .args([format!("{cr3:x}"), levels.to_string()])
        .output()
        .map_err(|error| format!("no python3: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(text.lines().last().unwrap_or("it failed").to_owned());
    }

    let text = String::from_utf8_lossy(&output.stdout);
    let mut answer = Answer { pieces: Vec::new(), seconds: 0.0 };
    for line in text.lines() {
        if let Some(seconds) = line.strip_prefix("seconds ") {
            answer.seconds = seconds.parse().map_err(|error| format!("{line}: {error}"))?;
        } else {
            answer.pieces.push(piece(line).ok_or_else(|| format!("{line:?} is not a piece"))?);
        }
    }
    answer.pieces.sort_by_key(|piece| piece.first);
    Ok(answer)
}

fn piece(line: &str) -> Option<Piece> {
    let mut words = line.split_whitespace();
    let mut number = || u64::from_str_radix(words.next()?, 16).ok();
    let (first, size, physical) = (number()?, number()?, number()?);

    let mut right = || match words.next()? {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    };
    let rights = PieceRights { writable: right(), user: right(), executable: right() };
    Some(Piece { first, last: first.checked_add(size.checked_sub(1)?)?, physical, rights })
}
