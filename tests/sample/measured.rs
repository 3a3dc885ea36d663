//! What differs from run to run and from host to host, and is not compared.

/// A line with a `#` in place of every measured number and of every name of the host:
///
/// - times and rates: a number before ` s`, ` a second` or ` bytes.`;
/// - the versions of Linux and of QEMU, the name of the processor in the line `host`, and the
///   hypervisor beneath a machine;
/// - of a JSON document, the fields listed in [`FIELDS`].
pub(crate) fn without(line: &str) -> String {
    let mut text = line.to_owned();
    for unit in UNITS {
        text = without_numbers_before(&text, unit);
    }
    for name in NAMES {
        text = without_words_after(&text, name);
    }
    if let Some((host, linux)) = text.split_once(", Linux ").filter(|_| text.starts_with(HOST)) {
        let indent = " ".repeat(host.len() - host[HOST.len()..].trim_start().len() - HOST.len());
        text = format!("{HOST}{indent}#, Linux {linux}");
    }
    for field in FIELDS {
        if let Some((before, _)) = text.split_once(&format!("\"{field}\": ")) {
            text = format!("{before}\"{field}\": #");
        }
    }
    text
}

/// The line of a report that names the processor and the kernel.
pub(crate) const HOST: &str = "host ";

const UNITS: [&str; 3] = [" s", " a second", " bytes."];
const NAMES: [&str; 3] = ["Linux ", "QEMU ", "beneath it "];
const FIELDS: [&str; 5] = ["seconds", "cpu_seconds", "cases_per_second", "cpu", "host_kernel"];

/// Replaces each number that stands before a unit.
fn without_numbers_before(text: &str, unit: &str) -> String {
    let mut done = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(unit) {
        let (before, after) = rest.split_at(at);
        let after = &after[unit.len()..];
        let number = before.trim_end_matches(|c: char| c.is_ascii_digit() || ".,".contains(c));
        let is_whole_word = !after.starts_with(char::is_alphanumeric);

        if is_whole_word && number.len() < before.len() {
            done.push_str(number);
            done.push('#');
        } else {
            done.push_str(before);
        }
        done.push_str(unit);
        rest = after;
    }
    done + rest
}

/// Replaces each word that stands after a name, up to a blank or a mark. "QEMU TCG" is the name of a
/// processor, and stays.
fn without_words_after(text: &str, name: &str) -> String {
    let mut done = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, after) = rest.split_at(at + name.len());
        let end = after.find([' ', ',', ';', ':']).unwrap_or(after.len());
        let is_version = after.starts_with(|c: char| c.is_ascii_digit()) || name != "QEMU ";
        done.push_str(before);
        done.push_str(if is_version { "#" } else { &after[..end] });
        rest = &after[end..];
    }
    done + rest
}

#[test]
fn only_what_is_measured_is_left_out() {
    let same = [
        (
            "20,000 cases in 0.3 s, 73,586 a second, 0.4 s of CPU time.",
            "20,000 cases in # s, # a second, # s of CPU time.",
        ),
        ("host      AMD EPYC, Linux 6.18.44-fc", "host      #, Linux #"),
        ("qemu (as asked): QEMU 7.2.22, beneath it kvm", "qemu (as asked): QEMU #, beneath it #"),
        ("QEMU TCG CPU version 2.5+", "QEMU TCG CPU version 2.5+"),
        ("    \"cpu_seconds\": 0.5,", "    \"cpu_seconds\": #"),
        ("123 of 2,000 cases, 153,663 bytes.", "123 of 2,000 cases, # bytes."),
        ("read of 8 bytes at 0x1000, 3 shards", "read of 8 bytes at 0x1000, 3 shards"),
    ];
    for (line, expected) in same {
        assert_eq!(without(line), expected);
    }
}
