//! What an operator says about a state, as text that the server keeps beside the state.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::manual::{ManualChange, Remark};

#[derive(Serialize, Deserialize)]
struct Text<'a> {
    #[serde(default, skip_serializing_if = "str::is_empty")]
    by: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    note: Cow<'a, str>,
}

pub(super) fn write(remark: &Remark) -> String {
    let text = |text: &Option<Arc<str>>| Cow::Owned(text.as_deref().unwrap_or("").to_owned());
    let Remark { note, by } = remark;
    serde_json::to_string(&Text { by: text(by), note: text(note) }).unwrap_or_default()
}

/// `None` if nothing was said.
pub(super) fn read(text: &str) -> Option<Arc<Remark>> {
    let Text { by, note } = serde_json::from_str(text).ok()?;
    // No longer than those of this process.
    ManualChange::new().by(by).note(note).remark.into_shared()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_comes_back_as_it_was_and_anything_else_is_nothing() {
        for change in [
            ManualChange::new().by("on-call"),
            ManualChange::new().note("\"double\"\n\u{0}ü {charges}"),
            ManualChange::new().by("x".repeat(ManualChange::MAX_BY)).note("y"),
        ] {
            let text = write(&change.remark);
            assert_eq!(read(&text).as_deref(), Some(&change.remark), "{text}");
        }
        for nothing in ["", "{}", "[]", r#"{"by":"","note":""}"#, r#"{"by":1}"#, "on-call"] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
        let long = write(&Remark { note: Some("y".repeat(5000).into()), by: None });
        let note = read(&long).unwrap().note.clone().unwrap();
        assert_eq!(note.len(), ManualChange::MAX_NOTE);
        let newer = r#"{"by":"on-call","ticket":7}"#;
        assert_eq!(read(newer).unwrap().by.as_deref(), Some("on-call"));
    }
}
