//! Ids of breakers in URLs: the name in base64url, without padding, and `-` for the empty name.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// No text has this id in base64url.
const EMPTY: &str = "-";

pub(super) fn of_name(name: &str) -> String {
    if name.is_empty() { EMPTY.to_owned() } else { URL_SAFE_NO_PAD.encode(name) }
}

/// The name of an id. `None` if it is not the id of any text. Each name has one id.
pub(super) fn to_name(id: &str) -> Option<String> {
    match id {
        EMPTY => return Some(String::new()),
        "" => return None,
        _ => {}
    }
    String::from_utf8(URL_SAFE_NO_PAD.decode(id).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_id_that_is_safe_in_urls() {
        let names =
            ["payments", "../x y/é", "<img src=x onerror=alert(1)>", "\n\0?#%2f", "ÿÿÿ", "", "-"];
        for name in names {
            let id = of_name(name);
            let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            assert!(id.bytes().all(is_safe) && !id.is_empty(), "{id}");
            assert_eq!(to_name(&id).as_deref(), Some(name));
        }
    }

    #[test]
    fn other_texts_are_no_ids() {
        // Padding, the other alphabet, bits that are left over, and bytes that are no text.
        for id in ["", "--", "cGF5bWVudHM=", "a+/b", "a", "YR", "_w", "%63", "é", " YQ"] {
            assert_eq!(to_name(id), None, "{id}");
        }
    }
}
