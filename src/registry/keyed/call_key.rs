//! The key of a call that has no breaker, until the call ends.

/// How many bytes of a key are kept in place: the names of nearly all hosts, routes and methods.
const IN_PLACE: usize = 126;

/// Text that needs no allocation if it is short.
pub(super) enum CallKey {
    InPlace { len: u8, bytes: [u8; IN_PLACE] },
    Boxed(Box<str>),
}

impl CallKey {
    #[inline]
    pub(super) fn new(text: &str) -> Self {
        match u8::try_from(text.len()) {
            Ok(len) if text.len() <= IN_PLACE => {
                let mut bytes = [0; IN_PLACE];
                bytes[..text.len()].copy_from_slice(text.as_bytes());
                Self::InPlace { len, bytes }
            }
            _ => Self::Boxed(text.into()),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            // It was text.
            Self::InPlace { len, bytes } => {
                std::str::from_utf8(&bytes[..usize::from(*len)]).unwrap_or_default()
            }
            Self::Boxed(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_any_length_is_kept() {
        for length in [0, 1, 22, 62, 125, 126, 127, 128, 255, 256, 257, 1000] {
            let text = "é".repeat(length / 2) + &"x".repeat(length % 2);
            let key = CallKey::new(&text);
            assert_eq!(key.as_str(), text);
            assert_eq!(matches!(key, CallKey::Boxed(_)), length > IN_PLACE);
        }
    }
}
