//! Pages of HTML. Names and texts on them come from files, guests and other programs: the templates escape what HTML
//! obeys, and this module what turns the direction of writing.

use super::printable;
use askama::Template;
use crosswalk_case::is_obeyed;
use serde::Serialize;
use std::fmt::Write;

/// The page that a template makes.
///
/// # Panics
/// Never: writing into a string does not fail.
pub(in crate::report) fn rendered(page: &impl Template) -> String {
    let text = page.render().expect("writing into a string does not fail");
    printable(&text).into_owned()
}

/// Data for an element `script` of a page, as JSON that cannot end the element. A letter that would turn the direction
/// of writing is its number once the script shows it, as it is elsewhere on the page.
///
/// # Panics
/// If it has maps with other keys than strings.
pub(in crate::report) fn script_data(data: &impl Serialize) -> String {
    let json = serde_json::to_string(data).expect("plain data");
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            '<' => text.push_str("\\u003c"),
            letter if is_obeyed(letter) => {
                let _ = write!(text, "\\\\u{:04x}", u32::from(letter));
            }
            letter => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Template)]
    #[template(source = "<p>{{ name }}</p>", ext = "html")]
    struct Named {
        name: &'static str,
    }

    #[test]
    fn a_page_shows_what_it_says() {
        assert_eq!(rendered(&Named { name: "a<\u{202e}b" }), "<p>a&#60;\\u202eb</p>");
    }

    #[test]
    fn data_stays_data_in_its_element() {
        let data = script_data(&["</script>", "a\u{202e}\u{9b}b\n"]);
        assert_eq!(data, r#"["\u003c/script>","a\\u202e\\u009bb\n"]"#);
        let read: [String; 2] = serde_json::from_str(&data).expect("JSON");
        assert_eq!(read, ["</script>", "a\\u202e\\u009bb\n"]);
    }
}
