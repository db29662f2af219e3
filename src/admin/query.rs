//! The parameters of a query.

use std::borrow::Cow;

use super::problem::Problem;
use crate::history::{HistoryCursor, HistoryQuery};

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

/// Which part of a history a request asks for.
pub(super) fn history(query: Option<&str>) -> Result<HistoryQuery, Problem> {
    let mut history = HistoryQuery::default();
    for parameter in parameters(query) {
        match parameter? {
            (name, value) if name == "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=1000).contains(limit));
                history.limit = limit
                    .ok_or_else(|| Problem::bad_request("\"limit\" must be between 1 and 1000"))?;
            }
            (name, value) if name == "before" => {
                let cursor: Option<HistoryCursor> = value.parse().ok();
                history.before = Some(cursor.ok_or_else(|| {
                    Problem::bad_request("\"before\" must be the \"next\" of an earlier page")
                })?);
            }
            _ => return Err(Problem::bad_request("the parameters are \"limit\" and \"before\"")),
        }
    }
    Ok(history)
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
