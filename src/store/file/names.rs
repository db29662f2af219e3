//! From keys to files and back: names are data, and never lead anywhere.
//!
//! Small letters, digits, `-`, `_` and `.` stand for themselves; every other byte, capitals among them, is `%`
//! and two small hexadecimal digits. So no two files differ by case alone, none is hidden or one of Windows'
//! own, and what has a `+` in it was not made of a name alone.
//!
//! | key | file |
//! |---|---|
//! | `circuit_breaker:payments:state` | `payments.json` |
//! | `circuit_breaker:payments:quarantine` | `payments+quarantine.json` |
//! | the history of `circuit_breaker:payments:history` | `payments+history.jsonl` |
//! | `circuit_breaker:EU/pay:state` | `%45%55%2fpay.json` |
//! | any other | its name is the key, followed by `+key.json` |
//!
//! A file's name has at most 255 bytes, and 143 on some encrypted disks. What is longer becomes folders, each
//! with as much of it as fits and a `+` at its end; what follows begins with a `+`.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// The longest part of a name that is put into the name of one file or folder.
const PART: usize = 120;

/// What stands before and after the breaker's name in a key, and after it in a file's name. The last of them is
/// for every other key.
type Kinds = [(&'static str, &'static str, &'static str)];

/// The files of values.
pub(super) const VALUES: &Kinds = &[
    ("circuit_breaker:", ":state", ".json"),
    ("circuit_breaker:", ":quarantine", "+quarantine.json"),
    ("", "", "+key.json"),
];

/// The files of histories.
pub(super) const HISTORIES: &Kinds =
    &[("circuit_breaker:", ":history", "+history.jsonl"), ("", "", "+key+history.jsonl")];

/// What Windows takes for a device, whatever follows after a dot.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];
const NUMBERED_DEVICES: [&str; 2] = ["com", "lpt"];

/// The file for a key, within the folder of the store.
pub(super) fn file_of(kinds: &Kinds, key: &str) -> PathBuf {
    let found = kinds.iter().find_map(|(before, after, ending)| {
        let name = key.strip_prefix(before)?.strip_suffix(after)?;
        // A key without a breaker's name is any other key, also the empty one.
        (!name.is_empty() || after.is_empty()).then(|| path_of(&escaped(name), ending))
    });
    found.unwrap_or_default()
}

/// The key whose file this is; `None` for one that is not the store's.
pub(super) fn key_of(kinds: &Kinds, file: &Path) -> Option<String> {
    let mut name = String::new();
    let mut parts = file.iter().map(OsStr::to_str);
    let last = parts.next_back()??;
    for part in parts {
        name.push_str(rest_of(part?, &name).strip_suffix('+')?);
    }
    let last = rest_of(last, &name);
    // The longest ending first: every one of them ends as the first does.
    let (before, after, stem) = kinds
        .iter()
        .rev()
        .find_map(|(before, after, ending)| Some((before, after, last.strip_suffix(ending)?)))?;
    name.push_str(stem);
    let key = format!("{before}{}{after}", unescaped(&name)?);
    // Whatever else would read as this key is somebody else's file.
    (file_of(kinds, &key) == file).then_some(key)
}

/// Whether a folder of this name may hold files of the store.
pub(super) fn is_part(folder: &OsStr) -> bool {
    folder.to_str().is_some_and(|name| name.len() > 1 && name.ends_with('+'))
}

/// A part of a file's path without the mark that it goes on with what stands before it.
fn rest_of<'a>(part: &'a str, before: &str) -> &'a str {
    if before.is_empty() { part } else { part.strip_prefix('+').unwrap_or(part) }
}

fn path_of(mut escaped: &str, ending: &str) -> PathBuf {
    let mut path = PathBuf::new();
    let mut mark = "";
    while escaped.len() > PART {
        let (part, rest) = escaped.split_at(PART);
        path.push(format!("{mark}{part}+"));
        escaped = rest;
        mark = "+";
    }
    path.push(format!("{mark}{escaped}{ending}"));
    path
}

fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    let device = is_device(name);
    for (place, byte) in name.bytes().enumerate() {
        let stands_for_itself = match byte {
            b'a'..=b'z' => place > 0 || !device,
            b'0'..=b'9' | b'_' => true,
            // A hidden file, or one that a command takes for an option.
            b'.' | b'-' => place > 0,
            _ => false,
        };
        if stands_for_itself {
            escaped.push(byte.into());
        } else {
            escaped.push('%');
            escaped.extend(digits(byte));
        }
    }
    escaped
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    let numbered = || {
        let device = stem.strip_suffix(|last: char| last.is_ascii_digit());
        device.is_some_and(|device| NUMBERED_DEVICES.contains(&device))
    };
    DEVICES.contains(&stem) || numbered()
}

/// A byte as two small hexadecimal digits.
pub(super) fn digits(byte: u8) -> [char; 2] {
    [byte >> 4, byte & 15].map(|half| char::from_digit(half.into(), 16).unwrap_or('0'))
}

fn unescaped(escaped: &str) -> Option<String> {
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
    fn simple_names_are_readable_and_others_are_safe() {
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
    fn every_key_has_a_file_and_some_files_have_no_key() {
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

    /// Names, with many of those that look like another or like more than a name.
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

    /// A name and one that is much like it.
    fn pairs() -> impl Strategy<Value = (String, String)> {
        (names(), names(), 0..8).prop_map(|(name, other, likeness)| {
            let like = match likeness {
                0 => name.to_uppercase(),
                1 => name.to_lowercase(),
                2 => format!("{name}."),
                3 => format!("{name} "),
                4 => format!("{name}.json"),
                5 => escaped(&name),
                6 => name.chars().rev().collect(),
                _ => other,
            };
            (name, like)
        })
    }

    proptest! {
        #[test]
        fn a_file_leads_nowhere_else_and_back_to_its_key(name in names()) {
            for (kinds, other, key) in [
                (VALUES, HISTORIES, state(&name)),
                (VALUES, HISTORIES, format!("circuit_breaker:{name}:quarantine")),
                (VALUES, HISTORIES, name.clone()),
                (HISTORIES, VALUES, format!("circuit_breaker:{name}:history")),
                (HISTORIES, VALUES, name.clone()),
            ] {
                let file = file_of(kinds, &key);
                prop_assert_eq!(key_of(kinds, &file), Some(key.clone()));
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

        /// A folder of one name must not be where another has its file.
        #[test]
        fn no_file_is_in_the_way_of_another((one, other) in pairs()) {
            let (one, other) = (file_of(VALUES, &state(&one)), file_of(VALUES, &state(&other)));
            prop_assert!(one == other || !one.starts_with(&other));
        }
    }
}
