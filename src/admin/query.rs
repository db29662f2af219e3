//! The parameters of a query.

use std::borrow::Cow;

use super::problem::Problem;

/// The names and values, with the escapes of forms undone.
pub(super) fn parameters(
    query: Option<&str>,
) -> impl Iterator<Item = Result<(Cow<'_, str>, Cow<'_, str>), Problem>> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let malformed = || Problem::bad_request("the query is not escaped UTF-8");
        Ok((unescape(name).ok_or_else(malformed)?, unescape(value).ok_or_else(malformed)?))
    })
}

fn unescape(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(text.into());
    }
    let mut bytes = text.bytes();
    let mut unescaped = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        unescaped.push(match byte {
            b'+' => b' ',
            b'%' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(unescaped).ok().map(Cow::Owned)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Option<Vec<(String, String)>> {
        let read = parameters(Some(query)).collect::<Result<Vec<_>, _>>().ok()?;
        Some(read.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    #[test]
    fn parameters_are_read_as_those_of_a_form() {
        let pairs = |pairs: &[(&str, &str)]| {
            Some(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
        };
        assert_eq!(read(""), pairs(&[]));
        assert_eq!(read("&a=1&&b&"), pairs(&[("a", "1"), ("b", "")]));
        assert_eq!(read("a=%26%3d+%2B%C3%a9=x"), pairs(&[("a", "&= +é=x")]));
        for malformed in ["a=%", "a=%2", "a=%zz", "a=%+1", "a=%ff", "%=1"] {
            assert_eq!(read(malformed), None, "{malformed}");
        }
        assert_eq!(parameters(None).count(), 0);
    }
}
