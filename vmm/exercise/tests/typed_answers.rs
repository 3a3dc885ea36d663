//! Answers as people type them: read in any notation, and explained where they are wrong.

use crosswalk_exercise::{Difficulty, End, Exercise, Form, Marking, Question, Topic, Value, sheet};
use proptest::prelude::*;

const FORMS: [Form; 8] = [
    Form::Count,
    Form::Bytes,
    Form::Hexadecimal,
    Form::Place,
    Form::End,
    Form::Rights,
    Form::Words(&["miss", "hit"], 4),
    Form::Set,
];

#[test]
fn numbers_are_read_as_people_type_them() {
    let number = Value::Number;
    for (form, typed, value) in [
        (Form::Count, "1048576", number(1 << 20)),
        (Form::Count, "1,048,576 pages", number(1 << 20)),
        (Form::Count, "2^20", number(1 << 20)),
        (Form::Count, "2**20", number(1 << 20)),
        (Form::Count, "1M", number(1 << 20)),
        (Form::Count, "0x100000", number(1 << 20)),
        (Form::Bytes, "4 MiB", number(4 << 20)),
        (Form::Bytes, "4mb", number(4 << 20)),
        (Form::Bytes, "4096 KiB", number(4 << 20)),
        (Form::Bytes, "4194304 bytes", number(4 << 20)),
        (Form::Bytes, "2^12 KiB", number(4 << 20)),
        (Form::Bytes, "1.5 KiB", number(1536)),
        (Form::Bytes, "4 kilobytes", number(4096)),
        (Form::Hexadecimal, "1f", number(0x1f)),
        (Form::Hexadecimal, "0X1F", number(0x1f)),
        (Form::Hexadecimal, "1fh", number(0x1f)),
        (Form::Place, " 0x1_0000 ", number(0x1_0000)),
        (Form::Place, "Fault", Value::Nowhere),
        (Form::End, "none", Value::End(End::Completes)),
        (Form::End, "#PF(P|W|U)", Value::End(End::PageFault(7))),
        (Form::End, "pf p w u", Value::End(End::PageFault(7))),
        (Form::End, "0x7", Value::End(End::PageFault(7))),
        (Form::End, "7", Value::End(End::PageFault(7))),
        (Form::End, "W|U|P", Value::End(End::PageFault(7))),
        (Form::End, "#PF(0)", Value::End(End::PageFault(0))),
        (Form::End, "P=0 W=1 U=1", Value::End(End::PageFault(6))),
        (Form::End, "!P, W/R = 1, U", Value::End(End::PageFault(6))),
        (Form::End, "P I/D", Value::End(End::PageFault(0x11))),
        (Form::End, "#gp", Value::End(End::GeneralProtection)),
        (Form::Rights, "user rw-", Value::Rights(3)),
        (Form::Rights, "u, read, write and execute", Value::Rights(7)),
        (Form::Rights, "supervisor read-only", Value::Rights(0)),
        (Form::Rights, "kernel r-x", Value::Rights(4)),
        (FORMS[6], "hit miss m h", Value::Words(vec![1, 0, 0, 1])),
        (FORMS[6], "hmmh", Value::Words(vec![1, 0, 0, 1])),
        (Form::Set, "7, 2 and 5", Value::Set([2, 5, 7].into())),
        (Form::Set, "{2,5; 7}", Value::Set([2, 5, 7].into())),
        (Form::Set, "frames 2 & 5", Value::Set([2, 5].into())),
        (Form::Set, "none", Value::Set([].into())),
    ] {
        assert_eq!(form.read(typed), Ok(value), "{typed:?} as {form:?}");
    }
}

#[test]
fn what_is_no_answer_says_what_is_expected() {
    for (form, typed) in [
        (Form::Count, "many"),
        (Form::Count, ""),
        (Form::Count, "-1"),
        (Form::Count, "+1"),
        (Form::Count, "1.3"),
        (Form::Count, "2^200"),
        (Form::Bytes, "4 MiBs"),
        (Form::Bytes, "8 bits"),
        (Form::Bytes, "99999999999999999999999999999999999999999 EiB"),
        (Form::Hexadecimal, "0x"),
        (Form::Hexadecimal, "+1f"),
        (Form::Place, "here"),
        (Form::End, "PF(X)"),
        (Form::End, "P=2"),
        (Form::Rights, "user supervisor rw"),
        (Form::Rights, "user r !w"),
        (Form::Rights, "rwx"),
        (Form::Rights, "user rwz"),
        (FORMS[6], "hit"),
        (FORMS[6], "hit miss hit hat"),
        (FORMS[6], "hit miss hit miss hit"),
        (Form::Set, "2 x"),
        // A range, a negative number, a fraction: each was read as two numbers.
        (Form::Set, "2-7"),
        (Form::Set, "2, -7"),
        (Form::Set, "2..7"),
        (Form::Set, "2/7"),
        (Form::Set, "2.7"),
    ] {
        let unclear = form.read(typed).expect_err(typed);
        assert!(unclear.to_string().starts_with("expected "), "{unclear}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(typed in "\\PC{0,60}|[0-9a-fx^*.,#|kKmibPWUhmu -]{0,40}") {
        for form in FORMS {
            let _ = form.read(&typed);
        }
    }

    #[test]
    fn what_is_printed_is_read(seed: u64) {
        for exercise in sheet(seed, &Topic::ALL, None, 3) {
            for question in &exercise.questions {
                let printed = question.form.write(&question.answer);
                prop_assert_eq!(question.mark(&printed), Marking::Right, "{}", printed);
                for (typed, why) in question.mistakes() {
                    let marking = question.mark(&typed);
                    let Marking::Wrong(reasons) = marking else {
                        return Err(TestCaseError::fail(format!("{typed} is {marking:?}")));
                    };
                    prop_assert!(reasons.iter().any(|reason| reason == why), "{typed}: {reasons:?}");
                }
            }
        }
    }
}

/// The address of an entry is that of its table, and its index times the size of an entry.
#[test]
fn a_small_table_says_how_large_its_entries_are() {
    for exercise in exercises(Topic::Translate, Difficulty::Basic) {
        let entry = exercise.facts.iter().find(|fact| fact.name == "entry").expect("a fact");
        assert!(entry.value.starts_with("2 bytes: bit 0 is valid"), "{entry:?}");
    }
}

#[test]
fn one_of_something_is_not_several() {
    let mut has_small_entries = false;
    for exercise in sheet(5, &Topic::ALL, None, 600) {
        let worked = exercise.questions.iter().flat_map(|question| &question.worked);
        for step in worked {
            assert!(!step.contains(" 1 bytes") && !step.contains(" 1 entries"), "{step}");
            has_small_entries |= step.contains("entries * 1 byte ");
        }
    }
    assert!(has_small_entries, "some entries have one byte");
}

fn exercises(topic: Topic, difficulty: Difficulty) -> Vec<Exercise> {
    sheet(5, &[topic], Some(difficulty), 200)
}

/// Asserts that some question of a topic explains a wrong answer with these words.
#[track_caller]
fn explains(topic: Topic, difficulty: Difficulty, words: &str) {
    let all = exercises(topic, difficulty);
    let mut mistakes = all.iter().flat_map(|exercise| {
        exercise.questions.iter().flat_map(Question::mistakes).map(|(_, why)| why)
    });
    assert!(mistakes.any(|why| why.contains(words)), "{topic}: nothing says {words:?}");
}

#[test]
fn typical_mistakes_are_explained_by_the_walk() {
    for (topic, difficulty, words) in [
        (Topic::Translate, Difficulty::Basic, "You forgot the offset"),
        (Topic::Translate, Difficulty::Basic, "multiplied by the size of a page"),
        (Topic::Translate, Difficulty::Moderate, "you used the index of the next level"),
        (Topic::Translate, Difficulty::Moderate, "You stopped a level early"),
        (Topic::Translate, Difficulty::Hard, "you used the index of the level before, the PDE"),
        (Topic::Translate, Difficulty::Hard, "The flags of the entry are still in the address"),
        (Topic::Translate, Difficulty::Hard, "A large page has 21 bits of offset"),
        (Topic::Translate, Difficulty::Hard, "PS is 1: a large page, and no table is below it"),
        (Topic::Entry, Difficulty::Hard, "That is the index of the PDE, a level below"),
        (Topic::Entry, Difficulty::Moderate, "The index counts entries of"),
        (Topic::Pages, Difficulty::Basic, "That is the exponent"),
        (Topic::Pages, Difficulty::Hard, "Room for the flags is missing"),
        (Topic::TableSize, Difficulty::Moderate, "The root counts, too"),
        (Topic::TableSize, Difficulty::Hard, "if the pages were where tables begin"),
        (Topic::Tlb, Difficulty::Hard, "Only misses read the tables"),
        (Topic::Clock, Difficulty::Basic, "It gets a second chance"),
        (Topic::Fork, Difficulty::Basic, "The fork itself copies none"),
    ] {
        explains(topic, difficulty, words);
    }
}

/// Of a frame that no known slip leads to, the offset at least may be right.
#[test]
fn a_right_offset_in_a_wrong_frame_is_said_to_be_right() {
    for exercise in exercises(Topic::Translate, Difficulty::Basic) {
        for question in &exercise.questions {
            let Value::Number(number) = question.answer else { continue };
            let why = reasons(question, &format!("{:#x}", number + (1 << 40)));
            assert!(why.starts_with("The offset is right"), "{why}");
        }
    }
}

/// The reasons why an answer is wrong.
#[track_caller]
fn reasons(question: &Question, typed: &str) -> String {
    match question.mark(typed) {
        Marking::Wrong(reasons) => reasons.join(" "),
        other => panic!("{typed} is {other:?} of {question:#?}"),
    }
}

/// Each wrong bit of an error code is explained, and no other.
#[test]
fn each_bit_of_an_error_code_is_explained() {
    let names = ["P is ", "W is ", "U is ", "RSVD is ", "I is "];
    let mut count = 0;
    for exercise in exercises(Topic::Fault, Difficulty::Hard) {
        for question in &exercise.questions {
            let Value::End(End::PageFault(code)) = question.answer else { continue };
            for (bit, name) in names.iter().enumerate() {
                let why = reasons(question, &format!("{:#x}", code ^ 1 << bit));
                assert!(why.contains(name), "{why}");
                let others = names.iter().filter(|other| *other != name);
                assert!(others.clone().all(|other| !why.starts_with(other)), "{why}");
                count += 1;
            }
        }
    }
    assert!(count > 200, "{count} bits");
}

/// A wrong step is explained, by its own number.
#[test]
fn each_step_of_a_sequence_is_explained() {
    for topic in [Topic::Tlb, Topic::Fork] {
        for exercise in exercises(topic, Difficulty::Hard) {
            let question = &exercise.questions[0];
            let (Form::Words(words, _), Value::Words(right)) = (question.form, &question.answer)
            else {
                panic!("{question:?}");
            };
            for place in 0..right.len() {
                let mut typed = right.clone();
                typed[place] = (typed[place] + 1) % words.len();
                let why = reasons(question, &question.form.write(&Value::Words(typed)));
                assert_eq!(why, question.worked[place]);
            }
        }
    }
}

/// Both a frame that is missing and one too many are explained.
#[test]
fn each_frame_of_a_set_is_explained() {
    for exercise in exercises(Topic::Clock, Difficulty::Moderate) {
        let question = &exercise.questions[1];
        let Value::Set(right) = &question.answer else { panic!("{question:?}") };
        for frame in 0..exercise.tables[0].rows.len() as u64 {
            let mut typed = right.clone();
            if !typed.remove(&frame) {
                typed.insert(frame);
            }
            let why = reasons(question, &question.form.write(&Value::Set(typed)));
            assert!(why.contains(&format!("rame {frame}")), "{why}");
        }
    }
}

/// A right that is wrong is explained by the level that takes it away.
#[test]
fn each_right_is_explained() {
    for exercise in exercises(Topic::Rights, Difficulty::Moderate) {
        let question = &exercise.questions[0];
        let Value::Rights(right) = question.answer else { panic!("{question:?}") };
        for (bit, name) in ["R/W", "U/S", "XD"].iter().enumerate() {
            let typed = question.form.write(&Value::Rights(right ^ 1 << bit));
            assert!(reasons(question, &typed).starts_with(name));
        }
    }
}

#[test]
fn a_number_without_0x_that_would_be_right_in_hexadecimal_is_said_to_be() {
    let all = exercises(Topic::Entry, Difficulty::Hard);
    let questions = all.iter().flat_map(|exercise| &exercise.questions);
    let mut count = 0;
    for question in questions.filter(|question| question.form == Form::Count) {
        let Value::Number(number) = question.answer else { panic!("{question:?}") };
        let typed = format!("{number:x}");
        let is_decimal = typed.bytes().all(|letter| letter.is_ascii_digit());
        if is_decimal && number > 9 && question.mistakes().all(|(mistake, _)| mistake != typed) {
            assert!(reasons(question, &typed).contains("right in hexadecimal"), "{typed}");
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn no_two_exercises_in_a_row_are_equal() {
    for topic in Topic::ALL {
        for difficulty in Difficulty::ALL {
            let sheet = sheet(1, &[topic], Some(difficulty), 200);
            for pair in sheet.windows(2) {
                assert_ne!(pair[0], pair[1]);
            }
        }
    }
}
