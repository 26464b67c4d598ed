//! What clients are told to do when they are refused, and what comes of it.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use countersign_e2e::{Orders, order_builder};
use countersign_proto::FILE_DESCRIPTOR_SET;
use countersign_store::testing::TestDatabase;
use futures::future::join_all;
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};
use serde_json::Value;
use tonic::Code;

use super::{Over, replica};

/// The file that clients are given.
fn shipped() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/service_config.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Whether the request names its call, itself or in each of its parts.
fn names_its_call(request: &DescriptorProto, all: &[DescriptorProto]) -> bool {
    request.field.iter().any(|field| {
        let part = field.type_name().rsplit('.').next();
        field.name() == "request_id"
            || all
                .iter()
                .filter(|other| Some(other.name()) == part && other.name().ends_with("Request"))
                .any(|part| part.field.iter().any(|field| field.name() == "request_id"))
    })
}

const READS: [&str; 9] = [
    "Get",
    "List",
    "BatchGet",
    "Lookup",
    "Summarize",
    "Render",
    "Check",
    "Preview",
    "Lint",
];

#[test]
fn k_02_the_shipped_service_config_repeats_what_may_be_repeated_and_nothing_else() {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let messages: Vec<DescriptorProto> = set
        .file
        .iter()
        .flat_map(|file| file.message_type.clone())
        .collect();
    let mut repeatable = BTreeSet::new();
    for file in set
        .file
        .iter()
        .filter(|it| it.package() == "countersign.v1")
    {
        for service in &file.service {
            for method in &service.method {
                let request = method.input_type().rsplit('.').next().unwrap();
                let request = messages.iter().find(|it| it.name() == request).unwrap();
                let reads = READS.iter().any(|verb| method.name().starts_with(verb));
                if !method.client_streaming()
                    && !method.server_streaming()
                    && (reads || names_its_call(request, &messages))
                {
                    let service = format!("countersign.v1.{}", service.name());
                    repeatable.insert((service, method.name().to_owned()));
                }
            }
        }
    }
    let config = shipped();
    let [methods] = config["methodConfig"].as_array().unwrap().as_slice() else {
        panic!("one policy for all");
    };
    let named: BTreeSet<(String, String)> = methods["name"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| {
            let word = |key: &str| name[key].as_str().unwrap().to_owned();
            (word("service"), word("method"))
        })
        .collect();
    assert_eq!(named, repeatable);
    let policy = &methods["retryPolicy"];
    assert_eq!(policy["maxAttempts"], 4);
    assert_eq!(policy["initialBackoff"], "0.1s");
    assert_eq!(policy["maxBackoff"], "1s");
    assert_eq!(policy["backoffMultiplier"], 2);
    let codes = policy["retryableStatusCodes"].as_array().unwrap();
    assert_eq!(codes, &["UNAVAILABLE", "RESOURCE_EXHAUSTED"]);
    assert_eq!(config["retryThrottling"]["maxTokens"], 10);
    assert_eq!(config["retryThrottling"]["tokenRatio"], 0.1);
}

/// A client as gRPC's own are (gRFC A6): one bucket of tokens for the channel.
struct Client {
    orders: Orders,
    max_tokens: f64,
    ratio: f64,
    max_attempts: u64,
    tokens: std::sync::Mutex<f64>,
}

/// First tries, and further ones.
#[derive(Debug, Default)]
struct Tries {
    first: u64,
    again: u64,
    done: u64,
}

impl Client {
    fn new(orders: Orders) -> Self {
        let config = shipped();
        let throttling = &config["retryThrottling"];
        let max_tokens = throttling["maxTokens"].as_f64().unwrap();
        let policy = &config["methodConfig"][0]["retryPolicy"];
        Self {
            orders,
            max_tokens,
            ratio: throttling["tokenRatio"].as_f64().unwrap(),
            max_attempts: policy["maxAttempts"].as_u64().unwrap(),
            tokens: std::sync::Mutex::new(max_tokens),
        }
    }

    /// A failure costs a token, a success brings a tenth of one; below half there are no further tries.
    fn may_go_on(&self, failed: bool) -> bool {
        let mut tokens = self.tokens.lock().unwrap();
        *tokens = if failed {
            (*tokens - 1.0).max(0.0)
        } else {
            (*tokens + self.ratio).min(self.max_tokens)
        };
        *tokens > self.max_tokens / 2.0
    }

    async fn send_on(&self, over: &Over) -> Tries {
        let mut tries = Tries::default();
        while !over.is_over() {
            let request = order_builder().request();
            for attempt in 1..=self.max_attempts {
                if attempt == 1 {
                    tries.first += 1;
                } else {
                    tries.again += 1;
                }
                match self.orders.clone().create_order(request.clone()).await {
                    Ok(_) => {
                        self.may_go_on(false);
                        tries.done += 1;
                        break;
                    }
                    Err(status) => {
                        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                        let pushback = status.metadata().get("grpc-retry-pushback-ms");
                        let pushback: i64 = pushback.unwrap().to_str().unwrap().parse().unwrap();
                        if !self.may_go_on(true) || pushback < 0 || attempt == self.max_attempts {
                            break;
                        }
                        let pause = Duration::from_millis(pushback.unsigned_abs());
                        tokio::time::sleep(pause).await;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tries
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k_02_clients_that_keep_to_the_service_config_do_not_make_an_overload_worse() {
    let database = TestDatabase::sqlite().await;
    let replica = replica(&database, |limits| {
        limits.calls_at_once = 4;
        limits.calls_waiting = 4;
    })
    .await;
    let client = Client::new(replica.orders("shop").await);
    let over = Over::default();
    let began = Instant::now();
    let senders = join_all((0..80).map(|_| client.send_on(&over)));
    let end = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        over.tell();
    };
    let (seen, ()) = tokio::join!(senders, end);
    let (first, again, done) = seen.iter().fold((0, 0, 0), |sum, it| {
        (sum.0 + it.first, sum.1 + it.again, sum.2 + it.done)
    });
    assert!(done > 0 && first > done, "{first} {done}");
    // A tenth of what succeeds, and the bucket that was full at first.
    assert!(
        again * 10 <= first + 100,
        "{again} of {first} in {:?}",
        began.elapsed()
    );
}
