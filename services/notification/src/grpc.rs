//! `NotificationService`: what was sent to customers and how it fared, and what staff may do about it. `WebhookService`: what
//! partners are told.

mod checks;
mod contacts;
mod convert;
mod deliveries;
mod gateways;
mod operate;
mod template_versions;
mod templates;
mod webhooks;

use std::{path::PathBuf, sync::Arc};

use countersign_domain::secrets::LinkKey;
use countersign_proto::v1::{
    self, notification_service_server::NotificationService, webhook_service_server::WebhookService,
};
use countersign_runtime::config::Company;
use countersign_store::Store;
use tonic::{Request, Response, Status};

use crate::{ids::Ids, template::library::Library, webhooks::guard::Guard};

/// The services.
#[derive(Clone, Debug)]
pub(crate) struct Notifications {
    pub(crate) store: Store,
    pub(crate) ids: Arc<Ids>,
    /// Recipients are known by hashes under this key.
    pub(crate) link_key: LinkKey,
    pub(crate) library: Arc<Library>,
    /// Where the company keeps words of its own.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) company: Company,
    /// Where partners may be told.
    pub(crate) guard: Guard,
}

/// One line a method; each is carried out in the file of its subject.
macro_rules! methods {
    ($service:ident: $($method:ident($request:ident) -> $answer:ident,)+) => {
        #[tonic::async_trait]
        impl $service for Notifications {
            $(async fn $method(
                &self,
                request: Request<v1::$request>,
            ) -> Result<Response<v1::$answer>, Status> {
                Self::$method(self, request).await.map(Response::new)
            })+
        }
    };
}

methods! {
    NotificationService:
    list_deliveries(ListDeliveriesRequest) -> ListDeliveriesResponse,
    get_delivery(GetDeliveryRequest) -> MessageDelivery,
    list_dead_letters(ListDeadLettersRequest) -> ListDeadLettersResponse,
    requeue_delivery(RequeueDeliveryRequest) -> RequeueDeliveryResponse,
    requeue_deliveries(RequeueDeliveriesRequest) -> RequeueDeliveriesResponse,
    resolve_delivery(ResolveDeliveryRequest) -> ResolveDeliveryResponse,
    list_gateways(ListGatewaysRequest) -> ListGatewaysResponse,
    hold_gateway(HoldGatewayRequest) -> Gateway,
    release_gateway(ReleaseGatewayRequest) -> Gateway,
    get_contact_preferences(GetContactPreferencesRequest) -> ContactPreferences,
    set_contact_preferences(SetContactPreferencesRequest) -> ContactPreferences,
    list_templates(ListTemplatesRequest) -> ListTemplatesResponse,
    get_template(GetTemplateRequest) -> TemplateVersion,
    list_template_versions(ListTemplateVersionsRequest) -> ListTemplateVersionsResponse,
    create_template_version(CreateTemplateVersionRequest) -> CreateTemplateVersionResponse,
    activate_template_version(ActivateTemplateVersionRequest) -> ActivateTemplateVersionResponse,
    deactivate_template(DeactivateTemplateRequest) -> DeactivateTemplateResponse,
    preview_template(PreviewTemplateRequest) -> PreviewTemplateResponse,
    lint_templates(LintTemplatesRequest) -> LintTemplatesResponse,
}

methods! {
    WebhookService:
    create_webhook_endpoint(CreateWebhookEndpointRequest) -> CreateWebhookEndpointResponse,
    get_webhook_endpoint(GetWebhookEndpointRequest) -> WebhookEndpoint,
    list_webhook_endpoints(ListWebhookEndpointsRequest) -> ListWebhookEndpointsResponse,
    update_webhook_endpoint(UpdateWebhookEndpointRequest) -> WebhookEndpoint,
    delete_webhook_endpoint(DeleteWebhookEndpointRequest) -> DeleteWebhookEndpointResponse,
    rotate_webhook_secret(RotateWebhookSecretRequest) -> RotateWebhookSecretResponse,
    list_webhook_deliveries(ListWebhookDeliveriesRequest) -> ListWebhookDeliveriesResponse,
    replay_webhook_deliveries(ReplayWebhookDeliveriesRequest) -> ReplayWebhookDeliveriesResponse,
    send_test_webhook(SendTestWebhookRequest) -> WebhookDelivery,
}
