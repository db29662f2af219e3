//! Fills the text of the page.

/// As wide as the rest of the repository.
const COLUMNS: usize = 100;

/// Fills paragraphs and the items of lists. Tables, code, headings and comments stay as they are.
pub(crate) fn fill(page: &str) -> String {
    let (mut filled, mut paragraph) = (Vec::new(), String::new());
    let mut is_code = false;
    for line in page.lines() {
        let is_fence = line.starts_with("```");
        if is_code || is_fence || line.is_empty() || line.starts_with(['|', '#', '<', '!']) {
            filled.extend(wrap(&std::mem::take(&mut paragraph)));
            filled.push(line.to_owned());
        } else {
            if indent(line) > 0 {
                filled.extend(wrap(&std::mem::take(&mut paragraph)));
            }
            paragraph = format!("{paragraph} {}", line.trim()).trim_start().to_owned();
        }
        is_code ^= is_fence;
    }
    filled.extend(wrap(&paragraph));
    filled.join("\n") + "\n"
}

fn wrap(paragraph: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in paragraph.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= COLUMNS => {
                line.push(' ');
                line.push_str(word);
            }
            last => {
                let indent = if last.is_some() { indent(paragraph) } else { 0 };
                lines.push(" ".repeat(indent) + word);
            }
        }
    }
    lines
}

/// How far the lines of an item of a list are indented after the first; 0: it is none.
fn indent(line: &str) -> usize {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    match line[digits..].strip_prefix(". ") {
        Some(_) if digits > 0 => digits + 2,
        _ if line.starts_with("- ") => 2,
        _ => 0,
    }
}
