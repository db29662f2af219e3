use http::{HeaderMap, header::CONTENT_TYPE};

/// Whether a request is a gRPC call, by its `Content-Type`: `application/grpc`, also with a format
/// (`+proto`) or with parameters. gRPC-Web is not.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let Some(media_type) = headers.get(CONTENT_TYPE) else { return false };
    let Some((start, rest)) = media_type.as_bytes().split_at_checked(GRPC.len()) else {
        return false;
    };
    start.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_grpc_call_is_recognized_by_its_media_type() {
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
            assert_eq!(is_grpc(&headers), expected, "{media_type:?}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
