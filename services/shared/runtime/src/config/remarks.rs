//! What works, and what a company that serves customers would hardly want.

use super::{Config, EmailTransport, GatewayTransport, validate::is_here};

/// A process that reads a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// Takes orders.
    OrderService,
    /// Sends messages.
    NotificationWorker,
}

impl Config {
    /// Remarks on settings that can be used, each naming its key: on those of one process, or of both. On the embedded database,
    /// a trial, there is one at most.
    pub fn remarks(&self, process: Option<Process>) -> Vec<String> {
        if self.is_embedded() {
            let unnamed = "database.url is not set: services do not start, other commands work on the file of a trial";
            return Vec::from_iter((!self.database.is_chosen).then(|| unnamed.to_owned()));
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
        if process == Some(Process::OrderService) {
            return remarks;
        }
        let notification = &self.notification;
        remark(
            is_here(&notification.public_url),
            "notification.public_url leads to this machine only: customers cannot open their links",
        );
        remark(
            notification.client_ip_header.is_none(),
            "notification.client_ip_header is not set: behind a proxy all customers share the limits of one",
        );
        let service = &notification.order_service_url;
        remark(
            service.starts_with("http://") && !is_here(service) && !self.callers.tls_elsewhere,
            "notification.order_service_url begins with http://: what a worker sends to the order service is not encrypted",
        );
        remark(
            self.audit.anchor_file.is_none(),
            "audit.anchor_file is not set: nobody can prove later that the end of the audit chain is not missing",
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

    fn keys(config: &Config, process: Option<Process>) -> Vec<String> {
        let remarks = config.remarks(process);
        let key = |it: &String| it.split(' ').next().unwrap_or_default().to_owned();
        remarks.iter().map(key).collect()
    }

    #[test]
    fn an_install_with_a_database_server_is_told_what_customers_would_miss() {
        let mut config = Config::default();
        config.database.url = "mysql://countersign@db.internal/countersign".into();
        "http://orders.internal:50051".clone_into(&mut config.notification.order_service_url);
        let of_worker = [
            "company.phone",
            "notification.public_url",
            "notification.client_ip_header",
            "notification.order_service_url",
            "audit.anchor_file",
            "email.transport",
            "sms.transport",
            "phone.transport",
        ];
        assert_eq!(keys(&config, None), of_worker);
        assert_eq!(keys(&config, Some(Process::NotificationWorker)), of_worker);
        assert_eq!(keys(&config, Some(Process::OrderService)), of_worker[..1]);
        config.company.phone = Some("+8653212345678".to_owned());
        let notification = &mut config.notification;
        "https://orders.example.com".clone_into(&mut notification.public_url);
        "https://orders.internal:50051".clone_into(&mut notification.order_service_url);
        notification.client_ip_header = Some("x-forwarded-for".to_owned());
        config.audit.anchor_file = Some("anchors.jsonl".into());
        config.email.transport = EmailTransport::Smtp;
        config.sms.transport = GatewayTransport::Tencent;
        config.phone.transport = GatewayTransport::Alibaba;
        assert!(keys(&config, None).is_empty());
    }

    #[test]
    fn a_trial_is_told_only_that_no_database_is_named() {
        let mut config = Config::default();
        assert_eq!(keys(&config, None), ["database.url"]);
        config.database.is_chosen = true;
        assert!(keys(&config, None).is_empty());
    }

    #[test]
    fn an_address_of_this_machine_is_known_in_each_of_its_forms() {
        for here in [
            "http://localhost:1",
            "HTTP://LocalHost",
            "http://127.0.0.2",
            "http://[::1]:8080",
            "http://[::ffff:127.0.0.1]",
            "http://0.0.0.0:8080",
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
