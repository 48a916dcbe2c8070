//! Where a node listens, and for whom (`KafkaConfig.validateValues`).

use super::ConfigError;
use super::cluster::Roles;
use super::endpoint::Endpoint;
use super::view::View;

/// The listeners, told apart.
pub(super) struct Listeners {
    pub(super) broker: Vec<Endpoint>,
    pub(super) controller: Vec<Endpoint>,
    pub(super) advertised: Vec<Endpoint>,
    pub(super) inter_broker: String,
    pub(super) controller_names: Vec<String>,
}

impl Listeners {
    pub(super) fn read(view: &View<'_>, roles: Roles, has_others: bool) -> Result<Listeners, ConfigError> {
        let names = view.list("controller.listener.names");
        let controller_names: Vec<String> = names.iter().map(|name| name.to_ascii_uppercase()).collect();
        if controller_names.is_empty() && (has_others || !roles.are_combined()) {
            let wanted = "a listener of the controller, for instance CONTROLLER, which several voters, \
                          `controller.quorum.bootstrap.servers` and separate roles need";
            return Err(view.refusal("controller.listener.names", wanted));
        }
        let is_controllers = |endpoint: &Endpoint| controller_names.contains(&endpoint.name);
        let (controller, broker): (Vec<_>, Vec<_>) =
            endpoints(view, "listeners")?.into_iter().partition(is_controllers);
        check_roles(view, roles, &controller_names, &broker, &controller)?;
        let advertised = endpoints(view, "advertised.listeners")?;
        for endpoint in &advertised {
            let is_known = broker.iter().chain(&controller).any(|listener| listener.name == endpoint.name);
            if endpoint.is_wildcard() || !is_known {
                let wanted = "a host that clients can reach, under the name of one of `listeners`";
                return Err(view.refusal("advertised.listeners", wanted));
            }
        }
        let inter_broker = inter_broker(view, roles, &broker)?;
        Ok(Listeners { broker, controller, advertised, inter_broker, controller_names })
    }
}

fn check_roles(
    view: &View<'_>,
    roles: Roles,
    names: &[String],
    broker: &[Endpoint],
    controller: &[Endpoint],
) -> Result<(), ConfigError> {
    let missing = names.iter().find(|name| !controller.iter().any(|endpoint| endpoint.name == **name));
    let wanted = match (roles.broker, roles.controller) {
        (true, _) if broker.is_empty() => "at least one listener that is not the controller's".to_owned(),
        (true, false) if !controller.is_empty() => {
            "listeners without those of `controller.listener.names`, since `process.roles` is broker alone"
                .to_owned()
        }
        (false, true) if !broker.is_empty() => {
            "those of `controller.listener.names` alone, since `process.roles` is controller".to_owned()
        }
        (_, true) => match missing {
            Some(name) => format!("a listener `{name}`, which `controller.listener.names` names"),
            None => return Ok(()),
        },
        _ => return Ok(()),
    };
    Err(view.refusal("listeners", &wanted))
}

/// The listener between brokers: as set, else the one named after its protocol, else the first.
fn inter_broker(view: &View<'_>, roles: Roles, broker: &[Endpoint]) -> Result<String, ConfigError> {
    let names: Vec<&str> = broker.iter().map(|endpoint| endpoint.name.as_str()).collect();
    match view.text("inter.broker.listener.name").map(|name| name.to_ascii_uppercase()) {
        Some(name) if roles.broker && !names.contains(&name.as_str()) => Err(view.refusal(
            "inter.broker.listener.name",
            &format!("one of the broker's own `listeners` ({})", names.join(", ")),
        )),
        Some(name) => Ok(name),
        None if names.contains(&"PLAINTEXT") => Ok("PLAINTEXT".to_owned()),
        None => Ok(names.first().copied().unwrap_or("PLAINTEXT").to_owned()),
    }
}

fn endpoints(view: &View<'_>, property: &str) -> Result<Vec<Endpoint>, ConfigError> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    let map = view.list("listener.security.protocol.map");
    for text in view.list(property) {
        let endpoint = Endpoint::parse(property, &text)?;
        let protocol = map.iter().find_map(|pair| {
            pair.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case(&endpoint.name)).map(|(_, p)| p)
        });
        if !protocol.unwrap_or(&endpoint.name).eq_ignore_ascii_case("PLAINTEXT") {
            let wanted = format!("PLAINTEXT listeners (`{}` is not mapped to PLAINTEXT)", endpoint.name);
            return Err(view.refusal(property, &wanted));
        }
        if endpoints.iter().any(|other| other.name == endpoint.name) {
            return Err(
                view.refusal(property, &format!("each name once (`{}` is there twice)", endpoint.name))
            );
        }
        endpoints.push(endpoint);
    }
    Ok(endpoints)
}
