//! File names for keys, and keys for file names. A key is data: its file is always inside the
//! store's folder.
//!
//! Lowercase letters, digits, `-`, `_` and `.` stand for themselves. Every other byte, including
//! uppercase letters, is `%` and two lowercase hexadecimal digits. So no two files differ only in
//! case, none is hidden or has a meaning to Windows, and a `+` never comes from a breaker's name.
//!
//! | key | file |
//! |---|---|
//! | `circuit_breaker:payments:state` | `payments.json` |
//! | `circuit_breaker:payments:recent` | `payments+recent.json` |
//! | `circuit_breaker:payments:quarantine` | `payments+quarantine.json` |
//! | the history of `circuit_breaker:payments:history` | `payments+history.jsonl` |
//! | `circuit_breaker:EU/pay:state` | `%45%55%2fpay.json` |
//! | any other | the escaped key, followed by `+key.json` |
//!
//! A file name holds at most 255 bytes, or 143 on some encrypted disks. A longer name is split into
//! folders: each holds as much of it as fits and ends with a `+`, and what follows starts with a
//! `+`.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// The longest part of an escaped name in the name of one file or folder.
const MAX_PART: usize = 120;

/// How a kind of key maps to a file name: `<key_prefix><name><key_suffix>` is in the file
/// `<escaped name><file_suffix>`.
pub(super) struct Pattern {
    key_prefix: &'static str,
    key_suffix: &'static str,
    file_suffix: &'static str,
}

const fn breaker(key_suffix: &'static str, file_suffix: &'static str) -> Pattern {
    Pattern { key_prefix: "circuit_breaker:", key_suffix, file_suffix }
}

const fn any_other(file_suffix: &'static str) -> Pattern {
    Pattern { key_prefix: "", key_suffix: "", file_suffix }
}

/// The patterns of values; the last one matches every key.
pub(super) const VALUES: &[Pattern] = &[
    breaker(":state", ".json"),
    breaker(":recent", "+recent.json"),
    breaker(":quarantine", "+quarantine.json"),
    any_other("+key.json"),
];

/// The patterns of histories; the last one matches every key.
pub(super) const HISTORIES: &[Pattern] =
    &[breaker(":history", "+history.jsonl"), any_other("+key+history.jsonl")];

/// Names that Windows reserves for devices, whatever follows after a dot.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];
const NUMBERED_DEVICES: [&str; 2] = ["com", "lpt"];

/// Returns the file of a key, relative to the store's folder.
pub(super) fn file_of(patterns: &[Pattern], key: &str) -> PathBuf {
    let file = patterns.iter().find_map(|pattern| {
        let name = key.strip_prefix(pattern.key_prefix)?.strip_suffix(pattern.key_suffix)?;
        // A key with an empty breaker name, or an empty key, falls to the last pattern.
        (!name.is_empty() || pattern.key_suffix.is_empty())
            .then(|| path_of(&escape(name), pattern.file_suffix))
    });
    file.unwrap_or_default()
}

/// Returns the key of a file, or `None` if the file is not from this store.
pub(super) fn key_of(patterns: &[Pattern], file: &Path) -> Option<String> {
    let mut name = String::new();
    let mut parts = file.iter().map(OsStr::to_str);
    let last = parts.next_back()??;
    for part in parts {
        name.push_str(without_mark(part?, &name).strip_suffix('+')?);
    }
    let last = without_mark(last, &name);
    // In reverse: the first suffix is the end of all others.
    let (pattern, stem) = patterns
        .iter()
        .rev()
        .find_map(|pattern| Some((pattern, last.strip_suffix(pattern.file_suffix)?)))?;
    name.push_str(stem);
    let key = format!("{}{}{}", pattern.key_prefix, unescape(&name)?, pattern.key_suffix);
    // Any other file that reads as this key is not from this store.
    (file_of(patterns, &key) == file).then_some(key)
}

/// Whether a folder of this name may hold files of the store.
pub(super) fn is_part(folder: &OsStr) -> bool {
    folder.to_str().is_some_and(|name| name.len() > 1 && name.ends_with('+'))
}

/// A part of a path without the `+` that marks it as a continuation of the parts before.
fn without_mark<'a>(part: &'a str, before: &str) -> &'a str {
    if before.is_empty() { part } else { part.strip_prefix('+').unwrap_or(part) }
}

fn path_of(mut escaped: &str, file_suffix: &str) -> PathBuf {
    let mut path = PathBuf::new();
    let mut mark = "";
    while escaped.len() > MAX_PART {
        let (part, rest) = escaped.split_at(MAX_PART);
        path.push(format!("{mark}{part}+"));
        escaped = rest;
        mark = "+";
    }
    path.push(format!("{mark}{escaped}{file_suffix}"));
    path
}

fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    let is_device = is_device(name);
    for (index, byte) in name.bytes().enumerate() {
        let is_plain = match byte {
            b'a'..=b'z' => index > 0 || !is_device,
            b'0'..=b'9' | b'_' => true,
            // At the start, they would hide the file, or make it look like an option.
            b'.' | b'-' => index > 0,
            _ => false,
        };
        if is_plain {
            escaped.push(byte.into());
        } else {
            escaped.push('%');
            escaped.extend(hex_digits(byte));
        }
    }
    escaped
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    let is_numbered = || {
        let device = stem.strip_suffix(|last: char| last.is_ascii_digit());
        device.is_some_and(|device| NUMBERED_DEVICES.contains(&device))
    };
    DEVICES.contains(&stem) || is_numbered()
}

/// A byte as two lowercase hexadecimal digits.
pub(super) fn hex_digits(byte: u8) -> [char; 2] {
    [byte >> 4, byte & 15].map(|half| char::from_digit(half.into(), 16).unwrap_or('0'))
}

fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let halves = [rest.next()?, rest.next()?].map(|half| char::from(half).to_digit(16));
            let [high, low] = halves;
            bytes.push(u8::try_from(high? << 4 | low?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state(name: &str) -> String {
        format!("circuit_breaker:{name}:state")
    }

    fn file(name: &str) -> String {
        file_of(VALUES, &state(name)).into_os_string().into_string().unwrap()
    }

    #[test]
    fn plain_names_stay_readable_and_others_are_escaped() {
        let long = "a".repeat(300);
        let a = "a".repeat(120);
        let cases = [
            ("payments", "payments.json"),
            ("api.example.com", "api.example.com.json"),
            ("eu-west_1", "eu-west_1.json"),
            ("Payments", "%50ayments.json"),
            ("../x", "%2e.%2fx.json"),
            ("-rf", "%2drf.json"),
            ("con", "%63on.json"),
            ("com1.x", "%63om1.x.json"),
            ("common", "common.json"),
            ("a.", "a..json"),
            ("a\0", "a%00.json"),
            ("ü", "%c3%bc.json"),
            ("a+quarantine", "a%2bquarantine.json"),
            (&long, &format!("{a}+/+{a}+/+{}.json", "a".repeat(60))),
        ];
        for (name, expected) in cases {
            assert_eq!(file(name), expected);
            assert_eq!(key_of(VALUES, Path::new(expected)), Some(state(name)), "{expected}");
        }
    }

    #[test]
    fn every_key_has_a_file_and_a_foreign_file_has_no_key() {
        for key in ["", ":state", "circuit_breaker::state", "circuit_breaker:state", "x:quarantine"]
        {
            let file = file_of(VALUES, key);
            assert!(file.to_str().unwrap().ends_with("+key.json"), "{}", file.display());
            assert_eq!(key_of(VALUES, &file).as_deref(), Some(key));
        }
        let foreign = [
            "",
            "a",
            ".json",
            "a.txt",
            "A.json",
            "%41",
            "%4.json",
            "%zz.json",
            "%ff.json",
            "%61.json",
            ".a.json",
            "con.json",
            "a/b.json",
            "a+/+b.json",
            "a+b.json",
            "+lock",
            "+saving.tmp",
            "circuit_breaker%3aa%3astate+key.json",
            "../a.json",
            "é.json",
        ];
        for file in foreign {
            assert_eq!(key_of(VALUES, Path::new(file)), None, "{file}");
        }
    }

    /// Names, many of which resemble another name, or contain more than a name.
    fn names() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            any::<String>(),
            "[a-cA-C.%+:/\\\\~ -]{0,6}",
            Just("..".to_owned()),
            Just("con".to_owned()),
            Just(":state".to_owned()),
            Just("+quarantine".to_owned()),
            Just("%2f".to_owned()),
            Just("é".repeat(90)),
            Just("a".repeat(119)),
        ];
        let words = proptest::collection::vec(word, 0..6);
        words.prop_map(|words| {
            let all = words.concat();
            let fit = all.char_indices().take_while(|(place, c)| place + c.len_utf8() <= 512);
            fit.map(|(_, c)| c).collect::<String>()
        })
    }

    /// A name and a similar one.
    fn pairs() -> impl Strategy<Value = (String, String)> {
        (names(), names(), 0..8).prop_map(|(name, other, similarity)| {
            let similar = match similarity {
                0 => name.to_uppercase(),
                1 => name.to_lowercase(),
                2 => format!("{name}."),
                3 => format!("{name} "),
                4 => format!("{name}.json"),
                5 => escape(&name),
                6 => name.chars().rev().collect(),
                _ => other,
            };
            (name, similar)
        })
    }

    proptest! {
        #[test]
        fn a_file_is_inside_the_folder_and_leads_back_to_its_key(name in names()) {
            for (patterns, other, key) in [
                (VALUES, HISTORIES, state(&name)),
                (VALUES, HISTORIES, format!("circuit_breaker:{name}:quarantine")),
                (VALUES, HISTORIES, name.clone()),
                (HISTORIES, VALUES, format!("circuit_breaker:{name}:history")),
                (HISTORIES, VALUES, name.clone()),
            ] {
                let file = file_of(patterns, &key);
                prop_assert_eq!(key_of(patterns, &file), Some(key.clone()));
                prop_assert_eq!(key_of(other, &file), None);
                for part in &file {
                    let part = part.to_str().unwrap();
                    prop_assert!((2..=143).contains(&part.len()), "{}", part);
                    prop_assert!(!part.starts_with(['.', '-', ' ']) && !part.ends_with(['.', ' ']));
                    prop_assert!(!is_device(part.split('+').next().unwrap()) || part.contains('+'));
                    prop_assert!(part.bytes().all(|byte| matches!(byte,
                        b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'%' | b'+')));
                }
                let parts = file.components();
                prop_assert!(parts.into_iter().all(|part|
                    matches!(part, std::path::Component::Normal(_))));
            }
        }

        #[test]
        fn no_two_keys_share_a_file((one, other) in pairs()) {
            prop_assert_eq!(file(&one) == file(&other), one == other);
            let quarantine = file_of(VALUES, &format!("circuit_breaker:{other}:quarantine"));
            prop_assert_ne!(&file_of(VALUES, &state(&one)), &quarantine);
            prop_assert_ne!(file_of(VALUES, &state(&one)), file_of(VALUES, &format!("{other}!")));
        }

        /// The folder of one name must not have the path of another name's file.
        #[test]
        fn no_file_blocks_the_folder_of_another((one, other) in pairs()) {
            let (one, other) = (file_of(VALUES, &state(&one)), file_of(VALUES, &state(&other)));
            prop_assert!(one == other || !one.starts_with(&other));
        }
    }
}
