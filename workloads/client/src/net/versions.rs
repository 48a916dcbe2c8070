//! Which version of each API is spoken: the highest that both sides know.

use burnin_wire::Api;
use burnin_wire::kafka::messages::ApiVersionsResponse;

/// What a broker advertised.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions(Vec<(i16, i16, i16)>);

impl Versions {
    /// From its answer to ApiVersions.
    pub fn of(response: &ApiVersionsResponse) -> Self {
        let mut ranges: Vec<_> =
            response.api_keys.iter().map(|key| (key.api_key, key.min_version, key.max_version)).collect();
        ranges.sort_unstable();
        Versions(ranges)
    }

    /// The version to use, or `None` when there is no common one.
    pub fn pick(&self, api: Api) -> Option<i16> {
        let at = self.0.binary_search_by_key(&api.key(), |range| range.0).ok()?;
        let (_, min, max) = self.0[at];
        let ours = client_versions(api);
        let version = max.min(ours.1);
        (version >= min && version >= ours.0).then_some(version)
    }
}

/// What this client can speak: all that the codec knows, less what its logic does not handle.
fn client_versions(api: Api) -> (i16, i16) {
    let known = api.versions();
    let max = match api {
        // Produce 12 is for transactions of the second version, 13 names topics by id.
        Api::Produce => known.max.min(11),
        _ => known.max,
    };
    (known.min, max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burnin_wire::kafka::messages::api_versions_response::ApiVersion;

    #[test]
    fn highest_common_version_is_picked() {
        let response = ApiVersionsResponse::default().with_api_keys(vec![
            ApiVersion::default().with_api_key(1).with_min_version(0).with_max_version(12),
            ApiVersion::default().with_api_key(0).with_min_version(0).with_max_version(99),
            ApiVersion::default().with_api_key(3).with_min_version(98).with_max_version(99),
        ]);
        let versions = Versions::of(&response);
        assert_eq!(versions.pick(Api::Fetch), Some(12));
        assert_eq!(versions.pick(Api::Produce), Some(11));
        assert_eq!(versions.pick(Api::Metadata), None, "no overlap");
        assert_eq!(versions.pick(Api::CreateTopics), None, "not advertised");
    }
}
