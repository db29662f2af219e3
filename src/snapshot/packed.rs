//! The calls of a window in which run lengths are long: three calls a character.
//!
//! `8:kTE` are eight calls, the oldest first. A character is a number of six bits (`A` is 0, as in
//! base64), two bits a call, the oldest in the lowest bits: 0 succeeded, 1 failed, 2 was slow, and
//! 3 was both. The last character may have room for more calls than there are.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const SYMBOLS: [u8; 4] = *b".fsb";
const PER_DIGIT: usize = 3;

/// Packs the calls of these run lengths, if that makes them shorter.
pub(super) fn pack(run_lengths: &str) -> Option<String> {
    let mut calls = 0_usize;
    let mut digits = Vec::new();
    let mut number = None;
    for byte in run_lengths.bytes() {
        if byte.is_ascii_digit() {
            number = Some(number.unwrap_or(0) * 10 + usize::from(byte - b'0'));
            continue;
        }
        let bits = SYMBOLS.iter().position(|symbol| *symbol == byte)?;
        for _ in 0..number.take().unwrap_or(1) {
            match calls % PER_DIGIT {
                0 if digits.len() >= run_lengths.len() => return None,
                0 => digits.push(bits),
                place => *digits.last_mut()? |= bits << (2 * place),
            }
            calls += 1;
        }
    }
    let packed = format!(
        "{calls}:{}",
        digits.iter().map(|bits| char::from(DIGITS[*bits])).collect::<String>()
    );
    (packed.len() < run_lengths.len()).then_some(packed)
}

/// The calls as run lengths. Text that was not packed here is no calls.
pub(super) fn unpack(packed: &str) -> Option<String> {
    let (calls, digits) = packed.split_once(':')?;
    let calls: usize = calls.parse().ok()?;
    if calls.div_ceil(PER_DIGIT) != digits.len() {
        return None;
    }
    let mut symbols = String::with_capacity(digits.len() * PER_DIGIT);
    for digit in digits.bytes() {
        let bits = value(digit)?;
        for place in 0..PER_DIGIT {
            symbols.push(char::from(SYMBOLS[bits >> (2 * place) & 3]));
        }
    }
    symbols.truncate(calls);
    Some(symbols)
}

fn value(digit: u8) -> Option<usize> {
    let (first, from) = match digit {
        b'A'..=b'Z' => (b'A', 0),
        b'a'..=b'z' => (b'a', 26),
        b'0'..=b'9' => (b'0', 52),
        b'+' => return Some(62),
        b'/' => return Some(63),
        _ => return None,
    };
    Some(usize::from(digit - first) + from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_without_long_runs_are_packed_and_come_back() {
        for calls in [8, 9, 10, 1000] {
            let mut random = fastrand::Rng::with_seed(calls);
            let symbol = |random: &mut fastrand::Rng| char::from(SYMBOLS[random.usize(..4)]);
            let results: String = (0..calls).map(|_| symbol(&mut random)).collect();
            let packed = pack(&results).expect("shorter");
            assert!(packed.len() < results.len() / 2 + 8, "{packed}");
            assert_eq!(unpack(&packed), Some(results));
        }
        assert_eq!(pack(".fsb.f.f").as_deref(), Some("8:kTE"));
        assert_eq!(pack("3.fsfsf4.fsfsf"), pack("...fsfsf....fsfsf"));
    }

    #[test]
    fn long_runs_are_not_packed() {
        for results in ["", ".", "1000000.", "97.f2s", "999.f999.f99999999999s"] {
            assert_eq!(pack(results), None, "{results}");
        }
    }

    #[test]
    fn what_was_not_packed_here_is_no_calls() {
        for text in ["", ":", "3", "x:A", "4:A", "3:AA", "3:*", "-1:A", "99999999999999999999:A"] {
            assert_eq!(unpack(text), None, "{text}");
        }
    }
}
