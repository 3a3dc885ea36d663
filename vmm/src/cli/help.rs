//! What `--help` says at its end: examples that can be pasted into a shell, and the exit codes of each command. The
//! guide says more of exit codes (`docs/guide/src/json.md`).

pub(super) const PROGRAM: &str = "\
Examples:
  crosswalk
  crosswalk check --machine qemu --cases 200000 --seed 9
  crosswalk explain random:4level:7:12345@skylake
  crosswalk help check

Exit codes:
  0  everything agrees, known findings aside
  1  something differs that is not known
  2  wrong usage or input
  3  no machine, or it or the host failed
  4  interrupted or incomplete";

pub(super) const CHECK: &str = "\
Examples:
  crosswalk check --machine qemu --cases 1e6 --seed 9
  crosswalk check --for 1h30m --report run
  crosswalk check --walker 'cmd:python3 walker.py'
  crosswalk check bugs/1.json bugs/2.json --machine qemu --format junit

Exit codes:
  0  everything agrees, known findings aside
  1  something differs that is not known
  2  wrong usage or input
  3  no machine, or it or the host failed, or nothing was compared
  4  interrupted, or a part of what was asked for was not run";

pub(super) const MACHINES: &str = "\
Examples:
  crosswalk machines
  crosswalk machines --json

Exit codes:
  0  a machine works
  2  wrong usage or input
  3  none does";

pub(super) const EXPLAIN: &str = "\
Examples:
  crosswalk explain random:4level:7:12345@skylake
  crosswalk explain case.json --machine kvm
  crosswalk explain - --tree < case.json

Exit codes:
  0  the walk was shown, and the machine agrees, known findings aside
  1  the machine differs in a way that is not known
  2  wrong usage or input
  3  the machine or the host failed
  4  the machine could not run the case";

pub(super) const MUTANTS: &str = "\
Examples:
  crosswalk mutants --machine qemu --for 1m
  crosswalk mutants --cases 1e6 --seed 0x9 --json

Exit codes:
  0  no mutant is missed
  1  one is missed
  2  wrong usage or input
  3  no machine, or it or the host failed
  4  interrupted: that is the score until then";

pub(super) const RECORD: &str = "\
Examples:
  crosswalk record out.jsonl.zst --machine qemu
  crosswalk record out.jsonl --machine kvm --cases 1e5 --seed 9

Exit codes:
  0  the corpus was written
  2  wrong usage or input
  3  no machine, or it or the host failed
  4  interrupted: the corpus has what was recorded until then";

pub(super) const REPLAY: &str = "\
Examples:
  crosswalk replay --walker cmd:./walker.py
  crosswalk replay out.jsonl.zst --walker 'cmd:node w.mjs'

Exit codes:
  0  everything agrees, known findings aside
  1  something differs that is not known
  2  wrong usage or input
  3  nothing could be compared, or the host failed
  4  interrupted: that is the result until then";

pub(super) const IMAGE: &str = "\
Examples:
  crosswalk image crosswalk.elf
  crosswalk image crosswalk.iso --mode pae,4level --cases 5000 --seed 9

Exit codes:
  0  the image was written
  2  wrong usage or input
  3  the host failed";

pub(super) const JUDGE: &str = "\
Examples:
  crosswalk judge serial.log
  crosswalk judge - < serial.log

Exit codes:
  0  everything agrees, known findings aside
  1  something differs that is not known
  2  wrong usage or input
  3  nothing could be compared, the log ends too early, or the host failed";

pub(super) const CONFORMANCE: &str = "\
Examples:
  crosswalk conformance --no-adapters --walker cmd:./walker.py
  crosswalk conformance --page conformance.md

Exit codes:
  0  there is a table, whatever it shows
  2  wrong usage or input
  3  the host failed";

pub(super) const MERGE: &str = "\
Examples:
  crosswalk merge shard-0 shard-1 shard-2 --report all

Exit codes:
  0  everything agrees, known findings aside
  1  something differs that is not known
  2  wrong usage or input
  3  nothing was compared, or the host failed
  4  shards are missing";

pub(super) const COMPARE: &str = "\
Examples:
  crosswalk compare one.jsonl.zst other.jsonl.zst

Exit codes:
  0  the comparison was shown
  2  wrong usage or input
  3  the host failed";

pub(super) const CORPUS: &str = "\
Examples:
  crosswalk corpus stats
  crosswalk corpus export --mode 4level --limit 100 --seed 1

Exit codes:
  0  the cases were written, or counted
  2  wrong usage or input
  3  the host failed";

pub(super) const RULES: &str = "\
Examples:
  crosswalk rules
  crosswalk rules RIGHT-2 --json

Exit codes:
  0  the rules were shown
  2  wrong usage or input
  3  the host failed";

pub(super) const LITMUS: &str = "\
Examples:
  crosswalk litmus
  crosswalk litmus remap-invlpg-remote
  crosswalk litmus all --machine kvm --runs 1e4
  crosswalk litmus mine.litmus --machine qemu --for 30s --report page.html
  crosswalk litmus explain xchg-write \"A:ad np\"

Exit codes:
  0  what is allowed was shown, and nothing else was seen
  1  something forbidden was seen, or a test claims something else
  2  wrong usage or input
  3  there is no such machine, a processor hangs, or the host failed
  4  stopped before all tests were run";

pub(super) const SCHEMA: &str = "\
Examples:
  crosswalk schema
  crosswalk schema run

Exit codes:
  0  the schema was printed
  2  wrong usage or input
  3  the host failed";

pub(super) const FINDINGS: &str = "\
Examples:
  crosswalk findings
  crosswalk findings tcg
  crosswalk findings T20

Exit codes:
  0  they were listed
  2  wrong usage or input
  3  the host failed";

pub(super) const WALK: &str = "\
Examples:
  crosswalk walk guest.elf 0xffffffff81000000
  crosswalk walk qmp:monitor.sock 0x7f0000000000

Exit codes:
  0  the address is mapped, or the walk was shown
  2  wrong usage or input
  3  the host failed";

pub(super) const MAPS: &str = "\
Examples:
  crosswalk maps guest.elf
  crosswalk maps guest.elf --html page.html

Exit codes:
  0  the mappings were shown
  1  a check found a difference
  2  wrong usage or input
  3  the host failed
  4  interrupted";

pub(super) const RMAP: &str = "\
Examples:
  crosswalk rmap guest.elf 0x1000000

Exit codes:
  0  the paths were shown
  2  wrong usage or input
  3  the host failed
  4  interrupted";

pub(super) const DIFF: &str = "\
Examples:
  crosswalk diff before.elf after.elf

Exit codes:
  0  both map the same
  1  they differ
  2  wrong usage or input
  3  the host failed
  4  interrupted";

pub(super) const AUDIT: &str = "\
Examples:
  crosswalk audit guest.elf

Exit codes:
  0  nothing was found
  1  something was found
  2  wrong usage or input
  3  the host failed
  4  interrupted";

pub(super) const GEOMETRY: &str = "\
Examples:
  crosswalk geometry
  crosswalk geometry --bits 48 --levels 9,9,9,9 --entry 8
  crosswalk geometry --html page.html

Exit codes:
  0  the cost was shown
  2  wrong usage or input
  3  the host failed";

pub(super) const EXERCISE: &str = "\
Examples:
  crosswalk exercise
  crosswalk exercise translate
  crosswalk exercise fault --level 2 --count 10 --seed 7 --answers
  crosswalk exercise all --html sheet.html

Exit codes:
  0  the exercises were asked, or printed, whatever the answers were
  2  wrong usage or input
  3  the host failed";

pub(super) const SCENARIO: &str = "\
Examples:
  crosswalk scenario all
  crosswalk scenario copy-on-write --machine none
  crosswalk scenario reclaim --html reclaim.html
  crosswalk scenario mine.toml --machine qemu --json
  crosswalk scenario random --operations 1e5 --seed 9

Exit codes:
  0  every claim holds, and the machine agrees
  1  something does not
  2  wrong usage or input
  3  the machine or the host failed
  4  a scenario tested no claim; or interrupted: that is the result until then";

pub(super) const COMPLETIONS: &str = "\
Examples:
  crosswalk completions bash > crosswalk.bash
  crosswalk completions zsh > _crosswalk
  crosswalk completions fish > crosswalk.fish

Exit codes:
  0  the script was printed
  2  wrong usage or input
  3  the host failed";

#[cfg(test)]
mod tests {
    use crate::cli::CommandLine;
    use clap::{CommandFactory, Parser};

    /// The examples of every command's help.
    fn examples() -> Vec<(String, String)> {
        let mut examples = Vec::new();
        let program = CommandLine::command();
        for command in std::iter::once(&program).chain(program.get_subcommands()) {
            if command.is_hide_set() {
                continue;
            }
            let name = command.get_name().to_owned();
            let end = command.get_after_long_help();
            let end = end.unwrap_or_else(|| panic!("{name} has no examples")).to_string();
            let (lines, codes) = end.split_once("\n\nExit codes:\n  0  ").expect("both parts");
            assert!(codes.contains("\n  2  "), "{name}: {codes}");
            let lines = lines.strip_prefix("Examples:\n").expect("examples");
            examples.extend(lines.lines().map(|line| (name.clone(), line.trim().to_owned())));
        }
        examples
    }

    #[test]
    fn every_example_is_a_command_that_is_understood() {
        for (name, example) in examples() {
            let words = shlex::split(&example).expect("words of a shell");
            // What a shell takes for itself.
            let words: Vec<_> =
                words.into_iter().take_while(|word| word != ">" && word != "<").collect();
            assert_eq!(words[0], "crosswalk");
            match CommandLine::try_parse_from(words) {
                Ok(_) => {}
                Err(end) => assert!(!end.use_stderr(), "{name}: {example}: {end}"),
            }
        }
    }
}
