//! Reading what a person types. Anything may come.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

use super::{CODE_FLAGS, End, Form, Value};
use std::collections::BTreeSet;

/// Nobody types more.
const LONGEST: usize = 400;

/// Nouns that may follow a number.
const NOUNS: [&str; 9] =
    ["pages", "page", "frames", "frame", "bits", "bit", "entries", "entry", "tables"];

/// An answer of a form.
pub(super) fn read(form: Form, typed: &str) -> Option<Value> {
    let typed = typed.trim().to_ascii_lowercase();
    if typed.is_empty() || typed.len() > LONGEST {
        return None;
    }

    match form {
        Form::Bytes if NOUNS.iter().any(|noun| typed.ends_with(noun)) => None,
        Form::Count | Form::Bytes => number(&typed).map(Value::Number),
        Form::Hexadecimal => hexadecimal(&typed).map(Value::Number),
        Form::Place => match typed.as_str() {
            "fault" | "page fault" | "#pf" | "pf" | "none" => Some(Value::Nowhere),
            address => hexadecimal(address).map(Value::Number),
        },
        Form::End => end(&typed).map(Value::End),
        Form::Rights => rights(&typed).map(Value::Rights),
        Form::Words(words, count) => steps(&typed, words, count).map(Value::Words),
        Form::Set => set(&typed).map(Value::Set),
    }
}

/// `4096`, `0x1000`, `2^12`, `4 KiB`, `4k`, `1.5 MB`, `1,048,576`, `16 pages`. Units are those of memory: powers of 1024.
fn number(typed: &str) -> Option<u128> {
    let text: String = typed.chars().filter(|letter| !matches!(letter, ' ' | ',' | '_')).collect();
    let noun = NOUNS.iter().find_map(|noun| text.strip_suffix(noun));
    let text = noun.unwrap_or(&text);

    if let Some(digits) = text.strip_prefix("0x") {
        return u128::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'));
    }

    let end = text.find(|letter: char| !matches!(letter, '0'..='9' | '.' | '^' | '*'));
    let (digits, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit_shift(unit)?;
    if let Some((base, exponent)) = digits.split_once('^').or_else(|| digits.split_once("**")) {
        let power = base.parse::<u128>().ok()?.checked_pow(exponent.parse().ok()?)?;
        return power.checked_mul(1_u128.checked_shl(unit)?);
    }

    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = 10_u128.checked_pow(fraction.len().try_into().ok()?)?;
    let digits: u128 = [whole, fraction].concat().parse().ok()?;
    let scaled = digits.checked_mul(1_u128.checked_shl(unit)?)?;
    let is_whole = scaled.checked_rem(scale)? == 0;
    is_whole.then(|| scaled.checked_div(scale))?
}

/// The power of two of a unit; none is 0.
fn unit_shift(unit: &str) -> Option<u32> {
    let unit = unit.strip_suffix("bytes").or(unit.strip_suffix("byte")).unwrap_or(unit);
    let unit = unit.strip_suffix('b').unwrap_or(unit);
    let unit = unit.strip_suffix('i').unwrap_or(unit);
    match unit {
        "" => Some(0),
        "k" | "kilo" => Some(10),
        "m" | "mega" => Some(20),
        "g" | "giga" => Some(30),
        "t" | "tera" => Some(40),
        "p" | "peta" => Some(50),
        "e" | "exa" => Some(60),
        "z" | "zetta" => Some(70),
        _ => None,
    }
}

/// `0x1f`, `1f`, `1fh`, `0x1_0000`.
fn hexadecimal(typed: &str) -> Option<u128> {
    let text: String = typed.chars().filter(|letter| !matches!(letter, ' ' | '_')).collect();
    let digits = text.strip_prefix("0x").unwrap_or(&text);
    let digits = digits.strip_suffix('h').unwrap_or(digits);
    u128::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
}

/// `none`, `#GP`, `#PF(P|W)`, `P W U`, `7`, `0x7`.
fn end(typed: &str) -> Option<End> {
    let typed = typed.trim_start_matches('#');
    match typed {
        "none" | "no" | "no fault" | "ok" | "completes" | "it completes" => {
            return Some(End::Completes);
        }
        "gp" | "gp(0)" | "gp 0" => return Some(End::GeneralProtection),
        _ => {}
    }

    let flags = typed.strip_prefix("pf").unwrap_or(typed);
    if let Some(code) = number(flags.trim_matches(|letter| " ()".contains(letter))) {
        return Some(End::PageFault(code.try_into().ok()?));
    }

    let flags = flags.replace("i/d", "i").replace("w/r", "w").replace("u/s", "u");
    let flags = flags.replace(" =", "=").replace("= ", "=");
    let mut code = 0;
    let mut is_empty = flags == typed;
    let is_between = |letter: char| !(letter.is_ascii_alphanumeric() || "=!~".contains(letter));
    for word in flags.split(is_between).filter(|word| !word.is_empty()) {
        let (flag, is_set) = match (word.split_once('='), word.strip_prefix(['!', '~'])) {
            (Some((flag, "1")), None) => (flag, true),
            (Some((flag, "0")), None) | (None, Some(flag)) => (flag, false),
            (None, None) => (word, true),
            _ => return None,
        };
        let bit = CODE_FLAGS.iter().position(|name| name.eq_ignore_ascii_case(flag))?;
        code |= u32::from(is_set) << bit;
        is_empty = false;
    }
    (!is_empty).then_some(End::PageFault(code))
}

/// `user rw-`, `supervisor read-only`, `u rwx`, `user, write, execute`. What is denied with a sign is not read.
fn rights(typed: &str) -> Option<u32> {
    if typed.contains(['!', '~']) {
        return None;
    }
    let typed =
        typed.replace("read-only", "ro").replace("no-execute", "").replace("no execute", "");
    let mut rights = 0;
    let mut whose = None;
    for word in typed.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-')) {
        match word {
            "" | "-" | "r" | "ro" | "read" | "r--" | "r-" | "and" | "page" | "only" => {}
            "user" | "u" if whose != Some(0) => whose = Some(2),
            "supervisor" | "s" | "kernel" if whose != Some(2) => whose = Some(0),
            "w" | "write" | "writable" | "rw" | "rw-" => rights |= 1,
            "x" | "execute" | "executable" | "fetch" | "rx" | "r-x" => rights |= 4,
            "rwx" | "wx" => rights |= 5,
            _ => return None,
        }
    }
    whose.map(|whose| rights | whose)
}

/// Words by their beginnings, or by their first letters in one piece: `hit miss`, `h m`, `hm`.
fn steps(typed: &str, words: &[&str], count: usize) -> Option<Vec<usize>> {
    let by_beginning = |typed: &str| words.iter().position(|word| word.starts_with(typed));
    let parts = typed.split(|letter: char| !letter.is_ascii_alphanumeric());
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();

    let steps: Option<Vec<usize>> = match &parts[..] {
        [letters] if count > 1 && letters.len() == count => {
            letters.chars().map(|letter| by_beginning(letter.encode_utf8(&mut [0; 4]))).collect()
        }
        parts => parts.iter().map(|part| by_beginning(part)).collect(),
    };
    steps.filter(|steps| steps.len() == count)
}

/// `2 5 7`, `2, 5 and 7`, `{2, 5}`, `none`. `2-7` says too little.
fn set(typed: &str) -> Option<BTreeSet<u64>> {
    if matches!(typed, "none" | "no" | "-") {
        return Some(BTreeSet::new());
    }
    // No sign that may mean a range, a fraction or a negative number.
    let parts = typed.split(|letter: char| " ,;&{}[]()".contains(letter));
    let parts = parts.filter(|part| !matches!(*part, "" | "and" | "frame" | "frames"));
    let numbers: Option<BTreeSet<u64>> = parts.map(|part| number(part)?.try_into().ok()).collect();
    numbers.filter(|numbers| !numbers.is_empty())
}
