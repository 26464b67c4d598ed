//! The keys that events to partners are signed with. They are made, not stored: the database keeps only their numbers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::LinkKey;
use crate::ids::WebhookEndpointId;

impl LinkKey {
    /// A partner's secret as the Standard Webhooks specification writes it: `whsec_` and 32 bytes in base64. Each number
    /// makes another one.
    pub fn webhook_secret(&self, endpoint: WebhookEndpointId, number: u32) -> String {
        let key = self.mac("webhook", &[endpoint.as_bytes(), &number.to_be_bytes()]);
        format!("whsec_{}", STANDARD.encode(key))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn every_endpoint_and_number_has_a_secret_of_its_own_that_does_not_change() {
        let key = LinkKey::new(&[7; 32]).unwrap();
        let one = WebhookEndpointId::from_uuid(Uuid::from_u128(1));
        let two = WebhookEndpointId::from_uuid(Uuid::from_u128(2));
        let secret = key.webhook_secret(one, 1);
        assert_eq!(secret, key.webhook_secret(one, 1));
        assert_ne!(secret, key.webhook_secret(one, 2));
        assert_ne!(secret, key.webhook_secret(two, 1));
        assert_eq!(secret.len(), "whsec_".len() + 44);
        let other = LinkKey::new(&[8; 32]).unwrap();
        assert_ne!(secret, other.webhook_secret(one, 1));
    }
}
