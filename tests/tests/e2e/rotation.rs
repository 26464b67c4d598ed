//! The key that links, codes and partners' secrets are made of is changed while customers order and answer.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use countersign_domain::{ids::OrderId, secrets::LinkKey};
use countersign_e2e::{Replica, System, fresh_id, order_builder};
use countersign_notification::{Deps, run};
use countersign_proto::v1::{self, order_service_client::OrderServiceClient};
use countersign_runtime::{
    callers::Gate,
    client,
    config::{Client, Config},
    lifecycle::{Ended, Lifecycle},
};
use countersign_store::{
    MailboxContent, Store,
    testing::{DATA_KEYS, TestDatabase},
};
use futures::future::join_all;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::Command,
    sync::watch,
    time::timeout,
};
use tonic::{Code, Status, transport::Channel};

use super::program::program;

/// Keys that take over from one another.
const ROTATIONS: usize = 10;
/// Customers at the same time.
const CUSTOMERS: usize = 2;
/// Services of each kind, restarted one after the other.
const PODS: usize = 2;

fn key(number: usize) -> String {
    format!("the link key number {number:03}, of 32 bytes")
}

/// One order service and one worker, with the keys that were configured when they started.
struct Pod {
    replica: Replica,
    pages: SocketAddr,
    worker: Lifecycle,
}

impl Pod {
    async fn start(store: &Store, keys: &[usize]) -> Self {
        let lines: Vec<String> = keys.iter().map(|number| key(*number)).collect();
        let link_key = LinkKey::read(&lines.join("\n")).unwrap();
        let replica = Replica::start_keyed(store.clone(), link_key.clone()).await;
        let http_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pages = http_listener.local_addr().unwrap();
        let mut config = Config::default();
        config.notification.public_url = "http://pages.example".to_owned();
        config.notification.poll_interval_ms = 20;
        config.sending.number_per_10_minutes = 0;
        config.sending.number_per_day = 0;
        let worker = Lifecycle::new(Duration::from_secs(10));
        let orders = format!("http://{}", replica.address);
        let deps = Deps {
            config,
            store: store.clone(),
            link_key,
            http_listener,
            grpc_listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            gate: Gate::open(),
            order_service: client::connect_lazily(
                &orders,
                "notification-worker",
                &Client::default(),
            )
            .unwrap(),
        };
        run(deps, &worker).await.unwrap();
        Self {
            replica,
            pages,
            worker,
        }
    }

    async fn end(self) {
        self.worker.shutdown();
        assert_eq!(self.worker.run().await.unwrap(), Ended::Clean);
        drop(self.replica);
    }
}

/// Where callers and customers find the services at the moment.
#[derive(Clone)]
struct Places {
    orders: Vec<SocketAddr>,
    pages: Vec<SocketAddr>,
}

/// A call that is made again at another service when it finds one that ends, as clients are told to.
async fn again<T>(
    places: &watch::Receiver<Places>,
    first: usize,
    call: impl AsyncFn(SocketAddr) -> Result<T, Status>,
) -> T {
    let began = Instant::now();
    for at in first.. {
        let orders = places.borrow().orders.clone();
        match call(orders[at % orders.len()]).await {
            Ok(answer) => return answer,
            Err(status) => {
                let ended = status.code() == Code::Unavailable
                    || std::error::Error::source(&status).is_some();
                assert!(
                    ended && began.elapsed() < Duration::from_secs(20),
                    "{status:?}"
                );
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unreachable!("the tries have no end")
}

async fn connect(address: SocketAddr) -> Result<OrderServiceClient<Channel>, Status> {
    OrderServiceClient::connect(format!("http://{address}"))
        .await
        .map_err(|error| Status::unavailable(error.to_string()))
}

/// What the letter that asks for an answer says: the link's token and the code.
async fn asked(store: &Store, email: &str) -> (String, String) {
    let began = Instant::now();
    loop {
        let items = store.list_mailbox(None, 200).await.unwrap().items;
        let found = items.iter().find_map(|item| match &item.content {
            MailboxContent::Email { text, .. } if item.recipient == email => {
                let code = text.split("Confirmation code: ").nth(1)?.get(..6)?;
                let token = text.split("/o/").nth(1)?.get(..22)?;
                Some((token.to_owned(), code.to_owned()))
            }
            _ => None,
        });
        if let Some(found) = found {
            return found;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "no letter");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Orders at one service, reads the letter that some worker has written, opens its link at a worker, and gives its code to
/// another service.
async fn order_and_answer(store: &Store, places: &watch::Receiver<Places>, number: usize) {
    let email = format!("{}@customers.example", fresh_id("customer"));
    let request = order_builder()
        .with(|order| {
            order.locale = "en".to_owned();
            order.contact.as_mut().unwrap().email.clone_from(&email);
        })
        .request();
    let order = again(places, number, async |at| {
        let made = connect(at).await?.create_order(request.clone()).await?;
        Ok(made.into_inner())
    })
    .await;
    let (token, code) = asked(store, &email).await;
    let began = Instant::now();
    for at in number + 1.. {
        let pages = places.borrow().pages.clone();
        let url = format!("http://{}/o/{token}", pages[at % pages.len()]);
        // A worker that has just ended is nowhere; the one in its place is asked.
        if let Ok(answer) = reqwest::get(&url).await {
            assert_eq!(answer.status().as_u16(), 200, "the link opens");
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let verify = v1::VerifyConfirmationCodeRequest {
        name: order.name,
        request_id: fresh_id("code"),
        code,
        answer_channel: v1::AnswerChannel::Code.into(),
        receive_time: None,
    };
    let confirmed = again(places, number + 1, async |at| {
        let answer = connect(at)
            .await?
            .verify_confirmation_code(verify.clone())
            .await?;
        Ok(answer.into_inner())
    })
    .await;
    let answers = [v1::OrderState::Confirmed, v1::OrderState::Allocated];
    assert!(
        answers.contains(&confirmed.state()),
        "{:?}",
        confirmed.state()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j_11_the_link_key_is_changed_ten_times_and_no_customer_notices() {
    let database = TestDatabase::sqlite().await;
    let system = System::start(database).await;
    let store = system.store.clone();
    system.restock("KETTLE-17", 1_000_000).await;
    system.restock("CUP-4", 1_000_000).await;
    let mut pods = Vec::new();
    for _ in 0..PODS {
        pods.push(Pod::start(&store, &[0]).await);
    }
    let places_of = |pods: &[Pod]| Places {
        orders: pods.iter().map(|pod| pod.replica.address).collect(),
        pages: pods.iter().map(|pod| pod.pages).collect(),
    };
    let (sender, places) = watch::channel(places_of(&pods));
    let (done, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let customers = (0..CUSTOMERS).map(async |customer| {
        let mut number = customer;
        while !stop.load(Ordering::Acquire) {
            order_and_answer(&store, &places, number).await;
            done.fetch_add(1, Ordering::AcqRel);
            number += 1;
        }
    });
    let changing = async {
        // An order from before the first change: its link is good for as long as the order is there.
        let first = order_builder().with(|order| order.locale = "en".to_owned());
        let mut client = pods[0].replica.orders("shop").await;
        let first = client.create_order(first.request()).await.unwrap();
        for number in 1..=ROTATIONS {
            let before = number.checked_sub(2);
            let learning = [Some(number - 1), Some(number), before];
            let using = [Some(number), Some(number - 1), before];
            for keys in [learning, using] {
                let keys: Vec<usize> = keys.into_iter().flatten().collect();
                for at in 0..PODS {
                    let next = Pod::start(&store, &keys).await;
                    let old = std::mem::replace(&mut pods[at], next);
                    sender.send_replace(places_of(&pods));
                    old.end().await;
                }
                let until = done.load(Ordering::Acquire) + 1;
                while done.load(Ordering::Acquire) < until {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        stop.store(true, Ordering::Release);
        OrderId::in_name(&first.get_ref().name).unwrap()
    };
    let (_, first) = tokio::join!(join_all(customers), changing);
    let answered = done.load(Ordering::Acquire);
    println!("{answered} orders were answered");
    assert!(answered >= 2 * ROTATIONS, "{answered}");
    let token = LinkKey::new(key(0).as_bytes())
        .unwrap()
        .link_token(first, 1);
    let url = format!("http://{}/o/{token}", pods[0].pages);
    assert_eq!(reqwest::get(&url).await.unwrap().status().as_u16(), 200);
    for pod in pods {
        pod.end().await;
    }
}

/// Starts the program with these link keys, and waits until it has said one of the two things, or has ended.
async fn says(role: &str, url: &str, keys: &str, is_lost: bool) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(program().await)
        .arg(role)
        .env("DATABASE_URL", url)
        .env("SMTP_URL", "smtp://127.0.0.1:9?tls=none")
        .env("COUNTERSIGN__ORDER__LISTEN", "127.0.0.1:0")
        .env("COUNTERSIGN__NOTIFICATION__LISTEN", "127.0.0.1:0")
        .env("COUNTERSIGN__NOTIFICATION__GRPC_LISTEN", "127.0.0.1:0")
        .env("COUNTERSIGN__PERSONAL_DATA__KEYS", DATA_KEYS)
        .env("COUNTERSIGN__LINKS__KEY", keys)
        .env("COUNTERSIGN__LINKS__KEY_IS_LOST", is_lost.to_string())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    let listening = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            said.push_str(&line);
            said.push('\n');
            if line.contains("listening") {
                return;
            }
        }
    };
    let heard = timeout(Duration::from_mins(1), listening).await;
    assert!(heard.is_ok(), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j_11_processes_start_with_every_step_of_a_changed_link_key_and_not_with_another_databases()
{
    let system = System::start(TestDatabase::sqlite().await).await;
    let url = &system.database.url;
    let order = async |keys: &str| {
        let replica =
            Replica::start_keyed(system.store.clone(), LinkKey::read(keys).unwrap()).await;
        let mut client = connect(replica.address).await.unwrap();
        let request = order_builder().request();
        client.create_order(request).await.unwrap();
    };
    let (old, new, other) = (key(1), key(2), key(3));
    order(&old).await;
    let refused = |said: &str| said.contains("links.key: none of the newest orders' links");
    for role in ["order-service", "notification-worker"] {
        let said = says(role, url, &other, false).await;
        assert!(refused(&said) && !said.contains("listening"), "{said}");
        let said = says(role, url, &other, true).await;
        assert!(said.contains("links.key is a new one"), "{said}");
        assert!(said.contains("listening"), "{said}");
    }
    let (first, second) = (format!("{old}\n{new}"), format!("{new}\n{old}"));
    for keys in [&first, &second, &new] {
        // Somebody has ordered since the new key makes links.
        if keys == &new {
            order(&second).await;
        }
        let said = says("order-service", url, keys, false).await;
        assert!(said.contains("listening"), "{said}");
    }
}
