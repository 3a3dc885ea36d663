//! 1,000 exercises of each topic, each answer worked out a second time from what is printed, with nothing of the crate but the
//! texts that a student reads: by division, by a walk of a few lines, by counting, or by lists that are looked through.

use crosswalk_exercise::{Difficulty, Exercise, Topic, sheet};
use std::collections::{BTreeMap, BTreeSet};

/// The exercises of a topic.
fn thousand(topic: Topic) -> Vec<Exercise> {
    sheet(0x2026_1130, &[topic], None, 1000)
}

/// Asserts that the answers, as they are printed, are these.
#[track_caller]
fn expect(exercise: &Exercise, answers: &[String]) {
    let printed: Vec<String> =
        exercise.questions.iter().map(|question| question.form.write(&question.answer)).collect();
    assert_eq!(printed, answers, "{exercise:#?}");
}

/// A fact that is given.
fn fact<'e>(exercise: &'e Exercise, name: &str) -> &'e str {
    let fact = exercise.facts.iter().find(|fact| fact.name == name);
    fact.map_or_else(|| panic!("no {name} in {exercise:#?}"), |fact| &fact.value)
}

/// Every number of a text, those with 0x in hexadecimal.
fn numbers(text: &str) -> Vec<u64> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    let number = |word: &str| match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    };
    words.filter_map(number).collect()
}

/// A size in bytes.
fn bytes(text: &str) -> u128 {
    let (number, unit) = text.split_once(' ').expect("a number and a unit");
    let mut bytes: u128 = number.parse().expect("a number");
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if unit.starts_with("byte") {
            break;
        }
        bytes *= 1024;
        if unit == larger {
            break;
        }
    }
    bytes
}

/// A size as it is printed.
fn size(mut bytes: u128) -> String {
    let mut units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB"].into_iter();
    let mut unit = units.next().expect("bytes");
    if bytes == 1 {
        return "1 byte".into();
    }
    while bytes > 0 && bytes.is_multiple_of(1024) && unit != "ZiB" {
        bytes /= 1024;
        unit = units.next().expect("a unit");
    }
    format!("{bytes} {unit}")
}

/// How often a number can be halved: the bits that number so many things.
fn halvings(mut number: u128) -> u32 {
    let mut count = 0;
    while number > 1 {
        assert_eq!(number % 2, 0);
        number /= 2;
        count += 1;
    }
    count
}

/// Two to a power, by doubling.
fn doubled(times: u64) -> u128 {
    (0..times).fold(1, |number, _| number * 2)
}

#[test]
fn pages_by_dividing_and_halving() {
    for exercise in thousand(Topic::Pages) {
        let space = doubled(numbers(fact(&exercise, "virtual addresses"))[0]);
        let page = bytes(fact(&exercise, "page size"));
        let pages = space / page;
        let answers = match exercise.difficulty {
            Difficulty::Basic => vec![halvings(page).to_string(), pages.to_string()],
            Difficulty::Moderate => {
                let frames = bytes(fact(&exercise, "physical memory")) / page;
                vec![pages.to_string(), frames.to_string(), halvings(frames).to_string()]
            }
            Difficulty::Hard => {
                let physical = doubled(numbers(fact(&exercise, "physical addresses"))[0]);
                let frame_bits = halvings(physical / page);
                let flags = numbers(fact(&exercise, "entry"))[0] as u32;
                let mut entry = 1;
                while entry * 8 < frame_bits + flags {
                    entry *= 2;
                }
                let page_bits = halvings(pages);
                vec![page_bits.to_string(), frame_bits.to_string(), size(entry.into())]
            }
        };
        expect(&exercise, &answers);
    }
}

/// The tables of a level, as those of which a page in use is below.
#[test]
fn table_sizes_by_counting_tables() {
    for exercise in thousand(Topic::TableSize) {
        let page = bytes(fact(&exercise, "page size"));
        let pages = doubled(numbers(fact(&exercise, "virtual addresses"))[0]) / page;
        let entry = bytes(fact(&exercise, "entry"));
        let flat = size(pages * entry);
        if exercise.difficulty == Difficulty::Basic {
            let per_byte = size(pages * page * entry);
            expect(&exercise, &[pages.to_string(), flat, per_byte]);
            continue;
        }

        let index_bits = numbers(fact(&exercise, "index bits"));
        let use_in_words = fact(&exercise, "in use");
        let used = u128::from(numbers(use_in_words)[0]);
        let below_root = pages / doubled(index_bits[0]);
        let page_in_use = |number: u128| {
            if use_in_words.contains("as far apart") {
                number * pages / used
            } else if use_in_words.contains("the last one of the root's first entry") {
                below_root - 1 + number
            } else {
                number
            }
        };

        let mut below = pages;
        let (mut count, mut total) = (0, 0);
        for bits in index_bits {
            let tables: BTreeSet<u128> =
                (0..used).map(|number| page_in_use(number) / below).collect();
            count += tables.len() as u128;
            total += tables.len() as u128 * doubled(bits) * entry;
            below /= doubled(bits);
        }
        expect(&exercise, &[count.to_string(), size(total), flat]);
    }
}

/// The indices of an address, the highest first, and its offset: by dividing from below.
fn split(address: u64, index_bits: &[u64], offset_bits: u64) -> (Vec<u64>, u64) {
    let offset = address % (1 << offset_bits);
    let mut rest = address / (1 << offset_bits);
    let mut indices = Vec::new();
    for bits in index_bits.iter().rev() {
        indices.insert(0, rest % (1 << bits));
        rest /= 1 << bits;
    }
    (indices, offset)
}

#[test]
fn entries_by_dividing_the_address() {
    for exercise in thousand(Topic::Entry) {
        let address = numbers(fact(&exercise, "virtual address"))[0];
        let offset_bits = numbers(fact(&exercise, "offset bits"))[0];
        let index_bits = numbers(fact(&exercise, "index bits"));
        let (indices, offset) = split(address, &index_bits, offset_bits);

        let mut answers: Vec<String> = indices.iter().map(u64::to_string).collect();
        if exercise.difficulty == Difficulty::Basic {
            answers.push(format!("{offset:#x}"));
        } else {
            let last = &exercise.questions[indices.len()];
            let name = last.text.strip_prefix("At which physical address is the ").expect("a name");
            let name = name.trim_end_matches('?');
            assert!(fact(&exercise, "table").contains(&format!("the {name} is at")));
            let asked = |question: &crosswalk_exercise::Question| {
                question.text == format!("What is the index of the {name}?")
            };
            let place = exercise.questions.iter().position(asked).expect("its index is asked");
            let table = *numbers(fact(&exercise, "table")).last().expect("an address");
            let bytes = numbers(fact(&exercise, "entry"))[0];
            answers.push(format!("{:#x}", table + indices[place] * bytes));
        }
        expect(&exercise, &answers);
    }
}

/// A walk over what is printed.
#[test]
fn translations_by_looking_through_the_tables() {
    let (mut faults, mut large) = (0, 0);
    for exercise in thousand(Topic::Translate) {
        let bits = numbers(fact(&exercise, "address bits"));
        let (offset_bits, index_bits) = bits.split_last().expect("an offset");
        let is_toy = exercise.facts.iter().any(|fact| fact.name == "root table");
        let root = numbers(fact(&exercise, if is_toy { "root table" } else { "CR3" }))[0];

        let answers: Vec<String> = exercise
            .questions
            .iter()
            .map(|question| {
                let address = numbers(&question.text)[0];
                let (indices, offset) = split(address, index_bits, *offset_bits);
                let mut at = root;
                for (depth, index) in indices.iter().enumerate() {
                    let title = format!("at {at:#x}");
                    let table = exercise.tables.iter().find(|table| table.title.ends_with(&title));
                    let row = table.and_then(|table| {
                        table.rows.iter().find(|row| row[0] == index.to_string())
                    });
                    let Some(row) = row else {
                        faults += 1;
                        return "fault".into();
                    };
                    let entry = numbers(&row[row.len() - 1])[0];
                    let is_valid = if is_toy { row[1] == "1" } else { entry % 2 == 1 };
                    if !is_valid {
                        faults += 1;
                        return "fault".into();
                    }
                    if !is_toy && depth + 2 == indices.len() && entry / 128 % 2 == 1 {
                        large += 1;
                        let page = 1 << (offset_bits + index_bits[depth + 1]);
                        return format!("{:#x}", entry / page * page + address % page);
                    }
                    at = if is_toy { entry << offset_bits } else { entry / 4096 * 4096 };
                }
                format!("{:#x}", at + offset)
            })
            .collect();
        expect(&exercise, &answers);
    }
    assert!(faults > 200 && large > 50, "{faults} faults, {large} large pages");
}

/// The flags of each entry on a path, the root's first: P, R/W, U/S, XD, and whether another bit is set that is reserved.
fn flags(exercise: &Exercise) -> Vec<[bool; 5]> {
    let table = &exercise.tables[0];
    let column = |name: &str| table.columns.iter().position(|column| *column == name);
    let rows = table.rows.iter().enumerate().map(|(depth, row)| {
        let bit = |name: &str, bit: u32| match column("value") {
            Some(value) => numbers(&row[value])[0] >> bit & 1 == 1,
            None => column(name).is_some_and(|place| row[place] == "1"),
        };
        let is_reserved = column("value").is_some_and(|value| {
            let value = numbers(&row[value])[0];
            (40..52).any(|bit| value >> bit & 1 == 1) || depth == 0 && value >> 7 & 1 == 1
        });
        [bit("P", 0), bit("R/W", 1), bit("U/S", 2), bit("XD", 63), is_reserved]
    });
    rows.collect()
}

/// Whether a register that is given has this bit.
fn is_set(exercise: &Exercise, name: &str) -> bool {
    exercise.facts.iter().any(|fact| fact.name == name && fact.value == "1")
}

/// The bits of the error code by the manual, bit by bit; `None` if the access completes.
fn page_fault(exercise: &Exercise, question: &str, path: &[[bool; 5]]) -> Option<u32> {
    let is_user = question.contains("user's");
    let is_write = question.contains("write");
    let is_fetch = question.contains("fetch");
    let base = u32::from(is_write) * 2 + u32::from(is_user) * 4 + u32::from(is_fetch) * 16;
    for [is_present, .., is_reserved] in path {
        if !is_present {
            return Some(base);
        }
        if *is_reserved {
            return Some(base + 1 + 8);
        }
    }

    let may_write = path.iter().all(|entry| entry[1]);
    let is_user_page = path.iter().all(|entry| entry[2]);
    let may_execute = !path.iter().any(|entry| entry[3]);
    let is_exempted = question.contains("EFLAGS.AC = 1");
    let denied = [
        is_user && !is_user_page,
        is_write && !may_write && (is_user || is_set(exercise, "CR0.WP")),
        is_fetch && !may_execute,
        !is_user && is_fetch && is_user_page && is_set(exercise, "CR4.SMEP"),
        !is_user && !is_fetch && is_user_page && is_set(exercise, "CR4.SMAP") && !is_exempted,
    ];
    denied.contains(&true).then_some(base + 1)
}

fn in_flags(code: u32) -> String {
    let names = ["P", "W", "U", "RSVD", "I"];
    let set: Vec<&str> = (0..5).filter(|bit| code >> bit & 1 == 1).map(|bit| names[bit]).collect();
    if set.is_empty() { "#PF(0)".into() } else { format!("#PF({})", set.join("|")) }
}

#[test]
fn faults_by_the_bits_of_the_entries() {
    let mut seen = BTreeMap::new();
    for exercise in thousand(Topic::Fault) {
        let path = flags(&exercise);
        let address = numbers(fact(&exercise, "virtual address"))[0];
        let top = address >> 47;
        let is_canonical = path.len() == 2 || top == 0 || top == 0x1_ffff;
        let answers: Vec<String> = exercise
            .questions
            .iter()
            .map(|question| match page_fault(&exercise, &question.text, &path) {
                _ if !is_canonical => "#GP(0)".into(),
                Some(code) => in_flags(code),
                None => "none".into(),
            })
            .collect();
        for answer in &answers {
            *seen.entry(answer.clone()).or_insert(0) += 1;
        }
        expect(&exercise, &answers);
    }
    assert!(seen.len() > 15, "{seen:?}");
}

#[test]
fn rights_by_looking_for_the_level_that_takes_them() {
    for exercise in thousand(Topic::Rights) {
        let path = flags(&exercise);
        let whose = if path.iter().all(|entry| entry[2]) { "user" } else { "supervisor" };
        let write = if path.iter().all(|entry| entry[1]) { 'w' } else { '-' };
        let execute = if path.iter().any(|entry| entry[3]) { '-' } else { 'x' };
        let mut answers = vec![format!("{whose} r{write}{execute}")];
        for question in &exercise.questions[1..] {
            let fault = page_fault(&exercise, &question.text, &path);
            answers.push(if fault.is_some() { "no".into() } else { "yes".into() });
        }
        expect(&exercise, &answers);
    }
}

/// A TLB as a list.
#[test]
fn hits_by_a_list_of_what_is_cached() {
    let mut totals = [0, 0];
    for exercise in thousand(Topic::Tlb) {
        let global = if exercise.difficulty == Difficulty::Basic {
            ""
        } else {
            let words = fact(&exercise, "global").split(' ');
            words.skip_while(|word| *word != "and").nth(1).expect("a page")
        };
        let has_pcids = exercise.difficulty == Difficulty::Hard;
        let mut cached: Vec<(u64, String)> = Vec::new();
        let mut process = 1;
        let mut hits = Vec::new();
        for row in &exercise.tables[0].rows {
            let what = &row[1];
            if let Some(page) = what.strip_prefix("read ") {
                let whose = if page == global { 0 } else { process };
                let entry = (whose, page.to_owned());
                hits.push(cached.contains(&entry));
                cached.push(entry);
            } else if let Some(page) = what.strip_prefix("INVLPG ") {
                cached
                    .retain(|(whose, cached)| cached != page || (*whose != 0 && *whose != process));
            } else {
                let given = numbers(what);
                process = given[0];
                let keeps = has_pcids && what.ends_with("= 1");
                cached
                    .retain(|(whose, _)| *whose == 0 || keeps || (has_pcids && *whose != process));
            }
        }

        let words: Vec<&str> = hits.iter().map(|hit| if *hit { "hit" } else { "miss" }).collect();
        let mut answers = vec![words.join(" ")];
        let misses = hits.iter().filter(|hit| !**hit).count();
        totals[0] += hits.len() - misses;
        totals[1] += misses;
        if exercise.difficulty != Difficulty::Moderate {
            answers.push((4 * misses).to_string());
        }
        expect(&exercise, &answers);
    }
    assert!(totals.iter().all(|total| *total > 2000), "{totals:?} hits and misses");
}

/// A clock that goes round a list.
#[test]
fn frames_by_going_round_a_list() {
    for exercise in thousand(Topic::Clock) {
        let table = &exercise.tables[0];
        // For each frame whether it has a page, and its A bits.
        let mut frames: Vec<Option<bool>> = table
            .rows
            .iter()
            .map(|row| {
                (row[1] != "page table").then(|| {
                    let accessed = if table.columns.len() == 5 { &row[2..4] } else { &row[2..3] };
                    accessed.iter().any(|bit| bit == "1")
                })
            })
            .collect();
        let mut hand = numbers(fact(&exercise, "hand"))[0] as usize;
        let mut take = |frames: &mut Vec<Option<bool>>| {
            let mut cleared = BTreeSet::new();
            loop {
                let frame = hand;
                hand = (hand + 1) % frames.len();
                match frames[frame] {
                    None => {}
                    Some(true) => {
                        frames[frame] = Some(false);
                        cleared.insert(frame);
                    }
                    Some(false) => return (frame, cleared),
                }
            }
        };

        let (taken, cleared) = take(&mut frames);
        let cleared: Vec<String> = cleared.iter().map(usize::to_string).collect();
        let cleared = if cleared.is_empty() { "none".into() } else { cleared.join(" ") };
        let mut answers = vec![taken.to_string(), cleared];
        match exercise.difficulty {
            Difficulty::Basic => {}
            Difficulty::Moderate => {
                frames[taken] = Some(true);
                answers.push(take(&mut frames).0.to_string());
            }
            Difficulty::Hard => {
                let is_dirty = table.rows[taken][4] == "1";
                answers.push(if is_dirty { "yes".into() } else { "no".into() });
            }
        }
        expect(&exercise, &answers);
    }
}

/// Who has which frame, as a map: a frame is a number, and a page of a process leads to one.
#[test]
fn copies_by_counting_who_has_a_frame() {
    for exercise in thousand(Topic::Fork) {
        let names = match exercise.difficulty {
            Difficulty::Hard => vec!['P', 'C', 'D'],
            _ => vec!['P', 'C'],
        };
        let mut next_frame = 0;
        let mut frame_of: BTreeMap<(char, String), u32> = BTreeMap::new();
        let mut protected: BTreeSet<(char, String)> = BTreeSet::new();
        let mut shared_frame = None;
        for row in &exercise.tables[0].rows {
            next_frame += 1;
            if row[1].starts_with("shared memory") {
                shared_frame = Some(next_frame);
                frame_of.insert(('P', row[0].clone()), next_frame);
            } else if row[1].starts_with("written") {
                for name in &names {
                    frame_of.insert((*name, row[0].clone()), next_frame);
                    protected.insert((*name, row[0].clone()));
                }
            }
        }

        let (mut done, mut copies) = (Vec::new(), 0);
        for row in &exercise.tables[1].rows {
            let name = row[1].chars().next().expect("a name");
            if row[1].ends_with(" ends") {
                frame_of.retain(|(owner, _), _| *owner != name);
                continue;
            }
            let is_write = row[1].contains(" writes to ");
            let page = row[1].split(if is_write { " writes to " } else { " reads " }).nth(1);
            let key = (name, page.expect("a page").to_owned());
            let what = match frame_of.get(&key).copied() {
                None if key.1 == "the shared page" => {
                    frame_of.insert(key, shared_frame.expect("shared memory"));
                    "map"
                }
                None => {
                    next_frame += 1;
                    frame_of.insert(key, next_frame);
                    "zeros"
                }
                Some(frame) if is_write && protected.contains(&key) => {
                    protected.remove(&key);
                    if frame_of.values().filter(|other| **other == frame).count() > 1 {
                        next_frame += 1;
                        copies += 1;
                        frame_of.insert(key, next_frame);
                        "copy"
                    } else {
                        "keep"
                    }
                }
                Some(_) => "nothing",
            };
            done.push(what);
        }

        let mut frames: BTreeSet<u32> = frame_of.into_values().collect();
        // Shared memory is there for itself.
        frames.extend(shared_frame);
        expect(&exercise, &[done.join(" "), copies.to_string(), frames.len().to_string()]);
    }
}
