//! Shapes and text as SVG.

use std::fmt::{Display, Write};

/// What has been drawn.
#[derive(Default)]
pub(super) struct Canvas {
    elements: String,
}

impl Canvas {
    /// Text at a place; its class decides the anchor.
    pub(super) fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = escaped(text);
        self.add(format_args!(r#"<text x="{x}" y="{y}" class="{class}">{text}</text>"#));
    }

    /// A rectangle.
    pub(super) fn rectangle(&mut self, [x, y, width, height]: [f64; 4], class: &str) {
        self.add(format_args!(
            r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="3" class="{class}"/>"#
        ));
    }

    /// A line through points, with a tip at its end.
    pub(super) fn arrow(&mut self, points: &[(f64, f64)]) {
        let mut path = String::new();
        for (number, (x, y)) in points.iter().enumerate() {
            let letter = if number == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{x} {y}");
        }
        self.add(format_args!(r#"<path d="{path}" class="arrow"/>"#));

        let [.., (from, above), (x, y)] = points else { return };
        let tip = if (x - from).abs() > (y - above).abs() {
            format!("M{x} {y}l-7 -4v8z")
        } else {
            format!("M{x} {y}l-4 -7h8z")
        };
        self.add(format_args!(r#"<path d="{tip}" class="tip"/>"#));
    }

    /// Begins a group of what a step of the walk shows: its walk, its number there, and its colour.
    pub(super) fn begin(&mut self, walk: usize, step: usize, colour: usize) {
        self.add(format_args!(
            r#"<g class="part c{colour}" data-walk="{walk}" data-step="{step}">"#
        ));
    }

    /// Ends the group.
    pub(super) fn end(&mut self) {
        self.add("</g>");
    }

    fn add(&mut self, element: impl Display) {
        let _ = writeln!(self.elements, "{element}");
    }

    /// The drawing: an image of this size with this name, in colours that fit a light and a dark page.
    pub(super) fn finish(self, [width, height]: [f64; 2], name: &str) -> String {
        let name = escaped(name);
        let style = include_str!("style.css").trim_end();
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"walk-picture\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{name}\">\n\
             <style>\n{style}\n</style>\n{}</svg>\n",
            self.elements
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
