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

/// What stands before and after the breaker's name in a key, and after it in a file's name.
const KINDS: [(&str, &str, &str); 3] = [
    ("circuit_breaker:", ":state", ".json"),
    ("circuit_breaker:", ":quarantine", "+quarantine.json"),
    ("", "", "+key.json"),
];

/// What Windows takes for a device, whatever follows after a dot.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];
const NUMBERED_DEVICES: [&str; 2] = ["com", "lpt"];

/// The file for a key, within the folder of the store.
pub(super) fn file_of(key: &str) -> PathBuf {
    let kind = KINDS.iter().find_map(|(before, after, ending)| {
        let name = key.strip_prefix(before)?.strip_suffix(after)?;
        (!name.is_empty()).then_some((name, *ending))
    });
    let (name, ending) = kind.unwrap_or((key, KINDS[2].2));
    path_of(&escaped(name), ending)
}

/// The key whose file this is; `None` for one that is not the store's.
pub(super) fn key_of(file: &Path) -> Option<String> {
    let mut name = String::new();
    let mut parts = file.iter().map(OsStr::to_str);
    let last = parts.next_back()??;
    for part in parts {
        name.push_str(rest_of(part?, &name).strip_suffix('+')?);
    }
    let last = rest_of(last, &name);
    // The longest ending first: every one of them ends as the first does.
    let (before, after, stem) = KINDS
        .iter()
        .rev()
        .find_map(|(before, after, ending)| Some((before, after, last.strip_suffix(ending)?)))?;
    name.push_str(stem);
    let key = format!("{before}{}{after}", unescaped(&name)?);
    // Whatever else would read as this key is somebody else's file.
    (file_of(&key) == file).then_some(key)
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
            escaped.extend([byte >> 4, byte & 15].map(digit));
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

fn digit(half: u8) -> char {
    char::from_digit(half.into(), 16).unwrap_or('0')
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
