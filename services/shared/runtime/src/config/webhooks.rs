//! How partners' systems are told of orders.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Where events may be posted to. Public addresses always, by https.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhooks {
    /// Networks besides the public ones, such as `10.20.0.0/16`: whoever may make endpoints can reach everything in them.
    pub allowed_networks: Vec<IpNet>,
    /// Whether an endpoint may be plain `http://`. Everybody on the way reads along.
    pub allow_http: bool,
}
