//! I8: what customers tell us appears in no log line and in no error text.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use countersign_e2e::{System, fresh_id, link_key, order_builder};
use countersign_proto::v1;
use countersign_store::FIRST_GENERATION;
use tonic::{Code, Status};

/// Every log line of this process.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const NAME: &str = "Canaria Yellowbird";
const EMAIL: &str = "canary.7391@birds.example";
const PHONE: &str = "+8613973917391";
const STREET: &str = "Canary Wharf Lane 7391";
const WISH: &str = "key under the canary cage";
const WORDS: &str = "my canary does not want it";
/// Pieces of them that must not appear either.
const TRACES: [&str; 8] = [
    "Canaria",
    "canary.7391",
    "birds.example",
    "13973917391",
    "1397391",
    "Canary Wharf",
    "canary cage",
    "my canary",
];

fn text_of(status: &Status) -> String {
    format!(
        "{status:?} {} {}",
        status.message(),
        String::from_utf8_lossy(status.details())
    )
}

#[tokio::test]
async fn j_06_personal_data_and_secrets_appear_in_no_log_and_no_error() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_env_filter(
            "debug,countersign_order=trace,countersign_store=trace,countersign_domain=trace,countersign_runtime=trace",
        )
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let system = System::sqlite().await;
    let mut client = system.orders().await;
    let mut errors = Vec::new();

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
            order
                .annotations
                .insert("note".to_owned(), WORDS.to_owned());
        })
        .request();
    let order = client
        .create_order(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(order.state(), v1::OrderState::AwaitingConfirmation);
    let id = countersign_domain::ids::OrderId::in_name(&order.name).unwrap();
    let token = link_key().link_token(id, FIRST_GENERATION);
    let code = link_key().confirmation_code(id, 1);

    // Everything that can go wrong with the data in it.
    let wrong = |change: &dyn Fn(&mut v1::Order)| {
        let mut wrong = order_builder().request();
        wrong.order.clone_from(&request.order);
        change(wrong.order.as_mut().unwrap());
        wrong
    };
    let refusals = [
        wrong(&|order| order.contact.as_mut().unwrap().email = format!("{EMAIL} {EMAIL}")),
        wrong(&|order| order.contact.as_mut().unwrap().phone = format!("{PHONE}{PHONE}")),
        wrong(&|order| order.contact.as_mut().unwrap().display_name = format!("{NAME}\n")),
        wrong(&|order| order.delivery.as_mut().unwrap().wishes = format!("{WISH}\0")),
        wrong(&|order| {
            let delivery = order.delivery.as_mut().unwrap();
            delivery.address.as_mut().unwrap().address_lines = vec![STREET.repeat(20)];
        }),
        wrong(&|order| order.annotations = [("note".to_owned(), WORDS.repeat(60))].into()),
        // The reference is taken, the id is too.
        wrong(&|_| ()),
        v1::CreateOrderRequest {
            request_id: request.request_id.clone(),
            ..wrong(&|order| order.entered_by = "somebody else".to_owned())
        },
    ];
    for refusal in refusals {
        errors.push(client.create_order(refusal).await.unwrap_err());
    }
    // A request id that is none is not repeated.
    let mut no_id = order_builder().request();
    no_id.request_id = format!("{EMAIL}/{PHONE}");
    errors.push(client.create_order(no_id).await.unwrap_err());
    let lookup = v1::LookupOrderStatusRequest {
        order_number: PHONE.to_owned(),
        phone_last_digits: "7391x".to_owned(),
    };
    errors.push(client.lookup_order_status(lookup).await.unwrap_err());

    // The rest of a life: objection in their words, amendment of their address, the code, a call, news of the goods.
    let no = v1::RejectConfirmationRequest {
        name: order.name.clone(),
        request_id: fresh_id("no"),
        objection: Some(v1::Objection {
            category: v1::ObjectionCategory::Address.into(),
            text: WORDS.to_owned(),
            line_numbers: Vec::new(),
        }),
        answered_by: "customer".to_owned(),
        ..v1::RejectConfirmationRequest::default()
    };
    client.reject_confirmation(no).await.unwrap();
    let mut moved = order.clone();
    let delivery = moved.delivery.as_mut().unwrap();
    delivery.address.as_mut().unwrap().address_lines = vec![format!("{STREET}, back door")];
    let amend = v1::AmendOrderRequest {
        order: Some(moved),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["delivery".to_owned()],
        }),
        request_id: fresh_id("amend"),
        reason: "another door".to_owned(),
        ..v1::AmendOrderRequest::default()
    };
    client.amend_order(amend).await.unwrap();
    let code_of_second = link_key().confirmation_code(id, 2);
    for code in ["000000", &code_of_second] {
        let verify = v1::VerifyConfirmationCodeRequest {
            name: order.name.clone(),
            request_id: fresh_id("code"),
            code: code.to_owned(),
            answer_channel: v1::AnswerChannel::Code.into(),
            receive_time: None,
        };
        if let Err(status) = client.verify_confirmation_code(verify).await {
            errors.push(status);
        }
    }
    assert_eq!(
        system.order(&order.name).await.state(),
        v1::OrderState::Allocated
    );
    client
        .create_order_contact(v1::CreateOrderContactRequest {
            parent: order.name.clone(),
            request_id: fresh_id("contact"),
            contact: Some(v1::OrderContact {
                direction: v1::ContactDirection::Inbound.into(),
                channel: "PHONE".to_owned(),
                agent: "mei".to_owned(),
                summary: WORDS.to_owned(),
                ..v1::OrderContact::default()
            }),
        })
        .await
        .unwrap();
    let events = system.trace(&order.name).await.events;
    // The database goes away under a call: its words must not be shown.
    system.store.connection().clone().close().await.unwrap();
    let failing = client
        .create_order(wrong(&|order| order.client_reference = fresh_id("late")))
        .await
        .unwrap_err();
    assert!(
        matches!(failing.code(), Code::Unavailable | Code::Internal),
        "{failing:?}"
    );
    errors.push(failing);

    let lines = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(lines.contains("order.intake.commit"), "nothing was logged");
    let history = format!("{events:?}");
    for secret in TRACES
        .into_iter()
        .chain([token.as_str(), code_of_second.as_str(), code.as_str()])
    {
        // Six digits may stand in a time; a code is looked for as a word.
        let digits = secret.bytes().all(|byte| byte.is_ascii_digit());
        let found = lines.lines().find(|line| {
            if digits {
                line.split(|c: char| !c.is_ascii_alphanumeric())
                    .any(|word| word == secret)
            } else {
                line.contains(secret)
            }
        });
        assert_eq!(found, None, "{secret} is in the log");
        for error in &errors {
            assert!(!text_of(error).contains(secret), "{secret} is in {error:?}");
        }
        if !["my canary"].contains(&secret) && !digits {
            assert!(!history.contains(secret), "{secret} is in the history");
        }
    }
}
