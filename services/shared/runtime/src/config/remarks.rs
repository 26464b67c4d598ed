//! What works, and what a company that serves customers would hardly want.

use super::{Config, EmailTransport, GatewayTransport, validate::is_here};

impl Config {
    /// Remarks on settings that can be used, each naming its key. None for a trial on the embedded database.
    pub fn remarks(&self) -> Vec<String> {
        if self.is_embedded() {
            return Vec::new();
        }
        let mut remarks = Vec::new();
        let mut remark = |holds: bool, words: &str| {
            if holds {
                remarks.push(words.to_owned());
            }
        };
        remark(
            self.company.phone.is_none(),
            "company.phone is not set: letters and texts name no number that customers can ring",
        );
        let notification = &self.notification;
        remark(
            is_here(&notification.public_url),
            "notification.public_url leads to this machine only: customers cannot open a worker's links",
        );
        let service = &notification.order_service_url;
        remark(
            service.starts_with("http://") && !is_here(service) && !self.callers.tls_elsewhere,
            "notification.order_service_url begins with http://: what a worker sends to the order service is not encrypted",
        );
        remark(
            self.email.transport == EmailTransport::Mailbox,
            "email.transport is mailbox: a worker puts letters on the page /mailbox, customers get none",
        );
        for (key, gateway, what) in [("sms", &self.sms, "texts"), ("phone", &self.phone, "calls")] {
            remark(
                gateway.transport == GatewayTransport::Mailbox,
                &format!(
                    "{key}.transport is mailbox: a worker puts {what} on the page /mailbox, customers get none"
                ),
            );
        }
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_install_with_a_database_server_is_told_what_customers_would_miss() {
        let mut config = Config::default();
        config.database.url = "mysql://countersign@db.internal/countersign".into();
        "http://orders.internal:50051".clone_into(&mut config.notification.order_service_url);
        let keys = |config: &Config| -> Vec<String> {
            let remarks = config.remarks();
            let key = |it: &String| it.split(' ').next().unwrap_or_default().to_owned();
            remarks.iter().map(key).collect()
        };
        assert_eq!(
            keys(&config),
            [
                "company.phone",
                "notification.public_url",
                "notification.order_service_url",
                "email.transport",
                "sms.transport",
                "phone.transport"
            ]
        );
        config.company.phone = Some("+8653212345678".to_owned());
        "https://orders.example.com".clone_into(&mut config.notification.public_url);
        "https://orders.internal:50051".clone_into(&mut config.notification.order_service_url);
        config.email.transport = EmailTransport::Smtp;
        config.sms.transport = GatewayTransport::Tencent;
        config.phone.transport = GatewayTransport::Alibaba;
        assert!(keys(&config).is_empty());
    }

    #[test]
    fn a_trial_on_one_machine_is_told_nothing() {
        assert!(Config::default().remarks().is_empty());
        for here in [
            "http://localhost:1",
            "http://127.0.0.2",
            "http://[::1]:8080",
        ] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in [
            "https://orders.example.com",
            "http://10.0.0.1",
            "http://localhost.example.com",
        ] {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }
}
