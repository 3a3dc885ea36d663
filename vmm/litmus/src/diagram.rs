//! An execution as a sequence diagram: a column for each processor, a line for each step.

use crate::outcome::{content, entry, entry_result, number, place};
use crate::places::{Flag, letter};
use crate::test::Litmus;
use mmu_core::PhysAddr;
use mmu_core::litmus::{Action, Event, EventKind, EventWalk};
use std::fmt::Write;

/// An execution in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagram {
    /// Number of processors.
    pub processors: usize,
    /// What happens, in order.
    pub steps: Vec<DiagramStep>,
}

/// A step of an execution in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiagramStep {
    /// The number of the processor.
    pub processor: usize,
    /// What it does: an action as the test has it, or what happens by itself.
    pub what: String,
    /// How: by which entries, and with which result. Empty where there is nothing to say.
    pub how: String,
    /// Whether it is an action of the test rather than something that happens by itself.
    pub is_action: bool,
}

impl Diagram {
    /// Draws an execution of a test.
    pub fn new(test: &Litmus, execution: &[Event]) -> Self {
        let mut reader = Reader {
            test,
            next: vec![0; test.columns.len()],
            in_handler: vec![None; test.columns.len()],
        };
        Self {
            processors: test.columns.len(),
            steps: execution.iter().map(|event| reader.step(event)).collect(),
        }
    }

    /// The diagram as text, with lines of at most `width` characters where its words allow.
    pub fn text(&self, width: usize) -> String {
        const NUMBER: usize = 4;
        let column = (width.saturating_sub(NUMBER) / self.processors.max(1)).max(20);

        let mut text = format!("{:NUMBER$}", "");
        for processor in 0..self.processors {
            let _ = write!(text, "{:column$}", format!("P{processor}"));
        }
        let mut text = format!("{}\n", text.trim_end());
        for (number, step) in self.steps.iter().enumerate() {
            let words = step.how.split_whitespace();
            let mark = if step.is_action { "" } else { "~ " };
            let mut lines = vec![format!("{mark}{}", step.what)];
            let mut line = String::from("   ");
            for word in words {
                if line.len() + 1 + word.len() > column - 1 && line.trim() != "" {
                    lines.push(std::mem::replace(&mut line, "   ".into()));
                }
                let _ = write!(line, " {word}");
            }
            if line.trim() != "" {
                lines.push(line);
            }
            for (row, line) in lines.iter().enumerate() {
                let head = if row == 0 { format!("{:>2}  ", number + 1) } else { "    ".into() };
                let indent = step.processor * column;
                let _ = writeln!(text, "{head}{:indent$}{}", "", line.trim_end());
            }
        }
        text
    }

    /// The diagram as an SVG of its own.
    pub fn svg(&self, title: &str) -> String {
        const COLUMN: usize = 340;
        const ROW: usize = 46;
        const TOP: usize = 70;

        let width = 40 + COLUMN * self.processors;
        let height = TOP + ROW * self.steps.len() + 20;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\" font-family=\"ui-monospace, monospace\" font-size=\"13\">\n\
             <title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"20\" y=\"24\" font-size=\"15\">{}</text>\n",
            escaped(title),
            escaped(title),
        );
        for processor in 0..self.processors {
            let x = 40 + COLUMN * processor;
            let _ = writeln!(
                svg,
                "<text x=\"{x}\" y=\"52\" font-weight=\"bold\">P{processor}</text>\n\
                 <line x1=\"{x}\" y1=\"60\" x2=\"{x}\" y2=\"{}\" stroke=\"#888\"/>",
                height - 10,
            );
        }
        for (number, step) in self.steps.iter().enumerate() {
            let (x, y) = (40 + COLUMN * step.processor, TOP + ROW * number + 10);
            let fill = if step.is_action { "#1a5fb4" } else { "#9a6700" };
            let _ = writeln!(
                svg,
                "<circle cx=\"{x}\" cy=\"{y}\" r=\"4\" fill=\"{fill}\"/>\
                 <text x=\"{}\" y=\"{}\" fill=\"{fill}\">{} {}</text>\
                 <text x=\"{}\" y=\"{}\" fill=\"#444\" font-size=\"12\">{}</text>",
                x + 12,
                y + 4,
                number + 1,
                escaped(&step.what),
                x + 12,
                y + 20,
                escaped(&step.how),
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// Text that means nothing to a reader of XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Finds the words of the test for the steps of an execution.
struct Reader<'t> {
    test: &'t Litmus,
    /// The number of the next action of each processor,
    next: Vec<usize>,
    /// and of its handler, while it is there.
    in_handler: Vec<Option<usize>>,
}

impl Reader<'_> {
    fn step(&mut self, event: &Event) -> DiagramStep {
        let processor = event.processor;
        let by_itself =
            |what: String, how: String| DiagramStep { processor, what, how, is_action: false };
        match &event.kind {
            EventKind::Performs { action, walk, result } => {
                let mut how = walk.as_ref().map(walked).unwrap_or_default();
                if let (Some(result), true) = (result, walk.is_some()) {
                    let _ = write!(
                        how,
                        "{}{}",
                        if how.is_empty() { "" } else { ": " },
                        content(*result)
                    );
                } else if let Some(result) = result {
                    how = match action {
                        Action::Load(at) if is_flag(*at) => number(*result),
                        Action::Load(_) | Action::Locked(..) => entry_result(*result),
                        _ => content(*result),
                    };
                }
                DiagramStep { processor, what: self.action(processor), how, is_action: true }
            }
            EventKind::StoreReachesMemory { at, value } => {
                let value = match letter(*value) {
                    _ if is_flag(*at) => value.to_string(),
                    Some(letter) => letter.to_string(),
                    None => entry(*value),
                };
                by_itself(format!("{} = {value} reaches memory", place(*at)), String::new())
            }
            EventKind::TakesInterrupt => {
                self.in_handler[processor] =
                    Some(0).filter(|_| !self.test.handlers[processor].is_empty());
                by_itself("takes the interrupt".into(), String::new())
            }
            EventKind::Speculates { walk, .. } => {
                by_itself("walks ahead and sets A".into(), walked(walk))
            }
            EventKind::SetsDirtyEarly { walk } => {
                by_itself("sets D before the write is certain".into(), walked(walk))
            }
            EventKind::WritesEntriesBack => {
                by_itself("writes entries back with their flags".into(), String::new())
            }
        }
    }

    /// The next action of a processor, as the test has it.
    fn action(&mut self, processor: usize) -> String {
        if let Some(number) = self.in_handler[processor] {
            let handler = &self.test.handlers[processor];
            self.in_handler[processor] = Some(number + 1).filter(|next| *next < handler.len());
            return handler.get(number).cloned().unwrap_or_default();
        }
        let number = self.next[processor];
        self.next[processor] += 1;
        self.test.columns[processor].get(number).cloned().unwrap_or_default()
    }
}

/// Whether a flag of the test is at an address.
fn is_flag(at: PhysAddr) -> bool {
    Flag::all().any(|flag| flag.at() == at)
}

/// The entries of a walk, those aside that no test changes.
fn walked(walk: &EventWalk) -> String {
    let Some(last) = walk.entries.last() else { return "an absent entry that is cached".into() };
    if walk.is_hit {
        return format!("the cached translation {}", entry(last.value));
    }
    let lower = walk.entries.iter().filter(|step| ["PDE", "PTE"].contains(&step.name));
    let lower = lower.map(|step| {
        let cached = if step.is_cached { "cached " } else { "" };
        format!("{cached}{} {}", step.name, entry(step.value))
    });
    lower.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;

    fn diagram(name: &str, outcome: &str) -> Diagram {
        let test = catalogue::named(name).unwrap();
        let judgement = test.judge().unwrap();
        Diagram::new(&test, &judgement.outcomes[outcome].execution)
    }

    #[test]
    fn the_old_translation_comes_out_of_a_cache() {
        let text = diagram("remap-invlpg-remote", "a").text(80);
        assert!(
            text.contains("read x\n") && text.contains("the cached translation A:a: a"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }

    #[test]
    fn what_happens_by_itself_is_marked() {
        let text = diagram("xchg-write", "A:ad np").text(80);
        assert!(text.contains("~ sets D before the write is certain"), "{text}");
    }

    #[test]
    fn a_handler_has_its_own_actions() {
        let diagram = diagram("shoot-down-interrupt", "b");
        let of_second = diagram.steps.iter().filter(|step| step.processor == 1 && step.is_action);
        let what: Vec<&str> = of_second.map(|step| step.what.as_str()).collect();
        assert_eq!(what, ["touch x", "invlpg x", "g = 1", "wait f = 1", "read x"]);
    }

    #[test]
    fn an_svg_says_the_same_and_is_well_formed() {
        let svg = diagram("remap", "a").svg("a < b & c");
        assert!(
            svg.contains("a &lt; b &amp; c") && svg.contains("the cached translation"),
            "{svg}"
        );
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }
}
