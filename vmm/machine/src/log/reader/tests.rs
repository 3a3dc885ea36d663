use super::*;

fn reader(text: &str) -> LogReader<&[u8]> {
    LogReader::new(text.as_bytes())
}

/// Two batches: the first changed the three bytes 1, 2 and 3, the second nothing. FNV-1a by hand: of nothing it is
/// 811c9dc5; then `(hash ^ byte) * 01000193` for each byte.
const LOG: &str = "SeaBIOS (version 1.16)\r\n\
    cw@00000001\r\n\
    cw:0@83\r\n\
    cw=00000001000000035dd3c01d12345678\r\n\
    [    0.1] something else cw@00000002\n\
    cw=0000000200000000811c9dc587654321\n\
    cw-0000000300000020\n\
    cw!\n\
    and the next boot";

fn sum(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn log() -> String {
    LOG.replace("5dd3c01d", &format!("{:08x}", sum(&[1, 2, 3])))
}

#[test]
fn a_log_is_read_among_other_text() {
    let text = log();
    let mut reader = reader(&text);
    let first = LogItem::Changes { number: 1, digest: 0x1234_5678, bytes: vec![1, 2, 3] };
    assert_eq!(reader.next_item().unwrap(), first);
    let second = LogItem::Changes { number: 2, digest: 0x8765_4321, bytes: vec![] };
    assert_eq!(reader.next_item().unwrap(), second);
    assert_eq!(reader.next_item().unwrap(), LogItem::Skipped { number: 3, lacking: 0x20 });
    assert_eq!(reader.next_item().unwrap(), LogItem::End(LogEnd::Complete));
    assert_eq!(reader.next_item().unwrap(), LogItem::End(LogEnd::Complete), "and stays so");
    assert_eq!(reader.line(), 8);
}

/// A log may end anywhere: in a line, or between two.
#[test]
fn a_log_that_is_cut_off_says_where() {
    let text = log();
    let end = |until: &str| {
        let mut reader = LogReader::new(&text.as_bytes()[..text.find(until).unwrap()]);
        loop {
            match reader.next_item() {
                Ok(LogItem::End(end)) => return end,
                Ok(_) => {}
                Err(error) => panic!("{until}: {error}"),
            }
        }
    };
    assert_eq!(end("cw@00000001"), LogEnd::CutOff { during: None });
    assert_eq!(end("cw:0@83"), LogEnd::CutOff { during: Some(1) });
    assert_eq!(end("83\r\n"), LogEnd::CutOff { during: Some(1) });
    assert_eq!(end("5678\r\n"), LogEnd::CutOff { during: Some(1) });
    assert_eq!(end("cw-"), LogEnd::CutOff { during: None });
    assert_eq!(end("cw!"), LogEnd::CutOff { during: None });
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let text = log();
    for (from, to, line, problem) in [
        ("cw:0@83", "cw:0@84", 4, "batch 1 is damaged: expected the checksum"),
        ("cw:0@83", "cw:0@8", 3, "groups of four characters"),
        ("cw:0@83", "cw:0@8~", 3, "characters from '0' to 'o'"),
        ("cw:0@83\r\n", "", 3, "batch 1 is damaged: expected 3 bytes, found 0"),
        ("cw@00000001\r\n", "", 3, "the start of batch 1 is missing"),
        ("cw=00000001", "cw=0000001", 4, "expected 4 numbers of 8 digits"),
        ("cw=00000001", "cw=0000000g", 4, "expected 4 numbers of 8 digits"),
    ] {
        let text = text.replacen(from, to, 1);
        let error = reader(&text).next_item().expect_err(to);
        assert_eq!(error.line, line, "{to}: {error}");
        assert!(error.problem.contains(problem), "{to}: {error}");
    }
}

#[test]
fn a_machine_that_starts_again_is_told() {
    let text = "cw@00000007\ncw#00000000 {}\n";
    let end = LogEnd::Restart { during: Some(7) };
    assert_eq!(reader(text).next_item().unwrap(), LogItem::End(end));

    let end = LogEnd::NoMemory(0x5c00_0000);
    assert_eq!(reader("cw?5c000000\n").next_item().unwrap(), LogItem::End(end));
}

#[test]
fn a_head_has_a_checksum() {
    let text = format!("noise\ncw#{:08x} {{\"a\":1}}\n", sum(b"{\"a\":1}"));
    assert_eq!(reader(&text).head().unwrap(), "{\"a\":1}");

    let altered = text.replace(":1}", ":2}");
    for (text, line, problem) in [
        (altered.as_str(), 2, "the head is damaged"),
        ("cw#12\n", 1, "the head is damaged"),
        ("cw@00000001\n", 1, "the start of the log is missing"),
        ("Linux version 6.1\n", 2, "this is not a log of an image"),
    ] {
        let error = reader(text).head().expect_err(problem);
        assert_eq!(error.line, line, "{error}");
        assert!(error.problem.contains(problem), "{error}");
    }
}

/// A long line is not kept, and is no line of a log.
#[test]
fn long_lines_are_skipped() {
    let noise = "x".repeat(5 * MAX_LINE as usize);
    let text = format!("{noise}\n{noise}cw!\ncw!\n");
    let mut reader = LogReader::new(text.as_bytes());
    assert_eq!(reader.next_item().unwrap(), LogItem::End(LogEnd::Complete));
    assert_eq!(reader.line(), 3);
}
