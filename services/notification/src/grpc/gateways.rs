//! Accounts at gateways: list, hold, release.

use countersign_domain::message::GatewayState;
use countersign_proto::v1;
use countersign_store::Acted;
use tonic::{Request, Status};

use super::{
    Notifications,
    checks::{Violations, Who, invalid, not_found, open, other_request, unavailable},
    convert::gateway,
};

impl Notifications {
    pub(super) async fn list_gateways(
        &self,
        _request: Request<v1::ListGatewaysRequest>,
    ) -> Result<v1::ListGatewaysResponse, Status> {
        let found = self.store.list_gateways().await.map_err(unavailable)?;
        Ok(v1::ListGatewaysResponse {
            gateways: found.iter().map(gateway).collect(),
        })
    }

    pub(super) async fn hold_gateway(
        &self,
        request: Request<v1::HoldGatewayRequest>,
    ) -> Result<v1::Gateway, Status> {
        let (caller, request) = open(request)?;
        let who = Who {
            request_id: &request.request_id,
            actor: &request.actor,
            reason: &request.reason,
            approver: "",
        };
        let until = request.until_time.as_ref();
        self.operate(&request.name, GatewayState::Held, until, &who, &caller)
            .await
    }

    pub(super) async fn release_gateway(
        &self,
        request: Request<v1::ReleaseGatewayRequest>,
    ) -> Result<v1::Gateway, Status> {
        let (caller, request) = open(request)?;
        let who = Who {
            request_id: &request.request_id,
            actor: &request.actor,
            reason: &request.reason,
            approver: "",
        };
        self.operate(&request.name, GatewayState::Open, None, &who, &caller)
            .await
    }

    async fn operate(
        &self,
        name: &str,
        state: GatewayState,
        until: Option<&prost_types::Timestamp>,
        who: &Who<'_>,
        caller: &str,
    ) -> Result<v1::Gateway, Status> {
        let account = name
            .strip_prefix("gateways/")
            .filter(|account| (1..=64).contains(&account.len()) && account.is_ascii())
            .ok_or_else(|| invalid("name", "must be a name of the form \"gateways/{name}\""))?;
        let now = self.store.now().await.map_err(unavailable)?;
        let mut violations = Violations::default();
        let until = violations.time("until_time", until);
        if until.is_some_and(|until| until <= now) {
            violations.add("until_time", "must be in the future");
        }
        let method = match state {
            GatewayState::Held => "HoldGateway",
            GatewayState::Open => "ReleaseGateway",
        };
        let asked = until.map_or_else(String::new, |until| until.to_rfc3339());
        let call = self.act_call(who, method, caller, &[name, &asked], now, &mut violations);
        let call = violations.finish(call)?;
        let acted = self
            .store
            .operate_gateway(account, state, until, &call, now)
            .await;
        match acted.map_err(unavailable)? {
            Acted::Answered(record, _) => Ok(gateway(&record)),
            Acted::NotFound => Err(not_found(name)),
            Acted::OtherRequest => Err(other_request()),
            Acted::Refused(never) => match never {},
        }
    }
}
