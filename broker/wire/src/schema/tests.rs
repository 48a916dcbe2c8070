//! The stanzas against the protocol crate: same bytes, same fields, same memory.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::*;
use crate::api::{Request, Response, crate_versions};
use crate::testing::generate::{self, Frame};
use crate::testing::{Rng, alloc};

/// The message in a frame.
#[derive(PartialEq, Debug)]
enum Decoded {
    Request(Request),
    Response(Response),
}

impl Decoded {
    fn decode(frame: &Frame, body: &mut Bytes) -> Result<Decoded, String> {
        match frame.direction {
            Direction::Request => Request::decode(frame.api, frame.version, body).map(Decoded::Request),
            Direction::Response => Response::decode(frame.api, frame.version, body).map(Decoded::Response),
        }
        .map_err(|error| error.0)
    }

    fn encode(&self, version: i16) -> Bytes {
        let mut buf = Vec::new();
        match self {
            Decoded::Request(request) => request.encode(&mut buf, version),
            Decoded::Response(response) => response.encode(&mut buf, version),
        }
        .unwrap_or_else(|error| panic!("{self:?} is not encoded: {}", error.0));
        buf.into()
    }
}

#[test]
fn every_version_that_is_served_has_a_stanza_and_no_stanza_goes_beyond_the_crate() {
    for &api in Api::ALL {
        let (request, response) = crate_versions::of(api);
        for (direction, theirs) in [(Direction::Request, request), (Direction::Response, response)] {
            let message = messages()
                .into_iter()
                .find(|message| message.api == api.name() && message.direction == direction)
                .unwrap_or_else(|| panic!("no stanza for {api} {direction:?}"));
            assert_eq!(message.versions, (theirs.min, theirs.max), "{api} {direction:?}");
            let served = api.versions();
            assert!(
                message.versions.0 <= served.min && served.max <= message.versions.1,
                "{api} {direction:?}"
            );
        }
    }
    assert_eq!(messages().len(), 2 * Api::ALL.len());
}

/// The heart of it. Bytes written from a stanza are what the crate decodes to the end and encodes again, byte by
/// byte; so stanza and crate have the same fields, of the same types, in the same order, in the same versions.
#[test]
fn crate_decodes_and_encodes_the_same_bytes_in_every_version() {
    let mut rng = Rng::new(3);
    let mut same = BTreeSet::new();
    for (message, version) in generate::shapes() {
        for round in 0..200 {
            let frame = generate::frame(&mut rng, message, version);
            let about = format!("{} v{version} {:?} round {round}", frame.api, frame.direction);
            let mut body = frame.bytes.slice(frame.body..);
            let whole = body.clone();
            check(frame.api, frame.direction, version, &whole)
                .unwrap_or_else(|error| panic!("{about}: {error}"));
            let decoded =
                Decoded::decode(&frame, &mut body).unwrap_or_else(|error| panic!("{about}: {error}"));
            assert!(body.is_empty(), "{about}: the crate leaves {} bytes", body.len());
            let again = decoded.encode(version);
            check(frame.api, frame.direction, version, &again)
                .unwrap_or_else(|error| panic!("{about}: {error}"));
            // A tagged field that has its default value is not written again, so bytes can differ, fields cannot.
            let decoded_again = Decoded::decode(&frame, &mut again.clone()).unwrap();
            if again == whole {
                same.insert((frame.api, frame.direction as u8, version));
            } else {
                assert_eq!(format!("{decoded_again:?}"), format!("{decoded:?}"), "{about}");
            }
        }
    }
    assert_eq!(same.len(), generate::shapes().len(), "every shape was seen byte by byte");
}

#[test]
fn one_byte_less_or_more_is_refused() {
    let mut rng = Rng::new(4);
    for (message, version) in generate::shapes() {
        for _ in 0..20 {
            let frame = generate::frame(&mut rng, message, version);
            let body = &frame.bytes[frame.body..];
            for cut in 0..body.len() {
                assert!(check(frame.api, frame.direction, version, &body[..cut]).is_err(), "cut to {cut}");
            }
            let longer = [body, &[0]].concat();
            assert_eq!(
                check(frame.api, frame.direction, version, &longer),
                Err(WalkError::Trailing { left: 1 }),
                "{} v{version}",
                frame.api
            );
        }
    }
}

/// The walk's own count of memory is never below what the decoder takes.
#[test]
fn memory_that_the_walk_counts_covers_what_the_decoder_takes() {
    let mut rng = Rng::new(5);
    let mut most = 0.0f64;
    for (message, version) in generate::shapes() {
        for _ in 0..100 {
            let frame = generate::frame(&mut rng, message, version);
            let mut body = frame.bytes.slice(frame.body..);
            // The frame's shared count is allocated with the first slice; it belongs to the frame.
            let _shared = body.clone();
            let counted = walk::memory(program(frame.api, frame.direction, version), &body).unwrap();
            let (decoded, taken) = alloc::peak(|| Decoded::decode(&frame, &mut body));
            decoded.unwrap();
            assert!(taken <= counted, "{} v{version}: counted {counted}, taken {taken}", frame.api);
            if counted > 2000 {
                most = most.max(taken as f64 / counted as f64);
            }
        }
    }
    assert!(most > 0.8, "the count is far above the truth: at most {most} of it was taken");
}

#[test]
fn hostile_counts_are_refused_before_anything_is_allocated() {
    let check = |api, version, body: &[u8]| {
        let (result, taken) = alloc::peak(|| check(api, Direction::Request, version, body));
        assert_eq!(taken, 0);
        result.unwrap_err().to_string()
    };
    assert_eq!(
        check(Api::Metadata, 0, &[0x7f, 0xff, 0xff, 0xff]),
        "topics at byte 4 claims 2147483647 elements of at least 2 bytes with 0 bytes left"
    );
    assert_eq!(
        check(Api::Metadata, 9, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0]),
        "topics at byte 5 claims 4294967294 elements of at least 2 bytes with 4 bytes left"
    );
    assert_eq!(check(Api::Metadata, 0, &[0xff, 0xff, 0xff, 0xfe]), "topics at byte 4 has length -2");
    assert_eq!(
        check(Api::Metadata, 9, &[0xff, 0xff, 0xff, 0xff, 0x1f]),
        "topics at byte 0 has a variable-length integer of more than 32 bits"
    );
}

#[test]
fn flood_of_unknown_tagged_fields_is_refused_by_its_memory() {
    // A Metadata v9 request with many topics of an empty name and one unknown tagged field of no bytes each.
    let topics = 10_000u32;
    let mut body = vec![0x91, 0x4e];
    assert_eq!((topics + 1) & 0x7f, 0x11);
    for _ in 0..topics {
        body.extend_from_slice(&[1, 1, 100, 0]);
    }
    body.extend_from_slice(&[1, 0, 0, 0]);
    let error = check(Api::Metadata, Direction::Request, 9, &body).unwrap_err();
    assert!(matches!(error, WalkError::Memory { .. }), "{error}");
}
