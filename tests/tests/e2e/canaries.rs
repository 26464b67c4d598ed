//! J-06, J-07: a run through the whole system, refusals of carriers that repeat what they were given, and answers in the
//! customer's words among it, leaves nothing of the customer in traces, metrics, logs and panics, and nothing readable in a
//! copy of the database.

use std::{
    panic,
    sync::{Arc, Mutex},
    time::Duration,
};

use countersign_domain::ids::OrderId;
use countersign_e2e::{System, fresh_id, link_key, order_builder, timestamp};
use countersign_notification::testkit::{Act, Answer, GatewayStub, MailSink, Stage};
use countersign_proto::v1::{
    self, notification_service_client::NotificationServiceClient as Notifications,
    webhook_service_client::WebhookServiceClient,
};
use countersign_runtime::{
    config::{self, Config, EmailTransport, GatewayTransport, LogFormat},
    lifecycle::Lifecycle,
    telemetry::Telemetry,
};
use countersign_store::{FIRST_GENERATION, testing::TestDatabase};
use secrecy::SecretString;
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::{collector::Collector, stand::Stand};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const NAME: &str = "Canaria Yellowbird";
const EMAIL: &str = "canary.7391@birds.example";
const PHONE: &str = "+8613973917391";
const STREET: &str = "Canary Wharf Lane 7391";
const WISH: &str = "key under the canary cage";
const WORDS: &str = "my canary does not want it";
/// Pieces of them that must not appear either.
const TRACES: [&str; 9] = [
    "canaria",
    "yellowbird",
    "canary.7391",
    "birds.example",
    "13973917391",
    "1397391",
    "canary wharf",
    "canary cage",
    "my canary",
];

struct Carriers {
    relay: MailSink,
    gateway: GatewayStub,
    partner: GatewayStub,
}

impl Carriers {
    /// They refuse first, in words that repeat what they were given.
    async fn start() -> Self {
        let carriers = Self {
            relay: MailSink::start(),
            gateway: GatewayStub::start(SECRET).await,
            partner: GatewayStub::start(SECRET).await,
        };
        let spam = format!("554 5.7.1 {NAME} <{EMAIL}> is not written to like this\r\n");
        carriers.relay.once(Stage::Data, Act::Reply(spam));
        let refusal = json!({"code": "content_refused", "message": format!("{PHONE}: {WORDS}")});
        let refusal = Answer::Status(400, String::new(), refusal.to_string());
        carriers.gateway.once(refusal);
        let broken = format!("{NAME} {PHONE}");
        carriers
            .gateway
            .once(Answer::Status(500, String::new(), broken.clone()));
        carriers
            .gateway
            .once(Answer::AcceptWith(broken.into_bytes()));
        let gone = format!("no {EMAIL} here");
        carriers
            .partner
            .once(Answer::Status(500, String::new(), gone));
        let heard = Answer::Status(200, String::new(), String::new());
        carriers.partner.always(heard);
        carriers
    }

    fn configure(&self, config: &mut Config) {
        config.email.transport = EmailTransport::Smtp;
        let relay = format!("smtp://{}?tls=none", self.relay.address());
        config.email.url = Some(SecretString::from(relay));
        for gateway in [&mut config.sms, &mut config.phone] {
            gateway.transport = GatewayTransport::Gateway;
            gateway.base_url = Some(self.gateway.base());
            gateway.secret = Some(SecretString::from(SECRET));
        }
        config.notification.calls_per_second = 100;
        config.webhooks.allow_http = true;
        config.webhooks.allowed_networks = vec!["127.0.0.0/8".parse().unwrap()];
    }
}

/// What must be nowhere: pieces of the customer's data, tokens of links, codes.
type Secrets = Arc<Mutex<Vec<String>>>;

struct Run {
    stand: Stand,
    carriers: Carriers,
    secrets: Secrets,
}

impl Run {
    async fn on(database: TestDatabase, secrets: &Secrets) -> Self {
        let carriers = Carriers::start().await;
        let system = System::start(database).await;
        let stand = Stand::on(system, |config| carriers.configure(config)).await;
        Self {
            stand,
            carriers,
            secrets: secrets.clone(),
        }
    }

    async fn notifications(&self) -> Notifications<Channel> {
        let worker = format!("http://{}", self.stand.worker);
        Notifications::connect(worker).await.unwrap()
    }

    /// A partner hears of everything.
    async fn listen(&self) {
        let worker = format!("http://{}", self.stand.worker);
        let mut client = WebhookServiceClient::connect(worker).await.unwrap();
        let request = v1::CreateWebhookEndpointRequest {
            endpoint: Some(v1::WebhookEndpoint {
                url: self.carriers.partner.base(),
                ..v1::WebhookEndpoint::default()
            }),
            request_id: fresh_id("endpoint"),
            actor: "wang".to_owned(),
            reason: WORDS.to_owned(),
        };
        client.create_webhook_endpoint(request).await.unwrap();
    }

    async fn order(&self) -> v1::Order {
        let request = order_builder()
            .with(|order| {
                let contact = order.contact.as_mut().unwrap();
                contact.display_name = NAME.to_owned();
                contact.email = EMAIL.to_owned();
                contact.phone = PHONE.to_owned();
                let delivery = order.delivery.as_mut().unwrap();
                delivery.consignee = NAME.to_owned();
                delivery.phone = PHONE.to_owned();
                delivery.wishes = WISH.to_owned();
                delivery.address.as_mut().unwrap().address_lines = vec![STREET.to_owned()];
                order.lines[0].customization = WORDS.to_owned();
                order
                    .annotations
                    .insert("note".to_owned(), WORDS.to_owned());
            })
            .request();
        let mut client = self.stand.system.orders().await;
        let order = client.create_order(request).await.unwrap().into_inner();
        let id = OrderId::in_name(&order.name).unwrap();
        let mut secrets = self.secrets.lock().unwrap();
        secrets.push(link_key().link_token(id, FIRST_GENERATION));
        secrets.extend((1..=3).map(|round| link_key().confirmation_code(id, round)));
        order
    }

    async fn until<T>(&self, what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
        for _ in 0..1_200 {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not in a minute: {what}");
    }

    /// How the messages about an order stand, by channel.
    async fn deliveries(&self, order: &v1::Order) -> Vec<(String, String, String)> {
        let request = v1::ListDeliveriesRequest {
            parent: order.name.clone(),
        };
        let mut client = self.notifications().await;
        let found = client.list_deliveries(request).await.unwrap().into_inner();
        let found = found.deliveries.into_iter();
        found.map(|it| (it.name, it.channel, it.state)).collect()
    }

    /// The customer's answers, as the gateway brings them.
    async fn callback(&self, event: Value) {
        let url = format!("http://{}/callbacks/sms/reply", self.stand.pages);
        let now = self.stand.system.store.now().await.unwrap().timestamp();
        let id = fresh_id("callback");
        let gateway = &self.carriers.gateway;
        let status = gateway.send_callback(&url, &id, now, &event).await;
        assert_eq!(status, 204);
        // Once more with a wrong signature: refused, and not logged with its words.
        let status = gateway.send_callback(&url, &id, now - 400, &event).await;
        assert_eq!(status, 401);
    }

    async fn says(&self, text: &str) {
        let at = self.stand.system.store.now().await.unwrap().to_rfc3339();
        self.callback(json!({"type": "sms.received", "data": {
            "id": fresh_id("in"), "from": PHONE, "to": "+8610", "text": text, "at": at}}))
            .await;
    }

    /// Opens pages as customers and strangers do.
    async fn browse(&self, order: &v1::Order) {
        let link = self.stand.link(order);
        let pages = format!("http://{}", self.stand.pages);
        for url in [
            link.clone(),
            format!("{link}/none?from={EMAIL}"),
            format!("{pages}/o/{PHONE}"),
            format!("{pages}/{EMAIL}"),
        ] {
            let body = reqwest::get(&url).await.unwrap().text().await.unwrap();
            assert!(!body.is_empty(), "{url}");
        }
    }

    /// What staff do with it, in their words.
    async fn operate(&self, order: &v1::Order) {
        let mut client = self.notifications().await;
        let failed = self.deliveries(order).await;
        for (name, _, state) in failed {
            let request = v1::RequeueDeliveryRequest {
                name,
                request_id: fresh_id("requeue"),
                actor: "wang".to_owned(),
                reason: WORDS.to_owned(),
            };
            let answer = client.requeue_delivery(request).await;
            assert!(answer.is_err() || state == "FAILED", "{state}");
        }
        let request = v1::HoldGatewayRequest {
            name: "gateways/sms-gateway".to_owned(),
            request_id: fresh_id("hold"),
            actor: "wang".to_owned(),
            reason: WORDS.to_owned(),
            until_time: None,
        };
        client.hold_gateway(request).await.unwrap();
        for (address, channel) in [(EMAIL, "EMAIL"), (PHONE, "SMS"), (PHONE, "LETTER")] {
            let request = v1::SetContactPreferencesRequest {
                address: address.to_owned(),
                channel: channel.to_owned(),
                allowed: false,
                request_id: fresh_id("contact"),
                actor: "wang".to_owned(),
                reason: WORDS.to_owned(),
            };
            let answer = client.set_contact_preferences(request).await;
            assert_eq!(answer.is_err(), channel == "LETTER");
        }
    }

    /// News of the goods and a talk, in words; feedback afterwards.
    async fn deliver(&self, order: &v1::Order) {
        let mut client = self.stand.system.orders().await;
        let now = self.stand.system.store.now().await.unwrap();
        let event = v1::TrackingEvent {
            source: "carrier".to_owned(),
            source_event_id: fresh_id("event"),
            status: v1::TrackingStatus::Delivered.into(),
            report_time: Some(timestamp(now)),
            place: STREET.to_owned(),
            note: WORDS.to_owned(),
            ..v1::TrackingEvent::default()
        };
        let request = v1::RecordTrackingEventRequest {
            parent: order.name.clone(),
            request_id: fresh_id("track"),
            event: Some(event),
        };
        client.record_tracking_event(request).await.unwrap();
        let contact = v1::OrderContact {
            direction: v1::ContactDirection::Inbound.into(),
            channel: "PHONE".to_owned(),
            agent: "mei".to_owned(),
            summary: WORDS.to_owned(),
            ..v1::OrderContact::default()
        };
        let request = v1::CreateOrderContactRequest {
            parent: order.name.clone(),
            request_id: fresh_id("contact"),
            contact: Some(contact),
        };
        client.create_order_contact(request).await.unwrap();
    }

    async fn play(self) {
        self.listen().await;
        // The letter comes back, the text is refused, the call is in doubt and then taken.
        let first = self.order().await;
        self.until("the first letter is refused", async || {
            let found = self.deliveries(&first).await;
            found.iter().any(|it| it.2 == "FAILED").then_some(())
        })
        .await;
        self.browse(&first).await;
        let second = self.order().await;
        self.until("a letter goes out", async || {
            let mails = self.carriers.relay.mails();
            (!mails.is_empty()).then_some(())
        })
        .await;
        self.says(WORDS).await;
        self.says(&format!("{NAME} {EMAIL}")).await;
        self.says("000000").await;
        self.until("the replies are settled", async || {
            let pending = "SELECT COUNT(*) AS n FROM replies WHERE state = 'PENDING'";
            let pending = self.stand.system.database.number(pending).await;
            (pending == 0).then_some(())
        })
        .await;
        self.stand.system.accept(&second.name).await;
        self.deliver(&second).await;
        self.operate(&first).await;
        self.until("the partner hears of it", async || {
            (self.carriers.partner.seen().len() > 2).then_some(())
        })
        .await;

        // Numbers are counted by range: without their last four digits they stand among the counts for a day.
        let mut all: Vec<&str> = TRACES.to_vec();
        all.retain(|it| *it != "1397391");
        let tokens = self.secrets.lock().unwrap().clone();
        all.extend(tokens.iter().map(String::as_str).filter(|it| it.len() > 6));
        let places = self.stand.system.database.places_of(&all).await;
        assert_eq!(places, Vec::<String>::new(), "readable in a copy");
        let order = self.stand.system.order(&second.name).await;
        assert_eq!(order.contact.unwrap().display_name, NAME);
    }
}

/// Everything that is said by panics from now on.
fn keep_panics() -> Arc<Mutex<String>> {
    let said = Arc::new(Mutex::new(String::new()));
    let kept = said.clone();
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| {
        kept.lock().unwrap().push_str(&panicked.to_string());
        before(panicked);
    }));
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j_06_a_run_through_the_whole_system_leaves_nothing_of_the_customer_behind() {
    let lifecycle = Lifecycle::new(Duration::from_secs(5));
    let (collector, endpoint) = Collector::start(&lifecycle).await;
    let settings = config::Telemetry {
        otlp_endpoint: Some(endpoint),
        log_format: LogFormat::Json,
        log_filter: "debug,countersign_order=trace,countersign_notification=trace,\
                     countersign_store=trace,countersign_domain=trace,countersign_runtime=trace"
            .to_owned(),
    };
    let telemetry = Telemetry::start(&settings, "countersign").unwrap();
    let panics = keep_panics();
    let secrets = Secrets::default();
    for database in TestDatabase::all().await {
        Run::on(database, &secrets).await.play().await;
    }
    telemetry.shutdown().await;

    let mut seen = collector.all().to_vec();
    for (kind, text) in &seen {
        assert!(text.contains("countersign"), "no {kind} came");
    }
    seen.push(("panics", panics.lock().unwrap().clone()));
    let secrets = secrets.lock().unwrap();
    assert!(secrets.len() >= 8);
    for (kind, text) in seen {
        let text = text.to_lowercase();
        for trace in TRACES {
            assert_eq!(around(&text, trace), None, "in the {kind}");
        }
        for secret in secrets.iter() {
            // Six digits may stand in a number; a code is looked for as a word.
            let digits = secret.bytes().all(|byte| byte.is_ascii_digit());
            let found = if digits {
                text.split(|c: char| !c.is_ascii_alphanumeric())
                    .any(|word| word == secret)
            } else {
                text.contains(&secret.to_lowercase())
            };
            assert!(!found, "a token or code is in the {kind}");
        }
    }
    lifecycle.shutdown();
}

/// The surroundings of a word, for whoever has to find out who said it.
fn around<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let at = text.find(word)?;
    let begin = (at.saturating_sub(200)..at).find(|it| text.is_char_boundary(*it));
    let end =
        (at + word.len()..text.len()).find(|it| *it >= at + 200 && text.is_char_boundary(*it));
    text.get(begin.unwrap_or(at)..end.unwrap_or(text.len()))
}
