//! The media type of gRPC.

use http::{HeaderMap, header::CONTENT_TYPE};

/// Whether a message is one of gRPC by its `Content-Type`: `application/grpc`, also with a format
/// (`+proto`) or with parameters. gRPC-Web is another protocol. `None` without a `Content-Type`.
pub(crate) fn declares_grpc(headers: &HeaderMap) -> Option<bool> {
    headers.get(CONTENT_TYPE).map(|media_type| is_media_type(media_type.as_bytes()))
}

fn is_media_type(media_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let Some((start, rest)) = media_type.split_at_checked(GRPC.len()) else { return false };
    start.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_grpc_message_is_recognized_by_its_media_type() {
        let cases = [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=utf-8", true),
            ("Application/GRPC+json", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpc-web-text", false),
            ("application/grp", false),
            ("application/json", false),
            ("", false),
        ];
        for (media_type, expected) in cases {
            let value = HeaderValue::from_static(media_type);
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, value)]);
            assert_eq!(declares_grpc(&headers), Some(expected), "{media_type:?}");
        }
        assert_eq!(declares_grpc(&HeaderMap::new()), None);
    }
}
