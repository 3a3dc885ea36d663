//! Two processors: edits that the other one does not know of, and how it is told.

use super::*;

const fn flag() -> Action {
    Action::Store(FLAG, 1)
}

#[test]
fn tests_24_to_26_another_processor_may_use_the_old_entry_for_ever() {
    Bench::new(&[&[set(0)], &[read(), read()]]).shows(&["a a", "a np", "np np"]);
    let seen = Action::WaitFor(FLAG, 1);
    Bench::new(&[&[set(B), flag()], &[seen, read()]]).shows(&["a", "b"]);
}

#[test]
fn test_27_what_becomes_present_is_seen_by_whoever_knows_of_it() {
    let seen = Action::WaitFor(FLAG, 1);
    Bench::new(&[&[set(B), flag()], &[seen, read()]]).with(PTE, 0).shows(&["b"]);
}

#[test]
fn test_28_invlpg_is_of_one_processor() {
    let seen = Action::WaitFor(FLAG, 1);
    Bench::new(&[&[set(B), invlpg(), flag()], &[seen, read()]]).shows(&["a", "b"]);
}

#[test]
fn test_29_a_shoot_down_is_seen_by_both() {
    let first = [set(B), invlpg(), flag(), Action::WaitFor(ACK, 1), read()];
    let second = [Action::WaitFor(FLAG, 1), invlpg(), Action::Store(ACK, 1), read()];
    Bench::new(&[&first, &second]).shows(&["b b"]);
}

#[test]
fn test_30_a_shoot_down_by_interrupt_is_seen_by_both() {
    let first =
        [set(B), invlpg(), Action::Interrupt(1), Action::WaitFor(ACK, 1), Action::Store(FLAG, 1)];
    let second = [Action::WaitFor(FLAG, 1), read()];
    let handler = [invlpg(), Action::Store(ACK, 1)];
    Bench::new(&[&first, &second]).with_handler(1, &handler).shows(&["b"]);
    // Without the acknowledgement it is too early to go on.
    let first = [set(B), invlpg(), Action::Interrupt(1), Action::Store(FLAG, 1)];
    Bench::new(&[&first, &second]).with_handler(1, &handler).shows(&["a", "b"]);
}

#[test]
fn tests_35_and_45_store_buffering_with_an_entry() {
    let [x_first, y_first] = [[set(B), Action::Read(Y)], [Action::Store(PTE_OF_Y, B), read()]];
    Bench::new(&[&x_first, &y_first]).shows(&["a a", "a b", "b a", "b b"]);

    // INVLPG empties the store buffer.
    let first = [set(B), invlpg(), Action::Load(FLAG)];
    let second = [flag(), Action::Fence, read()];
    Bench::new(&[&first, &second]).shows(&["0x0 a", "0x0 b", "0x1 a", "0x1 b"]);
    let second = [flag(), invlpg(), read()];
    Bench::new(&[&first, &second]).shows(&["0x0 b", "0x1 a", "0x1 b"]);
}

#[test]
fn test_40_break_before_make_with_an_acknowledgement() {
    let first = [set(0), invlpg(), flag(), Action::WaitFor(ACK, 1), set(B), Action::Store(FLAG, 2)];
    let second = [
        Action::WaitFor(FLAG, 1),
        invlpg(),
        Action::Store(ACK, 1),
        Action::WaitFor(FLAG, 2),
        read(),
    ];
    Bench::new(&[&first, &second]).shows(&["b"]);
}

#[test]
fn test_44_without_an_acknowledgement_a_frame_is_used_after_it_was_given_away() {
    let overwrite = Action::Store(PhysAddr::new(0x50_000), 12);
    let first = [set(B), invlpg(), overwrite];
    Bench::new(&[&first, &[read()]]).shows(&["a", "b", "d"]);
    let told = [set(B), invlpg(), flag(), Action::WaitFor(ACK, 1), overwrite];
    let second = [Action::WaitFor(FLAG, 1), invlpg(), Action::Store(ACK, 1), read()];
    Bench::new(&[&told, &second]).shows(&["b"]);
}

#[test]
fn test_43_a_table_is_re_used_while_the_other_walks_it() {
    let first = [Action::Store(PDE, 0), invlpg(), set(B)];
    Bench::new(&[&first, &[read()]]).shows(&["a", "b", "np"]);
}
