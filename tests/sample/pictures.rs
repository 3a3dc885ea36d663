//! The pictures of a page are what its commands have drawn.

use std::fs;
use std::path::Path;

/// What is wrong with the pictures that a page shows, a sentence for each. Its commands have run in `drawn`. A picture
/// that has changed is replaced if that is wanted.
pub(super) fn problems(page: &Path, text: &str, drawn: &Path) -> Vec<String> {
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let is_drawn = |link: &&str| link.contains("pictures/") && link.strip_suffix(".svg").is_some();
    let pictures = links.filter(is_drawn);

    let mut problems = Vec::new();
    for link in pictures {
        let shown = page.parent().expect("a directory").join(link);
        let name = shown.file_name().expect("a name");
        let Ok(new) = fs::read(drawn.join(name)) else {
            problems.push(format!("{}: {link}: no command of the page draws it", page.display()));
            continue;
        };
        if fs::read(&shown).ok().as_ref() == Some(&new) {
            continue;
        }

        problems.push(format!("{}: {link}: the command draws something else", page.display()));
        if std::env::var_os("CROSSWALK_BLESS").is_some() {
            fs::create_dir_all(shown.parent().expect("a directory")).expect("it can be made");
            fs::write(shown, new).expect("the picture can be written");
        }
    }
    problems
}
