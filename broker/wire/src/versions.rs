//! What an `ApiVersions` response advertises.

use bytes::{BufMut, BytesMut};
use kafka_protocol::protocol::VersionRange;

use crate::api::Api;
use crate::error::ErrorCode;
use crate::parts::Parts;

/// The versions of an API to advertise.
///
/// They are the versions that [`crate::decode_request`] accepts, with one exception: Produce is advertised from 0,
/// as Kafka does (KAFKA-18659), because librdkafka before 2.11.1 takes a higher minimum for a broker without
/// compression. A Produce request below version 3 is still refused.
pub const fn advertised(api: Api) -> VersionRange {
    let versions = api.versions();
    let min = if matches!(api, Api::Produce) { 0 } else { versions.min };
    VersionRange { min, max: versions.max }
}

/// The answer to an `ApiVersions` request of an unsupported version (KIP-511): a version 0 response with
/// `UNSUPPORTED_VERSION` and the range of `ApiVersions` itself, from which the client picks its next try.
pub fn unsupported_api_versions(correlation_id: i32) -> Parts {
    let versions = Api::ApiVersions.versions();
    let mut buf = BytesMut::with_capacity(20);
    buf.put_i32(16);
    buf.put_i32(correlation_id);
    buf.put_i16(ErrorCode::UNSUPPORTED_VERSION.code());
    buf.put_i32(1);
    buf.put_i16(Api::ApiVersions.key());
    buf.put_i16(versions.min);
    buf.put_i16(versions.max);
    Parts::from(buf.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::crate_versions;
    use crate::{Response, decode_response};

    #[test]
    fn every_advertised_version_can_be_decoded_and_answered() {
        for &api in Api::ALL {
            let VersionRange { min, max } = advertised(api);
            let (request, response) = crate_versions::of(api);
            let both = request.intersect(&response);
            let min = if api == Api::Produce { 3 } else { min };
            assert!(both.min <= min && max <= both.max, "{api} {min}..{max}, the crate has {both}");
            assert!(min <= max, "{api} advertises nothing");
        }
    }

    #[test]
    fn table_is_sorted_by_key_and_names_agree_with_the_crate() {
        assert!(Api::ALL.is_sorted());
        for &api in Api::ALL {
            let theirs = crate::kafka::messages::ApiKey::try_from(api.key()).expect("the crate has the key");
            assert_eq!(format!("{theirs:?}"), api.name());
            assert_eq!(Api::from_key(api.key()), Some(api));
        }
    }

    #[test]
    fn answer_to_a_too_new_api_versions_is_a_version_0_response() {
        let mut frame = unsupported_api_versions(7).into_bytes();
        assert_eq!(frame.len(), 20);
        assert_eq!(frame.split_to(4)[..], [0, 0, 0, 16]);
        assert_eq!(crate::response_correlation_id(&frame), Some(7));
        let Ok(Response::ApiVersions(response)) = decode_response(Api::ApiVersions, 0, frame) else {
            panic!("not decoded");
        };
        assert_eq!(response.error_code, 35);
        assert_eq!(response.api_keys.len(), 1);
        assert_eq!((response.api_keys[0].api_key, response.api_keys[0].max_version), (18, 4));
    }
}
