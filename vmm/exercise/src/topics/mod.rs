//! The exercises of each topic.

mod clock;
mod entry;
mod fault;
mod fork;
mod pages;
mod path;
mod processes;
mod rights;
mod table_size;
mod tlb;
mod translate;

use crate::chance::Chance;
use crate::exercise::Exercise;
use crate::topic::{Difficulty, Topic};

/// An exercise.
pub(crate) fn make(topic: Topic, difficulty: Difficulty, chance: &mut Chance) -> Exercise {
    match topic {
        Topic::Pages => pages::make(difficulty, chance),
        Topic::Entry => entry::make(difficulty, chance),
        Topic::Translate => translate::make(difficulty, chance),
        Topic::Fault => fault::make(difficulty, chance),
        Topic::Rights => rights::make(difficulty, chance),
        Topic::TableSize => table_size::make(difficulty, chance),
        Topic::Tlb => tlb::make(difficulty, chance),
        Topic::Clock => clock::make(difficulty, chance),
        Topic::Fork => fork::make(difficulty, chance),
    }
}
