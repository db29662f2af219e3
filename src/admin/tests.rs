//! What is written by hand, held against what it is about.

use serde_json::Value;

use crate::event::Reason;

#[test]
fn the_document_and_the_page_know_every_reason() {
    let document: Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
    let documented = document["components"]["schemas"]["Reason"]["enum"].as_array().unwrap();
    let page = include_str!("page/page.js");
    let (_, reasons) = page.split_once("const REASONS = {").unwrap();
    let (reasons, _) = reasons.split_once("};").unwrap();
    let worded: Vec<_> = reasons.lines().filter_map(|line| line.trim().split_once(": ")).collect();
    let all: Vec<_> = Reason::all().into_iter().map(Reason::as_str).collect();
    assert_eq!(documented.iter().filter_map(Value::as_str).collect::<Vec<_>>(), all);
    assert_eq!(worded.iter().map(|(name, _)| *name).collect::<Vec<_>>(), all);
}
