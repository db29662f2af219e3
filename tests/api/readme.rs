//! The README's quick starts are short, and stay so.

use std::{fs, path::Path};

/// The lines that a reader sees of the block of Rust code with this text.
fn shown(readme: &str, text: &str) -> usize {
    let blocks = readme.split("```rust").skip(1).filter_map(|rest| rest.split("```").next());
    let mut found = blocks.filter(|block| block.contains(text));
    let block = found.next().expect(text);
    assert!(found.next().is_none(), "one block has {text}");
    let lines = block.lines().skip(1);
    lines.filter(|line| *line != "#" && !line.starts_with("# ")).count()
}

#[test]
fn the_quick_starts_keep_their_number_of_lines() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(path).unwrap();
    for (text, lines) in [
        ("Router::new()\n    .route(\"/pay\"", 14),
        ("permit.call_blocking", 8),
        ("tonic::transport::Server::builder", 5),
        ("reqwest::Client::builder", 5),
    ] {
        assert_eq!(shown(&readme, text), lines, "{text}");
    }
}
