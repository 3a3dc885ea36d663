//! The end-to-end tests: the program `crosswalk` as users run it, and the crates behind it on real
//! machines. They are one program, so that they are linked once, and so that tests that wait leave the
//! processors to the others. `cargo test --test end_to_end jail::` runs those of a file.

mod alignment;
mod bochs;
mod cached_cases;
mod campaign;
mod candidates;
mod cli;
mod compare;
mod compatibility;
mod corpus;
mod deadlines;
mod edge_cases;
mod explain;
mod faults;
mod guest_image;
mod guide;
mod hostile_behaviours;
mod hostile_guest;
mod images;
mod jail;
mod jobs;
mod journal;
mod kills;
mod kvm;
mod machine;
mod malformed;
mod mutants;
mod nested;
mod qemu;
mod qemu_cases;
mod qemu_check;
mod qemu_programs;
mod qemu_rights;
mod qemu_versions;
mod regression;
mod report;
mod saved_frame;
mod saved_rip;
mod scenario;
mod scenario_machines;
mod sequences;
mod sequences_32;
mod trust;
mod verdict;
mod without_sys;
