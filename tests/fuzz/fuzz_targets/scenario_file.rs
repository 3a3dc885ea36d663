#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|input: &[u8]| crosswalk_fuzz_targets::scenario_file(input));
